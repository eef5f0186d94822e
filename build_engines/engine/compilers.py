"""The libraries that compile engines and run them: loading them, their log, and where they differ.

Knows no graph and no engine. TensorRT 10, 11 and TensorRT for RTX have the same Python API, except for what is here.
"""

import functools
import importlib
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from build_engines.errors import BuildError, CompilerMissingError, first_line
from build_engines.machine import Gpu, gpus
from build_engines.nvidia_releases import CONTAINERS
from build_engines.values import Compiler

WORDS = {Compiler.TENSORRT: "TensorRT", Compiler.RTX: "TensorRT for RTX"}

_MODULES = {
    Compiler.TENSORRT: ("tensorrt",),
    # The first loads the libraries by their paths; the second finds them loaded.
    Compiler.RTX: ("tensorrt_rtx_libs", "tensorrt_rtx_bindings"),
}
"""What is imported, in order; the last is the API."""
_LOUD = ("WARNING", "ERROR", "INTERNAL_ERROR")
_KEPT_MESSAGES = 200
_PLACE = re.compile(r"(?:\.? |(?<=\())In \w+ at /[\w./]+:\d+ ?")
"""As in "... must be Float. In checkType at /_src/optimizer/nodeBase.cpp:456)"."""
_PREFIX = re.compile(r"^Invalid Node - \S+ (?=.*Error Code)")
"""What names the node once more, before the reason."""


@dataclass(frozen=True)
class Device:
    """What an engine is compiled for, in words for its stamp."""

    gpu: str
    compute_capability: str


ANY_RTX = Device(gpu="any; compiled without one", compute_capability="8.0 and later")
"""TensorRT for RTX compiles for compute capability 8.0, 8.6, 8.9, 12.0 and later where none is named (NVIDIA's page
"CPU-Only AOT and TensorRT-RTX Engines"). To name 7.5 as well excludes FP32: 1.7.1.116 then answers "FP32 GEMM is not
supported"."""
_RTX_RUNS = ((8, 0), (8, 6), (8, 9))
_RTX_RUNS_FROM = (12, 0)
"""Of a capability between, such as that of H100 and H200 (9.0), its engines hold no kernel."""


class Log:
    """What a library says while it works, kept off the terminal."""

    def __init__(self) -> None:
        self._messages: deque[tuple[str, str]] = deque(maxlen=_KEPT_MESSAGES)

    def note(self, severity: str, message: str) -> None:
        """Keep a message that is at least a warning."""
        if severity in _LOUD:
            self._messages.append((severity, message))

    def clear(self) -> None:
        """Forget what was said."""
        self._messages.clear()

    @property
    def error(self) -> str:
        """The first error since `clear`, or nothing.

        Internal errors come last: TensorRT for RTX 1.7 reports one ("Thread context has not been set") in each build,
        also where all is well.
        """
        for severity in ("ERROR", "INTERNAL_ERROR"):
            for found, message in self._messages:
                if found == severity:
                    return message
        return ""


