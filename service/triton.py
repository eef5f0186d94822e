"""Triton behind a port: what the gateway asks of an inference server, and the one gRPC client that answers it.

Foreign exceptions stop here, in `triton_errors`.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import grpc
import numpy as np
import numpy.typing as npt
from grpc import StatusCode
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.grpc.service_pb2 import (
    ModelConfigRequest,
    ModelInferRequest,
    ModelInferResponse,
    RepositoryIndexRequest,
    ServerReadyRequest,
)
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from contract.config import INPUT, OUTPUT
from service.errors import (
    DeadlineExceeded,
    ModelNotReady,
    Overloaded,
    TritonFailed,
    TritonUnavailable,
    UnknownModel,
    VitrineError,
)

_CHANNEL_OPTIONS = [
    # gRPC's default waits up to two minutes between attempts to reconnect; Triton is back sooner than that.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Despite its name, how long one attempt may take; a busy machine needs more than the 100 ms above.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # A peer whose packets are dropped says nothing: ask every two seconds, also between calls, and give up a connection
    # that is silent for three. Without this a dead one stays for as long as TCP retransmits, minutes after the network
    # is well again. gRPC 1.85 waits for a ping as long as its own timeout says, a minute by default; the keepalive's
    # goes to the kernel (TCP_USER_TIMEOUT), which ends what it sent and nobody acknowledged.
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A connection that is not ready gets no calls. What surely did not run, gRPC itself sends again elsewhere.
    ("grpc.lb_policy_name", "round_robin"),
    # Triton is a neighbour: what the environment says of proxies is not meant for it.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]
_ADMIN_TIMEOUT_SECONDS = 2.0

_BY_STATUS: dict[StatusCode, tuple[type[VitrineError], str]] = {
    StatusCode.UNAVAILABLE: (TritonUnavailable, "the inference server is not reachable; try again shortly"),
    StatusCode.DEADLINE_EXCEEDED: (DeadlineExceeded, "the inference server did not answer in time"),
    StatusCode.NOT_FOUND: (UnknownModel, "the inference server does not serve this model"),
    StatusCode.RESOURCE_EXHAUSTED: (Overloaded, "the inference server's queue is full; try again shortly"),
}


@dataclass(frozen=True)
class ModelVersion:
    """One line of Triton's repository index."""

    name: str
    version: str
    ready: bool
    reason: str
    at: frozenset[tuple[str, int]] = frozenset()
    """The Tritons that have it ready, where there may be several."""


class InferenceBackend(Protocol):
    """What the gateway asks of an inference server. Every method raises only `VitrineError`s."""

    async def index(self) -> list[ModelVersion]:
        """Every model version the server knows, ready or not."""

    async def config(self, name: str, version: str) -> ModelConfig:
        """The configuration of one version."""

    async def infer(
        self, name: str, version: str, pixels: npt.NDArray[np.uint8], timeout: float
    ) -> npt.NDArray[np.float32]:
        """Probabilities `[batch, classes]` of uint8 pixels `[batch, height, width, 3]`; `timeout` in seconds."""

    async def outputs(
        self, name: str, version: str, pixels: npt.NDArray[np.uint8], wanted: tuple[str, ...], timeout: float
    ) -> list[npt.NDArray[np.float32]]:
        """The float32 outputs of these names, in this order, each `[batch, ...]`."""

    async def close(self) -> None:
        """Let go of connections."""


