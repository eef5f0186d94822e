"""The client, against the gateway over a fake Triton and against servers that misbehave."""

import asyncio
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import TritonUnavailable
from tests.fakes import FakeBackend, a_picture, an_entry, encoded
from tests.processes import free_port
from tests.serving import serving
from tests.unit.vitrine.conftest import CLASSES, Servers, problem, said
from tests.waiting import until_true
from vitrine import AsyncClient, Client, InvalidAnswer, Prediction, Problem, Unreachable
from vitrine.exchange import Explaining

GREEN = encoded(a_picture((0, 200, 0)), "JPEG")


async def test_a_picture_is_classified_from_bytes_a_path_and_a_file(url: str, tmp_path: Path) -> None:
    path = tmp_path / "green.jpg"
    path.write_bytes(GREEN)
    async with AsyncClient(url) as client:
        answers = [await client.classify(each) for each in (GREEN, path, str(path), io.BytesIO(GREEN))]
    for answer in answers:
        assert (answer.model, answer.version, answer.warnings) == ("colours", "1", ())
        assert answer.predictions[0] == Prediction("green", 1, answers[0].predictions[0].score)
        assert {"decode", "triton", "total"} <= answer.timing.keys()


async def test_parameters_reach_the_gateway(url: str) -> None:
    async with AsyncClient(url) as client:
        assert len((await client.classify(GREEN, "colours", top_k=2)).predictions) == 2
        (only,) = (await client.classify(GREEN, min_score=0.4)).predictions
        assert only.label == "green"
        with pytest.raises(Problem) as raised:
            await client.classify(GREEN, "a b?c")
    assert (raised.value.status, raised.value.code) == (404, "model_not_found")
    assert "a b?c" in raised.value.detail


async def test_a_problem_says_what_the_gateway_said(url: str) -> None:
    async with AsyncClient(url) as client:
        with pytest.raises(Problem, match="media_type_unsupported") as raised:
            await client.classify(b"hello")
    assert (raised.value.status, raised.value.by_picture) == (415, True)
    assert raised.value.request_id


async def test_models_are_values(url: str, backend: FakeBackend) -> None:
    backend.serve(an_entry("shapes"))
    backend.configs["shapes", "1"].parameters["contract.crop_pct"].string_value = "no number"
    async with AsyncClient(url) as client:
        looks = backend.looks
        await until_true(lambda: backend.looks > looks + 1)
        found = await client.models()
        detail = await client.model("colours")
    colours, shapes = found
    assert (colours.name, colours.state, colours.precision, colours.top1) == ("colours", "served", "fp32", 50.0)
    assert (colours.classes, colours.height, colours.width, colours.labels) == (3, 8, 8, ())
    assert (shapes.state, shapes.precision, shapes.top1) == ("refused", None, None)
    assert shapes.reason is not None
    assert "crop_pct" in shapes.reason
    assert detail.labels == ("red", "green", "blue")


def test_the_same_without_asyncio(servers_url: str) -> None:
    with Client(servers_url) as client:
        assert client.classify(GREEN).predictions[0].label == "green"
        assert client.models()[0].name == client.model("colours").name == "colours"
        with pytest.raises(Problem):
            client.classify(b"hello")
    client.close()


@pytest.fixture
def servers_url(backend: FakeBackend) -> Iterator[str]:
    """A gateway in a thread of its own, as nothing runs a loop for a test without asyncio."""
    started: list[int] = []
    ready, over = threading.Event(), threading.Event()

    async def run() -> None:
        async with serving(backend) as (_, port):
            started.append(port)
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert ready.wait(30)
    yield f"http://127.0.0.1:{started[0]}"
    over.set()
    thread.join()


async def test_it_comes_back_when_the_server_says_when(servers: Servers) -> None:
    busy = problem(503, "overloaded", Retry_After="0")
    url, server = await servers.start(busy, problem(429, "quota_exceeded", Retry_After="0"), CLASSES)
    async with AsyncClient(url) as client:
        assert (await client.classify(GREEN)).model == "m"
    assert len(server.heads) == 3


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (problem(503, "overloaded"), 503),
        (problem(503, "overloaded", Retry_After="soon"), 503),
        (problem(503, "overloaded", Retry_After="3600"), 503),
        (problem(502, "triton_failed", Retry_After="0"), 502),
        (problem(500, "internal_error", Retry_After="0"), 500),
        (problem(422, "image_corrupt", Retry_After="0"), 422),
    ],
    ids=["no time", "no number", "longer than it waits", "502", "500", "422"],
)
async def test_it_asks_once_otherwise(servers: Servers, answer: bytes, status: int) -> None:
    url, server = await servers.start(answer, CLASSES)
    async with AsyncClient(url) as client:
        with pytest.raises(Problem) as raised:
            await client.classify(GREEN)
    assert raised.value.status == status
    assert len(server.heads) == 1


