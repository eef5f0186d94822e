"""What a build runs on, for its report."""

from importlib.metadata import version
from pathlib import Path

from build_engines.report.page import Machine
from contract.cpus import available_cpus

_LIBRARIES = ("torch", "timm", "onnx", "onnxruntime-gpu", "nvidia-modelopt")
_CPUINFO = Path("/proc/cpuinfo")


def this_machine() -> Machine:
    """The machine, as far as a reader of numbers needs to know it."""
    return Machine(cpu=_cpu(), cpus=available_cpus(), gpu=_gpu(), libraries=_versions())


def _cpu() -> str:
    names = [line.partition(":")[2].strip() for line in _CPUINFO.read_text().splitlines() if line.startswith("model n")]
    return names[0] if names else "unknown"


def _gpu() -> str:
    import pynvml  # noqa: PLC0415 (`build-engines --help` does not wait for it)

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0)))
    except pynvml.NVMLError:
        return ""


def _versions() -> dict[str, str]:
    return {library: version(library) for library in _LIBRARIES}
