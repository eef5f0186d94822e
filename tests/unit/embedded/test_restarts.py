"""When a child is started again, and when no more."""

from embedded.restarts import LONGEST_PAUSE_S, Restarts


def test_the_pause_grows_up_to_a_limit_and_then_it_is_given_up() -> None:
    restarts = Restarts()
    pauses = [restarts.pause(now) for now in (0.0, 1.0, 2.0, 3.0, 4.0)]
    grown = [pause for pause in pauses if pause is not None]
    assert grown == sorted(grown)
    assert grown[0] < 1 < grown[-1] <= LONGEST_PAUSE_S
    assert pauses[4] is None


def test_endings_now_and_then_are_never_too_many() -> None:
    restarts = Restarts()
    first = restarts.pause(0.0)
    assert [restarts.pause(now * 61.0) for now in range(1, 20)] == [first] * 19
