"""The HTTP API over a fake Triton."""

import json
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from service.errors import ModelNotReady, TritonUnavailable, VitrineError
from tests.fakes import FakeBackend, a_picture, an_entry, encoded

GREEN = encoded(a_picture((0, 200, 0)), "JPEG")


def problem_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem document, its form checked."""
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document.keys() == {"type", "title", "status", "detail", "code", "request_id"}
    assert document["status"] == answer.status_code
    assert document["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    return answer.status_code, document["code"]


async def test_a_raw_body_is_classified(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/classify", content=GREEN, headers={"content-type": "image/jpeg"})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["model"], body["version"], body["warnings"]) == ("colours", "1", [])
    assert body["predictions"][0]["label"] == "green"
    assert sum(prediction["score"] for prediction in body["predictions"]) == pytest.approx(1)


async def test_a_form_answers_as_the_raw_body_does(client: httpx.AsyncClient) -> None:
    raw = await client.post("/v1/models/colours/classify", content=GREEN)
    form = await client.post("/v1/models/colours/classify", files={"file": ("x.jpg", GREEN, "image/jpeg")})
    assert form.json() == raw.json()


async def test_content_decides_the_format(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/classify", content=GREEN, headers={"content-type": "text/plain"})
    assert answer.status_code == 200


async def test_stage_times_are_in_the_server_timing_header(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/classify", content=GREEN)
    timing = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert list(timing) == ["receive", "decode", "resize", "triton", "total"]
    assert sum(float(timing[stage]) for stage in list(timing)[:-1]) <= float(timing["total"])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", (400, "body_empty")),
        (b"hello", (415, "media_type_unsupported")),
        (GREEN[:200], (422, "image_corrupt")),
        (encoded(a_picture(size=(2000, 1000))), (413, "image_too_large")),
        (b"x" * 200_001, (413, "body_too_large")),
    ],
    ids=["empty", "text", "truncated", "too many pixels", "too many bytes"],
)
async def test_a_bad_body_is_a_problem(client: httpx.AsyncClient, content: bytes, expected: tuple[int, str]) -> None:
    assert problem_of(await client.post("/v1/classify", content=content)) == expected


async def test_a_chunked_body_over_the_limit_is_cut_there(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 50_000
            yield b"x" * 50_000

    assert problem_of(await client.post("/v1/classify", content=endless())) == (413, "body_too_large")
    assert sent <= 300_000


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"not a form", "multipart/form-data; boundary=x"),
        (b"--x\r\n", "multipart/form-data"),
    ],
    ids=["no parts", "no boundary"],
)
async def test_a_broken_form_is_malformed(client: httpx.AsyncClient, content: bytes, content_type: str) -> None:
    answer = await client.post("/v1/classify", content=content, headers={"content-type": content_type})
    assert problem_of(answer) == (400, "request_malformed")


@pytest.mark.parametrize("names", [["other"], ["file", "file"]])
async def test_a_form_needs_exactly_one_file(client: httpx.AsyncClient, names: list[str]) -> None:
    answer = await client.post("/v1/classify", files=[(name, ("x.jpg", GREEN)) for name in names])
    assert problem_of(answer) == (400, "request_malformed")


async def test_a_form_field_is_not_a_file(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/classify", files={"file": (None, "text")})
    assert problem_of(answer) == (400, "request_malformed")


@pytest.mark.parametrize("query", ["top_k=0", "top_k=-1", "top_k=1000000000", "top_k=NaN", "min_score=2"])
async def test_a_parameter_out_of_range_is_a_problem(client: httpx.AsyncClient, query: str) -> None:
    assert problem_of(await client.post(f"/v1/classify?{query}", content=GREEN)) == (422, "parameter_invalid")


async def test_top_k_and_min_score(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/classify?top_k=2&min_score=0.4", content=GREEN)
    assert [prediction["label"] for prediction in answer.json()["predictions"]] == ["green"]


@pytest.mark.parametrize("name", ["shapes", "..%2Fx", "%00", "x" * 5_000])
async def test_an_unknown_model_is_404(client: httpx.AsyncClient, name: str) -> None:
    status, code = problem_of(await client.post(f"/v1/models/{name}/classify", content=GREEN))
    assert (status, code) in {(404, "model_not_found"), (404, "not_found")}


async def test_several_models_need_a_name(client: httpx.AsyncClient, app: FastAPI, backend: FakeBackend) -> None:
    backend.serve(an_entry("more"))
    await app.state.services.catalog.refresh()
    assert problem_of(await client.post("/v1/classify", content=GREEN)) == (400, "model_required")


@pytest.mark.parametrize("failure", [TritonUnavailable("gone"), ModelNotReady("loading")])
async def test_a_triton_in_trouble_is_503_with_retry_after(
    client: httpx.AsyncClient, backend: FakeBackend, failure: VitrineError
) -> None:
    backend.failure = failure
    answer = await client.post("/v1/classify", content=GREEN)
    assert problem_of(answer) in {(503, "triton_unavailable"), (503, "model_not_ready")}
    assert answer.headers["retry-after"] == "1"


async def test_models_are_listed_and_shown(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()["models"]
    assert [model["name"] for model in listed] == ["colours"]
    assert listed[0]["input"]["height"] == 8
    assert "labels" not in listed[0]
    assert (await client.get("/v1/models/colours")).json()["labels"] == ["red", "green", "blue"]
    assert problem_of(await client.get("/v1/models/shapes")) == (404, "model_not_found")


async def test_probes_tell_alive_from_ready(client: httpx.AsyncClient, app: FastAPI, backend: FakeBackend) -> None:
    assert (await client.get("/readyz")).json() == {"status": "ok"}
    backend.failure = TritonUnavailable("gone")
    await app.state.services.catalog.refresh()
    assert problem_of(await client.get("/readyz")) == (503, "triton_unavailable")
    assert (await client.get("/livez")).status_code == 200


async def test_unknown_paths_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    assert problem_of(await client.get("/nowhere")) == (404, "not_found")
    answer = await client.get("/v1/classify")
    assert problem_of(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


async def test_what_nobody_foresaw_is_500_without_a_word_of_it(
    client: httpx.AsyncClient, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(_: object) -> None:
        raise RuntimeError("a secret path")

    backend.answer = explode  # type: ignore[assignment]
    answer = await client.post("/v1/classify", content=GREEN)
    assert problem_of(answer) == (500, "internal_error")
    assert "secret" not in answer.text
    assert "a secret path" in caplog.text


@pytest.mark.parametrize("given", ["a b", "x" * 129, 'quote"', "é"])
async def test_a_harmful_request_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/livez", headers={b"X-Request-ID": given.encode()})
    assert len(answer.headers["x-request-id"]) == 32


async def test_a_request_id_is_kept_and_logged_in_one_json_line(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "vitrine.access"):
        answer = await client.post("/v1/classify", content=b"text", headers={"X-Request-ID": "order-17"})
    assert answer.headers["x-request-id"] == "order-17"
    line = json.loads(next(record.message for record in caplog.records if record.name == "vitrine.access"))
    assert (line["request_id"], line["route"], line["status"]) == ("order-17", "/v1/classify", 415)
    assert (line["code"], line["cause"].split(":")[0]) == ("media_type_unsupported", "UnidentifiedImageError")


async def test_every_request_is_counted_once(client: httpx.AsyncClient) -> None:
    await client.post("/v1/classify", content=GREEN)
    await client.post("/v1/classify", content=b"text")
    await client.get("/nowhere")
    text = (await client.get("/metrics")).text
    for line in (
        'vitrine_requests_total{route="/v1/classify",status="2xx"} 1.0',
        'vitrine_requests_total{route="/v1/classify",status="4xx"} 1.0',
        'vitrine_requests_total{route="other",status="4xx"} 1.0',
        'vitrine_images_total{model="colours",outcome="ok"} 1.0',
        'vitrine_images_total{model="colours",outcome="media_type_unsupported"} 1.0',
        'vitrine_rejections_total{reason="media_type_unsupported"} 1.0',
        'vitrine_stage_duration_seconds_count{stage="triton"} 1.0',
        "vitrine_upload_bytes_count 2.0",
        "vitrine_in_flight_requests 1.0",
    ):
        assert line in text.splitlines(), line


async def test_the_documentation_page_loads_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    assert "swagger-ui-bundle.js" in page
    assert "http://" not in page
    assert "https://" not in page
    assert (await client.get("/", follow_redirects=False)).headers["location"] == "/docs"
