"""The bundled model explained by the real stack: its maps are those of its companion's graph, and of a plain loop."""

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from PIL import Image

from contract.config import from_pbtxt, read_config
from contract.pixels import to_pixels
from embedded.supervisor import Options
from service.triton import TritonBackend
from tests.fakes import encoded
from tests.integration.conftest import Running, running

ROOT = Path(__file__).parents[2]
REPOSITORY = ROOT / "model_repository"
PICTURE = Image.open(ROOT / "docs" / "images" / "cat.jpg")
PHOTO = encoded(PICTURE)
"""As PNG, which is not decoded at reduced scale: the pixels are those of `to_pixels` alone."""
PATH = "/v1/models/cifar10_vit/explain"


@pytest.fixture(scope="module")
def client() -> Iterator[tuple[httpx.Client, Running]]:
    """The stack of `make run`, and who asks it."""
    stack = running(REPOSITORY, Options(REPOSITORY).gateway)
    with stack as started, httpx.Client(base_url=started.stack.gateway_url, timeout=60) as http:
        yield http, started


def session(name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(REPOSITORY / name / "1" / "model.onnx"), providers=["CPUExecutionProvider"])


def pixels() -> npt.NDArray[np.uint8]:
    entry = read_config(from_pbtxt((REPOSITORY / "cifar10_vit" / "config.pbtxt").read_text()))
    assert entry is not None
    return to_pixels(PICTURE, entry.preprocessing)


def raw(body: dict[str, Any]) -> npt.NDArray[np.float64]:
    grid = body["grid"]
    values: npt.NDArray[np.float64] = grid["minimum"] + np.array(grid["values"]) * (grid["maximum"] - grid["minimum"])
    return values


def test_the_rollout_is_that_of_the_companions_graph(client: tuple[httpx.Client, Running]) -> None:
    http, _ = client
    probabilities, rollout, attention = session("cifar10_vit_explain").run(None, {"image": pixels()[None]})
    for number, fusion in enumerate(("mean", "max", "min")):
        body = http.post(PATH, content=PHOTO, params={"fusion": fusion}).json()
        assert np.abs(raw(body) - rollout[0, number]).max() <= 1e-5
    body = http.post(PATH, content=PHOTO, params={"layer": 2, "head": 1}).json()
    assert np.abs(raw(body) - attention[0, 2, 1]).max() <= 1e-5
    classified = http.post("/v1/models/cifar10_vit/classify", content=PHOTO).json()
    assert body["predictions"] == classified["predictions"]
    assert body["warnings"] == []
    assert int(probabilities.argmax()) == classified["predictions"][0]["index"]


def test_occlusion_is_that_of_a_plain_loop(client: tuple[httpx.Client, Running]) -> None:
    http, _ = client
    model, picture = session("cifar10_vit"), pixels()
    whole = model.run(None, {"image": picture[None]})[0][0]
    falls = np.zeros((8, 8))
    for row in range(8):
        for column in range(8):
            hidden = picture.copy()
            hidden[max(0, 4 * row - 2) : 4 * row + 6, max(0, 4 * column - 2) : 4 * column + 6] = 128
            falls[row, column] = whole.max() - model.run(None, {"image": hidden[None]})[0][0][whole.argmax()]
    body = http.post(PATH, content=PHOTO, params={"method": "occlusion"}).json()
    assert np.abs(raw(body) - falls).max() <= 1e-4


def test_the_map_is_drawn_over_the_picture(client: tuple[httpx.Client, Running]) -> None:
    http, _ = client
    answer = http.post(PATH, content=PHOTO, headers={"accept": "image/png"})
    image = Image.open(io.BytesIO(answer.content))
    assert (image.format, image.size) == ("PNG", (451, 300))
    assert np.array_equal(np.asarray(image)[:, :70], np.asarray(PICTURE)[:, :70])


def test_triton_is_asked_for_what_is_wanted(client: tuple[httpx.Client, Running]) -> None:
    _, started = client

    async def ask() -> list[tuple[int, ...]]:
        triton = TritonBackend(started.stack.grpc_address)
        found = await triton.outputs("cifar10_vit_explain", "1", pixels()[None], ("attention", "probabilities"), 10)
        await triton.close()
        return [each.shape for each in found]

    companion = read_config(from_pbtxt((REPOSITORY / "cifar10_vit_explain" / "config.pbtxt").read_text()))
    assert companion is not None
    rollout = companion.explains
    assert rollout is not None
    assert asyncio.run(ask()) == [(1, rollout.layers, rollout.heads, rollout.rows, rollout.columns), (1, 10)]
