"""The wheel's tritonserver as a command: its backends' folder, its arguments, its environment.

Starts nothing; `embedded.preflight` found the parts, `embedded.supervisor` runs the command.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embedded.preflight import SYSTEM_LIBRARIES, Server

LOOPBACK = "127.0.0.1"
EXIT_TIMEOUT_S = 10
POLL_S = 1
OUR_BACKENDS = Path(__file__).with_name("backends")


@dataclass(frozen=True)
class Ports:
    """Where Triton listens: on loopback, but in a container, which has a loopback of its own."""

    grpc: int
    metrics: int
    address: str = LOOPBACK


def make_backends(folder: Path, server: Server) -> None:
    """Lay out the backend directory: the wheel's Python backend with the right stub, and our own backends.

    Triton takes a shared library only where its real path lies in the backend's folder, hence a copy; what Python
    compiles goes beside it, hence a folder that is not the wheel's.
    """
    python = folder / "python"
    python.mkdir(parents=True)
    for part in sorted(server.python_backend.iterdir()):
        if part.is_file():
            shutil.copy(part, python)
    (python / server.stub.name).symlink_to(server.stub)
    for backend in sorted(OUR_BACKENDS.iterdir()):
        if (backend / "model.py").is_file():
            (folder / backend.name).mkdir()
            (folder / backend.name / "model.py").symlink_to(backend / "model.py")


def command(server: Server, repository: Path, backends: Path, ports: Ports, shared_memory_prefix: str) -> list[str]:
    """The command line: gRPC and metrics, no HTTP; new entries are picked up while it runs."""
    return [
        str(server.binary),
        f"--model-repository={repository}",
        "--model-control-mode=poll",
        f"--repository-poll-secs={POLL_S}",
        "--disable-auto-complete-config",
        # A broken entry must not stop the others: the server starts, and says that it is ready, without it.
        "--exit-on-error=false",
        "--strict-readiness=false",
        f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
        "--allow-http=false",
        # The gateway's keepalive pings come more often than gRPC likes: it would close the connection at the third.
        "--grpc-http2-max-ping-strikes=0",
        f"--grpc-address={ports.address}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-address={ports.address}",
        f"--metrics-port={ports.metrics}",
        "--allow-gpu-metrics=false",
        "--pinned-memory-pool-byte-size=0",
        f"--backend-directory={backends}",
        # Also for backends written in Python, as ours are.
        f"--backend-config=python,shm-region-prefix-name={shared_memory_prefix}",
        "--log-format=ISO8601",
    ]


def environment(server: Server, inherited: Mapping[str, str], python: Path = Path(sys.executable)) -> dict[str, str]:
    """The child's environment: the Python backend finds packages through PATH and libpython through the loader.

    ONNX Runtime's telemetry is off unless it is asked for: it tells Microsoft of every graph, and where that cannot be
    reached an unloading waits 8 s for it, of the 10 s that Triton has to end.
    """
    paths = {"PATH": [str(python.parent)], "LD_LIBRARY_PATH": []}
    if server.libpython.parent not in SYSTEM_LIBRARIES:
        paths["LD_LIBRARY_PATH"].append(str(server.libpython.parent))
    changed = {key: os.pathsep.join([*first, *filter(None, [inherited.get(key)])]) for key, first in paths.items()}
    # A PYTHONHOME meant for another Python would keep the backend's from starting.
    merged = {"ORT_DISABLE_TELEMETRY": "1", **inherited, **changed}
    return {key: value for key, value in merged.items() if value and key != "PYTHONHOME"}
