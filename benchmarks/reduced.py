"""How often a picture that is decoded at reduced scale is still the same class, and what the decoding costs.

    python -m benchmarks.reduced --photos photos.zip --cifar cifar10.zip
    python -m benchmarks.reduced --photos photos.zip --model imagenet_efficientnet_lite0 --times 4 6

For each number of times that a picture is kept larger than it is resized to (`spare`, see `contract.pixels.draft`): the
share of pictures whose top-1 is that of the picture decoded whole. The test pictures of CIFAR-10 are enlarged and saved
as JPEG, since as they are the bundled ViT never resizes them; so are the photographs for a model of 224 pixels.
"""

import argparse
import io
import sys
import time
from collections.abc import Callable, Sequence
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
from contract.config import CONFIG_FILE, MODEL_FILE, from_pbtxt, read_config
from contract.pixels import draft, to_pixels
from contract.spec import Entry

REPOSITORY = Path(__file__).resolve().parents[1] / "model_repository"
ENLARGED = (256, 512)
_CIFAR_EDGE = 32
LARGEST = 50_000_000
SPARES = (1.0, 1.5, 2.0, 3.0, 4.0)
WHOLE = float("inf")

Rows = npt.NDArray[np.float32]


def classifier(entry: Entry) -> Callable[[Sequence[bytes], float], tuple[Rows, float]]:
    """What gives the probabilities of pictures decoded so, and the CPU-ms of each until it is pixels."""
    path = REPOSITORY / entry.name / "1" / MODEL_FILE
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

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


def enlarged(content: bytes, times: float) -> bytes:
    """The same picture as a large JPEG file."""
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    size = (round(picture.width * times), round(picture.height * times))
    picture.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def cifar_pictures(source: Path, count: int) -> tuple[list[bytes], list[str]]:
    """Of CIFAR-10's 10,000 test pictures so many, evenly spread, and their classes."""
    every = islice(picture_files(source, "test"), 0, None, max(1, 10_000 // count))
    labels, contents = zip(*every, strict=True)
    return list(contents), list(labels)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reduced", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="folder or zip of JPEG files")
    parser.add_argument("--cifar", type=Path, help="folder or zip of <split>/<class>/<picture>")
    parser.add_argument("--model", default="cifar10_vit", help="a bundled entry; default: %(default)s")
    parser.add_argument("--times", type=float, nargs="*", default=[], help="enlarge the photographs so many times, too")
    parser.add_argument("--count", type=int, default=2000, help="of CIFAR-10's test pictures; default: %(default)s")
    options = parser.parse_args()
    entry = read_config(from_pbtxt((REPOSITORY / options.model / CONFIG_FILE).read_text()))
    assert entry is not None  # noqa: S101 (the bundled models are entries)
    classify = classifier(entry)
    photos = read(options.photos, LARGEST)
    sets: list[tuple[str, list[bytes], list[str]]] = [(f"{len(photos)} photographs", photos, [])]
    sets += [
        (f"{times:g} times as large", [enlarged(content, times) for content in photos], []) for times in options.times
    ]
    if options.cifar:
        pictures, labels = cifar_pictures(options.cifar, options.count)
        for edge in ENLARGED:
            larger = [enlarged(content, edge / _CIFAR_EDGE) for content in pictures]
            sets.append((f"CIFAR-10 at {edge} pixels", larger, labels))
    table = Table(title=f"{entry.name}, pictures resized to {entry.preprocessing.height} pixels")
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
