"""The machine that builds: its CPU, its GPUs, and the versions of the libraries that decide what a build gives."""

import importlib
import os
from collections.abc import Iterator, Mapping
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
VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable by which CUDA is shown some GPUs, and in which order: numbers, or beginnings of the ids that `nvidia-smi
-L` prints. What follows one that is wrong is not shown (CUDA's programming guide, "Environment Variables")."""
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
    """The model's name, empty where there was none; of several, CUDA's first."""
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


def number_as_driver() -> None:
    """Let CUDA, once it is started, number GPUs as the driver does, and not by their speed: `gpus` names its first."""
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"


def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs that the driver shows and `VISIBLE` leaves, CUDA's first first; none where there is no driver."""
    nvml: Any = importlib.import_module("pynvml")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        driver = str(nvml.nvmlSystemGetDriverVersion())
        return tuple(
            Gpu(
                name=str(nvml.nvmlDeviceGetName(handle)),
                capability=_pair(nvml.nvmlDeviceGetCudaComputeCapability(handle)),
                memory=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
                driver=driver,
            )
            for handle in _visible(nvml, os.environ.get(VISIBLE))
        )
    except nvml.NVMLError:
        return ()
    finally:
        nvml.nvmlShutdown()


def _visible(nvml: Any, shown: str | None) -> Iterator[Any]:
    """NVML's handles of the GPUs that CUDA shows where `VISIBLE` is `shown`."""
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    if shown is None:
        yield from handles
        return
    ids = {str(nvml.nvmlDeviceGetUUID(handle)): handle for handle in handles}
    for word in (word.strip() for word in shown.split(",")):
        if word.startswith("MIG-"):
            yield nvml.nvmlDeviceGetHandleByUUID(word)
            continue
        named = [handle for name, handle in ids.items() if word.startswith("GPU-") and name.startswith(word)]
        named += [handles[int(word)]] if word.isdecimal() and int(word) < len(handles) else []
        if len(named) != 1:
            return
        yield named[0]


def _pair(numbers: "tuple[Any, Any]") -> tuple[int, int]:
    major, minor = numbers
    return int(major), int(minor)
