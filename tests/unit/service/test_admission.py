"""Permits, and when to come again."""

import pytest

from service.admission import Admission
from service.errors import Overloaded


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def refused(admission: Admission, pictures: int = 1) -> int | None:
    with pytest.raises(Overloaded) as caught, admission.permit(pictures):
        pass
    return caught.value.retry_after


def test_somebody_is_told_how_many_there_are() -> None:
    told: list[int] = []
    admission = Admission(8, changed=told.append)
    with admission.permit(3):
        refused(admission, 6)
        assert sum(told) == 3
    with pytest.raises(ValueError, match="fault"), admission.permit(2):
        raise ValueError("fault")
    assert told == [3, -3, 2, -2]


def test_over_the_capacity_is_refused_and_a_permit_comes_back() -> None:
    admission = Admission(2)
    with admission.permit(1), admission.permit(1):
        refused(admission)
    with pytest.raises(ValueError, match="fault"), admission.permit(2):
        raise ValueError("fault")
    with admission.permit(2):
        refused(admission)


def test_several_pictures_take_as_many_permits() -> None:
    admission = Admission(4)
    with admission.permit(3):
        refused(admission, 2)
        with admission.permit(1):
            refused(admission)


def test_retry_after_follows_the_measured_rate() -> None:
    clock = Clock()
    admission = Admission(10, clock)
    with admission.permit(10):
        assert refused(admission) == 1, "nothing is known yet"
    for _ in range(20):
        clock.now += 0.5
        with admission.permit(1):
            pass
    clock.now += 0.5
    with admission.permit(10):  # 30 came and went in 10.5 s, 10 are there
        assert refused(admission) == 4
    clock.now += 1_000
    with admission.permit(10):
        assert refused(admission) == 30, "no longer than that"
