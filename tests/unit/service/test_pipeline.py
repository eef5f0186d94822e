"""One picture's way through the gateway, without HTTP."""

import asyncio
from contextlib import suppress

import numpy as np
import pytest

from service.catalog import Catalog
from service.deadline import Deadline
from service.errors import (
    CorruptImage,
    DeadlineExceeded,
    InvalidOutput,
    TritonFailed,
    TritonUnavailable,
    UnknownModel,
    VitrineError,
)
from service.memory import DecodingMemory
from service.metrics import Metrics
from service.pipeline import Asked, Classes, Classified, Pipeline, Prediction, best
from service.preparation import Preparation
from service.stages import Stages
from service.threads import Threads
from tests.fakes import FakeBackend, Pixels, Rows, a_picture, an_entry, colour_shares, encoded

GREEN = encoded(a_picture((0, 200, 0)))


class Bench:
    """A pipeline over a fake Triton, and what it counted."""

    def __init__(self, backend: FakeBackend) -> None:
        self.backend = backend
        self.catalog = Catalog(backend, None)
        self.metrics = Metrics("0")
        self.stages = Stages()
        preparation = Preparation(Threads(1), DecodingMemory(100_000_000), 1_000_000)
        self.pipeline = Pipeline(backend, self.catalog, preparation, self.metrics)

    async def classify(
        self, *contents: bytes, top_k: int = 5, min_score: float = 0.0, seconds: float = 5.0
    ) -> Classified:
        asked = Asked("colours", top_k, min_score, Deadline.after(seconds))
        return await self.pipeline.classify(contents or (GREEN,), asked, self.stages)

    async def predictions(self, **asked: float) -> tuple[Prediction, ...]:
        (classes,) = (await self.classify(**asked)).results  # type: ignore[arg-type]
        assert isinstance(classes, Classes)
        return classes.predictions

    def outcomes(self, outcome: str) -> float | None:
        return self.metrics.exposed.get_sample_value("vitrine_images_total", {"model": "colours", "outcome": outcome})


@pytest.fixture
async def bench(backend: FakeBackend) -> Bench:
    made = Bench(backend)
    await made.catalog.refresh()
    return made


async def test_a_picture_is_classified(bench: Bench) -> None:
    answer = await bench.classify()
    (classes,) = answer.results
    assert isinstance(classes, Classes)
    assert (answer.model, answer.version, classes.predictions[0].label) == ("colours", "1", "green")
    assert len(classes.predictions) == 3
    assert list(bench.stages.seconds) == ["decode", "resize", "wait", "triton"]
    assert bench.outcomes("ok") == 1


async def test_top_k_and_min_score_shorten_the_answer(bench: Bench) -> None:
    assert len(await bench.predictions(top_k=1)) == 1
    assert all(prediction.score >= 0.5 for prediction in await bench.predictions(min_score=0.5))


def test_the_best_classes_come_first_and_ties_by_index() -> None:
    predictions = best(np.array([0.2, 0.5, 0.2, 0.1], np.float32), ("a", "b", "c", "d"), 3, 0.0)
    assert [prediction.label for prediction in predictions] == ["b", "a", "c"]


@pytest.mark.parametrize("levels", [2, 7, 1000], ids="{} levels".format)
def test_the_best_are_the_first_of_all_in_order(levels: int) -> None:
    scores = np.random.default_rng(levels).integers(0, levels, 50).astype(np.float32) / levels
    whole = sorted(range(50), key=lambda index: (-scores[index], index))
    for top_k in range(1, 52):
        found = best(scores, tuple(map(str, range(50))), top_k, 0.0)
        assert [prediction.index for prediction in found] == whole[:top_k]
        assert [prediction.score for prediction in found] == [scores[index] for index in whole[:top_k]]


async def test_a_broken_picture_is_counted_as_such(bench: Bench) -> None:
    (error,) = (await bench.classify(GREEN[:40])).results
    assert isinstance(error, CorruptImage)
    assert bench.backend.calls == []
    assert bench.outcomes("image_corrupt") == 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda pixels: np.full((1, 3), np.nan, np.float32),
        lambda pixels: np.zeros((1, 3), np.float32),
        lambda pixels: np.array([[1.5, -0.25, -0.25]], np.float32),
        lambda pixels: np.array([[np.inf, 0, 0]], np.float32),
        lambda pixels: np.full((1, 4), 0.25, np.float32),
    ],
    ids=["nan", "not summing to 1", "negative", "infinite", "wrong class count"],
)
async def test_an_answer_that_is_no_probabilities_is_refused(bench: Bench, answer: object) -> None:
    bench.backend.answer = answer  # type: ignore[assignment]
    with suppress(InvalidOutput):  # Of all pictures where the shape is wrong, else of each.
        (error,) = (await bench.classify()).results
        assert isinstance(error, InvalidOutput)
    assert bench.outcomes("model_output_invalid") == 1


