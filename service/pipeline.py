"""The way of a request's pictures: preparation, Triton, the best classes. One picture is a batch of one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from service.catalog import Catalog
from service.deadline import Deadline
from service.errors import DeadlineExceeded, InvalidOutput, ModelNotReady, UnknownModel, VitrineError
from service.metrics import Metrics
from service.preparation import Preparation, Prepared
from service.stages import Stages
from service.states import Served
from service.threads import together
from service.triton import InferenceBackend

_EARLY_SECONDS = 0.005
"""How much too early the event loop may tell that a deadline has passed: its timers are of milliseconds."""
_Found = TypeVar("_Found")
_Done = TypeVar("_Done")


@dataclass(frozen=True)
class Asked:
    """What a caller wants to know of each picture."""

    model: str | None
    """The default model's name where it is None."""
    top_k: int
    min_score: float
    deadline: Deadline


@dataclass(frozen=True)
class Prediction:
    """One class and its probability."""

    label: str
    index: int
    score: float


@dataclass(frozen=True)
class Classes:
    """The answer to one picture."""

    predictions: tuple[Prediction, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Classified:
    """What a model answered: for each picture its classes or its error, in order."""

    model: str
    version: str
    results: tuple[Classes | VitrineError, ...]


class Pipeline:
    """Classifies pictures."""

    def __init__(self, backend: InferenceBackend, catalog: Catalog, preparation: Preparation, metrics: Metrics) -> None:
        self._backend = backend
        self._catalog = catalog
        self._preparation = preparation
        self._metrics = metrics

    async def classify(self, contents: Sequence[bytes], asked: Asked, stages: Stages) -> Classified:
        """Classify encoded pictures. One that is broken has its error in its place, and the others their classes.

        Raises:
            VitrineError: what happens to all of them.
        """
        name = self._catalog.resolve(asked.model).name
        with self.counted(name, asked.deadline, len(contents)) as outcomes:
            answer = await self.current(
                lambda: self._catalog.resolve(name), lambda served: self._run(served, contents, asked, stages)
            )
            outcomes[:] = [each.code if isinstance(each, VitrineError) else "ok" for each in answer.results]
            return answer

    async def current(self, find: Callable[[], _Found], work: Callable[[_Found], Awaitable[_Done]]) -> _Done:
        """What `work` gives with what `find` finds in the catalog; once more, where that has changed meanwhile."""
        found = find()
        try:
            return await work(found)
        except (ModelNotReady, UnknownModel):
            # Another version may have taken its place since the last refresh.
            await self._catalog.refresh()
            newer = find()
            if newer == found:
                raise
            return await work(newer)

    async def _run(self, served: Served, contents: Sequence[bytes], asked: Asked, stages: Stages) -> Classified:
        prepared = await self._preparation.prepare(contents, served.entry.preprocessing, asked.deadline, stages)
        whole = [each for each in prepared if isinstance(each, Prepared)]
        if whole:
            with stages.timed("triton"):
                rows = iter(await self.infer(served, [each.pixels for each in whole], asked.deadline))
        results = (
            _classes(next(rows), each, served, asked) if isinstance(each, Prepared) else each for each in prepared
        )
        return Classified(served.entry.name, served.version, tuple(results))

    async def infer(
        self, served: Served, pixels: Sequence[npt.NDArray[np.uint8]], deadline: Deadline
    ) -> list[npt.NDArray[np.float32]]:
        """A row of probabilities for each picture, asked for in batches as large as the model takes.

        Raises:
            VitrineError: Triton does not answer, or not with rows of the model's classes.
        """
        size = served.entry.max_batch_size
        batches = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        answers = await together(self._infer_batch(served, _batch(batch), deadline) for batch in batches)
        return [row for rows in answers for row in rows]

    async def _infer_batch(
        self, served: Served, pixels: npt.NDArray[np.uint8], deadline: Deadline
    ) -> npt.NDArray[np.float32]:
        rows = await self._backend.infer(served.entry.name, served.version, pixels, deadline.remaining())
        if rows.shape != (len(pixels), served.entry.classes):
            wanted = [len(pixels), served.entry.classes]
            raise InvalidOutput(f"the model answered with shape {list(rows.shape)} instead of {wanted}")
        return rows

    @contextmanager
    def counted(self, model: str, deadline: Deadline, pictures: int) -> Iterator[list[str]]:
        """Count each picture's outcome: those in the list, or what left the block for all."""
        outcomes = ["ok"] * pictures
        try:
            yield outcomes
        except VitrineError as error:
            outcomes[:] = [error.code] * pictures
            raise
        except asyncio.CancelledError:
            outcomes[:] = [DeadlineExceeded.code if deadline.left <= _EARLY_SECONDS else "cancelled"] * pictures
            raise
        except BaseException:
            outcomes[:] = ["internal_error"] * pictures
            raise
        finally:
            for outcome in outcomes:
                self._metrics.images.labels(model, outcome).inc()


def _batch(pixels: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """`[batch, height, width, 3]`; of one picture without a copy."""
    return pixels[0][np.newaxis] if len(pixels) == 1 else np.stack(pixels)


def best(
    probabilities: npt.NDArray[np.float32], labels: tuple[str, ...], top_k: int, min_score: float
) -> tuple[Prediction, ...]:
    """The `top_k` most probable classes that reach `min_score`, best first; ties in the order of their index."""
    candidates = np.arange(len(probabilities))
    if top_k < len(probabilities):  # Sorting all of a thousand takes three times as long.
        candidates = np.flatnonzero(probabilities >= np.partition(probabilities, -top_k)[-top_k])
    order = candidates[np.argsort(-probabilities[candidates], kind="stable")][:top_k].tolist()
    scored = ((index, float(probabilities[index])) for index in order)
    return tuple(Prediction(labels[index], index, score) for index, score in scored if score >= min_score)


def check_probabilities(row: npt.NDArray[np.float32]) -> None:
    """Demand that a row of a model's answer holds probabilities.

    Raises:
        InvalidOutput: it does not.
    """
    if not (abs(float(row.sum()) - 1.0) < 0.01 and row.min() >= 0):  # With a NaN among them neither is true.
        raise InvalidOutput("the model answered with numbers that are not probabilities")


def _classes(row: npt.NDArray[np.float32], prepared: Prepared, served: Served, asked: Asked) -> Classes | InvalidOutput:
    """The classes of one row of the model's answer, unless it holds no probabilities."""
    try:
        check_probabilities(row)
    except InvalidOutput as error:
        return error
    return Classes(best(row, served.entry.labels, asked.top_k, asked.min_score), prepared.warnings)
