"""What the real Triton says when it cannot answer, as the gateway's client understands it."""

import asyncio
from collections import Counter

import numpy as np
import numpy.typing as npt
from tritonclient.grpc.model_config_pb2 import ModelQueuePolicy

from contract.config import to_pbtxt
from service.errors import (
    DeadlineExceeded,
    ModelNotReady,
    Overloaded,
    TritonFailed,
    TritonUnavailable,
    UnknownModel,
    VitrineError,
)
from service.triton import TritonBackend
from tests.integration.conftest import Running
from tests.integration.entries import COLOURS, DATA, colours_config, publish, publish_colours
from tests.waiting import until

PIXELS = np.zeros((8, 8, 8, 3), np.uint8)


async def outcome(
    backend: TritonBackend, name: str, version: str = "1", pixels: npt.NDArray[np.uint8] = PIXELS
) -> type:
    """What one call ends with: an array, or an error of ours."""
    try:
        return type(await backend.infer(name, version, pixels, timeout=10))
    except VitrineError as error:
        return type(error)


def outcomes(running: Running, name: str, count: int) -> Counter[type]:
    """What many calls at once end with."""

    async def ask() -> Counter[type]:
        backend = TritonBackend(running.stack.grpc_address)
        try:
            return Counter(await asyncio.gather(*(outcome(backend, name) for _ in range(count))))
        finally:
            await backend.close()

    return asyncio.run(ask())


def publish_with_policy(running: Running, name: str, **policy: int) -> None:
    """An operator may set the queue policy that the builder does not."""
    config = colours_config(name)
    config.dynamic_batching.default_queue_policy.CopyFrom(ModelQueuePolicy(**policy))
    publish(running.repository, name, to_pbtxt(config), DATA / "colours.onnx", COLOURS)


def served(running: Running, name: str) -> bool:
    return outcomes(running, name, 1)[np.ndarray] == 1


def test_an_unknown_model_or_version_is_unknown(triton: Running) -> None:
    assert outcomes(triton, "nobody", 1) == {UnknownModel: 1}


def test_a_model_that_does_not_load_is_not_ready(triton: Running) -> None:
    config = f'name: "unloadable" backend: "onnxruntime" max_batch_size: 1 # {len(COLOURS)} classes'
    publish(triton.repository, "unloadable", config, DATA / "colours.onnx")
    until(lambda: outcomes(triton, "unloadable", 1) == {ModelNotReady: 1})


def test_a_full_queue_is_overload(triton: Running) -> None:
    publish_with_policy(triton, "short_queue", max_queue_size=1)
    until(lambda: served(triton, "short_queue"))
    until(lambda: outcomes(triton, "short_queue", 100)[Overloaded] > 0)


def test_waiting_too_long_in_the_queue_is_the_deadline(triton: Running) -> None:
    publish_with_policy(triton, "hasty", default_timeout_microseconds=1)
    until(lambda: DeadlineExceeded in outcomes(triton, "hasty", 100))


def test_pixels_of_another_shape_are_a_failure_of_the_gateways_own(triton: Running) -> None:
    publish_colours(triton.repository, "another_shape")
    until(lambda: served(triton, "another_shape"))

    async def ask() -> type:
        backend = TritonBackend(triton.stack.grpc_address)
        try:
            return await outcome(backend, "another_shape", pixels=np.zeros((1, 9, 9, 3), np.uint8))
        finally:
            await backend.close()

    assert asyncio.run(ask()) is TritonFailed


def test_nobody_there_is_unavailable(triton: Running) -> None:
    async def ask() -> type:
        backend = TritonBackend("127.0.0.1:1")
        try:
            return await outcome(backend, "colours")
        finally:
            await backend.close()

    assert triton.stack.triton_pid is not None
    assert asyncio.run(ask()) is TritonUnavailable