@dataclass(frozen=True)
class Library:
    """A compiler that was loaded."""

    compiler: Compiler
    module: Any
    """`tensorrt`, or what has its API."""
    version: str
    log: Log
    logger: Any
    """The library's own `ILogger`, which tells `log`."""
    caches_timings: bool
    """Whether a timing cache has an effect. In TensorRT for RTX its operations do nothing, warn of that, and look for a
    GPU (its documentation, "Timing Cache Migration")."""
    device: Callable[[], Device] = field(repr=False)
    """What engines are compiled for here."""

    @property
    def words(self) -> str:
        """Its name and version."""
        return f"{WORDS[self.compiler]} {self.version}"

    @property
    def network_flags(self) -> int:
        """For `create_network`: strongly typed in TensorRT 10. Later ones know nothing else and deprecate the flag."""
        if self.compiler is Compiler.TENSORRT and int(self.version.partition(".")[0]) < 11:
            return 1 << int(self.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return 0

    def builder(self) -> Any:
        """A `Builder`.

        Raises:
            CompilerMissingError: the library cannot work here.
        """
        return self._made("Builder")

    def runtime(self) -> Any:
        """A `Runtime`.

        Raises:
            CompilerMissingError: the library cannot work here.
        """
        return self._made("Runtime")

    @contextmanager
    def errors_as(self, error_type: type[BuildError], problem: str, fix: str) -> Iterator[None]:
        """Turn the library's exceptions into ours, with what its log says of them; `log` starts empty."""
        self.log.clear()
        try:
            yield
        except (BuildError, OSError):
            raise
        except Exception as error:  # (its errors have no base of their own)
            raise error_type(f"{self.words} {problem}: {library_line(self.log.error or str(error))}. {fix}") from error

    def _made(self, name: str) -> Any:
        self.log.clear()
        try:
            # Without a usable driver this is a TypeError: a factory that returned nothing.
            return getattr(self.module, name)(self.logger)
        except (TypeError, RuntimeError) as error:
            raise CompilerMissingError(
                f"{self.words} is installed, but does not start: {library_line(self.log.error or str(error))}. Update "
                "the NVIDIA driver, and make the GPU visible to this process (nvidia-smi; CUDA_VISIBLE_DEVICES)"
            ) from error


def load_compiler(compiler: Compiler) -> Library:
    """The library of `compiler`, the same one each time.

    Raises:
        CompilerMissingError: it is not installed, does not load, or needs a GPU that is not there.
    """
    if reason := why_not(compiler, installed=is_installed(compiler), gpus=gpus()):
        raise CompilerMissingError(reason)
    try:
        return _load(compiler)
    except Exception as error:  # (an import may run into anything: libraries, their versions, the driver)
        raise CompilerMissingError(
            f"{WORDS[compiler]} is installed, but does not load ({first_line(error)}). {_installation(compiler)}"
        ) from error


def why_not(compiler: Compiler, *, installed: bool, gpus: Sequence[Gpu]) -> str:
    """Why `compiler` cannot be used on a machine, as far as that shows without loading it; empty where it can."""
    if not installed:
        return f"--compiler {compiler.value}: {WORDS[compiler]} is not installed here. {_installation(compiler)}"
    if compiler is Compiler.TENSORRT and not gpus:
        return (
            "--compiler tensorrt: TensorRT is installed, but it compiles on the GPU that it compiles for, and this "
            "machine has none that its driver shows (nvidia-smi). Build on a machine with the GPU that will serve, a "
            "container with `--gpus all`; or choose --compiler rtx, which needs no GPU but whose engines Triton does "
            "not run; or --compiler none"
        )
    return ""


def engines_run_here(compiler: Compiler) -> bool:
    """Whether the GPU that CUDA gives this process first, if there is one, runs what `compiler` compiles here."""
    return any(
        compiler is Compiler.TENSORRT or gpu.capability in _RTX_RUNS or gpu.capability >= _RTX_RUNS_FROM
        for gpu in gpus()[:1]
    )


def is_installed(compiler: Compiler) -> bool:
    """Whether the modules of `compiler` are there."""
    return all(find_spec(name) for name in _MODULES[compiler])


def library_line(message: str) -> str:
    """A library's message on one line, without the places in its sources."""
    lines = [line for line in message.splitlines() if not line.startswith("[checkMacros")]
    words = " ".join(" ".join(lines).split())
    return _PREFIX.sub("", _PLACE.sub("", words)).rstrip(". ")


@functools.cache
def _load(compiler: Compiler) -> Library:
    """Once in a process: the library goes on telling the first logger that it is given, whatever it is given later."""
    module: Any = [importlib.import_module(name) for name in _MODULES[compiler]][-1]
    log = Log()
    return Library(
        compiler=compiler,
        module=module,
        version=str(module.__version__),
        log=log,
        logger=_logger(module, log),
        caches_timings=compiler is Compiler.TENSORRT,
        device=(lambda: ANY_RTX) if compiler is Compiler.RTX else _current_device,
    )


def _logger(module: Any, log: Log) -> Any:
    """An `ILogger` of `module` that tells `log`. It must not raise: the library calls it from C++."""
    members: Mapping[str, Any] = {
        "__init__": module.ILogger.__init__,
        "log": lambda self, severity, message: log.note(severity.name, message),  # noqa: ARG005 (called by position)
    }
    return type("Logger", (module.ILogger,), dict(members))()


def _current_device() -> Device:
    """The GPU that CUDA gives this process first; the driver's own list may be in another order."""
    import torch  # noqa: PLC0415 (takes seconds to import; `build-engines doctor` does without)

    major, minor = torch.cuda.get_device_capability()
    return Device(gpu=torch.cuda.get_device_name(), compute_capability=f"{major}.{minor}")


def _installation(compiler: Compiler) -> str:
    if compiler is Compiler.RTX:
        return "It belongs to the builder's environment (`make build` sets that up): use that one's build-engines"
    newest, *older = CONTAINERS.values()
    others = ", ".join(f"{container.tag} has {container.tensorrt}" for container in older)
    return (
        f"NVIDIA's Triton container {newest.tag} has TensorRT {newest.tensorrt} ({others}); an engine needs the very "
        f"version that serves it. On a machine with a GPU: pip install tensorrt-cu13=={newest.tensorrt}"
    )
