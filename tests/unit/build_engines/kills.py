"""Build `linear_8` again and again, each time in a child that ends itself one step later: `FOLDER`.

Run by test_kills.py in a process of its own, since a child of pytest would inherit torch's threads.
"""

import os
import sys
from pathlib import Path

import timm  # noqa: F401 (once, and not in every child)
import torch

from build_engines.builder import build
from build_engines.plan import Plan
from tests.unit.build_engines.conftest import Silent

DIED = 9


def plan(folder: Path) -> Plan:
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


def die_at(count: int, folder: Path) -> None:
    seen = []

    def reached(step: str) -> None:
        seen.append(step)
        if len(seen) == count:
            (folder / "died").write_text(step)
            os._exit(DIED)

    torch.set_num_threads(1)
    build(plan(folder), Silent(), reached=reached)


def main(root: Path) -> None:
    for count in range(1, 20):
        folder = root / str(count)
        folder.mkdir()
        (folder / "labels.txt").write_text("cat\ndog\n")
        child = os.fork()
        if child == 0:
            die_at(count, folder)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != DIED:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
