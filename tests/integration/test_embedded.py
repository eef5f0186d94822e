"""The embedded Triton itself: what it answers, what it picks up, and what it leaves behind."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc as tritonclient

from contract.config import Runtime, Scheduling
from embedded import leftovers
from embedded.errors import Unable
from embedded.supervisor import Options, Stack
from tests.integration.conftest import Running
from tests.integration.entries import DATA, publish, publish_arithmetic, publish_colours
from tests.processes import alive, command, descendants, listeners, listens
from tests.waiting import DEADLINE_S, until

Floats = npt.NDArray[np.float32]


@contextmanager
def client_of(running: Running) -> Iterator[tritonclient.InferenceServerClient]:
    with tritonclient.InferenceServerClient(running.stack.grpc_address) as client:
        yield client


def until_served(running: Running, name: str) -> None:
    def served() -> bool:
        try:
            return bool(client.is_model_ready(name))
        except tritonclient.InferenceServerException:
            return False

    with client_of(running) as client:
        until(served)


def ask(
    client: tritonclient.InferenceServerClient, name: str, outputs: list[str], **inputs: npt.NDArray[np.generic]
) -> dict[str, Floats]:
    types = {"uint8": "UINT8", "float32": "FP32"}
    tensors = [
        tritonclient.InferInput(key, list(array.shape), types[array.dtype.name]) for key, array in inputs.items()
    ]
    for tensor, array in zip(tensors, inputs.values(), strict=True):
        tensor.set_data_from_numpy(array)
    wanted = [tritonclient.InferRequestedOutput(output) for output in outputs] or None
    answer = client.infer(name, tensors, outputs=wanted)
    return {tensor.name: answer.as_numpy(tensor.name) for tensor in answer.get_response().outputs}


def metric(stack: Stack, name: str, model: str) -> int:
    lines = httpx.get(stack.metrics_url).text.splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith(f'{name}{{model="{model}"'))


def plain(colour: int) -> npt.NDArray[np.uint8]:
    """A picture of one colour: red, green or blue."""
    picture = np.zeros((1, 8, 8, 3), np.uint8)
    picture[..., colour] = 255
    return picture


@pytest.mark.parametrize("runtime", [Runtime.ONNXRUNTIME, Runtime.OPENVINO])
def test_concurrent_requests_run_as_one_batch_and_each_gets_its_own_answer(triton: Running, runtime: Runtime) -> None:
    batched = f"batched_{runtime.value}"
    publish_colours(triton.repository, batched, Scheduling(max_queue_delay_us=200_000), runtime)
    until_served(triton, batched)
    counts = ("nv_inference_count", "nv_inference_exec_count")
    before = [metric(triton.stack, name, batched) for name in counts]
    with client_of(triton) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda place: ask(client, batched, [], image=plain(place % 3)), range(8)))
    inferences, executions = (
        metric(triton.stack, name, batched) - start for name, start in zip(counts, before, strict=True)
    )
    assert [int(answer["probabilities"].argmax()) for answer in answers] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert inferences == 8
    assert executions < inferences


def test_one_request_of_the_wrong_shape_fails_alone(triton: Running) -> None:
    publish_arithmetic(triton.repository, "shapes")
    until_served(triton, "shapes")

    def add(place: int) -> Floats | str:
        a = np.full((1, 3), place, np.float32)
        b = np.ones((1, 4 if place == 5 else 3), np.float32)
        try:
            return ask(client, "shapes", [], a=a, b=b)["sum"]
        except tritonclient.InferenceServerException as error:
            return str(error.status())

    with client_of(triton) as client, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(add, range(12)))
    assert answers[5] == "StatusCode.INTERNAL"
    for place in {*range(12)} - {5}:
        np.testing.assert_array_equal(answers[place], np.full((1, 3), place + 1, np.float32))


def test_only_the_outputs_asked_for_are_answered(triton: Running) -> None:
    publish_arithmetic(triton.repository, "asked")
    until_served(triton, "asked")
    ones = np.ones((2, 3), np.float32)
    with client_of(triton) as client:
        assert list(ask(client, "asked", ["difference"], a=ones, b=ones)) == ["difference"]


def test_an_entry_without_batches_is_served(triton: Running) -> None:
    publish_arithmetic(triton.repository, "unbatched", max_batch_size=0)
    until_served(triton, "unbatched")
    ones = np.ones((2, 3), np.float32)
    with client_of(triton) as client:
        np.testing.assert_array_equal(ask(client, "unbatched", [], a=ones, b=ones)["sum"], ones * 2)


def test_every_instance_has_a_process(triton: Running) -> None:
    publish_arithmetic(triton.repository, "twice", instances=2)
    until_served(triton, "twice")
    assert triton.stack.triton_pid is not None
    commands = [command(pid) for pid in descendants(triton.stack.triton_pid)]
    assert len([command for command in commands if "/twice/1/" in command]) == 2


def test_a_broken_entry_does_not_stop_the_others(triton: Running) -> None:
    dims = 'backend: "onnxruntime" max_batch_size: 8 input { name: "image" data_type: TYPE_UINT8 dims: [8, 8, 3] }'
    config = f'name: "broken" {dims} output {{ name: "probabilities" data_type: TYPE_FP32 dims: [4] }}'
    publish(triton.repository, "broken", config, DATA / "colours.onnx")
    publish_colours(triton.repository, "beside")
    until_served(triton, "beside")
    difference = (
        "config.pbtxt has output probabilities TYPE_FP32 [-1, 4]; model.onnx has output probabilities TYPE_FP32 [-1, 3]"
    )
    until(lambda: any("'broken'" in line and difference in line for line in triton.lines))
    with client_of(triton) as client:
        assert not client.is_model_ready("broken")
        ask(client, "beside", [], image=plain(0))
    (triton.repository / "broken").rename(triton.repository.parent / "broken")


def test_it_listens_on_loopback_only_and_not_for_http(triton: Running) -> None:
    assert triton.stack.triton_pid is not None
    grpc_port = int(triton.stack.grpc_address.rpartition(":")[2])
    metrics = re.search(r":(\d+)/", triton.stack.metrics_url)
    assert metrics is not None
    # An IPv4 address may be shown as the IPv6 one that it maps to.
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    listening = listeners(triton.stack.triton_pid)
    assert {port for _, port in listening} == {grpc_port, int(metrics[1])}
    assert {address for address, _ in listening} <= loopback


def test_triton_killed_is_started_again(triton: Running) -> None:
    publish_colours(triton.repository, "survivor")
    until_served(triton, "survivor")
    killed = triton.stack.triton_pid
    assert killed is not None
    stubs = descendants(killed)
    os.kill(killed, signal.SIGKILL)
    until(lambda: triton.stack.triton_pid not in (None, killed))
    until_served(triton, "survivor")
    with client_of(triton) as client:
        ask(client, "survivor", [], image=plain(0))
    assert not [pid for pid in stubs if alive(pid)]
    assert triton.stack.triton_pid is not None
    in_use = {word for pid in descendants(triton.stack.triton_pid) for word in command(pid).split("\0")}
    assert {path.name for path in shared_memory(triton.stack.shared_memory_prefix)} <= in_use


async def test_a_gateway_that_cannot_start_ends_the_start_with_its_last_words(tmp_path: Path) -> None:
    gateway = (sys.executable, "-c", "print('VITRINE_PORT: must be a number'); raise SystemExit(2)")
    with pytest.raises(Unable, match="the gateway ended with exit code 2 before it served") as caught:
        async with Stack(Options(tmp_path, gateway=gateway)):
            pass
    assert caught.value.log == ("VITRINE_PORT: must be a number",)


GATEWAY_OF_ONE_ANSWER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["VITRINE_PORT"])), Handler).handle_request()
print("that was all")
"""


