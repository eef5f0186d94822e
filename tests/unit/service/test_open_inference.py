"""The Open Inference Protocol v2 over a fake Triton: what its document demands, and what its clients send."""

import asyncio
import base64
import json
import tracemalloc
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from starlette.datastructures import Headers
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult

from service.api.incoming import MAX_TENSOR_HEAD_BYTES, TENSOR_COPIES, TENSOR_HEAD_LENGTH, copies
from service.api.tensors import read_request
from service.app import create_app
from service.errors import InvalidBody, TritonUnavailable, VitrineError
from service.keys import digest_of
from service.settings import Settings
from tests.fakes import FakeBackend, a_picture, an_entry, encoded

INFER = "/v2/models/colours/infer"
RED, GREEN = encoded(a_picture((255, 0, 0))), encoded(a_picture((0, 255, 0)))
PIXELS = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)


def a_request(data: Any = None, **changes: Any) -> dict[str, Any]:
    """A request of pixels in JSON; `changes` to its input."""
    given = PIXELS.tolist() if data is None else data
    return {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [2, 8, 8, 3], "data": given, **changes}]}


def pictures(*contents: bytes) -> np.ndarray[Any, np.dtype[np.object_]]:
    return np.array(contents, np.object_)


def as_client_sends(array: Any, datatype: str, outputs: Any = None, **options: Any) -> tuple[bytes, dict[str, str]]:
    """The body and headers of `tritonclient.http`."""
    given = InferInput("image", list(array.shape), datatype)
    given.set_data_from_numpy(array)
    body, size = InferenceServerClient.generate_request_body([given], outputs=outputs, **options)
    return body, {TENSOR_HEAD_LENGTH: str(size)} if size is not None else {}


def as_client_reads(answer: httpx.Response) -> InferResult:
    size = answer.headers.get(TENSOR_HEAD_LENGTH)
    return InferResult.from_response_body(answer.content, header_length=size and int(size))


