"""Build every family of models at every precision, with random weights, and write what came of it as a table.

    python -m benchmarks.matrix --work build/matrix             (make matrix)
    python -m benchmarks.matrix --work build/matrix --large     (hours)

For each model: the FP32 graph compared with torch; FP32, FP16 and INT8 graphs compiled by TensorRT
for RTX; the FP32 entry served by the embedded Triton and compared with its graph. Results are kept in the work
folder, so that a run that was ended goes on where it was; `--again` forgets them.
"""

import argparse
import asyncio
import dataclasses
import json
import platform
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image
from tritonclient.grpc.aio import InferenceServerClient, InferInput

from benchmarks.http import Connection
from contract.config import CONFIG_FILE, INPUT, MODEL_FILE, OUTPUT, from_pbtxt, read_config
from contract.cpus import available_cpus
from embedded.supervisor import Options, Stack

PROJECT = Path(__file__).resolve().parents[1]
BUILDER = PROJECT / ".venv" / "build" / "bin" / "build-engines"
PHOTO = PROJECT / "docs" / "images" / "cat.jpg"
CALIBRATION, EVALUATION = 512, 32
PLAN = """\
[defaults]
pretrained = false
max_batch_size = 8
cache = "cache"
reports = "reports"
{classes}
[[model]]
model = "{model}"
name = "graph"
repository = "served"

[[model]]
model = "{model}"
name = "engine"
repository = "compiled"
compiler = "rtx"
precisions = ["fp32", "fp16", "int8"]
calibration = "../calibration.zip"
calibration_method = "max"
evaluation = "../evaluation.zip"
force = true
"""
PAGE = """\
# Which models can be built

Made by `make matrix` (`python -m benchmarks.matrix{arguments}`) on {machine}. Weights are random: the table says what
can be built, compiled and served, and how large it is; it says nothing about accuracy. TensorRT
for RTX compiled the engines, without a GPU: that shows that a graph parses and compiles, not how fast it runs. INT8
was calibrated with {calibration} made pictures (method max).

- *differs from torch*: how far a probability of the FP32 graph is from the model's at most, and its logarithm.
- *differs in Triton*: how far a probability is at most between the embedded Triton, asked over gRPC, and ONNX Runtime
  with the same graph.
- *build*: everything in the row, from nothing.

{table}
{missing}{failures}"""


@dataclasses.dataclass(frozen=True)
class Model:
    """One row."""

    name: str
    """timm's."""
    large: bool = False
    """Only when it is asked for: a base model takes ten minutes on two cores, and these are as large or larger."""
    own_head: bool = True
    """Whether it has a classifier without being given one."""


MODELS = (
    Model("vit_tiny_patch16_224"),
    Model("vit_small_patch16_224"),
    Model("vit_base_patch16_224"),
    Model("vit_base_patch16_384", large=True),
    Model("vit_large_patch16_224", large=True),
    Model("vit_huge_patch14_224", large=True, own_head=False),
    Model("deit_tiny_patch16_224"),
    Model("deit_small_patch16_224"),
    Model("deit_base_patch16_224", large=True),
    Model("deit_tiny_distilled_patch16_224"),
    Model("deit_small_distilled_patch16_224"),
    Model("deit_base_distilled_patch16_224", large=True),
    Model("swin_tiny_patch4_window7_224"),
    Model("swin_small_patch4_window7_224"),
    Model("swin_base_patch4_window7_224", large=True),
    Model("vit_base_patch16_224.mae", own_head=False),
    Model("vit_base_patch16_clip_224.openai_ft_in1k"),
    Model("deit3_small_patch16_224"),
    Model("eva02_tiny_patch14_224", own_head=False),
    Model("vit_tiny_r_s16_p8_224"),
    Model("swinv2_tiny_window8_256"),
    Model("convnext_tiny"),
    Model("levit_128s"),
    Model("mobilevit_s"),
    Model("mobilenetv3_large_100"),
    Model("efficientnet_lite0"),
    Model("resnet50"),
    Model("regnety_004"),
    Model("resnet18"),
)


@dataclasses.dataclass(frozen=True)
class Row:
    """What came of one model."""

    model: str
    seconds: float
    parameters: int | None = None
    graph_mb: dict[str, float] = dataclasses.field(default_factory=dict)
    """By precision."""
    engine_mb: dict[str, float] = dataclasses.field(default_factory=dict)
    torch_diff: str = ""
    triton_diff: float | None = None
    failures: tuple[str, ...] = ()


