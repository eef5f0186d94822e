"""Hide the part of each picture that an explanation calls important, and see how far the answer falls.

    python -m benchmarks.faithfulness --data cifar10.zip --under test/ --model cifar10_vit

Of every picture the gateway is asked for the map. A share of the patches is then made grey in the model's input: those
with the highest values, as many at random, and as many in the middle of the picture, where most photographers put what
they photograph. Triton is asked what the model says of each, and the probability of the class that it first answered is
averaged. A map is worth something where its patches cost more than random ones; more than the middle would be better.
Deletion as a measure is that of Petsiuk et al., "RISE", 2018, 4.2, at one share. Intervals are of the mean of paired
differences, at 95 % (normal).
"""

import argparse
import asyncio
import json
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.progress import track

from benchmarks.http import Connection
from contract.config import read_config
from contract.pixels import draft, to_pixels
from contract.spec import Entry, Fusion
from service.explanation import CLASS_DIFFERS
from service.occlusion import GREY
from service.triton import InferenceBackend, TritonBackend

Values = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

_SECONDS = 60.0
_DRAWS = 5
"""Random masks of each picture, whose answers are averaged."""


@dataclass(frozen=True)
class Masked:
    """The probability of a picture's class under each mask."""

    whole: float
    most: float
    least: float
    random: float
    middle: float


class Subject:
    """A served model and its pictures."""

    def __init__(self, entry: Entry, version: str, triton: InferenceBackend, share: float, seed: int) -> None:
        self.entry, self._version, self._triton, self._share = entry, version, triton, share
        self._random = np.random.default_rng(seed)

    async def masked(self, content: bytes, values: Values) -> Masked:
        """How probable the class of the whole picture stays under each mask; `values` are `[rows, columns]`."""
        picture = Image.open(BytesIO(content))
        pixels = to_pixels(picture, self.entry.preprocessing, draft(picture, self.entry.preprocessing))
        rows, columns = values.shape
        down, across = np.mgrid[:rows, :columns]
        middle = -np.hypot((down + 0.5) / rows - 0.5, (across + 0.5) / columns - 0.5)
        draws = [self._random.random(values.shape) for _ in range(_DRAWS)]
        inputs = [pixels, *(self._hidden(pixels, order) for order in (values, -values, middle, *draws))]
        size = self.entry.max_batch_size
        batches = [np.stack(inputs[start : start + size]) for start in range(0, len(inputs), size)]
        answers = np.concatenate([await self._answers(batch) for batch in batches])
        found = answers[:, answers[0].argmax()].astype(float)
        return Masked(found[0], found[1], found[2], float(found[4:].mean()), found[3])

    async def _answers(self, batch: Pixels) -> npt.NDArray[np.float32]:
        return await self._triton.infer(self.entry.name, self._version, batch, _SECONDS)

    def _hidden(self, pixels: Pixels, order: Values) -> Pixels:
        """The input with the patches that come first by `order` made grey."""
        count = round(self._share * order.size)
        chosen = np.zeros(order.size, dtype=bool)
        chosen[np.argsort(-order, axis=None, kind="stable")[:count]] = True
        height, width = pixels.shape[:2]
        rows = np.arange(height) * order.shape[0] // height
        columns = np.arange(width) * order.shape[1] // width
        hidden = chosen.reshape(order.shape)[rows][:, columns]
        return np.where(hidden[..., None], np.uint8(GREY), pixels)


def table(title: str, found: list[Masked]) -> str:
    """The means and the paired differences from random masks."""
    random = np.array([each.random for each in found])
    lines = [
        f"{title}: {len(found)} pictures",
        f"  nothing hidden    {np.mean([each.whole for each in found]):.3f}",
        f"  at random         {random.mean():.3f}",
    ]
    for words, name in (("most important", "most"), ("least important", "least"), ("in the middle", "middle")):
        values = np.array([getattr(each, name) for each in found])
        fall, error = mean_and_error(random - values)
        lines.append(f"  {words:<17} {values.mean():.3f}   {fall:+.3f} ± {error:.3f} below random")
    fall, error = mean_and_error(random - np.array([each.most for each in found]))
    verdict = "passes" if fall - error > 0 else "does not pass"
    return "\n".join((*lines, f"  {verdict}: the most important patches against random ones"))


