"""Which parts are hidden, against a plain loop over rows and columns."""

import numpy as np
import numpy.typing as npt
import pytest

from service.occlusion import GREY, grid, hidden, patches

Pixels = npt.NDArray[np.uint8]


def by_hand(pixels: Pixels, row: int, column: int, cells: tuple[int, int]) -> Pixels:
    """The picture with one patch grey: its cell, and half of it on each side."""
    height, width = pixels.shape[:2]
    copy = pixels.copy()
    for y in range(height):
        for x in range(width):
            top, bottom = round(height * row / cells[0]), round(height * (row + 1) / cells[0])
            left, right = round(width * column / cells[1]), round(width * (column + 1) / cells[1])
            inside = top - (bottom - top) // 2 <= y < bottom + (bottom - top) // 2
            if inside and left - (right - left) // 2 <= x < right + (right - left) // 2:
                copy[y, x] = 128
    return copy


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (50, 30), (3, 9), (1, 1)])
@pytest.mark.parametrize("batch", [1, 7, 64])
def test_each_copy_hides_what_a_plain_loop_hides(size: tuple[int, int], batch: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 100, (*size, 3), dtype=np.uint8)
    before = pixels.copy()
    batches = list(hidden(pixels, batch))
    assert [len(each) for each in batches[:-1]] == [batch] * (len(batches) - 1)
    copies = np.concatenate(batches)
    cells = grid(*size)
    assert len(copies) == cells[0] * cells[1] == len(patches(*size))
    for number, copy in enumerate(copies):
        assert np.array_equal(copy, by_hand(pixels, number // cells[1], number % cells[1], cells))
    assert np.array_equal(pixels, before)


def test_all_of_the_picture_is_hidden_in_some_copy() -> None:
    pixels = np.zeros((224, 199, 3), np.uint8)
    assert (np.concatenate(list(hidden(pixels, 16))).max(axis=0) == GREY).all()
