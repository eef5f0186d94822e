"""The way of one picture to a map of what its answer comes from: preparation, Triton, and the map over the picture."""

from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

import numpy as np
import numpy.typing as npt

from contract.config import ATTENTION, OUTPUT, ROLLOUT
from contract.pixels import seen_box
from contract.spec import Fusion, Preprocessing
from contract.spec import Rollout as Shape
from service.admission import Admission
from service.catalog import Catalog
from service.companions import Explanations
from service.deadline import Deadline
from service.errors import InvalidOutput, InvalidParameter, VitrineError
from service.memory import DecodingMemory
from service.occlusion import grid, hidden
from service.pipeline import Asked, Pipeline, Prediction, best, check_probabilities
from service.preparation import Preparation, Prepared
from service.rendering import RENDERING_BYTES, Map, rendered, shown
from service.stages import Stages
from service.states import Served
from service.threads import Threads, together
from service.triton import InferenceBackend

CLASS_DIFFERS = "class_differs: the companion, which is explained, answers {!r}"
_AT_ONCE = 16
"""Hidden copies of a picture that are in Triton at once: others' pictures find room between them."""
_BYTES_AT_ONCE = 32_000_000
"""Of hidden copies, so that there are fewer of a large input."""
_COPIES = 4
"""Of each of them in memory: as made, as a batch, as sent, and as gRPC holds it."""

Values = npt.NDArray[np.float32]
_Target = tuple[Served, Explanations]


class Method(str, Enum):
    """How an answer is explained."""

    ROLLOUT = "rollout"
    """By the attention of a transformer (Abnar & Zuidema, 2020), which its companion tells."""
    OCCLUSION = "occlusion"
    """By hiding parts of the picture from the model."""


@dataclass(frozen=True)
class Wanted:
    """What a caller wants to see."""

    asked: Asked
    method: Method | None = None
    """The best that the model has where it is None."""
    fusion: Fusion = Fusion.MEAN
    layer: int | None = None
    """The attention of this layer alone, instead of the rollout of all."""
    head: int | None = None
    """Of this head of the layer alone."""
    opacity: float | None = None
    """Of the map over the picture; None where no picture is wanted."""


@dataclass(frozen=True)
class Explained:
    """What a model's answer to one picture comes from."""

    model: str
    version: str
    method: Method
    map: Map
    rollout: Shape | None
    """What `layer` and `head` choose from; None where they choose nothing."""
    first: Prediction
    """What is explained."""
    predictions: tuple[Prediction, ...]
    warnings: tuple[str, ...]
    png: bytes | None = None
    """The map over the picture, where that was wanted."""

    @property
    def words(self) -> str:
        """What the map shows, in a line."""
        return (
            f"{self.method.value} of {self.first.label!r} ({self.first.score:.3f}) by {self.model} "
            f"version {self.version}"
        )


@dataclass(frozen=True)
class _Found:
    """A row of probabilities, and a map of what it comes from."""

    row: Values
    values: Values
    warnings: tuple[str, ...] = ()