async def test_it_does_not_wait_longer_in_all_than_it_was_told(servers: Servers) -> None:
    url, server = await servers.start(problem(503, "overloaded", Retry_After="1"))
    async with AsyncClient(url, retry_seconds=0) as client:
        with pytest.raises(Problem):
            await client.classify(GREEN)
    assert len(server.heads) == 1


async def test_a_cut_connection_is_not_tried_again(servers: Servers) -> None:
    url, server = await servers.start(b"", CLASSES)
    async with AsyncClient(url) as client:
        with pytest.raises(Unreachable):
            await client.classify(GREEN)
    assert len(server.heads) == 1


async def test_nobody_there() -> None:
    async with AsyncClient(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(Unreachable, match="cannot be reached"):
            await client.models()


async def test_an_answer_that_takes_too_long(url: str, backend: FakeBackend) -> None:
    backend.hold = asyncio.Event()
    began = time.monotonic()
    async with AsyncClient(url, timeout=0.2) as client:
        with pytest.raises((Unreachable, Problem)) as raised:
            await client.classify(GREEN)
    assert time.monotonic() - began < 20
    if isinstance(raised.value, Problem):  # The gateway was told, and gave up first.
        assert raised.value.code == "deadline_exceeded"


@pytest.mark.parametrize(
    "answer",
    [
        said(200, "<html>"),
        said(200, "{}"),
        said(200, "[]"),
        said(200, '{"model": 1, "version": 1, "predictions": [1], "warnings": []}'),
        said(404, "<html>"),
        said(404, '{"detail": "Not Found"}'),
        said(502, '"bad gateway"'),
        said(302, "", Location="http://127.0.0.1/elsewhere"),
        said(204, ""),
    ],
)
async def test_another_server_is_told_from_a_gateway(servers: Servers, answer: bytes) -> None:
    url, _ = await servers.start(answer)
    async with AsyncClient(url) as client:
        with pytest.raises(InvalidAnswer):
            await client.classify(GREEN)


async def test_the_key_is_sent_and_never_shown(servers: Servers) -> None:
    url, server = await servers.start(problem(401, "unauthorized"))
    async with AsyncClient(f"{url}/root/", key="secret-key") as client:
        with pytest.raises(Problem) as raised:
            await client.classify(GREEN)
    assert "Authorization: Bearer secret-key\r\n" in server.heads[0]
    assert server.heads[0].startswith("POST /root/v1/classify?top_k=5")
    assert "secret-key" not in f"{raised.value!r} {client!r}"
    for key in ("two words", "line\nend", "ключ", ""):
        with pytest.raises(ValueError, match="printable") as invalid:
            AsyncClient(url, key=key)
        assert not key or key not in str(invalid.value)


@pytest.mark.parametrize(
    "wrong", [{"url": "localhost:8080"}, {"url": "ftp://x"}, {"timeout": 0}, {"timeout": float("nan")}]
)
def test_what_cannot_be_is_refused_at_once(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not"):
        AsyncClient(**wrong)  # type: ignore[arg-type]


async def test_triton_away_is_a_problem_with_its_code(url: str, backend: FakeBackend) -> None:
    async with AsyncClient(url, retry_seconds=0) as client:
        await client.classify(GREEN)
        backend.failure = TritonUnavailable("gone")
        with pytest.raises(Problem) as raised:
            await client.classify(GREEN)
    assert (raised.value.code, raised.value.by_picture) == ("triton_unavailable", False)


async def test_an_explanation_is_a_value(servers: Servers) -> None:
    body = """{"model": "m", "version": "2", "method": "rollout",
        "grid": {"rows": 1, "columns": 2, "values": [[0, 1]], "minimum": 0.1, "maximum": 0.4},
        "geometry": {"width": 20, "height": 10, "box": [0, -1.5, 20, 11.5]}, "layers": 3, "heads": null,
        "predictions": [{"label": "cat", "index": 3, "score": 0.5}], "warnings": ["careful"]}"""
    url, server = await servers.start(said(200, body), said(200, "PNG", Content_Type="image/png"))
    async with AsyncClient(url) as client:
        found = await client.explain(GREEN, "m", Explaining(layer=2, fusion="max"))
        picture = await client.heat_map(GREEN, "m", Explaining("occlusion", opacity=0.25))
    assert (found.values, found.minimum, found.maximum) == (((0.0, 1.0),), 0.1, 0.4)
    assert (found.size, found.box, found.layers, found.heads) == ((20, 10), (0.0, -1.5, 20.0, 11.5), 3, None)
    assert (found.predictions[0].label, found.warnings, picture) == ("cat", ("careful",), b"PNG")
    assert server.heads[0].startswith("POST /v1/models/m/explain?layer=2&fusion=max HTTP")
    assert server.heads[1].startswith("POST /v1/models/m/explain?method=occlusion&opacity=0.25 HTTP")
    assert "Accept: image/png" in server.heads[1]
