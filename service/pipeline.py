"""One picture's way: a permit, the contract, decode and pixels in a thread, Triton, the best classes."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contract.pixels import to_pixels
from contract.spec import Preprocessing
from service.catalog import Catalog, Served
from service.errors import InvalidOutput, ModelNotReady, Overloaded, UnknownModel, VitrineError
from service.images import decode
from service.metrics import Metrics, Stages
from service.triton import InferenceBackend


@dataclass(frozen=True)
class Prediction:
    """One class and its probability."""

    label: str
    index: int
    score: float


@dataclass(frozen=True)
class Classification:
    """The answer to one picture."""

    model: str
    version: str
    predictions: tuple[Prediction, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Limits:
    """What one request may cost."""

    max_in_flight: int
    max_image_pixels: int
    triton_timeout_seconds: float


class Pipeline:
    """Classifies pictures, at most `limits.max_in_flight` at once."""

    def __init__(
        self, backend: InferenceBackend, catalog: Catalog, metrics: Metrics, pool: ThreadPoolExecutor, limits: Limits
    ) -> None:
        self._backend = backend
        self._catalog = catalog
        self._metrics = metrics
        self._pool = pool
        self._limits = limits
        self._in_flight = 0

    async def classify(
        self, content: bytes, model: str | None, top_k: int, min_score: float, stages: Stages
    ) -> Classification:
        """Classify one encoded picture.

        Raises:
            VitrineError: any of the tree in `service.errors`.
        """
        served = self._catalog.resolve(model)
        with self._permit(), self._counted(served.entry.name):
            try:
                return await self._run(content, served, top_k, min_score, stages)
            except (ModelNotReady, UnknownModel):
                # Triton may have moved to another version since the last refresh: that one answers, or nobody.
                await self._catalog.refresh()
                newer = self._catalog.resolve(served.entry.name)
                if newer == served:
                    raise
                return await self._run(content, newer, top_k, min_score, stages)

    async def _run(
        self, content: bytes, served: Served, top_k: int, min_score: float, stages: Stages
    ) -> Classification:
        entry = served.entry
        loop = asyncio.get_running_loop()
        pixels, warnings = await loop.run_in_executor(
            self._pool, _prepare, content, self._limits.max_image_pixels, entry.preprocessing, stages
        )
        with stages.timed("triton"):
            rows = await self._backend.infer(
                entry.name, served.version, pixels[np.newaxis], self._limits.triton_timeout_seconds
            )
        probabilities = _checked(rows, entry.classes)
        return Classification(entry.name, served.version, best(probabilities, entry.labels, top_k, min_score), warnings)

    @contextmanager
    def _permit(self) -> Iterator[None]:
        if self._in_flight >= self._limits.max_in_flight:
            raise Overloaded(f"{self._in_flight} pictures are being worked on, which is the limit; try again shortly")
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    @contextmanager
    def _counted(self, model: str) -> Iterator[None]:
        outcome = "cancelled"
        try:
            yield
            outcome = "ok"
        except VitrineError as error:
            outcome = error.code
            raise
        finally:
            self._metrics.images.labels(model, outcome).inc()


def best(
    probabilities: npt.NDArray[np.float32], labels: tuple[str, ...], top_k: int, min_score: float
) -> tuple[Prediction, ...]:
    """The `top_k` most probable classes that reach `min_score`, best first; ties in the order of their index."""
    order = np.argsort(-probabilities, kind="stable")[:top_k].tolist()
    scored = ((index, float(probabilities[index])) for index in order)
    return tuple(Prediction(labels[index], index, score) for index, score in scored if score >= min_score)


def _prepare(
    content: bytes, max_pixels: int, preprocessing: Preprocessing, stages: Stages
) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Everything that costs CPU, in one hop to a thread."""
    with stages.timed("decode"):
        decoded = decode(content, max_pixels)
    with stages.timed("resize"):
        return to_pixels(decoded.picture, preprocessing), decoded.warnings


def _checked(rows: npt.NDArray[np.float32], classes: int) -> npt.NDArray[np.float32]:
    if rows.shape != (1, classes):
        raise InvalidOutput(f"the model answered with shape {list(rows.shape)} instead of [1, {classes}]")
    if not (np.isfinite(rows).all() and abs(float(rows.sum()) - 1.0) < 0.01):
        raise InvalidOutput("the model answered with numbers that are not probabilities")
    row: npt.NDArray[np.float32] = rows[0]
    return row
