"""Occlusion sensitivity: how much less probable a class is where a part of the picture is hidden.

Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", 2014, 4.2. It asks the model itself, so it is
defined for any model; it costs one answer of the model for each cell of the grid.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

STEPS = 8
"""Cells along an edge of the input: the patch moves by an eighth of it, which is its stride."""
GREY = 128
"""What hides, in each channel."""

_Pixels = npt.NDArray[np.uint8]


def grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the map for an input of this size: `STEPS` each, or one for each pixel of a smaller one."""
    return min(STEPS, height), min(STEPS, width)


def patches(height: int, width: int) -> list[tuple[slice, slice]]:
    """The rows and the columns that each patch hides, cell by cell, row by row.

    A patch is centred on its cell and twice as long, so that neighbours overlap by half; at the edges it is cut off.
    """
    rows, columns = grid(height, width)
    down, across = _spans(height, rows), _spans(width, columns)
    return [(each, other) for each in down for other in across]


def hidden(pixels: _Pixels, batch: int) -> Iterator[_Pixels]:
    """Copies of an input `[height, width, 3]`, each with one patch grey, `batch` of them or fewer at a time."""
    places = patches(*pixels.shape[:2])
    for start in range(0, len(places), batch):
        some = places[start : start + batch]
        copies = np.repeat(pixels[None], len(some), axis=0)
        for copy, (rows, columns) in zip(copies, some, strict=True):
            copy[rows, columns] = GREY
        yield copies


def _spans(length: int, cells: int) -> list[slice]:
    edges = [round(length * cell / cells) for cell in range(cells + 1)]
    return [
        slice(max(0, start - (end - start) // 2), min(length, end + (end - start) // 2))
        for start, end in pairwise(edges)
    ]
