"""What is no probability is refused, whoever answers it."""

import numpy as np
import pytest

from build_engines.errors import InvalidOutputError
from build_engines.values import check_probabilities


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ((np.nan, 1.0), "NaN or infinity on 1 of 2 pictures"),
        ((np.inf, 0.0), "NaN or infinity on 1 of 2 pictures"),
        ((-1e-6, 1.000001), "1 of 2 pictures with numbers that are no probabilities"),
        ((0.6, 0.6), "1 of 2 pictures with numbers that are no probabilities"),
    ],
)
def test_what_is_no_probability_is_refused_and_counted(row: tuple[float, float], words: str) -> None:
    with pytest.raises(InvalidOutputError, match=f"Triton answers {words}"):
        check_probabilities("Triton", np.array([(0.5, 0.5), row], np.float32))


def test_probabilities_are_let_through() -> None:
    check_probabilities("Triton", np.array([(0.0, 1.0), (0.301, 0.7)], np.float32))
