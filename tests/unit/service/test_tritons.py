"""Many Tritons: real gRPC servers on loopback, each with an index of its own."""

# ruff: noqa: N802 (the methods have gRPC's names)

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from contract.config import OUTPUT, Scheduling, write_config
from service.catalog import Catalog
from service.errors import ModelNotReady, TritonUnavailable
from service.triton import ModelVersion
from service.tritons import Tritons, grpc_target, merged
from tests.fakes import an_entry

PIXELS = np.zeros((1, 8, 8, 3), np.uint8)
A, B, C = ("10.0.0.1", 8001), ("10.0.0.2", 8001), ("10.0.0.3", 8001)


@dataclass
class Triton(GRPCInferenceServiceServicer):  # type: ignore[misc]
    """One server."""

    versions: list[str]
    asked: Counter[str] = field(default_factory=Counter)
    ready: bool = True
    port: int = 0
    held: asyncio.Event | None = None

    async def ServerReady(self, _request: object, _context: object) -> object:
        return service_pb2.ServerReadyResponse(ready=self.ready)

    async def RepositoryIndex(self, _request: object, _context: object) -> object:
        answer = service_pb2.RepositoryIndexResponse()
        for version in self.versions:
            answer.models.add(name="colours", version=version, state="READY")
        return answer

    async def ModelConfig(self, _request: object, _context: object) -> object:
        return service_pb2.ModelConfigResponse(config=write_config(an_entry(), Scheduling()))

    async def ModelInfer(self, request: service_pb2.ModelInferRequest, context: grpc.aio.ServicerContext) -> object:
        if request.model_version not in self.versions:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Request for unknown model: it is not at ready state")
        self.asked[request.model_version] += 1
        if self.held is not None:
            await self.held.wait()
        answer = service_pb2.ModelInferResponse()
        answer.outputs.add(name=OUTPUT, datatype="FP32", shape=[1, 3])
        answer.raw_output_contents.append(np.array([[1, 0, 0]], np.float32).tobytes())
        return answer


@asynccontextmanager
async def running(*tritons: Triton) -> AsyncIterator[tuple[Tritons, list[grpc.aio.Server]]]:
    """Servers of these, and the client of them all."""
    servers = []
    async with AsyncExitStack() as stack:
        for triton in tritons:
            server = grpc.aio.server()
            add_GRPCInferenceServiceServicer_to_server(triton, server)
            triton.port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop, None)
            servers.append(server)
        client = Tritons(",".join(f"127.0.0.1:{triton.port}" for triton in tritons))
        stack.push_async_callback(client.close)
        yield client, servers


async def ask(client: Tritons, version: str, count: int) -> None:
    for _ in range(count):
        await client.infer("colours", version, PIXELS, 30)


async def test_requests_go_round() -> None:
    tritons = [Triton(["1"]) for _ in range(3)]
    async with running(*tritons) as (client, _):
        await client.index()
        await asyncio.gather(*(ask(client, "1", 10) for _ in range(3)))
        # Connections that were not ready yet got none of the first.
        assert all(triton.asked["1"] > 0 for triton in tritons)
        before = [triton.asked["1"] for triton in tritons]
        await ask(client, "1", 30)
        assert [triton.asked["1"] - had for triton, had in zip(tritons, before, strict=True)] == [10, 10, 10]


async def test_each_request_goes_to_a_triton_that_has_its_version() -> None:
    old, new = Triton(["1"]), Triton(["2"])
    async with running(old, new) as (client, _):
        await client.index()
        await asyncio.gather(ask(client, "1", 20), ask(client, "2", 20))
        assert (old.asked, new.asked) == ({"1": 20}, {"2": 20})
        with pytest.raises(ModelNotReady):
            await client.infer("colours", "3", PIXELS, 1)


async def test_one_that_does_not_answer_is_left_out_until_it_does(caplog: pytest.LogCaptureFixture) -> None:
    tritons = [Triton(["1"]), Triton(["1"])]
    async with running(*tritons) as (client, _):
        tritons[0].ready = False
        (line,) = await client.index()
        assert line.at == {("127.0.0.1", tritons[1].port)}
        await ask(client, "1", 10)
        assert (tritons[0].asked["1"], tritons[1].asked["1"]) == (0, 10)
        tritons[0].ready = True
        (line,) = await client.index()
        assert len(line.at) == 2
    words = [record.getMessage().partition(f"port {tritons[0].port} ")[2] for record in caplog.records]
    assert words == ["does not answer", "is back"]


async def test_without_any_there_is_nothing_to_look_at() -> None:
    tritons = [Triton(["1"], ready=False), Triton(["1"], ready=False)]
    async with running(*tritons) as (client, _):
        with pytest.raises(TritonUnavailable):
            await client.index()


async def test_a_name_without_an_address() -> None:
    client = Tritons(f"{'a' * 70}:8001")  # Too long for a label: it is refused here, and nobody is asked.
    with pytest.raises(TritonUnavailable, match="no address"):
        await client.index()
    await client.close()


async def test_what_runs_while_its_triton_leaves_the_set_is_answered() -> None:
    held, other = Triton(["1"], held=asyncio.Event()), Triton(["1"])
    async with running(held, other) as (client, _):
        await client.index()
        asking: list[asyncio.Task[object]] = []
        while not held.asked["1"]:  # The connection that is ready first gets all, until the other is.
            asking.append(asyncio.create_task(client.infer("colours", "1", PIXELS, 30)))
            await asyncio.sleep(0.01)
        held.ready = False
        (line,) = await client.index()
        assert len(line.at) == 1
        assert held.held is not None
        held.held.set()
        assert len(await asyncio.gather(*asking)) == len(asking)


async def test_a_roll_as_the_catalog_sees_it() -> None:
    """The old version answers until half have the new one; nothing in between is unanswered."""
    tritons = [Triton(["1"]) for _ in range(3)]
    seen = []
    async with running(*tritons) as (client, _):
        catalog = Catalog(client, None)
        for step in range(4):
            if step:
                tritons[step - 1].versions = [str(2)]
            await catalog.refresh()
            served = catalog.resolve("colours")
            await ask(client, served.version, 3)
            seen.append((served.version, len(served.at), served.apart))
    assert seen == [("1", 3, 0), ("1", 2, 1), ("2", 2, 1), ("2", 3, 0)]


async def test_the_log_tells_a_roll_and_not_each_triton(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tritons = [Triton(["1"]), Triton(["1"])]
    async with running(*tritons) as (client, _):
        catalog = Catalog(client, None)
        for ready in (True, False, True):
            tritons[0].ready = ready
            await catalog.refresh()
    assert [r.getMessage() for r in caplog.records if "serving" in r.getMessage()] == ["serving colours version 1"]


def test_indexes_are_merged() -> None:
    def line(version: str, ready: bool, reason: str = "") -> ModelVersion:
        return ModelVersion("colours", version, ready, reason)

    found = merged(
        {
            A: [line("1", True), line("2", False, "no memory")],
            B: [line("1", False, "unloaded"), line("2", True)],
            C: [line("3", False, "corrupt")],
        }
    )
    assert {(each.version, each.ready, each.at) for each in found} == {
        ("1", True, frozenset({A})),
        ("2", True, frozenset({B})),
        ("3", False, frozenset()),
    }
    assert {each.version: each.reason for each in found} == {"1": "unloaded", "2": "no memory", "3": "corrupt"}


def test_targets_are_grpcs() -> None:
    assert grpc_target([A, B]) == "ipv4:10.0.0.1:8001,10.0.0.2:8001"
    assert grpc_target([("fd00::1", 8001)]) == "ipv6:[fd00::1]:8001"
