"""What an answer's headers say."""

from datetime import datetime, timezone

import pytest

from vitrine.exchange import Said

NOON = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [
        (503, "7", 7.0),
        (429, "0", 0.0),
        (503, "Wed, 25 Nov 2026 12:00:30 GMT", 30.0),
        (503, "Wed, 25 Nov 2026 11:59:00 GMT", 0.0),
        (503, "-1", None),
        (503, "", None),
        (200, "7", None),
        (504, "7", None),
    ],
)
def test_when_to_ask_again(status: int, value: str, seconds: float | None) -> None:
    assert Said(status, b"", {"retry-after": value}).retry_after(NOON) == seconds


def test_the_times_of_the_stages() -> None:
    headers = {"server-timing": 'decode;dur=1.5, cache;desc="a", triton;desc=x;dur=9, odd;dur=x'}
    assert Said(200, b"", headers).timing() == {"decode": 1.5, "triton": 9.0}
    assert Said(200, b"").timing() == {}
