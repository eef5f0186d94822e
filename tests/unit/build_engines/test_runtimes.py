"""benchmarks/runtimes and benchmarks/families, which need the builder's environment: counts by hand, and one model."""

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.families import __main__ as families
from benchmarks.families.counts import attention_bytes, count, tokens_of
from benchmarks.families.machine import Roofs
from benchmarks.record import Cell, read, recorded, write
from benchmarks.runtimes.__main__ import draw, page
from benchmarks.runtimes.runtimes import REFERENCE, RUNTIMES
from benchmarks.runtimes.timed import LEAST, MOST, timed
from build_engines.model import TimmModel, torch_answers
from build_engines.pictures import made_pictures
from build_engines.values import Pixels, Probabilities


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", [name for name in RUNTIMES if name != "torch.compile"])
def test_every_runtime_that_is_here_answers_as_torch_does(name: str, source: TimmModel, tmp_path: Path) -> None:
    runtime = RUNTIMES[name]
    if reason := runtime.why_not():
        assert reason.split()[0] in ("this", "there", "it", "--compiler")
        pytest.skip(reason)
    images = made_pictures(3, source.classifier.preprocessing)
    answers = runtime.prepare(copy.deepcopy(source), tmp_path)(images)  # Some change the model's type.
    # Of a probability: 16 bits round, and roundings add up through the layers.
    assert np.abs(answers - torch_answers(source.classifier, images)).max() < (0.02 if "16" in name else 1e-5)


def test_runs_are_timed_at_least_thrice_and_not_without_end() -> None:
    asked: list[int] = []

    def run(images: Pixels) -> Probabilities:
        asked.append(len(images))
        return np.zeros((len(images), 2), np.float32)

    images = np.zeros((2, 1, 1, 3), np.uint8)
    assert len(timed(run, images, 0.0)) == LEAST
    assert len(asked) == LEAST + 1
    assert len(timed(run, images, 60.0)) == MOST


def test_operations_and_bytes_are_those_of_the_layers() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Flatten(), nn.Linear(16, 5, bias=False)).eval()
    found = count(model, (2, 2))
    # A product of n x k with k x m is 2nkm: four pixels, three to four channels; then 16 to 5.
    assert found.gflops * 1e9 == 2 * 4 * 3 * 4 + 2 * 16 * 5
    assert found.parameters == 3 * 4 + 16 * 5
    assert found.activation_bytes == 4 * ((12 + 16) + (16 + 16) + (16 + 5))
    alone, many = found.intensity(1), found.intensity(1000)
    assert alone == pytest.approx(256 / (4 * 92 + 324))
    assert many == pytest.approx(256_000 / (4 * 92 + 324_000))


def test_attention_written_out_takes_a_number_for_each_pair_of_tokens() -> None:
    assert tokens_of(512, 16) == 1025
    assert attention_bytes(32, 12, 1025) == 1_613_760_000


def test_what_does_nothing_moves_nothing() -> None:
    layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    idle = nn.Sequential(nn.Identity(), nn.Dropout(0.1), layers).eval()
    assert count(idle, (2, 2)) == count(layers.eval(), (2, 2))


def test_the_page_of_the_families_is_made_from_the_record(tmp_path: Path) -> None:
    facts = {"peak_mb": 9.0, "parameters": 10**6, "gflops": 2.0, "activation_bytes": 16 * 10**6}
    cells = [
        Cell({"machine": "roofs"}, facts={"gflops": 100.0, "gigabytes": 10.0}),
        Cell({"model": "vit", "batch": 1}, (50.0,), facts),
        Cell({"layer": "attention"}, facts={"matrix_mb": 1614.0, "written out mb": 3700.0, "fused mb": 472.0}),
    ]
    path = write(recorded("families", "ms", cells, {"runtime": "torch SDPA"}), tmp_path)
    found = read(path)
    said = families.page(found)
    # 2 GFLOP over 20 MB are 100 operations a byte, so the product rate is the roof; 40 of 100 GFLOP/s are reached.
    assert "| vit | 1.0 | 2.0 | 1 | 50 | 20.0 | 9 | 100 | 40 | 40 % |" in said
    assert "2.00 matrices" in said
    families.draw(found, tmp_path / "families.png")
    assert (tmp_path / "families.png").read_bytes().startswith(b"\x89PNG")


def test_the_lower_roof_counts() -> None:
    roofs = Roofs(gflops=100, gigabytes=10)
    assert (roofs.at(1), roofs.at(10), roofs.at(50)) == (10, 100, 100)


def test_the_page_says_what_was_not_run(tmp_path: Path) -> None:
    cells = [
        Cell({"runtime": REFERENCE, "batch": 4}, (20.0,), {"peak_mb": 9.0, "agreement": 1.0, "furthest": 0.0}),
        Cell({"runtime": REFERENCE, "batch": 64}, (), {}, "3 runs would take over 1 s"),
        Cell({"runtime": "TensorRT FP16"}, skipped="there is no GPU"),
    ]
    found = recorded("runtimes", "ms", cells, {"model": "vit"})
    said = page(found)
    assert "| torch eager | 4 | 20.0 | 20.0 | 20.0 | 200.0 | 9 | 100.0 % | 0e+00 |" in said
    assert "- torch eager, 64: 3 runs would take over 1 s" in said
    assert "- TensorRT FP16: there is no GPU" in said
    draw(found, tmp_path / "runtimes.png")
    assert (tmp_path / "runtimes.png").read_bytes().startswith(b"\x89PNG")
