"""What the supervisor takes from the gateway's settings, without starting anything."""

from pathlib import Path

import pytest

from embedded.supervisor import Options, Stack


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [({}, 0.0), ({"VITRINE_DRAIN_SECONDS": "40"}, 40.0), ({"VITRINE_DRAIN_SECONDS": ""}, 0.0)],
)
def test_the_gateway_is_given_its_time_to_drain(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], seconds: float
) -> None:
    monkeypatch.delenv("VITRINE_DRAIN_SECONDS", raising=False)
    assert Stack(Options(Path(), settings=settings))._drain_s == seconds


def test_the_gateways_metrics_are_where_its_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VITRINE_METRICS_PORT", raising=False)
    apart = Stack(Options(Path(), settings={"VITRINE_METRICS_PORT": "9100"}))
    assert apart.gateway_metrics_url == "http://127.0.0.1:9100/metrics"
    assert Stack(Options(Path(), host="::1")).gateway_metrics_url == "http://[::1]:0/metrics"
