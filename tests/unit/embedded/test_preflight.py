"""Each thing a machine may lack has its own line."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from embedded.errors import Unable
from embedded.preflight import Machine, check_repository, find_server, port_for


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which the wheel runs."""
    root = tmp_path / "pytriton" / "tritonserver"
    for part in (
        "bin/tritonserver",
        "backends/python/libtriton_python.so",
        "python_backend_stubs/3.10/triton_python_backend_stub",
        "python_backend_stubs/3.11/triton_python_backend_stub",
    ):
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        (root / part).touch()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libpython3.11.so.1.0").touch()
    return Machine(
        system="Linux",
        architecture="x86_64",
        glibc=(2, 36),
        python="3.11",
        numpy="1.26.4",
        onnxruntime=True,
        wheel=tmp_path / "pytriton",
        libraries=(tmp_path / "nowhere", tmp_path / "lib"),
    )


def test_a_machine_with_everything_has_a_server(machine: Machine, tmp_path: Path) -> None:
    server = find_server(machine)
    assert server.stub == tmp_path / "pytriton/tritonserver/python_backend_stubs/3.11/triton_python_backend_stub"
    assert server.libpython == tmp_path / "lib" / "libpython3.11.so.1.0"


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"system": "Darwin", "architecture": "arm64"}, "runs on Linux x86-64, this is Darwin arm64"),
        ({"architecture": "aarch64"}, "this is Linux aarch64"),
        ({"glibc": (2, 31)}, "needs glibc 2.35 .* this system has glibc 2.31"),
        ({"glibc": None}, "this system has another C library"),
        ({"wheel": None}, "nvidia-pytriton is not installed .*pip install"),
        ({"onnxruntime": False}, "onnxruntime is not installed .*pip install"),
        ({"numpy": "2.1.0"}, 'needs numpy 1.26, this environment has 2.1.0: pip install "numpy<2"'),
        ({"libraries": ()}, "libpython3.11.so.1.0 is not on this machine.*apt install libpython3.11 .*--enable-shared"),
        ({"python": "3.7"}, "libpython3.7"),
    ],
)
def test_what_is_missing_is_named_in_one_line(machine: Machine, facts: dict[str, object], says: str) -> None:
    with pytest.raises(Unable, match=says) as caught:
        find_server(replace(machine, **facts))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_python_without_a_stub_is_told_which_have_one(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "lib" / "libpython3.14.so.1.0").touch()
    with pytest.raises(Unable, match=r"serves Python 3\.10, 3\.11, and this is 3\.14"):
        find_server(replace(machine, python="3.14"))


def test_a_wheel_without_a_server_is_refused(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "pytriton/tritonserver/bin/tritonserver").unlink()
    with pytest.raises(Unable, match="holds no Triton server"):
        find_server(machine)


def test_this_machine_is_described() -> None:
    machine = Machine.this()
    assert machine.numpy is not None
    assert machine.python.startswith("3.")


def test_a_repository_that_is_not_there_is_refused(tmp_path: Path) -> None:
    check_repository(tmp_path)
    with pytest.raises(Unable, match=r"no model repository at .*--repository"):
        check_repository(tmp_path / "models")


def test_a_taken_port_names_its_use_and_its_flag() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Unable, match=f"port {port} on 127.0.0.1, for the gateway, .*choose another with --port"):
            port_for(port, "127.0.0.1", "the gateway", "--port")


def test_port_0_is_any_free_one() -> None:
    port = port_for(0, "127.0.0.1", "the gateway", "--port")
    assert port_for(port, "127.0.0.1", "the gateway", "--port") == port > 0
