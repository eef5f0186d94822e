"""Where an entry came from: the `build.*` parameters, without their prefix. Shown, never interpreted."""

from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import version

_LIBRARIES = {"vitrine": "vitrine", "torch": "torch", "timm": "timm", "onnx": "onnx", "onnxruntime": "onnxruntime-gpu"}
"""Their names, and those of the packages that bring them."""


def provenance(*parts: Mapping[str, str]) -> dict[str, str]:
    """What the steps and the caller say (`parts`), with the versions that built it and the date."""
    said = {key: value for part in parts for key, value in part.items()}
    said |= {f"versions.{library}": version(package) for library, package in _LIBRARIES.items()}
    said["precision"] = "fp32"
    said["date"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return said
