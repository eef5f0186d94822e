"""Foreign errors stop at one border."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from grpc import StatusCode
from tritonclient.grpc.service_pb2 import ModelInferRequest

from service.errors import (
    DeadlineExceeded,
    ModelNotReady,
    Overloaded,
    TritonFailed,
    TritonUnavailable,
    UnknownModel,
    VitrineError,
)
from service.triton import TritonBackend, from_status, infer_request, triton_errors


@pytest.mark.parametrize("status", [status for status in StatusCode if status is not StatusCode.OK])
def test_every_grpc_status_becomes_an_error_of_ours(status: StatusCode) -> None:
    error = from_status(status, "secret detail")
    assert isinstance(error, VitrineError)
    assert "secret" not in error.message


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (StatusCode.UNAVAILABLE, TritonUnavailable),
        (StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (StatusCode.NOT_FOUND, UnknownModel),
        (StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (StatusCode.INTERNAL, TritonFailed),
        (StatusCode.INVALID_ARGUMENT, TritonFailed),
    ],
)
def test_statuses_are_told_apart(status: StatusCode, error: type[VitrineError]) -> None:
    assert type(from_status(status, "")) is error


@pytest.mark.parametrize(
    ("status", "details", "error"),
    [
        (StatusCode.UNAVAILABLE, "[request id: <id_unknown>] Exceeds maximum queue size", Overloaded),
        (StatusCode.UNAVAILABLE, "Request timeout expired", DeadlineExceeded),
        (StatusCode.UNAVAILABLE, "Server is stopping, scheduler for model has stopped", TritonUnavailable),
        (StatusCode.UNAVAILABLE, "failed to connect to all addresses", TritonUnavailable),
        (StatusCode.UNAVAILABLE, "Request for unknown model: 'm' version 1 is not at ready state", ModelNotReady),
        (StatusCode.NOT_FOUND, "Request for unknown model: 'm' has no available versions", ModelNotReady),
        (StatusCode.NOT_FOUND, "Request for unknown model: 'm' version 7 is not found", UnknownModel),
    ],
)
def test_tritons_words_tell_apart_what_its_status_does_not(
    status: StatusCode, details: str, error: type[VitrineError]
) -> None:
    assert type(from_status(status, details)) is error


def test_the_foreign_error_stays_as_the_cause() -> None:
    class Foreign(grpc.RpcError):  # type: ignore[misc]
        def code(self) -> StatusCode:
            return StatusCode.INTERNAL

        def details(self) -> str:
            return "a stack trace"

    with pytest.raises(TritonFailed) as caught, triton_errors():
        raise Foreign
    assert isinstance(caught.value.__cause__, Foreign)


async def test_a_triton_that_is_not_there_is_unavailable_at_once(unused_tcp_port: int) -> None:
    backend = TritonBackend(f"127.0.0.1:{unused_tcp_port}")
    with pytest.raises(TritonUnavailable):
        await backend.index()
    await backend.close()


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY"])
async def test_a_proxy_is_not_asked(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    ready = grpc.unary_unary_rpc_method_handler(lambda *_: b"\x08\x01")
    empty = grpc.unary_unary_rpc_method_handler(lambda *_: b"")
    methods = {"ServerReady": ready, "RepositoryIndex": empty}
    with ThreadPoolExecutor(1) as pool:
        handlers = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)
        server = grpc.server(pool, handlers=[handlers])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        backend = TritonBackend(f"127.0.0.1:{port}")
        assert await backend.index() == []
        await backend.close()
        server.stop(None).wait()


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (1, 8, 8, 3), (4, 224, 224, 3)])
def test_a_request_is_what_protobuf_would_make_of_it(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)[..., ::-1]
    expected = ModelInferRequest(model_name="colours", model_version="12")
    expected.inputs.add(name="image", datatype="UINT8", shape=shape)
    expected.outputs.add(name="probabilities")
    expected.raw_input_contents.append(pixels.tobytes())
    assert ModelInferRequest.FromString(infer_request("colours", "12", pixels)) == expected
