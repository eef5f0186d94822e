"""What can be said of the Dockerfile without building it."""

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from build_engines.nvidia_releases import TARGET

ROOT = Path(__file__).parents[2]
TARGETS = ("gateway", "triton-cpu", "bench", "builder")
TEXT = (ROOT / "Dockerfile").read_text()


def instructions() -> list[str]:
    """One a line, without comments, continuations joined."""
    lines = [line for line in TEXT.splitlines() if line and not line.startswith("#")]
    return "\n".join(lines).replace("\\\n", " ").splitlines()


def stages() -> dict[str, list[str]]:
    """The instructions of each stage under its name, the FROM first."""
    found: dict[str, list[str]] = {}
    for line in instructions():
        if line.startswith("FROM "):
            found[line.split(" AS ")[1]] = []
        if found:
            list(found.values())[-1].append(line)
    return found


STAGES = stages()
DEFAULTS = dict(line.removeprefix("ARG ").split("=", 1) for line in instructions() if re.match(r"ARG \w+=", line))


def pins(lock: str) -> dict[str, set[str]]:
    """The versions of each package in a lock file; more than one where they differ by Python."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements" / lock).read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_starts_one_process_without_rights(target: str) -> None:
    stage = STAGES[target]
    assert "USER 10001:10001" in stage
    [entrypoint] = [line for line in stage if line.startswith("ENTRYPOINT ")]
    assert entrypoint.startswith('ENTRYPOINT ["')
    assert any(line.startswith("STOPSIGNAL ") for line in stage)


@pytest.mark.parametrize("target", ["gateway", "triton-cpu"])
def test_a_server_says_whether_it_is_well(target: str) -> None:
    [check] = [line for line in STAGES[target] if line.startswith("HEALTHCHECK ")]
    assert 'CMD ["python"' in check


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_gateways_check_goes_by_the_status_and_asks_no_proxy(status: int, code: int) -> None:
    class Gateway(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    [check] = [line for line in STAGES["gateway"] if line.startswith("HEALTHCHECK ")]
    command = [sys.executable, *json.loads(check.partition(" CMD ")[2])[1:]]
    nobody = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"), "http://127.0.0.1:1")
    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        environment = {**nobody, "VITRINE_PORT": str(server.server_port)}
        assert subprocess.run(command, env=environment, check=False).returncode == code
        thread.join()


def test_bases_are_arguments_with_a_pinned_default() -> None:
    bases = {line.split()[1] for stage in STAGES.values() for line in stage if line.startswith("FROM ")}
    assert bases - STAGES.keys() == {"${PYTHON_IMAGE}", "${TRITON_IMAGE}"}
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", DEFAULTS["PYTHON_IMAGE"])


def test_compose_names_the_same_bases() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    assert f"${{PYTHON_IMAGE:-{DEFAULTS['PYTHON_IMAGE']}}}" in compose
    assert f"${{NVIDIA_REGISTRY:-}}{DEFAULTS['TRITON_IMAGE']}" in compose


def test_engines_are_built_with_what_the_versions_pin() -> None:
    assert DEFAULTS["TRITON_IMAGE"] == TARGET.image
    assert pins("tensorrt.txt") == {"tensorrt-cu13": {TARGET.tensorrt}, "tensorrt-cu13-bindings": {TARGET.tensorrt}}


def test_packages_are_those_of_the_lock_files() -> None:
    installed = re.findall(r"pip install ([^&]+)", "\n".join(instructions()))
    assert installed
    for arguments in installed:
        assert "--require-hashes" in arguments or arguments.split()[-1] == "."
        for lock in re.findall(r"-r (\S+)", arguments):
            assert (ROOT / lock).is_file()


def test_the_gateway_runs_what_was_tested_and_cannot_infer() -> None:
    gateway, tested = pins("gateway.txt"), pins("test.txt")
    assert {name: tested.get(name) for name in gateway} == gateway
    assert not gateway.keys() & {"nvidia-pytriton", "onnxruntime", "onnxruntime-gpu", "torch"}


def test_buildkit_is_not_needed_and_the_largest_comes_last() -> None:
    assert not re.search(r"--mount|--link|--chmod|<<|^# syntax", TEXT, re.MULTILINE)
    assert list(STAGES)[-1] == "builder"


def test_the_context_is_a_list_of_what_may_enter() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert [pattern for pattern in allowed if not list(ROOT.glob(pattern))] == []
    packages = re.search(r"^packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    assert packages is not None
    assert {name.split(".")[0] for name in re.findall(r'"([\w.]+)"', packages[1])} <= allowed


def test_images_carry_the_projects_version() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"IMAGE_TAG={version[1]}" in (ROOT / ".env").read_text().splitlines()
