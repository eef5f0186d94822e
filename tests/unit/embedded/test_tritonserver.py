"""The command, the environment and the backends' folder of the wheel's Triton."""

from pathlib import Path

import pytest

from embedded.preflight import Server
from embedded.tritonserver import OUR_BACKENDS, Ports, command, environment, make_backends


@pytest.fixture
def server(tmp_path: Path) -> Server:
    wheel = tmp_path / "wheel"
    (wheel / "python" / "__pycache__").mkdir(parents=True)
    (wheel / "python" / "libtriton_python.so").write_text("library")
    (wheel / "python" / "triton_python_backend_utils.py").write_text("utils")
    (wheel / "triton_python_backend_stub").write_text("stub")
    return Server(
        binary=wheel / "tritonserver",
        python_backend=wheel / "python",
        stub=wheel / "triton_python_backend_stub",
        libpython=tmp_path / "python" / "lib" / "libpython3.11.so.1.0",
    )


def test_it_listens_on_loopback_for_grpc_and_metrics_only(server: Server) -> None:
    arguments = command(server, Path("repository"), Path("backends"), Ports(grpc=1, metrics=2), "vitrine-9-")
    assert arguments[0] == str(server.binary)
    assert {
        "--allow-http=false",
        "--grpc-address=127.0.0.1",
        "--grpc-port=1",
        "--metrics-address=127.0.0.1",
        "--metrics-port=2",
    } <= set(arguments)
    assert not [argument for argument in arguments if argument.startswith(("--http-", "--allow-grpc"))]


def test_new_entries_are_picked_up_and_broken_ones_do_not_stop_it(server: Server) -> None:
    arguments = command(server, Path("repository"), Path("backends"), Ports(grpc=1, metrics=2), "vitrine-9-")
    assert {"--model-control-mode=poll", "--exit-on-error=false", "--strict-readiness=false"} <= set(arguments)
    assert "--backend-config=python,shm-region-prefix-name=vitrine-9-" in arguments


def test_the_environment_leads_to_this_python_and_its_library(server: Server) -> None:
    inherited = {"PATH": "/usr/bin", "LD_LIBRARY_PATH": "/opt/lib", "PYTHONHOME": "/other", "HOME": "/home/me"}
    assert environment(server, inherited, python=Path("/venv/bin/python")) == {
        "PATH": "/venv/bin:/usr/bin",
        "LD_LIBRARY_PATH": f"{server.libpython.parent}:/opt/lib",
        "HOME": "/home/me",
        "ORT_DISABLE_TELEMETRY": "1",
    }


def test_telemetry_of_onnx_runtime_is_off_unless_it_is_asked_for(server: Server) -> None:
    assert environment(server, {"ORT_DISABLE_TELEMETRY": "0"})["ORT_DISABLE_TELEMETRY"] == "0"


def test_a_library_of_the_system_needs_no_path(server: Server) -> None:
    of_system = Server(server.binary, server.python_backend, server.stub, Path("/usr/lib64/libpython3.11.so.1.0"))
    assert "LD_LIBRARY_PATH" not in environment(of_system, {"PATH": "/usr/bin"})


def test_the_gateways_keepalive_pings_are_not_too_many(server: Server) -> None:
    arguments = command(server, Path("repository"), Path("backends"), Ports(grpc=1, metrics=2), "vitrine-9-")
    assert "--grpc-http2-max-ping-strikes=0" in arguments


def test_the_backends_are_laid_out_beside_the_wheel(server: Server, tmp_path: Path) -> None:
    before = sorted(path.name for path in server.python_backend.iterdir())
    make_backends(tmp_path / "backends", server)
    python = tmp_path / "backends" / "python"
    assert not (python / "libtriton_python.so").is_symlink()  # Triton refuses a library that lies elsewhere.
    assert (python / "triton_python_backend_stub").read_text() == "stub"
    ours = tmp_path / "backends" / "onnxruntime" / "model.py"
    assert ours.resolve() == OUR_BACKENDS / "onnxruntime" / "model.py"
    assert sorted(path.name for path in server.python_backend.iterdir()) == before
