"""The server that people write first: FastAPI, Pillow and ONNX Runtime in one file. What ours is held against.

    python -m benchmarks.plain model_repository/cifar10_vit 8000

It has no limits, deadlines, batches or metrics, runs each picture alone, and lets ONNX Runtime use every core. The
entry only says how large its input is; the picture is resized and cropped as timm does it by default.
"""

import io
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image

from contract.config import CONFIG_FILE, INPUT, MODEL_FILE, OUTPUT, from_pbtxt, read_config
from contract.spec import Entry

PATH = "/classify"


def create_app(folder: Path) -> FastAPI:
    """The server of the newest version in an entry's folder."""
    entry = read_entry(folder)
    size, edge = entry.preprocessing.width, round(entry.preprocessing.width / entry.preprocessing.crop_pct)
    version = max((each for each in folder.iterdir() if each.name.isdecimal()), key=lambda each: int(each.name))
    session = onnxruntime.InferenceSession(version / MODEL_FILE, providers=["CPUExecutionProvider"])
    app = FastAPI()

    def predict(content: bytes) -> list[dict[str, object]]:
        (probabilities,) = session.run([OUTPUT], {INPUT: prepared(content, edge, size)})[0]
        order = np.argsort(-probabilities)[:5]
        return [{"label": entry.labels[index], "score": float(probabilities[index])} for index in order]

    @app.post(PATH)
    async def classify(request: Request) -> list[dict[str, object]]:
        return await run_in_threadpool(predict, await request.body())

    return app


def prepared(content: bytes, edge: int, size: int) -> npt.NDArray[np.uint8]:
    """The middle of a picture whose shorter edge is resized to `edge`, as `[1, size, size, 3]`."""
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    scale = edge / min(picture.size)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
    left, top = (picture.width - size) // 2, (picture.height - size) // 2
    return np.asarray(picture.crop((left, top, left + size, top + size)))[np.newaxis]


def read_entry(folder: Path) -> Entry:
    """What an entry's config says.

    Raises:
        ValueError: it is none of ours.
    """
    entry = read_config(from_pbtxt((folder / CONFIG_FILE).read_text()))
    if entry is None:
        raise ValueError(f"{folder} is no entry of build-engines")
    return entry


if __name__ == "__main__":
    uvicorn.run(create_app(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