async def test_a_gateway_that_ends_again_and_again_ends_the_supervisor(tmp_path: Path) -> None:
    async with Stack(Options(tmp_path, gateway=(sys.executable, "-u", "-c", GATEWAY_OF_ONE_ANSWER))) as stack:

        async def use_up() -> None:
            while True:
                with suppress(httpx.TransportError):
                    async with httpx.AsyncClient() as client:
                        await client.get(stack.gateway_url)
                await asyncio.sleep(0.05)

        using_up = asyncio.create_task(use_up())
        with pytest.raises(Unable, match="the gateway ended again and again") as caught:
            await asyncio.wait_for(stack.run(), DEADLINE_S)
        using_up.cancel()
    assert caught.value.log[-1] == "that was all"


class Started(NamedTuple):
    """`python -m embedded` as a process of its own."""

    supervisor: "subprocess.Popen[str]"
    gateway_url: str
    ports: list[int]
    children: set[int]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    repository = tmp_path / "repository"
    repository.mkdir()
    publish_colours(repository)
    run = [sys.executable, "-m", "embedded", "--repository", str(repository)]
    ports = ["--port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    with subprocess.Popen([*run, *ports], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        shown = "".join(lines)
        found = [int(port) for port in dict.fromkeys(re.findall(r"127\.0\.0\.1:(\d+)", shown))]
        assert len(found) == 3, shown
        yield Started(process, f"http://127.0.0.1:{found[0]}", found, descendants(process.pid))
        process.kill()


def left_behind(started: Started) -> list[str]:
    processes = [f"process {command(pid)}" for pid in started.children if alive(pid)]
    ports = [f"port {port}" for port in started.ports if listens(port)]
    return processes + ports + [str(path) for path in shared_memory(f"vitrine-{started.supervisor.pid}-")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_after_a_stop(started: Started, number: signal.Signals) -> None:
    assert len(started.children) >= 3
    assert left_behind(started)
    started.supervisor.send_signal(number)
    output, _ = started.supervisor.communicate(timeout=DEADLINE_S)
    assert started.supervisor.returncode == 0
    assert "Traceback" not in output
    assert left_behind(started) == []


def test_nothing_is_left_after_the_supervisor_is_killed(started: Started) -> None:
    started.supervisor.kill()
    started.supervisor.wait()
    until(lambda: left_behind(started) == [])
    leftovers.sweep(leftovers.folders())
    assert not [path for place in leftovers.folders() for path in place.glob(f"vitrine-{started.supervisor.pid}-*")]


def test_the_gateway_killed_is_started_again(started: Started) -> None:
    (gateway,) = [pid for pid in started.children if "\0-m\0service" in command(pid)]
    os.kill(gateway, signal.SIGKILL)
    until(lambda: not alive(gateway))

    def ready() -> bool:
        try:
            return httpx.get(f"{started.gateway_url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    until(ready)


def shared_memory(prefix: str) -> list[Path]:
    return sorted(leftovers.SHARED_MEMORY.glob(f"{prefix}*"))
