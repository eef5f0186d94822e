"""What the benchmark of explanations counts."""

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.faithfulness import Masked, Subject, border, mean_and_error, pictures, table
from tests.fakes import FakeBackend, Pixels, Rows, an_entry, encoded


async def test_each_mask_hides_its_share_of_the_patches() -> None:
    seen: list[Pixels] = []

    def answer(pixels: Pixels) -> Rows:
        """How much of each picture is not grey, and how much is."""
        seen.extend(pixels)
        left = (pixels != 128).mean(axis=(1, 2, 3))
        rows: Rows = np.stack([left, 1 - left], axis=1).astype(np.float32)
        return rows

    triton = FakeBackend(answer=answer)
    triton.serve(an_entry())
    subject = Subject(an_entry(), "1", triton, share=0.25, seed=0)
    values = np.arange(16.0).reshape(4, 4)
    masked = await subject.masked(encoded(Image.new("RGB", (8, 8), "red")), values)
    assert masked.whole == 1
    assert {masked.most, masked.least, masked.middle} == {0.75}
    assert abs(masked.random - 0.75) < 1e-6
    most, least, middle = (np.argwhere((pixels == 128).all(-1)) for pixels in seen[1:4])
    assert most[:, 0].min() == 6, "the last row of four, of two pixels each"
    assert least[:, 0].max() == 1
    assert middle.min() == 2
    assert middle.max() == 5
    assert len(seen) == 9, "whole, most, least, middle, five at random"


def test_the_table_says_whether_the_map_passes() -> None:
    good = [Masked(0.9, 0.2 + 0.01 * n, 0.8, 0.5, 0.3) for n in range(9)]
    assert "passes: the most important" in table("x", good)
    assert "+0.260 ± 0.018 below random" in table("x", good)
    assert "does not pass" in table("x", [Masked(0.9, 0.5 - (-1) ** n / 10, 0.8, 0.5, 0.3) for n in range(9)])


def test_the_interval_is_that_of_the_mean() -> None:
    mean, error = mean_and_error(np.array([1.0, 3.0]))
    assert (mean, round(error, 6)) == (2.0, round(1.96 * 2**0.5 / 2**0.5, 6))


def test_the_border_is_the_outermost_patches() -> None:
    maps = np.zeros((2, 4, 4))
    maps[:, 0, 0], maps[:, 1, 1] = 1, 3
    assert border(maps) == "  border: 75 % of the patches, 25 % of the map"


def test_pictures_of_a_zip_come_in_a_random_order_that_stays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for number in range(20):
            archive.writestr(f"test/{number:02}.png", bytes([number]))
        archive.writestr("train/1.png", b"no")
        archive.writestr("test/notes.txt", b"no")
    found = list(pictures(tmp_path / "p.zip", "test/"))
    assert sorted(name for name, _ in found) == [f"test/{number:02}.png" for number in range(20)]
    assert all(content == bytes([int(name[5:7])]) for name, content in found)
    assert found == list(pictures(tmp_path / "p.zip", "test/")) != sorted(found)
