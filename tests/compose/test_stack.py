"""`docker compose up` for real: the images are built, run, asked and stopped. Prometheus and Grafana are left out."""

import json
import os
import socket
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from tests.compose.engine import ROOT, Stack, compose_command, missing, run
from tests.fakes import encoded
from tests.processes import free_port
from tests.waiting import until

PHOTO = ROOT / "docs" / "images" / "cat.jpg"
OURS = ("gateway", "triton-cpu")
MOST_ON_TOP_OF_THE_BASE = 150_000_000

WHY_NOT = missing() if "TEST_COMPOSE" in os.environ else "builds images: `make test-compose` runs it"
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


@pytest.fixture(scope="module", params=["10001:10001", "12345:12345"])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Gateway and Triton, healthy: as the images' own user, and as any other (K3)."""
    started = Stack(f"vitrine-test-{os.getpid()}", request.param, free_port())
    try:
        started.compose("build", *OURS)
        started.compose("up", "--detach", "gateway")
        until(lambda: started.inspect("gateway")["State"]["Health"]["Status"] == "healthy")
        yield started
    finally:
        started.compose("down", "--volumes", "--remove-orphans")


def status_of(stack: Stack, path: str) -> int | None:
    """The status of a GET; None where nobody answers."""
    try:
        with urllib.request.urlopen(f"{stack.url}{path}", timeout=5) as response:  # noqa: S310  (our own gateway)
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def test_both_are_healthy(stack: Stack) -> None:
    assert {name: stack.inspect(name)["State"]["Health"]["Status"] for name in OURS} == dict.fromkeys(OURS, "healthy")


def test_a_photograph_from_the_host_is_classified(stack: Stack) -> None:
    request = urllib.request.Request(f"{stack.url}/v1/classify", data=PHOTO.read_bytes())  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        assert json.load(response)["predictions"][0]["label"] == "cat"


@pytest.mark.parametrize("service", OURS)
def test_a_container_can_do_little(stack: Stack, service: str) -> None:
    lines = stack.python(service, "print(open('/proc/1/status').read())").splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    uid, gid = stack.run_as.split(":")
    assert status["Uid"].split() == [uid] * 4
    assert status["Gid"].split() == [gid] * 4
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    limits = stack.inspect(service)["HostConfig"]
    assert limits["ReadonlyRootfs"]
    assert limits["Memory"] > 0
    assert limits["PidsLimit"] > 0


@pytest.mark.parametrize("service", OURS)
def test_only_tmp_can_be_written(stack: Stack, service: str) -> None:
    program = (
        "import os; print(*(path for path in ('/', '/opt/vitrine', '/models', '/tmp', '/var/tmp', '/home') "
        "if os.access(path, os.W_OK)))"
    )
    assert stack.python(service, program).split() == ["/tmp"]  # noqa: S108


def test_nothing_is_compiled_when_a_container_starts(stack: Stack) -> None:
    """The bytecode that the image carries fits its sources; a read-only root could not mend it."""
    program = "import importlib.util, os; print(os.path.exists(importlib.util.find_spec('service.app').cached))"
    assert stack.python("gateway", program).strip() == "True"


def test_triton_is_reached_from_inside_only(stack: Stack) -> None:
    triton = stack.inspect("triton-cpu")["NetworkSettings"]
    assert not any(triton["Ports"].values())
    [network] = triton["Networks"]
    [found] = json.loads(run("docker", "network", "inspect", network))
    assert found["Internal"]
    published = stack.inspect("gateway")["NetworkSettings"]["Ports"]
    assert published == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.port)}]}


def test_the_gateways_image_is_slim(stack: Stack) -> None:
    sizes = (
        "import os; print(sum(os.lstat(os.path.join(folder, name)).st_size "
        "for folder, _, names in os.walk('/opt/vitrine') for name in names))"
    )
    assert int(stack.python("gateway", sizes)) <= MOST_ON_TOP_OF_THE_BASE
    builders = (
        "from importlib.util import find_spec; "
        "print([name for name in ('torch', 'onnxruntime', 'pytriton', 'pip', 'setuptools') if find_spec(name)])"
    )
    assert stack.python("gateway", builders).strip() == "[]"


def test_the_worst_uploads_do_not_get_it_killed(stack: Stack) -> None:
    """With the limit of memory as it is shipped; what does not fit is told to come again."""
    worst = [
        encoded(Image.new("RGBA", (7_000, 7_000)), "PNG"),
        encoded(Image.new("I;16", (7_000, 7_000)), "PNG"),
        encoded(Image.new("CMYK", (7_000, 7_000)), "JPEG", progressive=True),
        encoded(Image.new("RGB", (6_000, 6_000)), "WEBP", lossless=True),
    ]
    answers: Counter[int] = Counter()

    def send(content: bytes) -> None:
        request = urllib.request.Request(f"{stack.url}/v1/classify", data=content)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                answers[response.status] += 1
        except urllib.error.HTTPError as error:
            answers[error.code] += 1

    with ThreadPoolExecutor(16) as clients:
        list(clients.map(send, worst * 10))
    assert set(answers) <= {200, 503}
    assert answers[200] > 0
    state = stack.inspect("gateway")
    assert not state["State"]["OOMKilled"]
    assert state["RestartCount"] == 0
    assert status_of(stack, "/readyz") == 200


def test_stopping_finishes_what_has_begun(stack: Stack) -> None:
    """Uploads that are half sent when the gateway is told to stop are answered, and only then does Triton stop."""
    photo = PHOTO.read_bytes()
    head = f"POST /v1/classify HTTP/1.1\r\nHost: vitrine\r\nContent-Length: {len(photo)}\r\n\r\n".encode()
    uploads = [socket.create_connection(("127.0.0.1", stack.port), timeout=60) for _ in range(8)]
    for upload in uploads:
        upload.sendall(head + photo[: len(photo) // 2])
    until(lambda: in_flight(stack) >= len(uploads))
    gateway, triton = (stack.container(name) for name in OURS)
    stopping = subprocess.Popen(
        [*(compose_command() or ()), "--project-name", stack.project, "stop"],
        cwd=ROOT,
        env={**os.environ, **stack.environment},
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: status_of(stack, "/readyz") != 200)
        for upload in uploads:
            upload.sendall(photo[len(photo) // 2 :])
        answers = [answer(upload) for upload in uploads]
    finally:
        assert stopping.wait(timeout=120) == 0
    assert [first.split()[1] for first in answers] == ["200"] * len(uploads)
    states = [json.loads(run("docker", "inspect", container))[0]["State"] for container in (gateway, triton)]
    assert [state["ExitCode"] for state in states] == [0, 0]
    assert states[0]["FinishedAt"] < states[1]["FinishedAt"]


def in_flight(stack: Stack) -> float:
    with urllib.request.urlopen(f"{stack.url}/metrics", timeout=5) as response:  # noqa: S310
        lines = response.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vitrine_in_flight_requests"))


def answer(upload: socket.socket) -> str:
    """The first line of the answer."""
    with upload, upload.makefile("r", encoding="latin-1") as stream:
        return stream.readline()
