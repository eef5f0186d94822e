"""Where an entry came from: the `build.*` parameters, without their prefix. Shown, never interpreted."""

from collections.abc import Mapping
from datetime import datetime, timezone

from build_engines.judge import Accuracy
from build_engines.machine import installed_version, library_versions
from build_engines.pictures import PictureSet
from build_engines.results import Result
from build_engines.values import Compiler, Precision

_SHOWN = {"torch": "torch", "timm": "timm", "onnx": "onnx", "onnxruntime": "onnxruntime-gpu"}
"""The libraries whose versions each entry says, and the packages that bring them."""


def provenance(*parts: Mapping[str, str]) -> dict[str, str]:
    """What the steps and the caller say (`parts`), with the versions that built it and the date."""
    said = {key: value for part in parts for key, value in part.items()}
    libraries = library_versions()
    said |= {f"versions.{name}": libraries[package] for name, package in _SHOWN.items()}
    said["versions.vitrine"] = installed_version("vitrine") or "unknown"
    said["date"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return said


def of_result(result: Result, calibration: PictureSet | None, method: str) -> dict[str, str]:
    """What was measured of a variant, what the gate said, and how it was made."""
    said = {"precision": result.precision.value}
    if result.compiler is not Compiler.NONE:
        said["compiler"] = result.compiler.value
    if result.precision.calibrated and calibration:
        said["calibration.set"] = calibration.origin
        said["calibration.pictures"] = str(len(calibration))
        said["calibration.sha256"] = calibration.sha256
        if result.precision is not Precision.FP16:
            said["calibration.method"] = method
            if result.attention:
                said["calibration.attention"] = "quantised"
            said["versions.modelopt"] = library_versions()["nvidia-modelopt"]
    if measured := result.measured:
        said |= measured.parity
        if measured.accuracy:
            said |= _accuracy(measured.accuracy)
        if measured.race:
            said["measured.speedup"] = f"{measured.race.speedup:.2f} over {measured.race.against.value}"
    if verdict := result.verdict:
        said["gate"] = "passed" if verdict.passed else f"failed, forced: {'; '.join(verdict.failures)}"
    return said


def _accuracy(accuracy: Accuracy) -> dict[str, str]:
    said = {"measured.pictures": str(accuracy.pictures), "measured.agreement": f"{100 * accuracy.agreement:.2f}"}
    if accuracy.labelled:
        said["measured.top1"] = f"{100 * accuracy.labelled.top1:.2f}"
        said["measured.top1_fp32"] = f"{100 * accuracy.labelled.reference_top1:.2f}"
    return said
