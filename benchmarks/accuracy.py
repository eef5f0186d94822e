"""Post a labelled set of pictures over HTTP and count how many come back as their class.

    python -m benchmarks.accuracy --data cifar10.zip --url http://127.0.0.1:8080

The set is a folder or a zip of `<split>/<class>/<picture>`, as for training. Files are posted as they are. Where the
model states an accuracy in its `build.accuracy.top1`, the difference is shown, and one above `--tolerance` fails.
"""

import argparse
import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from rich.progress import Progress, TextColumn

from benchmarks.http import Connection
from benchmarks.pictures import picture_files

STATED = "accuracy.top1"


class Tally:
    """What came back so far."""

    def __init__(self) -> None:
        self.posted = self.first = self.within_five = 0
        self.failed: dict[int, int] = {}

    def add(self, status: int, labels: list[str], expected: str) -> None:
        """Count one answer."""
        self.posted += 1
        if status != 200:
            self.failed[status] = self.failed.get(status, 0) + 1
            return
        self.first += labels[0] == expected
        self.within_five += expected in labels

    def percent(self, count: int) -> float:
        """Of all pictures posted; a failed one counts as wrong."""
        return 100 * count / self.posted


async def post_all(url: str, path: str, pictures: Iterator[tuple[str, bytes]], connections: int, total: int) -> Tally:
    """Post every picture, `connections` at a time."""
    tally = Tally()
    progress = Progress(*Progress.get_default_columns(), TextColumn("{task.fields[top1]}"))
    task = progress.add_task("posting", total=total, top1="")

    async def work() -> None:
        async with Connection(url) as connection:
            for expected, content in pictures:
                answer = await connection.post(path, content)
                predictions = answer.json()["predictions"] if answer.status == 200 else []
                tally.add(answer.status, [prediction["label"] for prediction in predictions], expected)
                progress.update(task, advance=1, top1=f"top-1 {tally.percent(tally.first):.2f} %")

    with progress:
        await asyncio.gather(*(work() for _ in range(connections)))
    return tally


def main() -> int:
    """Run from the command line; exit 1 when a picture failed or the accuracy is not the stated one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder or zip of <split>/<class>/<picture>")
    parser.add_argument("--split", default="test", help="default: %(default)s")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the gateway; default: %(default)s")
    parser.add_argument("--model", default="cifar10_vit", help="default: %(default)s")
    parser.add_argument("--connections", type=int, default=16, help="pictures in flight; default: %(default)s")
    parser.add_argument("--tolerance", type=float, default=0.3, help="points of top-1; default: %(default)s")
    options = parser.parse_args()

    with urllib.request.urlopen(f"{options.url}/v1/models/{options.model}") as answer:  # noqa: S310  an http URL
        model = json.load(answer)
    pictures = list(picture_files(options.data, options.split))
    started = time.monotonic()
    tally = asyncio.run(
        post_all(
            options.url,
            f"/v1/models/{options.model}/classify?top_k=5",
            iter(pictures),
            options.connections,
            len(pictures),
        )
    )
    seconds = time.monotonic() - started
    top1 = tally.percent(tally.first)
    print(f"{model['name']} version {model['version']} ({model['build'].get('precision', 'precision not stated')})")
    print(f"{tally.posted} pictures in {seconds:.1f} s, {tally.posted / seconds:.0f} a second")
    print(f"top-1 {top1:.2f} %, top-5 {tally.percent(tally.within_five):.2f} %")
    for status, count in sorted(tally.failed.items()):
        print(f"{count} answered {status}")
    stated = model["build"].get(STATED)
    if stated is None:
        print(f"the entry states no {STATED}")
        return 1 if tally.failed else 0
    difference = top1 - float(stated)
    print(f"the entry states {stated} %: {difference:+.2f} points")
    return 1 if tally.failed or abs(difference) > options.tolerance else 0


if __name__ == "__main__":
    sys.exit(main())
