"""The probabilities of pictures, or of pixels that a caller prepared: `pipeline.py` without its last step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.catalog import Catalog
from service.deadline import Deadline
from service.errors import InvalidBody, UnknownModel, VitrineError
from service.pipeline import Pipeline, check_probabilities
from service.preparation import Preparation
from service.stages import Stages
from service.states import Served

Images = Sequence[bytes] | npt.NDArray[np.uint8]
"""Encoded pictures, or pixels `[N, height, width, 3]` as the model takes them."""


@dataclass(frozen=True)
class Inferred:
    """What a model computed."""

    served: Served
    probabilities: npt.NDArray[np.float32]
    """`[N, classes]`"""
    warnings: tuple[tuple[str, ...], ...]
    """For each picture."""


class Inference:
    """Computes probabilities, all or none."""

    def __init__(self, pipeline: Pipeline, catalog: Catalog, preparation: Preparation) -> None:
        self._pipeline = pipeline
        self._catalog = catalog
        self._preparation = preparation

    def find(self, model: str, version: str | None) -> Served:
        """The model, where `version` is the one that answers.

        Raises:
            VitrineError: see `Catalog.resolve`; and another version answers.
        """
        served = self._catalog.resolve(model)
        if version is not None and version != served.version:
            raise UnknownModel(
                f"version {version[:32]!r} of {served.name!r} is not served; version {served.version} is"
            )
        return served

    async def infer(
        self, model: str, version: str | None, images: Images, deadline: Deadline, stages: Stages
    ) -> Inferred:
        """The probabilities of each picture.

        Raises:
            InvalidBody: the pixels have another shape than the model takes.
            VitrineError: what happens to all of them, or to the first picture that is broken.
        """
        name = self.find(model, version).name
        with self._pipeline.counted(name, deadline, len(images)):
            return await self._pipeline.current(
                lambda: self.find(name, version), lambda served: self._run(served, images, deadline, stages)
            )

    async def _run(self, served: Served, images: Images, deadline: Deadline, stages: Stages) -> Inferred:
        preprocessing = served.entry.preprocessing
        pixels: list[npt.NDArray[np.uint8]] = []
        warnings: list[tuple[str, ...]] = []
        if isinstance(images, np.ndarray):
            wanted = (preprocessing.height, preprocessing.width, 3)
            if images.shape[1:] != wanted:
                raise InvalidBody(f"the input must have shape {[-1, *wanted]}, has {list(images.shape)}")
            pixels, warnings = list(images), [()] * len(images)
        else:
            for each in await self._preparation.prepare(images, preprocessing, deadline, stages):
                if isinstance(each, VitrineError):
                    raise each
                pixels.append(each.pixels)
                warnings.append(each.warnings)
        with stages.timed("triton"):
            rows = await self._pipeline.infer(served, pixels, deadline)
        for row in rows:
            check_probabilities(row)
        return Inferred(served, np.stack(rows), tuple(warnings))
