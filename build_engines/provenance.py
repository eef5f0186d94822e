"""Where an entry came from: the `build.*` parameters, without their prefix. Shown, never interpreted."""

from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import version

from build_engines.judge.accuracy import Accuracy
from build_engines.pictures.picture_set import PictureSet
from build_engines.report.page import VariantReport
from build_engines.values.precision import Compiler, Precision

_LIBRARIES = {"vitrine": "vitrine", "torch": "torch", "timm": "timm", "onnx": "onnx", "onnxruntime": "onnxruntime-gpu"}
"""Their names, and those of the packages that bring them."""


def provenance(*parts: Mapping[str, str]) -> dict[str, str]:
    """What the steps and the caller say (`parts`), with the versions that built it and the date."""
    said = {key: value for part in parts for key, value in part.items()}
    said |= {f"versions.{library}": version(package) for library, package in _LIBRARIES.items()}
    said["date"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return said


def of_variant(report: VariantReport, calibration: PictureSet | None, method: str) -> dict[str, str]:
    """What was measured of a variant, and how it was made."""
    said = {"precision": report.precision.value}
    if report.compiler is not Compiler.NONE:
        said["compiler"] = report.compiler.value
    if report.precision is not Precision.FP32 and calibration:
        said["calibration.set"] = calibration.origin
        said["calibration.pictures"] = str(len(calibration))
        said["calibration.sha256"] = calibration.sha256
        if report.precision is not Precision.FP16:
            said["calibration.method"] = method
            said["versions.modelopt"] = version("nvidia-modelopt")
    if report.accuracy:
        said |= _measured(report.accuracy)
    if report.race:
        said["measured.speedup"] = f"{report.race.speedup:.2f} over {report.race.against.value}"
    if report.verdict:
        said["gate"] = "passed" if report.verdict.passed else f"failed, forced: {'; '.join(report.verdict.failures)}"
    return said


def _measured(accuracy: Accuracy) -> dict[str, str]:
    said = {"measured.pictures": str(accuracy.pictures), "measured.agreement": f"{100 * accuracy.agreement:.2f}"}
    if accuracy.labelled:
        said["measured.top1"] = f"{100 * accuracy.labelled.top1:.2f}"
        said["measured.top1_fp32"] = f"{100 * accuracy.labelled.reference_top1:.2f}"
    return said
