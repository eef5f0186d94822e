"""A picture's way: decode and pixels in a thread, Triton, the best classes. One picture, or several as a batch."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from contract.pixels import to_pixels
from contract.spec import Preprocessing
from service.catalog import Catalog
from service.deadline import Deadline
from service.errors import DeadlineExceeded, InvalidOutput, ModelNotReady, UnknownModel, VitrineError
from service.images import decode
from service.metrics import Metrics
from service.stages import Stages
from service.states import Served
from service.triton import InferenceBackend

_T = TypeVar("_T")


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
class Classified(Generic[_T]):
    """What a model answered: `Classes`, or for several pictures those or an error of each, in order."""

    model: str
    version: str
    result: _T


Results = tuple[Classes | VitrineError, ...]


@dataclass(frozen=True)
class _Prepared:
    pixels: npt.NDArray[np.uint8]
    warnings: tuple[str, ...]


class Pipeline:
    """Classifies pictures."""

    def __init__(
        self,
        backend: InferenceBackend,
        catalog: Catalog,
        metrics: Metrics,
        pool: ThreadPoolExecutor,
        max_image_pixels: int,
    ) -> None:
        self._backend = backend
        self._catalog = catalog
        self._metrics = metrics
        self._pool = pool
        self._max_image_pixels = max_image_pixels

    async def classify(self, content: bytes, asked: Asked, stages: Stages) -> Classified[Classes]:
        """Classify one encoded picture.

        Raises:
            VitrineError: any of the tree in `service.errors`.
        """

        async def run(served: Served) -> Classified[Classes]:
            with stages.rest("wait"):
                prepared = await self._in_a_thread(_prepare, content, served, asked.deadline, stages)
            with stages.timed("triton"):
                rows = await self._infer(served, prepared.pixels[np.newaxis], asked.deadline)
            result = _classes(rows[0], prepared, served, asked)
            if isinstance(result, VitrineError):
                raise result
            return Classified(served.entry.name, served.version, result)

        served = self._catalog.resolve(asked.model)
        with self._counted(served.entry.name, asked.deadline):
            return await self._following(served, run)

    async def classify_batch(self, contents: Sequence[bytes], asked: Asked, stages: Stages) -> Classified[Results]:
        """Classify several: a picture that is broken has its error in its place, and the others their classes.

        Stage `decode` is the time until all pictures are ready, resizing included: they are prepared side by side.

        Raises:
            VitrineError: what befalls all of them.
        """

        async def run(served: Served) -> Classified[Results]:
            with stages.timed("decode"):
                prepared = await asyncio.gather(
                    *(self._in_a_thread(_attempt, content, served, asked.deadline) for content in contents)
                )
            whole = [each for each in prepared if isinstance(each, _Prepared)]
            with stages.timed("triton"):
                rows = iter(await self._infer_all(served, whole, asked.deadline))
            results = (
                _classes(next(rows), each, served, asked) if isinstance(each, _Prepared) else each for each in prepared
            )
            return Classified(served.entry.name, served.version, tuple(results))

        served = self._catalog.resolve(asked.model)
        with self._counted(served.entry.name, asked.deadline, len(contents)) as outcomes:
            answer = await self._following(served, run)
            outcomes[:] = [each.code if isinstance(each, VitrineError) else "ok" for each in answer.result]
            return answer

    async def _following(self, served: Served, run: Callable[[Served], Awaitable[_T]]) -> _T:
        """Run on `served`, or on the version that took its place since the last refresh."""
        try:
            return await run(served)
        except (ModelNotReady, UnknownModel):
            await self._catalog.refresh()
            newer = self._catalog.resolve(served.entry.name)
            if newer == served:
                raise
            return await run(newer)

    async def _in_a_thread(self, work: Callable[..., _T], content: bytes, served: Served, *rest: object) -> _T:
        """Everything that costs CPU, in one hop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._pool, work, content, self._max_image_pixels, served.entry.preprocessing, *rest
        )

    async def _infer(
        self, served: Served, pixels: npt.NDArray[np.uint8], deadline: Deadline
    ) -> npt.NDArray[np.float32]:
        rows = await self._backend.infer(served.entry.name, served.version, pixels, deadline.remaining())
        if rows.shape != (len(pixels), served.entry.classes):
            wanted = [len(pixels), served.entry.classes]
            raise InvalidOutput(f"the model answered with shape {list(rows.shape)} instead of {wanted}")
        return rows

    async def _infer_all(
        self, served: Served, prepared: Sequence[_Prepared], deadline: Deadline
    ) -> list[npt.NDArray[np.float32]]:
        """A row for each picture, asked for in batches as large as the model takes."""
        size = served.entry.max_batch_size
        stacks = [
            np.stack([each.pixels for each in prepared[start : start + size]])
            for start in range(0, len(prepared), size)
        ]
        answers = await asyncio.gather(*(self._infer(served, stack, deadline) for stack in stacks))
        return [row for rows in answers for row in rows]

    @contextmanager
    def _counted(self, model: str, deadline: Deadline, pictures: int = 1) -> Iterator[list[str]]:
        """Count each picture's outcome: those in the list, or what left the block for all."""
        outcomes = ["ok"] * pictures
        try:
            yield outcomes
        except VitrineError as error:
            outcomes[:] = [error.code] * pictures
            raise
        except asyncio.CancelledError:
            outcomes[:] = [DeadlineExceeded.code if deadline.left <= 0 else "cancelled"] * pictures
            raise
        except BaseException:
            outcomes[:] = ["internal_error"] * pictures
            raise
        finally:
            for outcome in outcomes:
                self._metrics.images.labels(model, outcome).inc()


def best(
    probabilities: npt.NDArray[np.float32], labels: tuple[str, ...], top_k: int, min_score: float
) -> tuple[Prediction, ...]:
    """The `top_k` most probable classes that reach `min_score`, best first; ties in the order of their index."""
    order = np.argsort(-probabilities, kind="stable")[:top_k].tolist()
    scored = ((index, float(probabilities[index])) for index in order)
    return tuple(Prediction(labels[index], index, score) for index, score in scored if score >= min_score)


def _prepare(
    content: bytes, max_pixels: int, preprocessing: Preprocessing, deadline: Deadline, stages: Stages
) -> _Prepared:
    deadline.remaining()  # It may have passed in the queue for this thread.
    with stages.timed("decode"):
        decoded = decode(content, max_pixels, preprocessing)
    with stages.timed("resize"):
        return _Prepared(to_pixels(decoded.picture, preprocessing, decoded.extent), decoded.warnings)


def _attempt(
    content: bytes, max_pixels: int, preprocessing: Preprocessing, deadline: Deadline
) -> _Prepared | VitrineError:
    try:
        return _prepare(content, max_pixels, preprocessing, deadline, Stages())
    except DeadlineExceeded:
        raise
    except VitrineError as error:
        return error


def _classes(
    row: npt.NDArray[np.float32], prepared: _Prepared, served: Served, asked: Asked
) -> Classes | InvalidOutput:
    """The classes of one row of the model's answer, unless it holds no probabilities."""
    if not (np.isfinite(row).all() and abs(float(row.sum()) - 1.0) < 0.01):
        return InvalidOutput("the model answered with numbers that are not probabilities")
    return Classes(best(row, served.entry.labels, asked.top_k, asked.min_score), prepared.warnings)
