"""The plain server gives the answers that ours is compared with the speed of."""

import io
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from benchmarks.plain import PATH, create_app, prepared, read_entry
from contract.config import CONFIG_FILE, INPUT, MODEL_FILE, OUTPUT, from_pbtxt, read_config
from contract.pixels import to_pixels

ROOT = Path(__file__).parents[3]
ENTRY = ROOT / "model_repository" / "cifar10_vit"
CAT = (ROOT / "docs" / "images" / "cat.jpg").read_bytes()


async def test_it_classifies_the_photograph_as_the_service_does() -> None:
    transport = httpx.ASGITransport(create_app(ENTRY))
    async with httpx.AsyncClient(transport=transport, base_url="http://plain") as client:
        answer = await client.post(PATH, content=CAT)
    assert answer.status_code == 200
    classes = answer.json()
    assert [len(classes), classes[0]["label"]] == [5, "cat"]
    entry = read_config(from_pbtxt((ENTRY / CONFIG_FILE).read_text()))
    assert entry is not None
    pixels = to_pixels(Image.open(io.BytesIO(CAT)), entry.preprocessing)
    session = onnxruntime.InferenceSession(str(ENTRY / "1" / MODEL_FILE), providers=["CPUExecutionProvider"])
    (served,) = session.run([OUTPUT], {INPUT: pixels[None]})
    # Pillow's resize and another rounding of edges differ a little.
    assert classes[0]["score"] == pytest.approx(served.max(), abs=0.05)


def test_the_middle_of_the_picture_is_taken() -> None:
    pixels = prepared(CAT, 248, 224)
    assert pixels.shape == (1, 224, 224, 3)
    assert pixels.dtype == np.uint8


def test_what_is_no_entry_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text('name: "other"\n')
    with pytest.raises(ValueError, match=r"is no entry of build-engines"):
        read_entry(tmp_path)
