"""Goodput, and the copies of an entry with other windows."""

from pathlib import Path

import pytest

from benchmarks.load import Load
from benchmarks.record import recorded
from benchmarks.serving import cell, draw, goodput, page, with_window
from contract.config import from_pbtxt

ENTRY = Path(__file__).parents[3] / "model_repository" / "cifar10_vit"


def load(rate: float, ms: float, refused: int = 0) -> Load:
    return Load((ms,) * int(10 * rate), refused, 10.0)


LOADS = [
    cell(0, "closed, 32", load(300, 40)),
    cell(0, "open, 20%", load(50, 10)),
    cell(0, "open, 40%", load(100, 50)),
    cell(0, "open, 60%", load(150, 51)),
    cell(0, "open, 80%", load(200, 20, refused=1)),
]


def test_goodput_is_the_highest_rate_that_is_answered_in_time_and_whole() -> None:
    assert goodput(LOADS, 50) == pytest.approx(100)
    assert goodput(LOADS, 60) == pytest.approx(150)
    assert goodput(LOADS, 5) == 0


@pytest.mark.parametrize("window", [0, 20])
def test_a_copy_gathers_for_so_long_in_every_version(window: int, tmp_path: Path) -> None:
    with_window(ENTRY, window, tmp_path)
    configs = list((tmp_path / "cifar10_vit").rglob("config.pbtxt"))
    assert configs
    for path in configs:
        config = from_pbtxt(path.read_text())
        assert config.dynamic_batching.max_queue_delay_microseconds == 1000 * window
    assert (tmp_path / "cifar10_vit" / "1" / "model.onnx").is_file()


def test_the_page_and_the_plot(tmp_path: Path) -> None:
    found = recorded("serving", "ms", LOADS, {"model": "cifar10_vit"})
    said = page(found, 50)
    assert "| 0 | 100 |" in said
    assert "| 0 | open, 60% | 150 | 51.0 | 51.0 | 51.0 | 0 |" in said
    draw(found, 50, tmp_path / "serving.png")
    assert (tmp_path / "serving.png").read_bytes().startswith(b"\x89PNG")
