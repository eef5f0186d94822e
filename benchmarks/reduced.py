"""How often a picture that is decoded at reduced scale is still the same class, and what the decoding costs.

    python -m benchmarks.reduced --photos photos.zip --cifar cifar10.zip

For each number of times that a picture is kept larger than it is resized to (`spare`, see `contract.pixels.draft`): the
share of pictures whose top-1 is that of the picture decoded whole, by the bundled model. The photographs are as they
are, the test pictures of CIFAR-10 are enlarged and saved as JPEG, since as they are they are never resized.
"""

import argparse
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.cost import read
from benchmarks.pictures import picture_files
from contract.config import from_pbtxt, read_config
from contract.pixels import draft, to_pixels
from contract.spec import Entry

ENTRY = Path(__file__).resolve().parents[1] / "model_repository" / "cifar10_vit"
ENLARGED = (256, 512)
LARGEST = 50_000_000
SPARES = (1.0, 1.5, 2.0, 3.0, 4.0)
WHOLE = float("inf")

Rows = npt.NDArray[np.float32]


def classifier(entry: Entry) -> Callable[[Sequence[bytes], float], tuple[Rows, float]]:
    """What gives the probabilities of pictures decoded so, and the CPU-ms of each until it is pixels."""
    session = onnxruntime.InferenceSession(ENTRY / "1" / "model.onnx", providers=["CPUExecutionProvider"])

    def classify(contents: Sequence[bytes], spare: float) -> tuple[Rows, float]:
        begun = time.thread_time()
        pixels = np.stack([decoded(content, entry, spare) for content in contents])
        cost = (time.thread_time() - begun) * 1000 / len(contents)
        parts = np.array_split(pixels, max(1, len(pixels) // 64))
        return np.concatenate([session.run(None, {"image": part})[0] for part in parts]), cost

    return classify


def decoded(content: bytes, entry: Entry, spare: float) -> npt.NDArray[np.uint8]:
    """The pixels of a picture, as the gateway makes them."""
    picture = Image.open(io.BytesIO(content))
    return to_pixels(picture, entry.preprocessing, draft(picture, entry.preprocessing, spare))


def enlarged(pictures: Iterator[tuple[str, bytes]], edge: int) -> tuple[list[bytes], list[str]]:
    """The same pictures as large JPEG files, and their classes."""
    contents, labels = [], []
    for label, content in pictures:
        buffer = io.BytesIO()
        large = Image.open(io.BytesIO(content)).convert("RGB").resize((edge, edge), Image.Resampling.BICUBIC)
        large.save(buffer, "JPEG", quality=90)
        contents.append(buffer.getvalue())
        labels.append(label)
    return contents, labels


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reduced", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="folder or zip of JPEG files")
    parser.add_argument("--cifar", type=Path, required=True, help="folder or zip of <split>/<class>/<picture>")
    parser.add_argument("--count", type=int, default=2000, help="of CIFAR-10's test pictures; default: %(default)s")
    options = parser.parse_args()
    entry = read_config(from_pbtxt((ENTRY / "config.pbtxt").read_text()))
    assert entry is not None  # noqa: S101 (the bundled model is an entry)
    classify = classifier(entry)
    photos = read(options.photos, LARGEST)
    sets: list[tuple[str, list[bytes], list[str]]] = [(f"{len(photos)} photographs", photos, [])]
    every = max(1, 10_000 // options.count)
    for edge in ENLARGED:
        pictures = islice(picture_files(options.cifar, "test"), 0, None, every)
        sets.append((f"CIFAR-10 at {edge} pixels", *enlarged(pictures, edge)))
    table = Table(title=f"the bundled model, pictures resized to {entry.preprocessing.height} pixels")
    for head in ("pictures", "kept at least", "same top-1", "right", "CPU-ms"):
        table.add_column(head, justify="right")
    for name, contents, labels in sets:
        whole = classify(contents, WHOLE)[0].argmax(1)
        for spare in (WHOLE, *reversed(SPARES)):
            rows, cost = classify(contents, spare)
            best = rows.argmax(1)
            same = f"{100 * float((best == whole).mean()):.2f} %"
            right = sum(entry.labels[each] == label for each, label in zip(best, labels, strict=False))
            shown = f"{100 * right / len(labels):.2f} %" if labels else ""
            table.add_row(name, "whole" if spare == WHOLE else f"{spare:g} times", same, shown, f"{cost:.2f}")
    Console(width=100).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