def border(maps: Values) -> str:
    """How much of maps `[pictures, rows, columns]` lies on the outermost patches, where few pictures show anything."""
    outer = np.ones(maps.shape[1:], dtype=bool)
    outer[1:-1, 1:-1] = False
    shares = np.abs(maps[:, outer]).sum(axis=1) / np.abs(maps).sum(axis=(1, 2))
    return f"  border: {100 * outer.mean():.0f} % of the patches, {100 * shares.mean():.0f} % of the map"


def mean_and_error(differences: Values) -> tuple[float, float]:
    """The mean of paired differences, and half of its 95 % interval."""
    return float(differences.mean()), float(1.96 * differences.std(ddof=1) / len(differences) ** 0.5)


def pictures(data: Path, under: str) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in a folder or zip whose names begin with `under`, in a random order."""
    if data.is_dir():
        files = {str(path.relative_to(data)): path for path in data.rglob("*") if path.is_file()}
        read = {name: path.read_bytes for name, path in files.items()}
    else:
        archive = zipfile.ZipFile(data)
        read = {name: lambda name=name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}  # type: ignore[misc]
    names = sorted(name for name in read if name.startswith(under) and name.lower().endswith((".jpg", ".jpeg", ".png")))
    for index in np.random.default_rng(0).permutation(len(names)):
        yield names[index], read[names[index]]()


def served(url: str) -> Any:
    """What the gateway says of a model."""
    with urllib.request.urlopen(url) as answer:  # noqa: S310  an http URL
        return json.load(answer)


async def measure(options: argparse.Namespace) -> None:
    """Print a table for each way of explaining that the model has."""
    model = await asyncio.to_thread(served, f"{options.url}/v1/models/{options.model}")
    triton = TritonBackend(options.triton)
    entry = read_config(await triton.config(model["name"], model["version"]))
    assert entry is not None  # noqa: S101 (the gateway serves it)
    print(f"{model['name']} version {model['version']}, {100 * options.share:.0f} % of the patches hidden")
    queries = options.query or [
        *(f"rollout&fusion={fusion.value}" for fusion in Fusion if "rollout" in model["explain"]["methods"]),
        "occlusion",
    ]
    async with Connection(options.url) as gateway:
        for query in queries:
            subject = Subject(entry, model["version"], triton, options.share, seed=1)
            count = options.occlusion_pictures if query == "occlusion" else options.pictures
            chosen = [each for each, _ in zip(pictures(options.data, options.under), range(count), strict=False)]
            found, maps, differ = [], [], 0
            for _, content in track(chosen, description=query):
                reply = await gateway.post(f"/v1/models/{options.model}/explain?method={query}", content)
                if reply.status != 200:
                    sys.exit(f"the gateway answered {reply.status}: {reply.body.decode()}")
                grid, warnings = reply.json()["grid"], reply.json()["warnings"]
                differ += any(warning.startswith(CLASS_DIFFERS.partition(":")[0]) for warning in warnings)
                values = np.array(grid["values"])
                found.append(await subject.masked(content, values))
                maps.append(grid["minimum"] + values * (grid["maximum"] - grid["minimum"]))
            print(table(query.replace("&", ", ").replace("=", " "), found), flush=True)
            print(border(np.stack(maps)))
            print(f"  the companion answers another class: {differ} pictures", flush=True)
    await triton.close()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faithfulness", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder or zip of pictures")
    parser.add_argument("--under", default="", help="what the names of those used begin with, such as test/")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the gateway; default: %(default)s")
    parser.add_argument("--triton", default="127.0.0.1:8001", help="its Triton's gRPC; default: %(default)s")
    parser.add_argument("--model", default="cifar10_vit", help="default: %(default)s")
    parser.add_argument("--pictures", type=int, default=500, help="for the rollout; default: %(default)s")
    parser.add_argument("--occlusion-pictures", type=int, default=200, help="for occlusion; default: %(default)s")
    parser.add_argument(
        "--query", action="append", help='a method and its choices, such as "rollout&layer=0"; repeatable; default: all'
    )
    parser.add_argument("--share", type=float, default=0.3, help="of the patches hidden; default: %(default)s")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
