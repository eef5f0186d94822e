"""`python -m embedded.demo [PHOTO]`: start everything, classify one photograph, show the answer, stop."""

import argparse
import asyncio
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from embedded.errors import Unable
from embedded.supervisor import Options, Stack

PROJECT = Path(__file__).resolve().parents[1]
MODELS = ("imagenet_efficientnet_lite0", "cifar10_vit")
"""The bundled entries: a convolutional network that knows a thousand classes, and a Vision Transformer of ten."""
BAR = 30


class Answer(NamedTuple):
    """What the gateway said of the photograph."""

    model: str
    scores: list[tuple[str, float]]
    stages: str
    """The `Server-Timing` header."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where the photograph was classified."""
    parser = argparse.ArgumentParser(prog="python -m embedded.demo", description=__doc__)
    parser.add_argument("photo", type=Path, nargs="?", default=PROJECT / "docs" / "images" / "cat.jpg")
    parser.add_argument("--repository", type=Path, default=PROJECT / "model_repository", help="default: %(default)s")
    parser.add_argument("--models", nargs="+", default=MODELS, help="default: %(default)s")
    given = parser.parse_args(arguments)
    write = sys.stdout.write
    try:
        photo = given.photo.read_bytes()
        asyncio.run(_demonstrate(photo, os.path.relpath(given.photo), given.repository, given.models))
    except (Unable, OSError, asyncio.TimeoutError) as error:
        write(f"vitrine: {_reason(error)}\n")
        return 2
    return 0


async def _demonstrate(photo: bytes, path: str, repository: Path, models: Sequence[str]) -> None:
    began = time.monotonic()
    async with Stack(Options(repository, show=lambda _: None)) as stack:
        await stack.ready(timeout_s=30)
        ready = time.monotonic()
        sys.stdout.write(f"\n  {path}\n")
        for model in models:
            answer = await asyncio.to_thread(ask, stack.gateway_url, photo, model)
            sys.stdout.write(picture(answer))
        answered = time.monotonic()
        sys.stdout.write(
            f"\n  ready after {ready - began:.1f} s, all answers {1000 * (answered - ready):.0f} ms later\n\n"
            "  go on with      make run\n"
            f"  and then        curl --data-binary @{path} http://127.0.0.1:8080/v1/classify\n\n"
        )


def ask(url: str, photo: bytes, model: str) -> Answer:
    """Have `model`, behind the gateway at `url`, classify `photo`.

    Raises:
        OSError: it did not answer, or not with classes.
    """
    request = urllib.request.Request(  # noqa: S310  (our own gateway)
        f"{url}/v1/models/{model}/classify?top_k=5", data=photo, headers={"Content-Type": "image/jpeg"}
    )
    # The gateway is on this machine, whatever proxy the environment names.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=30) as response:
        body = json.load(response)
        return Answer(
            model=f"{body['model']} version {body['version']}",
            scores=[(one["label"], one["score"]) for one in body["predictions"]],
            stages=response.headers.get("Server-Timing", ""),
        )


def picture(answer: Answer) -> str:
    """The answer as text: a bar for each class, a line for the stages."""
    widest = max((len(label) for label, _ in answer.scores), default=0)
    bars = [f"  {label:<{widest}}  {'█' * round(BAR * score):<{BAR}}  {score:6.1%}" for label, score in answer.scores]
    stages = [f"{name} {duration:.1f} ms" for name, duration in durations(answer.stages)]
    return "\n".join([f"\n  {answer.model}", "", *bars, "", f"  {', '.join(stages)}", ""])


def durations(server_timing: str) -> list[tuple[str, float]]:
    """The stages of a `Server-Timing` header ("decode;dur=3.1, triton;dur=9") in milliseconds."""
    stages = []
    for metric in server_timing.split(","):
        name, *parameters = (part.strip() for part in metric.split(";"))
        stages += [(name, float(each.removeprefix("dur="))) for each in parameters if each.startswith("dur=")]
    return stages


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the gateway answered {error.code}: {error.read(1000).decode(errors='replace')}"
    if isinstance(error, asyncio.TimeoutError):
        return "the gateway was not ready in time; `make run` says more"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
