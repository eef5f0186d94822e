"""The machine that builds: its CPU, its GPUs, and the versions of the libraries that decide what a build gives."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from contract.cpus import available_cpus

LIBRARIES = (
    *("torch", "timm", "onnx", "onnxscript", "onnxruntime-gpu", "nvidia-modelopt"),
    *("numpy", "pillow", "cykooz-resizer"),
)
"""The packages whose version may change what a step gives."""
_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine, as its driver describes it."""

    name: str
    capability: tuple[int, int]
    """CUDA's compute capability."""
    memory: int
    """Bytes."""
    driver: str


@dataclass(frozen=True)
class Machine:
    """What a build ran on."""

    cpu: str
    """The model's name."""
    cpus: int
    """How many of them the build could use."""
    gpu: str
    """The model's name, empty where there was none."""
    libraries: Mapping[str, str]
    """Their versions."""


def this_machine() -> Machine:
    """The machine, as far as a reader of numbers needs to know it."""
    names = [line.partition(":")[2].strip() for line in _CPUINFO.read_text().splitlines() if line.startswith("model n")]
    return Machine(
        cpu=names[0] if names else "unknown",
        cpus=available_cpus(),
        gpu=next((gpu.name for gpu in gpus()), ""),
        libraries=library_versions(),
    )


def library_versions() -> dict[str, str]:
    """The versions of `LIBRARIES`, of those that are installed."""
    found = {library: installed_version(library) for library in LIBRARIES}
    return {library: number for library, number in found.items() if number}


def installed_version(package: str) -> str | None:
    """The version of `package`, where it is installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs that the driver shows; none where there is no driver."""
    nvml: Any = importlib.import_module("pynvml")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        driver = str(nvml.nvmlSystemGetDriverVersion())
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return tuple(
            Gpu(
                name=str(nvml.nvmlDeviceGetName(handle)),
                capability=_pair(nvml.nvmlDeviceGetCudaComputeCapability(handle)),
                memory=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
                driver=driver,
            )
            for handle in handles
        )
    except nvml.NVMLError:
        return ()
    finally:
        nvml.nvmlShutdown()


def _pair(numbers: "tuple[Any, Any]") -> tuple[int, int]:
    major, minor = numbers
    return int(major), int(minor)
