"""A request's pictures as a model's input: decoded, resized and cropped in threads, inside a budget of memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contract.spec import Preprocessing
from service.deadline import Deadline
from service.errors import DeadlineExceeded, VitrineError
from service.images import open_picture
from service.memory import DecodingMemory
from service.metrics import Stages
from service.threads import Threads, together


@dataclass(frozen=True)
class Prepared:
    """One picture as a model takes it."""

    pixels: npt.NDArray[np.uint8]
    """`[height, width, 3]`"""
    warnings: tuple[str, ...]


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
                self._threads.run(self._attempt, content, preprocessing, deadline, piece)
                for content, piece in zip(contents, pieces, strict=True)
            )

    def _attempt(
        self, content: bytes, preprocessing: Preprocessing, deadline: Deadline, stages: Stages
    ) -> Prepared | VitrineError:
        """Everything that costs CPU, in one hop to a thread."""
        deadline.remaining()  # It may have passed in the queue for this thread.
        try:
            with stages.timed("decode"):
                opened = open_picture(content, self._max_image_pixels, preprocessing)
            with self._memory.lent(opened.bytes, deadline):
                with stages.timed("decode"):
                    warnings = opened.decode()
                with stages.timed("resize"):
                    return Prepared(opened.pixels(), warnings)
        except DeadlineExceeded:
            raise
        except VitrineError as error:
            return error
