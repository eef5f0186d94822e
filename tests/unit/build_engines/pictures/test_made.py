"""Pictures that are made: the same each time, of two kinds."""

import numpy as np

from build_engines.pictures import made_pictures
from contract.spec import Preprocessing


def test_the_pictures_are_the_same_each_time_and_of_two_kinds() -> None:
    first, again = (made_pictures(4, Preprocessing(20, 30)) for _ in range(2))
    assert first.shape == (4, 20, 30, 3)
    assert np.array_equal(first, again)
    steps = [np.abs(np.diff(image.astype(int), axis=1)).mean() for image in first]
    assert steps[0] < 40 < steps[1]
