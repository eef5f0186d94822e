"""Build a small model again and again, each time in a child that ends itself after a step: `apart` or `on FOLDER`.

`apart`: each child has a folder of its own and dies one step later than the one before. `on`: all have the same folder,
and each goes on where the one before died. Run by test_kills.py in a process of its own, since a child of pytest would
inherit torch's threads.
"""

import dataclasses
import os
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import timm  # noqa: F401 (once, and not in every child)
import torch
from PIL import Image

from build_engines.build import build
from build_engines.pictures import made_pictures
from build_engines.plan import Plan
from build_engines.values import Compiler, Precision
from contract.spec import Preprocessing
from tests.unit.build_engines.conftest import LABELS, Silent

DIED = 9


def plan(folder: Path) -> Plan:
    """FP32 alone."""
    return Plan(
        model="linear_8",
        repository=folder / "models",
        pretrained=False,
        labels=folder / "labels.txt",
        max_batch_size=2,
        register=("tests.unit.build_engines.architectures",),
        cache=folder / "cache",
        reports=folder / "reports",
    )


def whole_plan(folder: Path) -> Plan:
    """A small Vision Transformer at FP32 and INT8, as engines: of one linear layer there is nothing to quantise."""
    return dataclasses.replace(
        plan(folder),
        model="vit_nano_convstem_patch4_32",
        name="nano",
        register=("training.architecture",),
        precisions=(Precision.FP32, Precision.INT8),
        compiler=Compiler.RTX,
        calibration=folder / "pictures.zip",
        calibration_method="max",
        force=True,
    )


def dies(chosen: Plan, reached: Callable[[str], None]) -> bool:
    """Whether a child that builds `chosen` dies on the way."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        build(chosen, Silent(), reached=reached)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DIED


def apart(root: Path) -> None:
    """A folder for each step."""
    for count in range(1, 20):
        folder = root / str(count)
        folder.mkdir()
        (folder / "labels.txt").write_text("cat\ndog\n")
        seen: list[str] = []

        def reached(step: str, folder: Path = folder, count: int = count, seen: list[str] = seen) -> None:
            seen.append(step)
            if len(seen) == count:
                (folder / "died").write_text(step)
                os._exit(DIED)

        if not dies(plan(folder), reached):
            return


def on(folder: Path) -> None:
    """One folder for all steps. A line of `died` is a step and the entries that were there when it was done."""
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
        for number, pixels in enumerate(made_pictures(600, Preprocessing(32, 32, 1.0))):
            content = BytesIO()
            Image.fromarray(pixels).save(content, "PNG")
            archive.writestr(f"{number:04}.png", content.getvalue())
    died = folder / "died"
    died.touch()

    def reached(step: str) -> None:
        lines = died.read_text().splitlines()
        if step not in {line.partition(":")[0] for line in lines}:
            entries = sorted(path.name for path in (folder / "models").glob("[!.]*"))
            died.write_text("\n".join([*lines, f"{step}: {' '.join(entries)}"]))
            os._exit(DIED)

    while dies(whole_plan(folder), reached):
        pass


if __name__ == "__main__":
    {"apart": apart, "on": on}[sys.argv[1]](Path(sys.argv[2]))
