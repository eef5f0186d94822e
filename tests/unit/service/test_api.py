"""The HTTP API over a fake Triton."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from starlette.types import Message

from service.errors import ModelNotReady, TritonUnavailable, VitrineError
from service.keys import digest_of
from service.settings import Settings
from service.triton import ModelVersion
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
    assert list(timing) == ["receive", "decode", "resize", "wait", "triton", "total"]
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

    answer = await client.post("/v1/classify", content=endless())
    assert problem_of(answer) == (413, "body_too_large")
    assert answer.headers["connection"] == "close"
    assert sent <= 51_000_000, "what comes after the answer is read for a while, so that it is seen, and not for ever"


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


@pytest.mark.parametrize("names", [["other", "another"], ["file", "file"]])
async def test_a_form_needs_exactly_one_file(client: httpx.AsyncClient, names: list[str]) -> None:
    answer = await client.post("/v1/classify", files=[(name, ("x.jpg", GREEN)) for name in names])
    assert problem_of(answer) == (400, "request_malformed")


async def test_a_form_without_a_file_says_so(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/classify", files={"title": (None, "text")})
    assert problem_of(answer) == (400, "request_malformed")
    assert "expected one file, or one named 'file'; the form's files are named: none" in answer.json()["detail"]


def in_json(*contents: bytes) -> dict[str, object]:
    texts = [base64.b64encode(content).decode() for content in contents]
    return {"images": texts} if len(texts) > 1 else {"image": texts[0]}


async def test_base64_in_json_answers_as_the_raw_body_does(client: httpx.AsyncClient) -> None:
    raw = await client.post("/v1/classify", content=GREEN)
    assert (await client.post("/v1/classify", json=in_json(GREEN))).json() == raw.json()


@pytest.mark.parametrize(
    ("content", "expected", "words"),
    [
        (b"", (400, "body_empty"), ""),
        (b"{", (400, "request_malformed"), "not JSON"),
        (b"[" * 1_000 + b"]" * 1_000, (400, "request_malformed"), "not JSON"),
        (b"[]", (422, "body_invalid"), "the body"),
        (b'{"image": 1}', (422, "body_invalid"), "image: Input should be a valid string"),
        (b'{"image": "Zm9v", "url": 1}', (422, "body_invalid"), "url: Extra"),
        (b'{"image": "no base64"}', (422, "body_invalid"), "image 0 is not base64"),
        (b'{"image": "https://example.com/cat.jpg"}', (422, "body_invalid"), "not fetched from URLs"),
        (b'{"image": ""}', (400, "body_empty"), ""),
        (b'{"images": [' + b"1," * 5_000 + b"1]}", (422, "body_invalid"), 'send {"image": "<base64>"} and nothing'),
        (('{"image": "' + "ä" * 50_000 + '"}').encode(), (422, "body_invalid"), "characters that base64 has not"),
        (b'{"image": "' + b"1" * 50_000 + b'"', (400, "request_malformed"), "not JSON"),
        (b'{"image": "aGVsbG8="}', (415, "media_type_unsupported"), ""),
    ],
)
async def test_json_that_holds_no_picture_is_a_problem(
    client: httpx.AsyncClient, content: bytes, expected: tuple[int, str], words: str
) -> None:
    answer = await client.post("/v1/classify", content=content, headers={"content-type": "application/json"})
    assert problem_of(answer) == expected
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("form", [True, False])
async def test_several_pictures_are_answered_in_order(client: httpx.AsyncClient, form: bool) -> None:
    red = encoded(a_picture((200, 0, 0)))
    contents = [GREEN, red, GREEN[:100], *[GREEN] * 5]
    if form:
        answer = await client.post("/v1/classify/batch?top_k=1", files=[("file", ("x", each)) for each in contents])
    else:
        answer = await client.post("/v1/models/colours/classify/batch?top_k=1", json=in_json(*contents))
    assert answer.status_code == 200
    body = answer.json()
    assert (body["model"], body["version"]) == ("colours", "1")
    assert body["results"][2]["error"].keys() == {"title", "status", "detail", "code"}
    assert (body["results"][2]["error"]["status"], body["results"][2]["error"]["code"]) == (422, "image_corrupt")
    labels = [each["predictions"][0]["label"] for each in body["results"] if "predictions" in each]
    assert labels == ["green", "red", *["green"] * 5]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"content": GREEN}, (400, "request_malformed")),
        ({"json": {"images": []}}, (400, "body_empty")),
        ({"json": {"image": "Zm9v"}}, (422, "body_invalid")),
        ({"files": [("other", (None, "text"))]}, (400, "body_empty")),
        ({"files": [("file", ("x", b""))] * 33}, (413, "too_many_pictures")),
        ({"files": [("file", ("x", b""))] * 500}, (413, "too_many_pictures")),
        ({"json": {"images": ["Zm9v"] * 33}}, (413, "too_many_pictures")),
    ],
)
async def test_a_bad_batch_is_a_problem(
    client: httpx.AsyncClient, request_: dict[str, Any], expected: tuple[int, str]
) -> None:
    answer = await client.post("/v1/classify/batch", **request_)
    assert problem_of(answer) == expected
    if expected[0] == 413:
        assert "at most 32 pictures" in answer.json()["detail"]


async def test_a_batch_needs_room_for_all_its_pictures(client: httpx.AsyncClient, app: FastAPI) -> None:
    services = app.state.services
    with services.admission.permit(63):
        assert (await client.post("/v1/classify", content=GREEN)).status_code == 200
        answer = await client.post("/v1/classify/batch", json=in_json(GREEN, GREEN))
        assert problem_of(answer) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1


async def test_a_full_gateway_refuses_before_it_reads(client: httpx.AsyncClient, app: FastAPI) -> None:
    with app.state.services.admission.permit(64):
        answer = await client.post("/v1/classify", content=b"never looked at")
    assert problem_of(answer) == (503, "overloaded")


@pytest.mark.parametrize(
    "settings",
    [
        Settings(read_timeout_seconds=0.05),
        Settings(read_timeout_seconds=0.05, deadline_seconds=0.05),
        Settings(deadline_seconds=0.05),
    ],
    ids=["sooner than the deadline", "with it", "later"],
)
async def test_a_slow_body_is_given_up_and_its_permit_comes_back(client: httpx.AsyncClient, app: FastAPI) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield GREEN[:10]
        await asyncio.Event().wait()

    answer = await client.post("/v1/classify", content=slow())
    assert problem_of(answer) == (408, "read_timeout")
    assert answer.json()["detail"] == "the body did not arrive within 0.05 s"
    assert await counted(client, "ours") == []
    with app.state.services.admission.permit(64):
        pass


@pytest.mark.parametrize("settings", [Settings(memory_bytes=40_000_000, max_body_bytes=3_000_000)])
async def test_who_does_not_read_the_answer_keeps_no_memory_from_others(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    content = GREEN + bytes(2_600_000)
    stuck = [asyncio.Event() for _ in range(3)]

    async def ask(reached: asyncio.Event) -> None:
        async def send(_: Message) -> None:
            reached.set()
            await asyncio.Event().wait()

        async def receive() -> Message:
            return {"type": "http.request", "body": content, "more_body": False}

        scope = {"type": "http", "method": "POST", "path": "/v1/classify", "query_string": b"", "app": app}
        await app({**scope, "headers": [(b"content-length", b"%d" % len(content))]}, receive, send)

    asking = [asyncio.create_task(ask(each)) for each in stuck]
    await asyncio.wait_for(asyncio.gather(*(each.wait() for each in stuck)), 30)
    assert (await client.post("/v1/classify", content=content)).status_code == 200
    for each in asking:
        each.cancel()


async def test_a_slow_body_does_not_outlast_the_callers_deadline(client: httpx.AsyncClient) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield GREEN[:10]
        await asyncio.Event().wait()

    answer = await client.post("/v1/classify", content=slow(), headers={"X-Request-Timeout": "0.05"})
    assert problem_of(answer) == (504, "deadline_exceeded")


async def test_what_takes_too_long_is_cancelled_at_the_callers_deadline(
    client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    backend.hold = asyncio.Event()
    # A second: on a busy machine the picture takes a while to get to the model, where it is counted.
    answer = await client.post("/v1/classify", content=GREEN, headers={"X-Request-Timeout": "1"})
    assert backend.reached.is_set()
    assert problem_of(answer) == (504, "deadline_exceeded")
    text = (await client.get("/metrics")).text
    assert 'vitrine_images_total{model="colours",outcome="deadline_exceeded"} 1.0' in text


async def test_a_deadline_that_has_passed_stops_the_work_before_it_begins(
    client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    answer = await client.post("/v1/classify", content=GREEN, headers={"X-Request-Timeout": "0.000001"})
    assert problem_of(answer) == (504, "deadline_exceeded")
    assert backend.calls == []


@pytest.mark.parametrize("given", ["0", "-1", "soon", "nan", ""])
async def test_a_deadline_that_is_none_is_a_problem(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.post("/v1/classify", content=GREEN, headers={"X-Request-Timeout": given})
    assert problem_of(answer) == (422, "parameter_invalid")


async def test_a_client_that_leaves_has_its_work_cancelled(
    app: FastAPI, client: httpx.AsyncClient, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.hold = asyncio.Event()
    messages = [{"type": "http.request", "body": GREEN, "more_body": False}]
    headers = [(b"content-length", str(len(GREEN)).encode())]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await backend.reached.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pass

    scope = {"type": "http", "method": "POST", "path": "/v1/classify", "query_string": b"", "headers": headers}
    with caplog.at_level(logging.INFO, "vitrine.access"):
        await app(scope, receive, send)
    assert json.loads(caplog.records[-1].message)["code"] == "client_left"
    text = (await client.get("/metrics")).text.splitlines()
    assert 'vitrine_requests_total{fault="caller",route="/v1/classify",status="cancelled"} 1.0' in text
    assert 'vitrine_images_total{model="colours",outcome="cancelled"} 1.0' in text
    assert "vitrine_in_flight_requests 1.0" in text, "the one that asks for the metrics"


class TestKeys:
    """The gateway with a file of keys."""

    KEY = "vitrine_secret"

    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        (tmp_path / "keys").write_text(f"shop sha256:{digest_of(self.KEY)} rate=1\n")
        return Settings(api_keys_file=tmp_path / "keys")

    async def test_none_and_a_wrong_one_are_401_and_the_right_one_is_not_in_the_log(
        self, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {self.KEY}"}):
            answer = await client.post("/v1/classify", content=b"never looked at", headers=headers)
            assert problem_of(answer) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
        with caplog.at_level(logging.INFO):
            headers = {"authorization": f"bearer {self.KEY}"}
            assert (await client.post("/v1/classify", content=GREEN, headers=headers)).status_code == 200
            answer = await client.get("/v1/models", headers=headers)
            assert problem_of(answer) == (429, "quota_exceeded")
            assert answer.headers["retry-after"] == "1"
        assert self.KEY not in caplog.text
        assert '"caller": "shop"' in caplog.text

    async def test_probes_and_metrics_need_none(self, client: httpx.AsyncClient) -> None:
        assert [(await client.get(path)).status_code for path in ("/livez", "/readyz", "/metrics")] == [200] * 3


@pytest.mark.parametrize(
    "query", ["top_k=0", "top_k=-1", "top_k=1000000000", "top_k=NaN", "top_k=", "min_score=2", "min_score=NaN"]
)
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


async def test_models_that_are_not_served_say_why(
    client: httpx.AsyncClient, app: FastAPI, backend: FakeBackend
) -> None:
    backend.serve(an_entry("broken"))
    backend.configs["broken", "1"].parameters["contract.labels"].string_value = "[" * 5_000
    backend.unready = [
        ModelVersion("soon", "1", False, ""),
        ModelVersion("colours", "2", False, "Internal: Load model from /srv/colours/2/model.onnx failed\n\nAt: x"),
    ]
    await app.state.services.catalog.refresh()
    broken, colours, soon = (await client.get("/v1/models")).json()["models"]
    why = "contract.labels: must be a JSON list of strings; is not JSON"
    assert broken == {"state": "refused", "name": "broken", "version": "1", "reason": why}
    assert (colours["state"], colours["version"]) == ("served", "1")
    cannot_load = "the inference server cannot load it: Internal: Load model from model.onnx failed"
    assert colours["refused"] == {"version": "2", "reason": cannot_load}
    not_loaded = "the inference server has not loaded it; its log may say why"
    assert soon == {"state": "loading", "name": "soon", "reason": not_loaded}
    for method, path in (("GET", ""), ("POST", "/classify")):
        answer = await client.request(method, f"/v1/models/broken{path}", content=GREEN)
        assert problem_of(answer) == (503, "model_refused")
        assert answer.json()["detail"] == f"model 'broken' is refused: {why}"
        assert answer.headers["retry-after"] == "30"
        answer = await client.request(method, f"/v1/models/soon{path}", content=GREEN)
        assert problem_of(answer) == (503, "model_not_ready")
        assert answer.json()["detail"] == f"model 'soon' is not ready: {not_loaded}"
    assert (await client.post("/v1/classify", content=GREEN)).status_code == 200
    assert (await client.get("/readyz")).status_code == 200


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
        'vitrine_requests_total{fault="none",route="/v1/classify",status="2xx"} 1.0',
        'vitrine_requests_total{fault="caller",route="/v1/classify",status="4xx"} 1.0',
        'vitrine_requests_total{fault="caller",route="other",status="4xx"} 1.0',
        'vitrine_images_total{model="colours",outcome="ok"} 1.0',
        'vitrine_images_total{model="colours",outcome="media_type_unsupported"} 1.0',
        'vitrine_rejections_total{fault="caller",reason="media_type_unsupported"} 1.0',
        'vitrine_stage_duration_seconds_count{route="/v1/classify",stage="triton"} 1.0',
        "vitrine_ready 1.0",
        "vitrine_upload_bytes_count 2.0",
        "vitrine_in_flight_requests 1.0",
        "vitrine_in_flight_pictures 0.0",
    ):
        assert line in text.splitlines(), line


async def counted(client: httpx.AsyncClient, fault: str) -> list[str]:
    """The requests to classify and the rejections that are somebody's fault, without their numbers."""
    lines = (await client.get("/metrics")).text.splitlines()
    names = ("vitrine_requests_total{", "vitrine_rejections_total{")
    return [line.split("} ")[0] for line in lines if line.startswith(names) and f'fault="{fault}"' in line]