async def test_a_version_that_went_since_the_last_refresh_is_followed(bench: Bench) -> None:
    bench.backend.serve(an_entry(), "2")
    assert (await bench.classify()).version == "2"
    assert bench.backend.calls == [("colours", "1"), ("colours", "2")]


async def test_a_model_that_went_altogether_is_unknown(bench: Bench) -> None:
    bench.backend.configs.clear()
    with pytest.raises(UnknownModel):
        await bench.classify()


async def test_what_is_too_late_is_not_begun(bench: Bench) -> None:
    with pytest.raises(DeadlineExceeded):
        await bench.classify(b"not even looked at", seconds=0.0)
    assert bench.backend.calls == []
    assert bench.outcomes("deadline_exceeded") == 1


async def test_work_that_is_cancelled_is_counted_as_such(bench: Bench) -> None:
    running = asyncio.create_task(bench.classify())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.outcomes("cancelled") == 1


async def test_what_nobody_foresaw_is_counted_as_such(bench: Bench) -> None:
    def explode(_: Pixels) -> Rows:
        raise RuntimeError("a fault of ours")

    bench.backend.answer = explode
    with pytest.raises(RuntimeError):
        await bench.classify()
    assert bench.outcomes("internal_error") == 1


async def test_several_go_as_batches_no_larger_than_the_model_takes(bench: Bench) -> None:
    sizes: list[int] = []

    def record(pixels: Pixels) -> Rows:
        sizes.append(len(pixels))
        return colour_shares(pixels)

    bench.backend.answer = record
    red = encoded(a_picture((200, 0, 0)))
    answer = await bench.classify(*[GREEN, red] * 3)
    assert sizes == [4, 2]
    labels = [each.predictions[0].label for each in answer.results if isinstance(each, Classes)]
    assert labels == ["green", "red"] * 3
    assert bench.outcomes("ok") == 6
    assert list(bench.stages.seconds) == ["decode", "resize", "wait", "triton"]


async def test_a_broken_picture_among_several_has_its_error_in_its_place(bench: Bench) -> None:
    def nothing_in_the_second(pixels: Pixels) -> Rows:
        rows = colour_shares(pixels)
        rows[1] = np.nan
        return rows

    bench.backend.answer = nothing_in_the_second
    answer = await bench.classify(GREEN, GREEN[:40], GREEN, b"", GREEN)
    kinds = [each.code if isinstance(each, VitrineError) else "ok" for each in answer.results]
    assert kinds == ["ok", "image_corrupt", "model_output_invalid", "body_empty", "ok"]
    assert [bench.outcomes(kind) for kind in ("ok", "image_corrupt", "body_empty")] == [2, 1, 1]


async def test_what_befalls_all_of_several_is_no_answer(bench: Bench) -> None:
    bench.backend.failure = TritonUnavailable("gone")
    with pytest.raises(TritonUnavailable):
        await bench.classify(GREEN, GREEN)
    assert bench.outcomes("triton_unavailable") == 2


async def test_the_picture_reaches_triton_as_the_contract_says(bench: Bench) -> None:
    seen: list[Pixels] = []

    def record(pixels: Pixels) -> Rows:
        seen.append(pixels)
        return np.full((1, 3), 1 / 3, np.float32)

    bench.backend.answer = record
    await bench.classify()
    assert seen[0].shape == (1, 8, 8, 3)
    assert seen[0].dtype == np.uint8


class FirstFails(FakeBackend):
    """Its first inference fails; the others would take for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = 0

    async def infer(self, name: str, version: str, pixels: Pixels, timeout: float) -> Rows:  # noqa: ARG002
        self.calls.append((name, version))
        if len(self.calls) == 1:
            await asyncio.sleep(0.01)
            raise TritonFailed("the first of three")
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1
        return colour_shares(pixels)


async def test_where_one_of_several_inferences_fails_the_others_have_ended() -> None:
    backend = FirstFails()
    backend.serve(an_entry())
    bench = Bench(backend)
    await bench.catalog.refresh()
    with pytest.raises(TritonFailed):
        await bench.classify(*[GREEN] * 9)
    assert (len(backend.calls), backend.ended) == (3, 2)
    assert bench.outcomes("triton_failed") == 9
