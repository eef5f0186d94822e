"""Where an entry came from: the `build.*` parameters, without their prefix. Shown, never interpreted."""

from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import version

_LIBRARIES = ("vitrine", "torch", "timm", "onnx", "onnxruntime")


def provenance(*parts: Mapping[str, str]) -> dict[str, str]:
    """What the steps and the caller say (`parts`), with the versions that built it and the date."""
    said = {key: value for part in parts for key, value in part.items()}
    said |= {f"versions.{library}": version(library) for library in _LIBRARIES}
    said["precision"] = "fp32"
    said["date"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return said
