"""The collectors."""

from service.metrics import Metrics
from service.stages import STAGES, Stages


def test_observed_stages_land_in_the_histogram() -> None:
    metrics = Metrics("1.2.3")
    stages = Stages()
    for stage in STAGES:
        with stages.timed(stage):
            pass
    metrics.observe("/v1/classify", stages)
    for stage in (*STAGES, "total"):
        labels = {"route": "/v1/classify", "stage": stage}
        assert metrics.exposed.get_sample_value("vitrine_stage_duration_seconds_count", labels) == 1
    assert metrics.exposed.get_sample_value("vitrine_build_info", {"version": "1.2.3"}) == 1
