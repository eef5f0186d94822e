"""The embedded Triton in other model control modes than its own, which is poll."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tritonclient.grpc as tritonclient

from embedded import leftovers, preflight, tritonserver
from tests.waiting import until


@contextmanager
def in_mode(mode: str, repository: Path) -> Iterator[str]:
    """The embedded Triton with this control mode; the address of its gRPC service."""
    server = preflight.find_server(preflight.Machine.this())
    prefix = leftovers.new_prefix()
    backends = Path(tempfile.mkdtemp(prefix=prefix)) / "backends"
    tritonserver.make_backends(backends, server)
    grpc, metrics = (preflight.port_for(0, tritonserver.LOOPBACK, "a test", "") for _ in range(2))
    command = tritonserver.command(server, repository, backends, tritonserver.Ports(grpc, metrics), prefix)
    ours = [word for word in command if not word.startswith(("--model-control-mode", "--repository-poll-secs"))]
    log = repository.with_name("triton.log")
    with log.open("w") as out:
        process = subprocess.Popen(
            [*ours, f"--model-control-mode={mode}"],
            env=tritonserver.environment(server, os.environ),
            stdout=out,
            stderr=out,
        )
    url = f"{tritonserver.LOOPBACK}:{grpc}"
    try:
        until(lambda: process.poll() is not None or live(url))
        assert process.poll() is None, log.read_text()
        yield url
    finally:
        process.terminate()
        process.wait()
        leftovers.remove(prefix, leftovers.folders())


def live(url: str) -> bool:
    with tritonclient.InferenceServerClient(url) as client:
        try:
            return bool(client.is_server_live())
        except tritonclient.InferenceServerException:
            return False


def ready(url: str, name: str) -> list[str]:
    """The versions that Triton says are ready."""
    with tritonclient.InferenceServerClient(url) as client:
        index = client.get_model_repository_index().models
    return [model.version for model in index if model.name == name and model.state == "READY"]
