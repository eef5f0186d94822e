"""The numbers add up: a request's stages to its time, Triton's parts to its own, batches to what was sent."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from embedded.supervisor import Options
from tests.fakes import a_picture, encoded
from tests.integration.conftest import Running, running
from tests.waiting import until

ROOT = Path(__file__).parents[2]
PHOTO = (ROOT / "docs" / "images" / "cat.jpg").read_bytes()
SMALL = encoded(a_picture((0, 200, 0), (8, 8)))
MODEL = "cifar10_vit"
REQUESTS = 100


@pytest.fixture(scope="module")
def bundled() -> Iterator[Running]:
    """The stack of `make run`."""
    repository = ROOT / "model_repository"
    with running(repository, Options(repository).gateway, {"VITRINE_DEFAULT_MODEL": MODEL}) as started:
        yield started


def scraped(url: str) -> dict[str, float]:
    """Each series of a metrics page."""
    lines = (line.rpartition(" ") for line in httpx.get(url).text.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in lines}


def grown(before: dict[str, float], after: dict[str, float], name: str, *labels: str) -> float:
    """By how much the series of that name that have all the labels have grown."""
    return sum(
        value - before.get(series, 0.0)
        for series, value in after.items()
        if series.partition("{")[0] == name and all(label in series for label in labels)
    )


def test_the_stages_of_a_request_are_its_time(bundled: Running) -> None:
    gateway, triton = f"{bundled.stack.gateway_url}/metrics", bundled.stack.metrics_url
    before, before_triton = scraped(gateway), scraped(triton)

    def ask() -> None:
        with httpx.Client(base_url=bundled.stack.gateway_url, timeout=30) as client:
            for _ in range(REQUESTS // 4):
                assert client.post("/v1/classify", content=PHOTO).status_code == 200

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = scraped(gateway)
    seconds, route = "vitrine_stage_duration_seconds_sum", 'route="/v1/classify"'
    total = grown(before, after, seconds, route, 'stage="total"')
    stages = grown(before, after, seconds, route) - total
    assert grown(before, after, "vitrine_stage_duration_seconds_count", route, 'stage="total"') == REQUESTS
    assert 0.9 * total <= stages <= total

    until(lambda: grown(before_triton, scraped(triton), "nv_inference_count", MODEL) == REQUESTS)
    after_triton = scraped(triton)

    def spent(part: str) -> float:
        return grown(before_triton, after_triton, f"nv_inference_{part}_duration_us", MODEL) / 1e6

    parts = sum(spent(part) for part in ("queue", "compute_input", "compute_infer", "compute_output"))
    assert 0.9 * spent("request") <= parts <= 1.1 * spent("request")
    assert spent("request") <= grown(before, after, seconds, route, 'stage="triton"'), "Triton's part of the call"


def test_the_mean_batch_size_is_what_was_sent(bundled: Running) -> None:
    gateway, triton = f"{bundled.stack.gateway_url}/metrics", bundled.stack.metrics_url
    before, before_triton = scraped(gateway), scraped(triton)
    with httpx.Client(base_url=bundled.stack.gateway_url, timeout=30) as client:
        for _ in range(10):
            assert client.post("/v1/classify/batch", files=[("file", SMALL)] * 8).status_code == 200
    until(lambda: grown(before_triton, scraped(triton), "nv_inference_count", MODEL) == 80)
    after, after_triton = scraped(gateway), scraped(triton)
    assert grown(before, after, "vitrine_images_total", MODEL, 'outcome="ok"') == 80
    assert grown(before_triton, after_triton, "nv_inference_request_success", MODEL) == 10
    assert grown(before_triton, after_triton, "nv_inference_exec_count", MODEL) == 10, "one after another: 80 / 10 = 8"