@contextlib.contextmanager
def triton_errors() -> Iterator[None]:
    """Turn any gRPC error raised inside into one of ours."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_status(error.code(), error.details() or "") from error


def from_status(status: StatusCode, details: str) -> VitrineError:
    """Our error for a gRPC status.

    Triton says UNAVAILABLE for a server that is gone, a full queue, a timeout in the queue and a version that is not
    loaded, and NOT_FOUND for a model it does not know and one without a loaded version: its words decide.
    `tests/integration/test_triton_words.py` pins those words against the real server.
    """
    if status is StatusCode.UNAVAILABLE and "Exceeds maximum queue size" in details:
        return Overloaded("the inference server's queue is full; try again shortly")
    if status is StatusCode.UNAVAILABLE and "Request timeout expired" in details:
        return DeadlineExceeded("the picture waited too long in the inference server's queue")
    if "is not at ready state" in details or "has no available versions" in details:
        return ModelNotReady("the model is not ready; try again shortly")
    error, message = _BY_STATUS.get(status, (TritonFailed, "the inference server could not run the model"))
    return error(message)


class TritonBackend:
    """Triton over one gRPC channel, which reconnects by itself; or several that are alike, round robin.

    `target` is gRPC's, `metadata` is asked for each inference's headers, and `authority` is the name that proxies see.
    """

    def __init__(
        self, target: str, metadata: Callable[[], tuple[tuple[str, str], ...]] = tuple, authority: str = ""
    ) -> None:
        self._metadata = metadata
        named = [("grpc.default_authority", authority)] if authority else []
        self._channel = grpc.aio.insecure_channel(target, options=[*_CHANNEL_OPTIONS, *named])
        self._stub = GRPCInferenceServiceStub(self._channel)
        # The stub's own method would serialise the request, and copy the pixels twice more.
        self._infer = self._channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer", response_deserializer=ModelInferResponse.FromString
        )

    async def index(self) -> list[ModelVersion]:
        """See `InferenceBackend.index`."""
        with triton_errors():
            if not (await self._stub.ServerReady(ServerReadyRequest(), timeout=_ADMIN_TIMEOUT_SECONDS)).ready:
                raise TritonUnavailable("the inference server is starting or stopping; try again shortly")
            answer = await self._stub.RepositoryIndex(RepositoryIndexRequest(), timeout=_ADMIN_TIMEOUT_SECONDS)
        return [
            ModelVersion(str(model.name), str(model.version), model.state == "READY", str(model.reason))
            for model in answer.models
        ]

    async def config(self, name: str, version: str) -> ModelConfig:
        """See `InferenceBackend.config`."""
        request = ModelConfigRequest(name=name, version=version)
        with triton_errors():
            return (await self._stub.ModelConfig(request, timeout=_ADMIN_TIMEOUT_SECONDS)).config

    async def infer(
        self, name: str, version: str, pixels: npt.NDArray[np.uint8], timeout: float
    ) -> npt.NDArray[np.float32]:
        """See `InferenceBackend.infer`."""
        return (await self.outputs(name, version, pixels, (OUTPUT,), timeout))[0]

    async def outputs(
        self, name: str, version: str, pixels: npt.NDArray[np.uint8], wanted: tuple[str, ...], timeout: float
    ) -> list[npt.NDArray[np.float32]]:
        """See `InferenceBackend.outputs`."""
        request = infer_request(name, version, pixels, wanted)
        with triton_errors():
            answer = await self._infer(request, timeout=timeout, metadata=self._metadata())
        found = dict(zip((each.name for each in answer.outputs), range(len(answer.outputs)), strict=True))
        try:
            return [
                np.frombuffer(answer.raw_output_contents[found[each]], np.float32).reshape(
                    tuple(answer.outputs[found[each]].shape)
                )
                for each in wanted
            ]
        except (KeyError, IndexError, ValueError) as error:
            raise TritonFailed("the inference server answered without the output it was asked for") from error

    async def close(self, grace: float | None = None) -> None:
        """See `InferenceBackend.close`; calls that are under way get `grace` seconds to end."""
        await self._channel.close(grace)


def infer_request(name: str, version: str, pixels: npt.NDArray[np.uint8], wanted: tuple[str, ...] = (OUTPUT,)) -> bytes:
    """A `ModelInferRequest` for the outputs `wanted` of `pixels`, as it goes over the wire.

    The pixels are its last field, `raw_input_contents` (number 7, length-delimited), and are copied once.
    """
    content = np.ascontiguousarray(pixels)
    return b"".join((_infer_head(name, version, pixels.shape, wanted), b"\x3a", _varint(content.nbytes), content.data))


@lru_cache(maxsize=256)
def _infer_head(name: str, version: str, shape: tuple[int, ...], wanted: tuple[str, ...]) -> bytes:
    """All but the pixels; the same for every picture."""
    request = ModelInferRequest(model_name=name, model_version=version)
    request.inputs.add(name=INPUT, datatype="UINT8", shape=shape)
    for each in wanted:
        request.outputs.add(name=each)
    head: bytes = request.SerializeToString()
    return head


def _varint(number: int) -> bytes:
    """Protocol Buffers' encoding of a length: seven bits a byte, the lowest first."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
