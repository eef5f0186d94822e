"""From a folder of pictures to an answer over HTTP: trained, built without another option, served, and as accurate."""

import csv
import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.integration.conftest import Running
from tests.waiting import until

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv" / "build" / "bin" / "python"
WEIGHTS = ROOT / "tests" / "data" / "vit_nano" / "weights.safetensors"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="needs .venv/build, which `make test` sets up")


def draw(folder: Path) -> None:
    """Gratings of three directions in noise, so that some are told wrong: 60 of each to train on, 40 to test."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:32, 0:32]
    for name, angle in (("rising stripes", 0.5), ("flat stripes", 1.2), ("falling stripes", 2.2)):
        for split, count in (("train", 60), ("test", 40)):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                turned = angle + random.normal(0, 0.25)
                wave = np.sin((rows * np.sin(turned) + columns * np.cos(turned)) * 0.9 + random.uniform(0, 6))
                pixels = 128 + 40 * wave[:, :, None] + random.normal(0, 50, (32, 32, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"{number}.png")


def call(module: str, *arguments: object, cache: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    command = [str(PYTHON), "-m", module, *map(str, arguments)]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_what_is_trained_is_built_and_served_with_the_accuracy_of_its_report(stack: Running, tmp_path: Path) -> None:
    pictures, run = tmp_path / "pictures", tmp_path / "stripes"
    draw(pictures)
    start = ("--model", "vit_nano_convstem_patch4_32", "--checkpoint", WEIGHTS)
    call("training.cli", "fit", pictures, *start, "--head-only", "--out", run, cache=tmp_path)
    where = ("--repository", stack.repository, "--reports", tmp_path / "reports")
    call("build_engines.cli", "build", run, *where, cache=tmp_path)

    facts = json.loads((run / "training.json").read_text())
    metrics = facts["metrics"]
    assert 60 < metrics["top1"] < 100, "equal accuracies say little where all or nothing is right"
    with (run / "evaluation.csv").open(newline="") as file:
        evaluation = [(run / row["path"], row["label"]) for row in csv.DictReader(file)]
    assert len(evaluation) == metrics["pictures"] == 120

    answered: Counter[tuple[str, str]] = Counter()
    with httpx.Client(base_url=stack.stack.gateway_url, timeout=60) as client:
        until(lambda: client.get("/v1/models/stripes").status_code == 200)
        described = client.get("/v1/models/stripes").json()
        for path, label in evaluation:
            answer = client.post("/v1/models/stripes/classify", content=path.read_bytes())
            answered[label, answer.json()["predictions"][0]["label"]] += 1
    right = sum(count for (shown, said), count in answered.items() if shown == said)
    assert 100 * right / len(evaluation) == pytest.approx(metrics["top1"], abs=1e-3)
    names = sorted(metrics["by_class"])
    assert [[answered[shown, said] for said in names] for shown in names] == metrics["confusions"]
    assert f"{metrics['top1']:.2f}" in json.dumps(described)

    (report,) = (tmp_path / "reports").rglob("report.json")
    assert "120" in report.read_text()