async def test_a_deadline_of_the_callers_own_is_the_callers_fault(
    client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    backend.hold = asyncio.Event()
    for timeout in ("0.00001", "0.05"):
        answer = await client.post("/v1/classify", content=GREEN, headers={"X-Request-Timeout": timeout})
        assert problem_of(answer) == (504, "deadline_exceeded")
    assert await counted(client, "caller") == [
        'vitrine_requests_total{fault="caller",route="/v1/classify",status="5xx"',
        'vitrine_rejections_total{fault="caller",reason="deadline_exceeded"',
    ]
    assert await counted(client, "ours") == []


@pytest.mark.parametrize("settings", [Settings(deadline_seconds=0.05)])
@pytest.mark.parametrize("asked", [{}, {"X-Request-Timeout": "60"}], ids=["none", "longer"])
async def test_a_deadline_of_the_gateways_is_its_own_fault(
    client: httpx.AsyncClient, backend: FakeBackend, asked: dict[str, str]
) -> None:
    backend.hold = asyncio.Event()
    answer = await client.post("/v1/classify", content=GREEN, headers=asked)
    assert problem_of(answer) == (504, "deadline_exceeded")
    assert await counted(client, "ours") == [
        'vitrine_requests_total{fault="ours",route="/v1/classify",status="5xx"',
        'vitrine_rejections_total{fault="ours",reason="deadline_exceeded"',
    ]
    assert await counted(client, "caller") == []


async def test_pictures_in_flight_are_those_of_batches_too(client: httpx.AsyncClient, app: FastAPI) -> None:
    with app.state.services.admission.permit(32), app.state.services.admission.permit(3):
        assert "vitrine_in_flight_pictures 35.0" in (await client.get("/metrics")).text


async def test_what_is_turned_away_at_capacity_is_nobodys_fault(client: httpx.AsyncClient, app: FastAPI) -> None:
    with app.state.services.admission.permit(64):
        await client.post("/v1/classify", content=GREEN)
    assert await counted(client, "shed") == [
        'vitrine_requests_total{fault="shed",route="/v1/classify",status="5xx"',
        'vitrine_rejections_total{fault="shed",reason="overloaded"',
    ]
    assert [*await counted(client, "ours"), *await counted(client, "caller")] == []


async def test_what_failed_says_nothing_of_how_long_an_answer_takes(
    client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    await client.post("/v1/classify", content=GREEN)
    await client.post("/v1/classify", content=b"text")
    backend.answer = lambda pixels: np.full((len(pixels), 3), np.nan, np.float32)
    assert (await client.post("/v1/classify", content=GREEN)).status_code == 502
    text = (await client.get("/metrics")).text.splitlines()
    assert 'vitrine_stage_duration_seconds_count{route="/v1/classify",stage="total"} 1.0' in text
    assert await counted(client, "ours") == [
        'vitrine_requests_total{fault="ours",route="/v1/classify",status="5xx"',
        'vitrine_rejections_total{fault="ours",reason="model_output_invalid"',
    ]


async def test_the_documentation_page_loads_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    assert "swagger-ui-bundle.js" in page
    assert "http://" not in page
    assert "https://" not in page


@pytest.mark.parametrize("settings", [Settings(max_in_flight=2, refresh_seconds=0.01)])
async def test_a_batch_that_could_never_be_admitted_is_too_large(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/classify/batch", json=in_json(GREEN, GREEN, GREEN))
    assert problem_of(answer) == (413, "too_many_pictures")
    assert "at most 2" in answer.json()["detail"]
    assert (await client.post("/v1/classify/batch", json=in_json(GREEN, GREEN))).status_code == 200


@pytest.mark.parametrize("settings", [Settings(max_in_flight=4, refresh_seconds=0.01)])
async def test_who_still_sends_keeps_nobody_from_being_answered(client: httpx.AsyncClient) -> None:
    rest = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield GREEN[:10]
        await rest.wait()
        yield GREEN[10:]

    sending = [asyncio.ensure_future(client.post("/v1/classify", content=slow())) for _ in range(20)]
    await asyncio.sleep(0.05)
    for _ in range(5):
        assert (await client.post("/v1/classify", content=GREEN)).status_code == 200
    rest.set()
    codes = [(await each).status_code for each in sending]
    assert set(codes) <= {200, 503}
    assert codes.count(200) >= 4


@pytest.mark.parametrize("settings", [Settings(memory_bytes=4_000_000, max_image_pixels=10**9, refresh_seconds=0.01)])
async def test_without_the_memory_for_it_a_body_or_a_picture_is_too_large(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/classify", content=bytes(900_000))
    assert problem_of(answer) == (413, "body_too_large")
    assert "833333" in answer.json()["detail"], "a quarter of the budget, less what its copies take"
    answer = await client.post("/v1/classify", content=GREEN)
    assert problem_of(answer) == (413, "image_too_large")
    assert "at most 3 MB" in answer.json()["detail"]
