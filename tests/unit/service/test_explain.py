"""Explanations over HTTP, of a model that says how red, green and blue a picture is, and of its companion."""

import asyncio
import io
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from service.errors import ModelNotReady
from service.occlusion import hidden
from tests.fakes import WEIGHTS, FakeBackend, a_companion, a_picture, an_entry, colour_shares, encoded, turned
from tests.unit.service.test_api import problem_of

PATH = "/v1/models/colours/explain"
MODEL = an_entry(build={"weights_sha256": WEIGHTS})
GREEN = encoded(a_picture((0, 200, 0)), "JPEG")
PNG = {"accept": "image/png"}


@pytest.fixture
def backend() -> FakeBackend:
    fake = FakeBackend()
    fake.serve(MODEL)
    fake.serve(a_companion(), "7")
    return fake


async def explained(client: httpx.AsyncClient, content: bytes = GREEN, **query: Any) -> dict[str, Any]:
    answer = await client.post(PATH, content=content, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def grid_of(body: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The raw values."""
    grid = body["grid"]
    values = np.array(grid["values"])
    assert values.shape == (grid["rows"], grid["columns"])
    assert (values.min(), values.max()) == (0, 1)
    raw: np.ndarray[Any, Any] = grid["minimum"] + values * (grid["maximum"] - grid["minimum"])
    return raw


async def test_an_answer_is_that_of_classify_with_its_map(client: httpx.AsyncClient) -> None:
    body = await explained(client, top_k=2)
    classified = (await client.post("/v1/classify", content=GREEN, params={"top_k": 2})).json()
    assert {name: body[name] for name in ("model", "version", "predictions", "warnings")} == classified
    assert (body["method"], body["layers"], body["heads"]) == ("rollout", 2, 2)
    assert (body["grid"]["rows"], body["grid"]["columns"]) == (4, 4)
    assert body["geometry"] == {"width": 32, "height": 24, "box": pytest.approx([3.2, 0, 28.8, 24])}
    assert grid_of(body)[0, 0] == body["grid"]["maximum"], "the brighter corner"


async def test_fusion_layer_and_head_choose_the_map(client: httpx.AsyncClient) -> None:
    mean = grid_of(await explained(client))
    for name, share in (("mean", 1), ("max", 1 / 2), ("min", 1 / 3)):
        assert np.allclose(grid_of(await explained(client, fusion=name)), share * mean, atol=1e-6)
    # The fake's heads are numbered 1 to 4, layer by layer.
    for query, factor in (
        ({"layer": 0, "head": 1}, 2),
        ({"layer": 1, "head": 0}, 3),
        ({"layer": 1}, 3.5),
        ({"layer": 1, "fusion": "max"}, 4),
        ({"layer": 1, "fusion": "min"}, 3),
    ):
        assert np.allclose(grid_of(await explained(client, **query)), factor * mean, atol=1e-5), query


@pytest.mark.parametrize(
    "query",
    [
        {"method": "lime"},
        {"fusion": "sum"},
        {"layer": 2},
        {"layer": -1},
        {"layer": 0, "head": 2},
        {"head": 0},
        {"method": "occlusion", "layer": 0},
        {"opacity": 1.1},
        {"opacity": "nan"},
        {"top_k": 0},
    ],
    ids=str,
)
async def test_a_choice_that_there_is_not_is_a_problem(client: httpx.AsyncClient, query: dict[str, Any]) -> None:
    assert problem_of(await client.post(PATH, content=GREEN, params=query)) == (422, "parameter_invalid")


async def test_occlusion_is_the_fall_of_the_class_where_a_part_is_hidden(
    client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    picture[..., 1] //= 2
    body = await explained(client, encoded(Image.fromarray(picture)), method="occlusion")
    whole = colour_shares(picture[None])[0]
    top = int(whole.argmax())
    falls = [whole[top] - colour_shares(copy)[0][top] for copy in hidden(picture, 1)]
    assert np.allclose(grid_of(body), np.array(falls).reshape(8, 8), atol=1e-6)
    assert (body["method"], body["layers"], body["heads"]) == ("occlusion", None, None)
    assert body["predictions"][0]["index"] == top
    assert set(backend.batches[1:]) == {4}, "as many as the model takes"
    assert all(name == "colours" for name, _ in backend.calls)


async def test_without_a_companion_occlusion_is_the_default_and_rollout_says_how_to_have_it(
    client: httpx.AsyncClient, app: FastAPI, backend: FakeBackend
) -> None:
    del backend.configs["watcher", "7"]
    await app.state.services.catalog.refresh()
    assert (await explained(client))["method"] == "occlusion"
    answer = await client.post(PATH, content=GREEN, params={"method": "rollout"})
    assert problem_of(answer) == (422, "explanation_unavailable")
    assert "build-engines build ... --explain" in answer.json()["detail"]
    model = (await client.get("/v1/models/colours")).json()["explain"]
    assert (model["methods"], model["layers"], model["heads"]) == (["occlusion"], None, None)
    assert "no companion" in model["reason"]


async def test_models_say_how_they_can_be_explained(client: httpx.AsyncClient) -> None:
    (model,) = (await client.get("/v1/models")).json()["models"]
    assert model["explain"] == {"methods": ["rollout", "occlusion"], "layers": 2, "heads": 2, "reason": None}
    answer = await client.post("/v1/models/watcher/explain", content=GREEN)
    assert problem_of(answer) == (404, "model_not_found")


async def test_a_companion_that_answers_another_class_is_a_warning(
    client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    backend.spoilt["probabilities"] = np.array([[0.1, 0.1, 0.8]], np.float32)
    assert (await explained(client))["warnings"] == ["class_differs: the companion, which is explained, answers 'blue'"]


@pytest.mark.parametrize(
    ("output", "spoilt"),
    [
        ("rollout", np.zeros((1, 3, 2, 2), np.float32)),
        ("rollout", np.full((1, 3, 4, 4), np.nan, np.float32)),
        ("probabilities", np.zeros((1, 2), np.float32)),
    ],
    ids=["shape", "no numbers", "classes"],
)
async def test_a_companion_that_answers_nonsense_is_a_502(
    client: httpx.AsyncClient, backend: FakeBackend, output: str, spoilt: np.ndarray[Any, Any]
) -> None:
    backend.spoilt[output] = spoilt
    assert problem_of(await client.post(PATH, content=GREEN)) == (502, "model_output_invalid")


@pytest.mark.parametrize("method", ["rollout", "occlusion"])
async def test_a_model_that_answers_nonsense_is_a_502(
    client: httpx.AsyncClient, backend: FakeBackend, method: str
) -> None:
    backend.answer = lambda pixels: np.full((len(pixels), 3), 0.5, np.float32)
    answer = await client.post(PATH, content=GREEN, params={"method": method})
    assert problem_of(answer) == (502, "model_output_invalid")


async def test_a_picture_is_drawn_where_one_is_accepted(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, content=GREEN, headers=PNG)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["vary"] == "Accept"
    assert [part.split(";")[0] for part in answer.headers["server-timing"].split(", ")][-2:] == ["render", "total"]
    image = Image.open(io.BytesIO(answer.content))
    assert image.size == (256, 192)
    assert image.info["Description"].startswith("rollout of 'green' (")
    plain = await client.post(PATH, content=GREEN, headers=PNG, params={"opacity": 0})
    red, green, blue = np.asarray(Image.open(io.BytesIO(plain.content)))[-1, -1].tolist()
    assert green > 180
    assert max(red, blue) < 20


@pytest.mark.parametrize(
    ("accept", "drawn"),
    [
        ("image/png", True),
        ("image/*", True),
        ("image/png, application/json;q=0.9", True),
        ("application/json;q=0.2, IMAGE/PNG ; q=0.3", True),
        ("text/html, image/png", True),
        ("*/*", False),
        ("", False),
        ("image/png;q=0", False),
        ("image/png;q=no", False),
        ("image/*, application/json", False),
        ("image/*;q=0.8, */*;q=0.9", False),
        ("text/html", False),
        (";;,=,/", False),
    ],
)
async def test_accept_decides(client: httpx.AsyncClient, accept: str, drawn: bool) -> None:
    answer = await client.post(PATH, content=GREEN, headers={"accept": accept})
    assert answer.headers["content-type"] == ("image/png" if drawn else "application/json")


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_the_map_lies_on_the_picture_as_it_is_shown(client: httpx.AsyncClient, orientation: int) -> None:
    picture = a_picture(size=(48, 24))
    body = await explained(client, turned(picture, orientation, "JPEG"))
    assert body["geometry"] == {"width": 48, "height": 24, "box": [12, 0, 36, 24]}
    answer = await client.post(PATH, content=turned(picture, orientation), headers=PNG, params={"opacity": 0})
    image = Image.open(io.BytesIO(answer.content))
    assert image.size == (256, 128)
    corner, other = image.getpixel((8, 8)), image.getpixel((240, 120))
    assert corner == (250, 240, 230)
    assert other == (255, 0, 0)


@pytest.mark.parametrize("content", [b"", b"hello", GREEN[:200]], ids=["empty", "text", "truncated"])
@pytest.mark.parametrize("headers", [{}, PNG], ids=["json", "png"])
async def test_a_bad_picture_is_the_problem_that_classify_says(
    client: httpx.AsyncClient, content: bytes, headers: dict[str, str]
) -> None:
    answer = await client.post(PATH, content=content, headers=headers)
    assert problem_of(answer) == problem_of(await client.post("/v1/classify", content=content))


async def test_a_form_and_base64_answer_as_the_raw_body_does(client: httpx.AsyncClient) -> None:
    raw = await client.post(PATH, content=GREEN)
    assert (await client.post(PATH, files={"file": ("x.jpg", GREEN)})).json() == raw.json()


async def test_occlusion_has_its_permits_and_gives_them_back(
    client: httpx.AsyncClient, app: FastAPI, backend: FakeBackend
) -> None:
    services = app.state.services
    backend.hold = asyncio.Event()
    asking = asyncio.create_task(client.post(PATH, content=GREEN, params={"method": "occlusion"}))
    await backend.reached.wait()
    with services.admission.permit(services.admission.capacity - 3):
        backend.hold.set()
        answer = await asking
        assert problem_of(answer) == (503, "overloaded"), "a batch of four has four permits"
        assert answer.headers["retry-after"]
        assert (await client.post("/v1/classify", content=GREEN)).status_code == 200
    assert (await explained(client, method="occlusion"))["method"] == "occlusion"
    services.admission.check(services.admission.capacity)


@pytest.mark.parametrize("method", ["rollout", "occlusion"])
async def test_what_takes_too_long_is_cancelled_at_the_callers_deadline(
    client: httpx.AsyncClient, app: FastAPI, backend: FakeBackend, method: str
) -> None:
    backend.hold = asyncio.Event()
    answer = await client.post(PATH, content=GREEN, params={"method": method}, headers={"x-request-timeout": "0.05"})
    assert problem_of(answer) == (504, "deadline_exceeded")
    backend.hold.set()
    app.state.services.admission.check(app.state.services.admission.capacity)


async def test_a_version_that_went_is_asked_for_once_more(
    client: httpx.AsyncClient, app: FastAPI, backend: FakeBackend
) -> None:
    await app.state.services.catalog.refresh()
    backend.serve(replace(MODEL, max_batch_size=2), "2")
    backend.serve(a_companion(), "8")
    assert (await explained(client))["version"] == "2"
    assert backend.calls[-1] == ("watcher", "8")


async def test_a_companion_that_went_is_not_ready(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.failure = ModelNotReady("the model is not ready; try again shortly")
    assert problem_of(await client.post(PATH, content=GREEN)) in {(503, "model_not_ready"), (503, "triton_unavailable")}


async def test_explanations_are_counted_by_their_own_route(client: httpx.AsyncClient) -> None:
    await client.post(PATH, content=GREEN, headers=PNG)
    await client.post(PATH, content=b"hello")
    page = (await client.get("/metrics")).text
    route = 'route="/v1/models/{model}/explain"'
    assert f'vitrine_requests_total{{fault="none",{route},status="2xx"}} 1.0' in page
    assert f'vitrine_requests_total{{fault="caller",{route},status="4xx"}} 1.0' in page
    assert f'vitrine_stage_duration_seconds_count{{{route},stage="render"}} 1.0' in page
    assert 'vitrine_images_total{model="colours",outcome="ok"} 1.0' in page
    assert 'vitrine_images_total{model="colours",outcome="media_type_unsupported"} 1.0' in page