class Explainer:
    """Explains what `Pipeline` answers."""

    def __init__(  # noqa: PLR0913, PLR0917 (all that a request takes)
        self,
        pipeline: Pipeline,
        backend: InferenceBackend,
        catalog: Catalog,
        preparation: Preparation,
        admission: Admission,
        memory: DecodingMemory,
        threads: Threads,
    ) -> None:
        self._pipeline = pipeline
        self._backend = backend
        self._catalog = catalog
        self._preparation = preparation
        self._admission = admission
        self._memory = memory
        self._threads = threads

    async def explain(self, content: bytes, wanted: Wanted, stages: Stages) -> Explained:
        """Explain the answer to an encoded picture.

        Raises:
            VitrineError: what classifying it would raise; and ExplanationUnavailable, InvalidParameter where the model
                cannot be explained so.
        """
        name = self._catalog.resolve(wanted.asked.model).name

        def find() -> _Target:
            served = self._catalog.resolve(name)
            return served, self._catalog.explanations(served)

        with self._pipeline.counted(name, wanted.asked.deadline, 1):
            return await self._pipeline.current(find, lambda target: self._run(target, content, wanted, stages))

    async def _run(self, target: _Target, content: bytes, wanted: Wanted, stages: Stages) -> Explained:
        (served, explanations), deadline = target, wanted.asked.deadline
        method = wanted.method or (Method.ROLLOUT if explanations.companion else Method.OCCLUSION)
        companion = explanations.required() if method is Method.ROLLOUT else None
        rollout = companion.entry.explains if companion else None
        _check_choice(wanted, rollout)
        prepared = await self._prepared(content, served.entry.preprocessing, deadline, stages)
        with stages.timed("triton"):
            if companion and rollout:
                found = await self._by_rollout(served, companion, rollout, prepared, wanted)
            else:
                found = await self._by_occlusion(served, prepared, deadline)
        labels, asked = served.entry.labels, wanted.asked
        explained = Explained(
            model=served.name,
            version=served.version,
            method=method,
            map=Map(found.values, prepared.size, seen_box(prepared.size, served.entry.preprocessing)),
            rollout=rollout,
            first=best(found.row, labels, 1, 0)[0],
            predictions=best(found.row, labels, asked.top_k, asked.min_score),
            warnings=(*prepared.warnings, *found.warnings),
        )
        if wanted.opacity is None:
            return explained
        return replace(explained, png=await self._png(content, explained, wanted, stages))

    async def _prepared(
        self, content: bytes, preprocessing: Preprocessing, deadline: Deadline, stages: Stages
    ) -> Prepared:
        (prepared,) = await self._preparation.prepare([content], preprocessing, deadline, stages)
        if isinstance(prepared, VitrineError):
            raise prepared
        return prepared

    async def _by_rollout(
        self, served: Served, companion: Served, rollout: Shape, prepared: Prepared, wanted: Wanted
    ) -> _Found:
        output, deadline = ROLLOUT if wanted.layer is None else ATTENTION, wanted.asked.deadline
        (row,), (own, maps) = await together(
            (
                self._pipeline.infer(served, [prepared.pixels], deadline),
                self._backend.outputs(
                    companion.name, companion.version, prepared.pixels[None], (OUTPUT, output), deadline.remaining()
                ),
            )
        )
        dims = _dims(rollout, output)
        if maps.shape != (1, *dims) or own.shape != (1, served.entry.classes) or not np.isfinite(maps).all():
            raise InvalidOutput(f"the companion answered with {output} of shape {list(maps.shape)}, or with no numbers")
        check_probabilities(row)
        ours, theirs = int(row.argmax()), int(own[0].argmax())
        warnings = () if ours == theirs else (CLASS_DIFFERS.format(served.entry.labels[theirs]),)
        return _Found(row, _chosen(maps[0], wanted), warnings)

    async def _by_occlusion(self, served: Served, prepared: Prepared, deadline: Deadline) -> _Found:
        """Batch by batch, each admitted, lent its memory and answered before the next."""
        pixels = prepared.pixels
        (row,) = await self._pipeline.infer(served, [pixels], deadline)
        check_probabilities(row)
        top, falls = int(row.argmax()), []
        most = min(_AT_ONCE, served.entry.max_batch_size, self._admission.capacity, _BYTES_AT_ONCE // pixels.nbytes)
        batch = max(1, most)
        # The picture itself has its permit already.
        with self._admission.permit(batch - 1):
            async with self._memory.lent(_COPIES * batch * pixels.nbytes):
                for copies in hidden(pixels, batch):
                    rows = await self._pipeline.infer(served, list(copies), deadline)
                    for each in rows:
                        check_probabilities(each)
                    falls += [row[top] - each[top] for each in rows]
        return _Found(row, np.array(falls, np.float32).reshape(grid(*pixels.shape[:2])))

    async def _png(self, content: bytes, explained: Explained, wanted: Wanted, stages: Stages) -> bytes:
        """The map over the picture, which is decoded once more: as people see it, not as the model does."""
        assert wanted.opacity is not None  # noqa: S101 (a picture is wanted)
        drawn = explained.map
        view = shown(drawn.size)
        picture = await self._prepared(content, view, wanted.asked.deadline, stages)
        needed = RENDERING_BYTES * view.width * view.height
        if not self._memory.take(needed):
            await self._memory.wait_for(needed)
        with stages.timed("render"):
            # A thread that has begun goes on after a deadline, and keeps its memory until it ends.
            give_back = partial(self._memory.give_back, needed)
            return await self._threads.run(
                rendered, drawn, picture.pixels, wanted.opacity, explained.words, after=give_back
            )


def _check_choice(wanted: Wanted, rollout: Shape | None) -> None:
    """Demand that `layer` and `head` choose what there is.

    Raises:
        InvalidParameter: they do not.
    """
    if rollout is None:
        if wanted.layer is not None or wanted.head is not None:
            raise InvalidParameter("layer and head choose among the attention of method=rollout")
        return
    if wanted.head is not None and wanted.layer is None:
        raise InvalidParameter("head needs layer: it chooses one of that layer's")
    for name, value, count in (("layer", wanted.layer, rollout.layers), ("head", wanted.head, rollout.heads)):
        if value is not None and value >= count:
            raise InvalidParameter(f"{name} is 0 to {count - 1}, not {value}")


def _dims(rollout: Shape, output: str) -> tuple[int, ...]:
    first = (len(Fusion),) if output == ROLLOUT else (rollout.layers, rollout.heads)
    return (*first, rollout.rows, rollout.columns)


def _chosen(maps: Values, wanted: Wanted) -> Values:
    """The one map of a companion's output that is wanted, `[rows, columns]`."""
    if wanted.layer is None:
        return np.asarray(maps[list(Fusion).index(wanted.fusion)])
    heads = maps[wanted.layer]
    if wanted.head is not None:
        return np.asarray(heads[wanted.head])
    fused = {Fusion.MEAN: heads.mean(0), Fusion.MAX: heads.max(0), Fusion.MIN: heads.min(0)}
    return np.asarray(fused[wanted.fusion])