def make_pictures(path: Path, count: int) -> None:
    """A zip of `count` pictures that differ: smooth colours with noise, the same each time."""
    random = np.random.default_rng(count)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            blobs = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((256, 256))
            noise = random.normal(0, 20, (256, 256, 3))
            content = BytesIO()
            pixels = np.clip(np.asarray(blobs) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(content, "JPEG")
            archive.writestr(f"{number:04}.jpg", content.getvalue())


def build(model: Model, folder: Path) -> Row:
    """Build one model in `folder`, and serve it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    classes = ""
    if not model.own_head:
        (folder / "labels.txt").write_text("".join(f"class {number}\n" for number in range(1000)))
        classes = 'labels = "labels.txt"\n'
    (folder / "models.toml").write_text(PLAN.format(model=model.name, classes=classes))
    started = time.monotonic()
    done = subprocess.run(  # noqa: S603
        [BUILDER, "apply", folder / "models.toml"], stderr=subprocess.PIPE, text=True, check=False
    )
    row = Row(model.name, time.monotonic() - started)
    row = dataclasses.replace(row, failures=tuple(line for line in done.stderr.splitlines() if " error: " in line))
    for variant in _variants(folder, "graph"):
        entry = folder / "served" / "graph"
        config = read_config(from_pbtxt((entry / CONFIG_FILE).read_text()))
        assert config is not None  # noqa: S101 (the builder has just written it)
        row = dataclasses.replace(
            row,
            parameters=int(config.build["parameters"]),
            torch_diff=", ".join(variant["measured"]["parity"][f"parity.max_{kind}_diff"] for kind in ("abs", "log")),
            triton_diff=asyncio.run(served(folder / "served", entry / "1" / MODEL_FILE)),
        )
    for variant in _variants(folder, "engine"):
        precision = variant["precision"]
        if variant["measured"]:
            row.graph_mb[precision] = variant["measured"]["graph_size"] / 1e6
            row.engine_mb[precision] = variant["measured"]["engine_size"] / 1e6
        if variant["outcome"] == "failed":
            row = dataclasses.replace(row, failures=(*row.failures, f"{precision}: {variant['reason']}"))
    return row


def _variants(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    report = folder / "reports" / name / "report.json"
    if report.exists():
        yield from json.loads(report.read_text("utf-8"))["variants"]


async def served(repository: Path, graph: Path) -> float:
    """The largest difference of a probability between Triton and ONNX Runtime; the gateway answers a photograph too."""
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    size = session.get_inputs()[0].shape[1:3]
    images = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    (expected,) = session.run([OUTPUT], {INPUT: images})
    del session
    async with Stack(Options(repository)) as stack:
        await stack.ready()
        image = InferInput(INPUT, list(images.shape), "UINT8")
        image.set_data_from_numpy(images)
        async with InferenceServerClient(stack.grpc_address) as client:
            found = (await client.infer("graph", [image])).as_numpy(OUTPUT)
        async with Connection(stack.gateway_url) as connection:
            answer = await connection.post("/v1/classify", PHOTO.read_bytes())
    if answer.status != 200:
        raise RuntimeError(f"the gateway answered {answer.status}: {answer.body[:200]!r}")
    return float(np.abs(found - expected).max())


def table(rows: Iterable[Row]) -> str:
    """The rows as Markdown."""
    heads = [
        *("model", "parameters", "graph, MB: FP32, FP16, INT8", "engine, MB: FP32, FP16, INT8"),
        *("differs from torch", "differs in Triton", "build"),
    ]
    lines = [heads, ["---"] * len(heads), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Row) -> list[str]:
    return [
        f"`{row.model}`",
        f"{row.parameters / 1e6:.1f} M" if row.parameters else "-",
        _sizes(row.graph_mb),
        _sizes(row.engine_mb),
        row.torch_diff or "-",
        "-" if row.triton_diff is None else f"{row.triton_diff:.0e}",
        f"{row.seconds:.0f} s",
    ]


def _sizes(by_precision: dict[str, float]) -> str:
    sizes = (by_precision.get(precision) for precision in ("fp32", "fp16", "int8"))
    return ", ".join("-" if size is None else f"{size:.0f}" if size >= 10 else f"{size:.1f}" for size in sizes)


def _missing(rows: Iterable[Row]) -> str:
    names = sorted({model.name for model in MODELS} - {row.model for row in rows})
    return f"\nNot built in this run: {', '.join(f'`{name}`' for name in names)}.\n" if names else ""


def _failures(rows: Iterable[Row]) -> str:
    lines = [f"- `{row.model}`: {' '.join(failure.split())}" for row in rows for failure in row.failures]
    return "\n".join(["\n## What did not work\n", *lines, ""]) if lines else ""


def page(rows: list[Row], arguments: str) -> str:
    """The whole page."""
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    machine = f"{available_cpus()} cores of {cpu.partition(': ')[2] or platform.machine()}"
    return PAGE.format(
        arguments=arguments,
        machine=machine,
        calibration=CALIBRATION,
        table=table(rows),
        missing=_missing(rows),
        failures=_failures(rows),
    )


def main() -> int:
    """Run from the command line; exit 1 when something did not work."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matrix", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, default=PROJECT / "build" / "matrix", help="default: build/matrix")
    parser.add_argument("--large", action="store_true", help="the large models too")
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="these models")
    parser.add_argument("--again", action="store_true", help="forget the results that are in the work folder")
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "model-matrix.md")
    options = parser.parse_args()
    if options.again:
        shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True, exist_ok=True)
    for path, count in (("calibration.zip", CALIBRATION), ("evaluation.zip", EVALUATION)):
        make_pictures(options.work / path, count)
    rows = []
    for model in MODELS:
        kept = options.work / f"{model.name}.json"
        if kept.exists():
            rows.append(Row(**json.loads(kept.read_text())))
        elif model.name in options.only if options.only else options.large or not model.large:
            print(f"\n== {model.name}", flush=True)
            row = build(model, options.work / model.name)
            shutil.rmtree(options.work / model.name)  # several GB
            kept.write_text(json.dumps(dataclasses.asdict(row)))
            rows.append(row)
        if rows:
            options.out.write_text(page(rows, " --large" if options.large else ""))
    return 1 if any(row.failures for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
