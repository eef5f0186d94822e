"""What this machine can build, and why not the rest. Changes nothing, and imports no torch."""

import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from build_engines.engine import WORDS, load_compiler
from build_engines.errors import CompilerMissingError
from build_engines.machine import LIBRARIES, Gpu, gpus, installed_version
from build_engines.nvidia_releases import CONTAINERS, TARGET, Container, container_with
from build_engines.values import Compiler, Precision
from contract.cpus import available_cpus
from contract.openvino import multiplies_bf16

_INT8_INSTRUCTIONS = ("amx_int8", "avx512_vnni", "avx_vnni")
_CAPABILITIES = {Precision.FP16: (7, 5), Precision.INT8: (7, 5), Precision.FP8: (8, 9)}
"""The first GPUs whose tensor cores multiply a precision and which TensorRT 10.16 and 11 take: Turing; for FP8 Ada."""
_TENSORRT_PACKAGES = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")


@dataclass(frozen=True)
class Finding:
    """One thing about this machine."""

    name: str
    value: str
    ok: bool | None
    """Whether it can be used; None for what only informs."""


def examine(folder: Path = Path(), proc: Path = Path("/proc")) -> tuple[Finding, ...]:
    """Look at everything once.

    Args:
        folder: an existing one on the disk that builds will be written to.
        proc: the kernel's files about this machine.
    """
    found = gpus()
    tensorrt, rtx = _compiler(Compiler.TENSORRT), _compiler(Compiler.RTX)
    return (
        Finding("Python", platform.python_version(), None),
        Finding("CPUs", str(available_cpus()), None),
        _memory(proc / "meminfo"),
        Finding("free disk", _gib(shutil.disk_usage(folder).free), None),
        *(_library(name) for name in LIBRARIES),
        *_gpu_findings(found),
        tensorrt,
        rtx,
        *_precisions_on_cpu(proc / "cpuinfo"),
        _bf16_on_cpu(proc / "cpuinfo"),
        *(precision_on_gpu(precision, found, tensorrt=bool(tensorrt.ok)) for precision in _CAPABILITIES),
        container(next(filter(None, map(installed_version, _TENSORRT_PACKAGES)), None)),
    )


def lines(findings: Sequence[Finding]) -> tuple[str, ...]:
    """The findings as text, a line each: whether it can be used, its name, what was found."""
    width = max((len(finding.name) for finding in findings), default=0)
    marks = {True: "yes", False: "no", None: ""}
    return tuple(f"{marks[finding.ok]:<3}  {finding.name:<{width}}  {finding.value}" for finding in findings)


def precision_on_gpu(precision: Precision, gpus: Sequence[Gpu], *, tensorrt: bool) -> Finding:
    """Whether an engine of `precision` can be built here that may be faster than one of the next higher."""
    name = f"{precision.value.upper()} on a GPU"
    least = _CAPABILITIES[precision]
    able = [gpu.name for gpu in gpus if gpu.capability >= least]
    if not able:
        return Finding(name, f"needs compute capability {_dotted(least)} or later; there is no such GPU here", False)
    if not tensorrt:
        return Finding(name, f"{able[0]} computes it, but TensorRT is not usable here", False)
    return Finding(name, able[0], True)


def container(tensorrt: str | None) -> Finding:
    """The container whose Triton loads what the installed TensorRT builds."""
    name = "container"
    if tensorrt is None:
        return Finding(name, f"TensorRT is not installed; engines are meant for {_words(TARGET)}", None)
    fitting = container_with(tensorrt)
    if fitting is None:
        known = ", ".join(f"{found.image} (TensorRT {found.tensorrt})" for found in CONTAINERS.values())
        return Finding(name, f"none of {known} loads engines of TensorRT {tensorrt}; build inside one of them", False)
    return Finding(name, f"{_words(fitting)} loads engines of TensorRT {tensorrt}", True)


def _precisions_on_cpu(cpuinfo: Path) -> tuple[Finding, ...]:
    fp16 = Finding("FP16 on the CPU", "seldom faster than FP32: ONNX Runtime casts it to FP32 and back", False)
    name = "INT8 on the CPU"
    try:
        flags = {word for line in cpuinfo.read_text().splitlines() if line.startswith("flags") for word in line.split()}
    except OSError as error:
        return fp16, Finding(name, f"unknown: {error}", None)
    found = [flag for flag in _INT8_INSTRUCTIONS if flag in flags]
    if found:
        return fp16, Finding(name, f"may pay: it has {', '.join(found)}", True)
    return fp16, Finding(name, f"seldom faster than FP32: it has none of {', '.join(_INT8_INSTRUCTIONS)}", False)


def _bf16_on_cpu(cpuinfo: Path) -> Finding:
    name = "BF16 on the CPU"
    if not multiplies_bf16(cpuinfo):
        return Finding(name, "this CPU does not multiply in it: it has neither AVX-512 BF16 nor AMX", False)
    library = installed_version("openvino")
    if library is None:
        return Finding(
            name, "this CPU multiplies in it, but OpenVINO is missing: pip install 'vitrine[openvino]'", False
        )
    return Finding(name, f"OpenVINO {library} (--precision fp32,bf16)", True)


def _memory(meminfo: Path) -> Finding:
    try:
        kib = {line.split(":")[0]: int(line.split()[1]) for line in meminfo.read_text().splitlines() if ":" in line}
        words = f"{_gib(kib['MemAvailable'] << 10)} available of {_gib(kib['MemTotal'] << 10)}"
    except (OSError, KeyError, ValueError, IndexError) as error:
        words = f"unknown: {error}"
    return Finding("memory", words, None)


def _library(name: str) -> Finding:
    found = installed_version(name)
    return Finding(name, found or "not installed: install Vitrine's extra `build`", found is not None)


def _gpu_findings(gpus: Sequence[Gpu]) -> tuple[Finding, ...]:
    if not gpus:
        return (Finding("GPU", "none that an NVIDIA driver shows", None),)
    return tuple(
        Finding(
            f"GPU {index}",
            f"{gpu.name}, {_gib(gpu.memory)}, compute capability {_dotted(gpu.capability)}, driver {gpu.driver}",
            True,
        )
        for index, gpu in enumerate(gpus)
    )


def _compiler(compiler: Compiler) -> Finding:
    try:
        library = load_compiler(compiler)
    except CompilerMissingError as error:
        return Finding(WORDS[compiler], str(error), False)
    return Finding(WORDS[compiler], f"{library.version} (--compiler {compiler.value})", True)


def _words(container: Container) -> str:
    return f"{container.image} (Triton {container.triton}, TensorRT {container.tensorrt})"


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
