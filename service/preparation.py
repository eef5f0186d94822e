"""A request's pictures as a model's input: decoded, resized and cropped in threads, inside a budget of memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from contract.spec import Preprocessing
from service.deadline import Deadline
from service.errors import DeadlineExceeded, VitrineError
from service.images import Opened, open_picture
from service.memory import DecodingMemory
from service.stages import Stages
from service.threads import Threads, together


@dataclass(frozen=True)
class Prepared:
    """One picture as a model takes it."""

    pixels: npt.NDArray[np.uint8]
    """`[height, width, 3]`"""
    warnings: tuple[str, ...]
    size: tuple[int, int]
    """Width and height of the whole picture, upright."""


class Preparation:
    """Prepares pictures."""

    def __init__(self, threads: Threads, memory: DecodingMemory, max_image_pixels: int) -> None:
        self._threads = threads
        self._memory = memory
        self._max_image_pixels = max_image_pixels

    async def prepare(
        self, contents: Sequence[bytes], preprocessing: Preprocessing, deadline: Deadline, stages: Stages
    ) -> list[Prepared | VitrineError]:
        """Prepare encoded pictures side by side; one that cannot be has its error in its place.

        Stages `decode` and `resize` get the mean of the pictures, `wait` the rest of the time until all are there.

        Raises:
            DeadlineExceeded: it passed before all of them were begun.
        """
        with stages.side_by_side(len(contents), rest="wait") as pieces:
            return await together(
                self._one(content, preprocessing, deadline, piece)
                for content, piece in zip(contents, pieces, strict=True)
            )

    async def _one(
        self, content: bytes, preprocessing: Preprocessing, deadline: Deadline, stages: Stages
    ) -> Prepared | VitrineError:
        """Everything that costs CPU, in one hop to a thread; in two where there is no memory for it at once."""
        try:
            found = await self._threads.run(self._attempt, content, preprocessing, deadline, stages)
            if isinstance(found, Prepared):
                return found
            await self._memory.wait_for(found.bytes)
            return await self._threads.run(
                _decode, found, deadline, stages, after=partial(self._memory.give_back, found.bytes)
            )
        except DeadlineExceeded:
            raise
        except VitrineError as error:
            return error

    def _attempt(
        self, content: bytes, preprocessing: Preprocessing, deadline: Deadline, stages: Stages
    ) -> Prepared | Opened:
        """The picture as far as there is memory for it now."""
        deadline.remaining()  # It may have passed in the queue for this thread.
        with stages.timed("decode"):
            opened = open_picture(content, self._max_image_pixels, preprocessing)
        if not self._memory.take(opened.bytes):
            return opened
        try:
            return _decode(opened, deadline, stages)
        finally:
            self._memory.give_back(opened.bytes)


def _decode(opened: Opened, deadline: Deadline, stages: Stages) -> Prepared:
    deadline.remaining()
    with stages.timed("decode"):
        warnings = opened.decode()
    with stages.timed("resize"):
        return Prepared(opened.pixels(), warnings, opened.size)
