"""What a request costs beside what its picture costs: CPU time of gateway and Triton, with a model that costs nothing.

    python -m benchmarks.cost --data photos.zip
    git worktree add ../before COMMIT && python -m benchmarks.cost --data photos.zip --beside ../before

Posts the pictures of a folder or zip (JPEG, as they are) over so many connections to the gateway, whose Triton serves a
model that looks at one pixel; in the same run, in turn, one thread decodes, resizes and crops the same pictures with
Pillow, in one step. The ratio is what a person pays for HTTP, gRPC, batching, limits and metrics; beside it, that of
the gateway alone, without Triton. The load comes from this process; its own CPU time is not counted.
"""

import argparse
import asyncio
import io
import shutil
import sys
import tempfile
import time
import zipfile
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.gateway import over_http
from contract.config import CONFIG_FILE, LABELS_FILE, MODEL_FILE, Scheduling, to_pbtxt, write_config
from contract.spec import Entry, Preprocessing
from embedded.supervisor import GATEWAY, Options, Stack

GRAPH = Path(__file__).with_name("data") / "nothing.onnx"
MODEL = "nothing"
PREPROCESSING = Preprocessing(height=224, width=224, crop_pct=0.9)
RESIZED = 248
"""The shorter edge before the crop: 224 / 0.9."""


def read(path: Path, largest: int) -> list[bytes]:
    """The pictures of a folder or zip, without those of more pixels than `largest`."""
    if path.is_dir():
        contents = [file.read_bytes() for file in sorted(path.rglob("*")) if file.suffix.lower() in (".jpg", ".jpeg")]
    else:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg")))
            contents = [archive.read(name) for name in names]
    sizes = [Image.open(io.BytesIO(content)).size for content in contents]
    found = [content for content, (width, height) in zip(contents, sizes, strict=True) if width * height <= largest]
    if not found:
        raise SystemExit(f"{path} has no JPEG of at most {largest} pixels")
    return found


def bare(content: bytes) -> None:
    """Decode, resize and crop in one step, as plain as it goes."""
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    scale = min(picture.size) / RESIZED
    left, top = (picture.width - 224 * scale) / 2, (picture.height - 224 * scale) / 2
    box = (left, top, left + 224 * scale, top + 224 * scale)
    np.asarray(picture.resize((224, 224), Image.Resampling.BICUBIC, box=box))


def bare_ms(contents: list[bytes], seconds: float) -> float:
    """CPU milliseconds of `bare`, per picture."""
    begun, cpu, count = time.perf_counter(), time.thread_time(), 0
    for content in cycle(contents):
        bare(content)
        count += 1
        if time.perf_counter() - begun > seconds:
            break
    return (time.thread_time() - cpu) * 1000 / count


def publish(repository: Path) -> None:
    """The model that costs nothing."""
    entry = Entry(MODEL, PREPROCESSING, ("red", "green", "blue"), max_batch_size=32)
    (repository / MODEL / "1").mkdir(parents=True)
    (repository / MODEL / CONFIG_FILE).write_text(to_pbtxt(write_config(entry, Scheduling())))
    (repository / MODEL / LABELS_FILE).write_text("".join(f"{label}\n" for label in entry.labels))
    shutil.copy(GRAPH, repository / MODEL / "1" / MODEL_FILE)


async def measure(options: argparse.Namespace, console: Console) -> None:
    """Start the stacks, load them and the bare loop in turn, print the table."""
    contents = read(options.data, options.largest)
    table = Table(title=f"{len(contents)} pictures, {options.seconds:g} s a row")
    heads = ["connections", "gateway", "bare CPU-ms", "served", "of it gateway", "ratio", "of it gateway"]
    for head in (*heads, "requests/s", "p50 ms", "p99 ms"):
        table.add_column(head, justify="right")
    commands = {"this": GATEWAY, **{path.name: ("env", "-C", str(path), *GATEWAY) for path in options.beside}}
    async with AsyncExitStack() as opened:
        repository = Path(opened.enter_context(tempfile.TemporaryDirectory())) / "repository"
        publish(repository)
        stacks = {
            name: await opened.enter_async_context(Stack(Options(repository, gateway=command)))
            for name, command in commands.items()
        }
        for connections in options.connections:
            for stack in stacks.values():  # The first requests are not like the others.
                await stack.ready()
                await over_http(stack, MODEL, cycle(contents), connections, 1.0)
            for _ in range(options.rounds):
                alone = await asyncio.to_thread(bare_ms, contents, options.seconds)
                for name, stack in stacks.items():
                    load = await over_http(stack, MODEL, cycle(contents), connections, options.seconds)
                    figures = [alone, load.cpu_ms, load.gateway_cpu_ms]
                    figures += [load.cpu_ms / alone, load.gateway_cpu_ms / alone]
                    figures += [load.rate, load.percentile_ms(50), load.percentile_ms(99)]
                    table.add_row(str(connections), name, *(f"{figure:.2f}" for figure in figures))
    console.print(table)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder or zip of JPEG files")
    parser.add_argument("--largest", type=int, default=500_000, help="leave out more pixels; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each row; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="for each number of connections; default: %(default)s")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 32], help="default: %(default)s")
    parser.add_argument(
        "--beside",
        type=Path,
        action="append",
        default=[],
        metavar="CHECKOUT",
        help="load the gateway of another commit's working tree as well; may be given several times",
    )
    asyncio.run(measure(parser.parse_args(), Console(width=140)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
