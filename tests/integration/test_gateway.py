"""The gateway over the real Triton, with the bundled model and the photograph of the project."""

import io
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.fakes import encoded, turned
from tests.integration.conftest import Running
from tests.waiting import until

ROOT = Path(__file__).parents[2]
PHOTOGRAPH = (ROOT / "docs" / "images" / "cat.jpg").read_bytes()
MODEL = "cifar10_vit"
CLASSIFY = f"/v1/models/{MODEL}/classify"


@pytest.fixture(scope="module")
def gateway(stack: Running) -> Iterator[httpx.Client]:
    """The gateway, once the bundled model, published while it runs, has appeared."""
    staged = stack.repository.parent / MODEL
    shutil.copytree(ROOT / "model_repository" / MODEL, staged)
    with httpx.Client(base_url=stack.stack.gateway_url, timeout=30) as client:
        staged.rename(stack.repository / MODEL)
        until(lambda: client.get(f"/v1/models/{MODEL}").status_code == 200)
        yield client


def classified(client: httpx.Client, content: bytes) -> list[dict[str, object]]:
    answer = client.post(CLASSIFY, params={"top_k": 10}, content=content)
    assert answer.status_code == 200, answer.text
    predictions: list[dict[str, object]] = answer.json()["predictions"]
    return predictions


def scores(predictions: list[dict[str, object]]) -> dict[object, float]:
    return {prediction["label"]: float(str(prediction["score"])) for prediction in predictions}


def test_the_photograph_is_recognised(gateway: httpx.Client) -> None:
    predictions = classified(gateway, PHOTOGRAPH)
    assert predictions[0]["label"] == "cat"
    assert sum(scores(predictions).values()) == pytest.approx(1, abs=1e-5)


def test_form_and_raw_body_agree(gateway: httpx.Client) -> None:
    form = gateway.post(CLASSIFY, files={"file": ("cat.jpg", PHOTOGRAPH, "image/jpeg")})
    raw = gateway.post(CLASSIFY, content=PHOTOGRAPH)
    assert form.status_code == raw.status_code == 200
    assert scores(form.json()["predictions"]) == pytest.approx(scores(raw.json()["predictions"]), abs=1e-6)


def test_a_trace_is_handed_on_to_a_triton_that_takes_it(gateway: httpx.Client) -> None:
    trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "vendor=1"}
    assert gateway.post(CLASSIFY, content=PHOTOGRAPH, headers=trace).status_code == 200


RGB = Image.open(io.BytesIO(PHOTOGRAPH)).convert("RGB")
GREY = RGB.convert("L")
PALETTE = RGB.quantize(256)
SIXTEEN_BIT = Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)

TWINS: dict[str, tuple[bytes, Image.Image]] = {
    "JPEG": (encoded(RGB, "JPEG", quality=95), RGB),
    "PNG": (encoded(RGB), RGB),
    "WebP": (encoded(RGB, "WEBP", quality=95), RGB),
    "GIF": (encoded(PALETTE, "GIF"), PALETTE.convert("RGB")),
    "BMP": (encoded(RGB, "BMP"), RGB),
    "TIFF": (encoded(RGB, "TIFF"), RGB),
    "16-bit PNG": (encoded(SIXTEEN_BIT), GREY.convert("RGB")),
    "16-bit TIFF": (encoded(SIXTEEN_BIT, "TIFF"), GREY.convert("RGB")),
    "CMYK JPEG": (encoded(RGB.convert("CMYK"), "JPEG", quality=95), RGB),
    "palette PNG": (encoded(PALETTE), PALETTE.convert("RGB")),
    "RGBA PNG": (encoded(RGB.convert("RGBA")), RGB),
    "LA PNG": (encoded(GREY.convert("LA")), GREY.convert("RGB")),
    "greyscale JPEG": (encoded(GREY, "JPEG", quality=95), GREY.convert("RGB")),
}


@pytest.mark.parametrize("name", TWINS)
def test_every_format_answers_as_its_plain_rgb_twin(gateway: httpx.Client, name: str) -> None:
    content, twin = TWINS[name]
    answer, expected = classified(gateway, content), classified(gateway, encoded(twin))
    assert answer[0]["label"] == expected[0]["label"]
    assert scores(answer) == pytest.approx(scores(expected), abs=0.05)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_answers_the_same(gateway: httpx.Client, orientation: int) -> None:
    answer = classified(gateway, turned(RGB, orientation))
    assert scores(answer) == pytest.approx(scores(classified(gateway, encoded(RGB))), abs=1e-6)


def test_bad_input_is_refused_with_a_code(gateway: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(400):
            yield b"x" * 65_536

    for content, status, code in (
        (b"a line of text", 415, "media_type_unsupported"),
        (PHOTOGRAPH[: len(PHOTOGRAPH) // 2], 422, "image_corrupt"),
        (b"x" * 20_000_001, 413, "body_too_large"),
        (endless(), 413, "body_too_large"),
        (b"", 400, "body_empty"),
    ):
        answer = gateway.post(CLASSIFY, content=content)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"
    answer = gateway.post("/v1/models/no_such_model/classify", content=PHOTOGRAPH)
    assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")


def test_the_bundled_entry_tells_where_it_came_from(gateway: httpx.Client) -> None:
    model = gateway.get(f"/v1/models/{MODEL}").json()
    assert model["labels"][3] == "cat"
    assert model["build"]["precision"] == "fp32"
    assert float(model["build"]["accuracy.top1"]) > 80


def test_triton_gone_is_503_and_the_gateway_recovers_by_itself(gateway: httpx.Client, stack: Running) -> None:
    gateway_pid, triton_pid = stack.stack.gateway_pid, stack.stack.triton_pid
    assert triton_pid is not None
    os.kill(triton_pid, signal.SIGKILL)
    # It is back within a second, which may be between two looks of `/readyz`; a request notices.
    asked = (gateway.post(CLASSIFY, content=PHOTOGRAPH) for _ in range(1000))
    answer = next(answer for answer in asked if answer.status_code != 200)
    assert (answer.status_code, answer.json()["code"]) == (503, "triton_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert gateway.get("/livez").status_code == 200
    until(lambda: gateway.post(CLASSIFY, content=PHOTOGRAPH).status_code == 200)
    assert stack.stack.gateway_pid == gateway_pid