async def test_health_and_metadata(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    server = (await client.get("/v2")).json()
    assert server["name"] == "vitrine"
    assert {"binary_tensor_data", "classification"} <= set(server["extensions"])
    for path in ("/v2/models/colours", "/v2/models/colours/versions/1"):
        assert (await client.get(path)).json() == {
            "name": "colours",
            "versions": ["1"],
            "platform": "vitrine",
            "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}],
        }
        assert (await client.get(f"{path}/ready")).json() == {"name": "colours", "ready": True}
        assert (await client.get(f"{path}/config")).json()["input"][0]["format"] == "FORMAT_NHWC"


async def test_what_is_not_ready_says_so_in_the_protocols_shape(
    client: httpx.AsyncClient, backend: FakeBackend, app: FastAPI
) -> None:
    for path in ("/v2/models/nobody", "/v2/models/nobody/ready", "/v2/models/colours/versions/7"):
        answer = await client.get(path)
        assert (answer.status_code, list(answer.json())) == (404, ["error"])
        assert answer.json()["error"].startswith("model_not_found: ")
    assert (await client.get("/v2/nothing")).json() == {"error": "not_found: GET is not answered here"}
    assert (await client.get("/v20")).json()["code"] == "not_found"
    backend.failure = TritonUnavailable("gone")
    await app.state.services.catalog.refresh()
    for path in ("/v2/health/ready", "/v2/models/colours/ready"):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"].startswith("triton_unavailable: ")
    assert (await client.get("/v2/health/live")).status_code == 200


@pytest.mark.parametrize("data", [PIXELS.tolist(), PIXELS.ravel().tolist(), PIXELS.reshape(2, -1).tolist()])
async def test_pixels_in_json_flat_or_nested(client: httpx.AsyncClient, data: Any) -> None:
    answer = (await client.post(INFER, json={"id": "seven", **a_request(data)})).json()
    (output,) = answer.pop("outputs")
    assert answer == {"model_name": "colours", "model_version": "1", "id": "seven"}
    assert (output["name"], output["datatype"], output["shape"]) == ("probabilities", "FP32", [2, 3])
    sums = PIXELS.reshape(2, -1, 3).sum(1, dtype=np.float32) + 1
    assert output["data"] == pytest.approx((sums / sums.sum(1, keepdims=True)).ravel().tolist())


@pytest.mark.parametrize("shape", [[2], [2, 1]])
async def test_pictures_in_json_as_base64(client: httpx.AsyncClient, shape: list[int]) -> None:
    texts = [base64.b64encode(each).decode() for each in (RED, GREEN)]
    data = texts if len(shape) == 1 else [[each] for each in texts]
    answer = (await client.post(INFER, json=a_request(data, datatype="BYTES", shape=shape))).json()
    rows = np.array(answer["outputs"][0]["data"]).reshape(answer["outputs"][0]["shape"])
    assert rows.argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize("binary", [True, False])
async def test_what_tritonclient_sends_and_reads(client: httpx.AsyncClient, binary: bool) -> None:
    for array, datatype in ((PIXELS, "UINT8"), (pictures(RED, GREEN), "BYTES")):
        body, headers = as_client_sends(
            array, datatype, [InferRequestedOutput("probabilities", binary_data=binary)], request_id="9"
        )
        result = as_client_reads(await client.post(INFER, content=body, headers=headers))
        assert result.as_numpy("probabilities").shape == (2, 3)
        assert result.get_response()["id"] == "9"
    assert result.as_numpy("probabilities").argmax(1).tolist() == [0, 1]


async def test_without_outputs_the_request_says_whether_they_are_binary(client: httpx.AsyncClient) -> None:
    body, headers = as_client_sends(PIXELS, "UINT8")
    answer = await client.post(INFER, content=body, headers=headers)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert as_client_reads(answer).as_numpy("probabilities").shape == (2, 3)


@pytest.mark.parametrize(("count", "found"), [(2, 2), (99, 3)])
@pytest.mark.parametrize("binary", [True, False])
async def test_classes_as_text(client: httpx.AsyncClient, binary: bool, count: int, found: int) -> None:
    outputs = [InferRequestedOutput("probabilities", binary_data=binary, class_count=count)]
    body, headers = as_client_sends(pictures(GREEN, RED), "BYTES", outputs)
    texts = as_client_reads(await client.post(INFER, content=body, headers=headers)).as_numpy("probabilities")
    assert texts.shape == (2, found)
    first = texts[0, 0].decode() if isinstance(texts[0, 0], bytes) else texts[0, 0]
    assert first.split(":")[1:] == ["1", "green"]
    assert len(first.split(":")[0].partition(".")[2]) == 6


async def test_warnings_are_told(client: httpx.AsyncClient) -> None:
    see_through = encoded(a_picture().convert("RGBA").rotate(45))
    body, headers = as_client_sends(pictures(RED, see_through), "BYTES")
    answer = as_client_reads(await client.post(INFER, content=body, headers=headers)).get_response()
    assert answer["parameters"] == {
        "warnings": "image 1: alpha_over_white: the picture is transparent; it was laid over white"
    }


NOT_REQUESTS = {
    "no JSON": (b"{", {}, 400, "request_malformed"),
    "too deep": (b"[" * 100_000, {}, 400, "request_malformed"),
    "no text": (b'{"id": "\xff"}', {}, 400, "request_malformed"),
    "no object": (b"[]", {}, 422, "body_invalid"),
    "no inputs": (b"{}", {}, 422, "body_invalid"),
    "an empty body": (b"", {}, 400, "request_malformed"),
    "a head that is no number": (b"{}", {TENSOR_HEAD_LENGTH: "-1"}, 400, "request_malformed"),
    "a head longer than the body": (b"{}", {TENSOR_HEAD_LENGTH: "3"}, 400, "request_malformed"),
    "a head that is too long": (
        b" " * 70_000,
        {TENSOR_HEAD_LENGTH: str(MAX_TENSOR_HEAD_BYTES + 1)},
        400,
        "request_malformed",
    ),
    "a compressed body": (b"{}", {"Content-Encoding": "gzip"}, 415, "media_type_unsupported"),
}


@pytest.mark.parametrize("name", NOT_REQUESTS)
async def test_what_is_no_request(client: httpx.AsyncClient, name: str) -> None:
    body, headers, status, code = NOT_REQUESTS[name]
    answer = await client.post(INFER, content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (status, code)


WRONG: dict[str, tuple[dict[str, Any], int, str]] = {
    "another name": (a_request(name="pixels"), 422, "body_invalid"),
    "two inputs": ({"inputs": a_request()["inputs"] * 2}, 422, "body_invalid"),
    "another type": (a_request(datatype="FP32"), 422, "body_invalid"),
    "too few numbers": (a_request([1, 2, 3]), 422, "body_invalid"),
    "a number over 255": (a_request([256] * 384), 422, "body_invalid"),
    "a number below 0": (a_request([-1] * 384), 422, "body_invalid"),
    "a fraction": (a_request([0.5] * 384), 422, "body_invalid"),
    "truth": (a_request([True] * 384), 422, "body_invalid"),
    "text for numbers": (a_request("abc"), 422, "body_invalid"),
    "uneven lists": (a_request([[1], [1, 2]]), 422, "body_invalid"),
    "a huge number": (a_request([10**30] * 384), 422, "body_invalid"),
    "another size of picture": (a_request([0] * 96, shape=[2, 4, 4, 3]), 422, "body_invalid"),
    "another order": (a_request([0] * 384, shape=[2, 3, 8, 8]), 422, "body_invalid"),
    "no batch": (a_request([0] * 192, shape=[8, 8, 3]), 422, "body_invalid"),
    "no picture": (a_request([], shape=[0, 8, 8, 3]), 400, "body_empty"),
    "no shape": (a_request(shape=None), 422, "body_invalid"),
    "a shape of text": (a_request(shape=["2"]), 422, "body_invalid"),
    "a shape that is huge": (a_request(shape=[1, 10**18, 10**18, 3]), 422, "body_invalid"),
    "a shape beyond writing": (a_request(shape=[1, 10**4000, 10**4000, 3]), 422, "body_invalid"),
    "texts in lists": (a_request([["a"], ["b"]]), 422, "body_invalid"),
    "lists beside numbers": (a_request([[1], 2]), 422, "body_invalid"),
    "some truth": (a_request([True, *[1] * 383]), 422, "body_invalid"),
    "too many": (a_request([0] * 33 * 192, shape=[33, 8, 8, 3]), 413, "too_many_pictures"),
    "shared memory": (a_request(parameters={"shared_memory_region": "x"}), 422, "body_invalid"),
    "bytes that do not follow": (a_request(parameters={"binary_data_size": 3}), 400, "request_malformed"),
    "no base64": (a_request(["!"], datatype="BYTES", shape=[1]), 422, "body_invalid"),
    "pictures of numbers": (a_request([1], datatype="BYTES", shape=[1]), 422, "body_invalid"),
    "another number of pictures": (a_request(["AA=="], datatype="BYTES", shape=[2]), 422, "body_invalid"),
    "no picture's file": (a_request(["AA=="], datatype="BYTES", shape=[1]), 415, "media_type_unsupported"),
    "another output": ({**a_request(), "outputs": [{"name": "logits"}]}, 422, "body_invalid"),
    "a class count of text": (
        {**a_request(), "outputs": [{"name": "probabilities", "parameters": {"classification": "2"}}]},
        422,
        "body_invalid",
    ),
    "an id that is a number": ({**a_request(), "id": 7}, 422, "body_invalid"),
    "parameters that are a list": ({**a_request(), "parameters": []}, 422, "body_invalid"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_no_picture(client: httpx.AsyncClient, name: str) -> None:
    request, status, code = WRONG[name]
    answer = await client.post(INFER, json=request)
    assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (status, code), answer.text


@pytest.mark.parametrize("after", [b"\x01", b"\xff\xff\xff\xff", b"\x02\0\0\0a"])
async def test_lengths_that_do_not_add_up(client: httpx.AsyncClient, after: bytes) -> None:
    head = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(after)}}
    text = json.dumps({"inputs": [head]}).encode()
    answer = await client.post(INFER, content=text + after, headers={TENSOR_HEAD_LENGTH: str(len(text))})
    assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (400, "request_malformed")


async def test_a_version_is_pinned(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v2/models/colours/versions/1/infer", json=a_request())).status_code == 200
    answer = await client.post("/v2/models/colours/versions/2/infer", json=a_request())
    assert answer.status_code == 404
    assert "version 1 is" in answer.json()["error"]


async def test_the_limits_are_those_of_classify(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    answer = await client.post(INFER, json=a_request(), headers={"X-Request-Timeout": "0"})
    assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (422, "parameter_invalid")
    backend.hold = asyncio.Event()
    answer = await client.post(INFER, json=a_request(), headers={"X-Request-Timeout": "0.2"})
    assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (504, "deadline_exceeded")
    backend.hold.set()
    answer = await client.post(INFER, content=bytes(300_000), headers={TENSOR_HEAD_LENGTH: "2"})
    assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (413, "body_too_large")


async def test_it_is_counted_as_classify_is(client: httpx.AsyncClient) -> None:
    body, headers = as_client_sends(pictures(RED, GREEN), "BYTES")
    answer = await client.post(INFER, content=body, headers=headers)
    assert {"receive", "decode", "resize", "triton"} <= {
        part.split(";")[0] for part in answer.headers["server-timing"].split(", ")
    }
    metrics = (await client.get("/metrics")).text
    assert 'vitrine_images_total{model="colours",outcome="ok"} 2.0' in metrics
    assert 'route="/v2/models/{model}/infer",status="2xx"} 1.0' in metrics


async def test_a_key_is_asked_for_but_not_by_probes(backend: FakeBackend, tmp_path: Any) -> None:
    file = tmp_path / "keys"
    file.write_text(f"shop sha256:{digest_of('secret')}\n")
    app = create_app(Settings(api_keys_file=file), backend)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client,
    ):
        for path in ("/v2", "/v2/health/live", "/v2/health/ready"):
            assert (await client.get(path)).status_code == 200
        answer = await client.get("/v2/models/colours")
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.json()["error"].startswith("unauthorized: ")
        assert (await client.post(INFER, json=a_request())).status_code == 401
        key = {"Authorization": "Bearer secret"}
        assert (await client.post(INFER, json=a_request(), headers=key)).status_code == 200


async def test_several_batches(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.serve(an_entry())
    body, headers = as_client_sends(np.zeros((11, 8, 8, 3), np.uint8), "UINT8")
    assert as_client_reads(await client.post(INFER, content=body, headers=headers)).as_numpy("probabilities").shape == (
        11,
        3,
    )
    assert len(backend.calls) == 3


PIECE = 400_000
DEAR = {
    "numbers": b'{"inputs":[' + b"1," * (PIECE // 2) + b"1]}",
    "large numbers": b'{"inputs":[' + b"257," * (PIECE // 4) + b"1]}",
    "lists": b'{"inputs":[' + b"[]," * (PIECE // 3) + b"1]}",
    "objects": b'{"inputs":[' + b"{}," * (PIECE // 3) + b"1]}",
    "objects with a key": b'{"inputs":[' + b'{"":1},' * (PIECE // 7) + b"1]}",
    "lists of one": b'{"inputs":[' + b"[1]," * (PIECE // 4) + b"1]}",
    "texts": b'{"inputs":[' + b'"ab",' * (PIECE // 5) + b"1]}",
    "one long text": json.dumps(a_request(["x" * 30_000] + [""] * (PIECE // 4))).encode(),
    "pixels": json.dumps(a_request([7] * PIECE, shape=[1, 1, PIECE // 3, 3])).replace(" ", "").encode(),
    "pixels in lists": json.dumps(a_request([[7]] * (PIECE // 4), shape=[1, 1, PIECE // 12, 3])).encode(),
}


@pytest.mark.parametrize("name", DEAR)
def test_json_takes_no_more_memory_than_is_counted(name: str) -> None:
    body = DEAR[name]
    tracemalloc.start()
    try:
        with suppress(VitrineError):
            read_request(body, None, 32)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(body) * (TENSOR_COPIES["JSON"] - 1.2), peak / len(body)


def test_bytes_take_no_more_memory_than_is_counted() -> None:
    content = bytes(4_000_000)
    for array, datatype in (
        (np.frombuffer(content, np.uint8).reshape(1, 1000, 1000, 4), "UINT8"),
        (pictures(content), "BYTES"),
    ):
        body, headers = as_client_sends(array, datatype)
        tracemalloc.start()
        try:
            read_request(body, headers[TENSOR_HEAD_LENGTH], 32)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < len(body) * (TENSOR_COPIES["binary"] - 1.2) + 100_000


def test_more_pictures_than_the_shape_says_are_not_taken_apart() -> None:
    head = json.dumps(
        {
            "inputs": [
                {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 4_200_000}}
            ]
        }
    ).encode()
    body = head + b"\x02\0\0\0ab" * 700_000
    tracemalloc.start()
    try:
        with pytest.raises(InvalidBody, match="shape says 1 pictures, there are more"):
            read_request(body, str(len(head)), 32)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_only_this_protocols_bodies_are_counted_so() -> None:
    headers = Headers({"content-type": "application/json"})
    assert copies("/v1/classify", headers) < copies("/v2/models/a/infer", headers)
