"""One picture's way through the gateway, without HTTP."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.catalog import Catalog
from service.errors import CorruptImage, InvalidOutput, Overloaded, UnknownModel
from service.metrics import Metrics, Stages
from service.pipeline import Classification, Limits, Pipeline, best
from tests.fakes import FakeBackend, Pixels, Rows, a_picture, an_entry, encoded

GREEN = encoded(a_picture((0, 200, 0)))


class Bench:
    """A pipeline over a fake Triton, and what it counted."""

    def __init__(self, backend: FakeBackend, max_in_flight: int = 8) -> None:
        self.backend = backend
        self.catalog = Catalog(backend, None)
        self.registry = CollectorRegistry()
        self.stages = Stages()
        limits = Limits(max_in_flight, 1_000_000, 1.0)
        metrics = Metrics(self.registry, "0")
        self.pipeline = Pipeline(backend, self.catalog, metrics, ThreadPoolExecutor(1), limits)

    async def classify(self, content: bytes = GREEN, top_k: int = 5, min_score: float = 0.0) -> Classification:
        return await self.pipeline.classify(content, "colours", top_k, min_score, self.stages)

    def outcomes(self, outcome: str) -> float | None:
        return self.registry.get_sample_value("vitrine_images_total", {"model": "colours", "outcome": outcome})


@pytest.fixture
async def bench(backend: FakeBackend) -> Bench:
    made = Bench(backend)
    await made.catalog.refresh()
    return made


async def test_a_picture_is_classified(bench: Bench) -> None:
    answer = await bench.classify()
    assert (answer.model, answer.version, answer.predictions[0].label) == ("colours", "1", "green")
    assert len(answer.predictions) == 3
    assert list(bench.stages.seconds) == ["decode", "resize", "triton"]
    assert bench.outcomes("ok") == 1


async def test_top_k_and_min_score_shorten_the_answer(bench: Bench) -> None:
    assert len((await bench.classify(top_k=1)).predictions) == 1
    assert all(prediction.score >= 0.5 for prediction in (await bench.classify(min_score=0.5)).predictions)


def test_the_best_classes_come_first_and_ties_by_index() -> None:
    predictions = best(np.array([0.2, 0.5, 0.2, 0.1], np.float32), ("a", "b", "c", "d"), 3, 0.0)
    assert [prediction.label for prediction in predictions] == ["b", "a", "c"]


async def test_a_broken_picture_is_counted_as_such(bench: Bench) -> None:
    with pytest.raises(CorruptImage):
        await bench.classify(GREEN[:40])
    assert bench.outcomes("image_corrupt") == 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda pixels: np.full((1, 3), np.nan, np.float32),
        lambda pixels: np.zeros((1, 3), np.float32),
        lambda pixels: np.full((1, 4), 0.25, np.float32),
    ],
    ids=["nan", "not summing to 1", "wrong class count"],
)
async def test_an_answer_that_is_no_probabilities_is_refused(bench: Bench, answer: object) -> None:
    bench.backend.answer = answer  # type: ignore[assignment]
    with pytest.raises(InvalidOutput):
        await bench.classify()
    assert bench.outcomes("model_output_invalid") == 1


async def test_a_version_that_went_since_the_last_refresh_is_followed(bench: Bench) -> None:
    bench.backend.serve(an_entry(), "2")
    assert (await bench.classify()).version == "2"
    assert bench.backend.calls == [("colours", "1"), ("colours", "2")]


async def test_a_model_that_went_altogether_is_unknown(bench: Bench) -> None:
    bench.backend.configs.clear()
    with pytest.raises(UnknownModel):
        await bench.classify()


async def test_over_the_limit_is_refused_and_the_permit_comes_back(backend: FakeBackend) -> None:
    bench = Bench(backend, max_in_flight=1)
    await bench.catalog.refresh()
    first = asyncio.create_task(bench.classify())
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await bench.classify()
    await first
    await bench.classify()


async def test_the_picture_reaches_triton_as_the_contract_says(bench: Bench) -> None:
    seen: list[Pixels] = []

    def record(pixels: Pixels) -> Rows:
        seen.append(pixels)
        return np.full((1, 3), 1 / 3, np.float32)

    bench.backend.answer = record
    await bench.classify()
    assert seen[0].shape == (1, 8, 8, 3)
    assert seen[0].dtype == np.uint8
