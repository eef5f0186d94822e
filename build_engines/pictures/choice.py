"""Which of the user's pictures calibrate, which judge, and whether the first are good enough."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from build_engines.errors import TooFewPicturesError, UselessPicturesError
from build_engines.pictures.picture_set import PictureSet, PictureWords, open_pictures
from build_engines.values import Pixels

MINIMUM = 500
"""Pictures that a calibration needs. About 500 do for classifiers of ImageNet, says NVIDIA's guide to TensorRT."""
_FLAT_LEVELS = 4
"""Between a channel's darkest and lightest pixel; JPEG makes no more than that of one colour."""
_NEARLY_ALL = 0.9
_HELD_OUT = 1000
"""Pictures at most that are taken from the rest of the calibration's, where the plan names none for evaluation."""
_FEW = 100
"""Where the rest are fewer than this, the calibration's own must do."""
_OWN = 256
"""As many of them: each costs every variant a run of the model."""


@dataclass(frozen=True)
class Choice:
    """The pictures of a build; None where there are none."""

    calibration: PictureSet | None
    """Those that ranges, and the blocks of `--keep-fp16 auto`, are chosen by."""
    evaluation: PictureSet | None
    """Those on which variants are compared with the model."""

    @property
    def held_out(self) -> bool:
        """Whether calibration saw none of the pictures for evaluation."""
        if self.evaluation is None or self.calibration is None:
            return True
        return len(self.evaluation.without(self.calibration)) == len(self.evaluation)

    def evaluation_words(self, matched: str) -> PictureWords:
        """Those for evaluation in words: how they were `matched` with labels, and whether calibration saw them."""
        assert self.evaluation is not None  # noqa: S101 (asked for only where there are some)
        seen = "calibration saw some of them, so the accuracy of new ones may be lower"
        return self.evaluation.words(*((matched,) if self.held_out else (matched, seen)))


def choose_pictures(calibration: Path | None, count: int, evaluation: Path | None) -> Choice:
    """Take `count` pictures of `calibration`, and those of `evaluation`, or others of `calibration` where it is None.

    Raises:
        PicturesUnreadableError: there are no pictures at one of the paths.
    """
    every = open_pictures(calibration) if calibration else None
    chosen = every.choose(count) if every else None
    if evaluation:
        return Choice(chosen, open_pictures(evaluation))
    if every is None or chosen is None:
        return Choice(None, None)
    rest = every.without(chosen).choose(_HELD_OUT)
    return Choice(chosen, rest if len(rest) >= _FEW else chosen.choose(_OWN))


def check_calibration(pictures: PictureSet, pixels: Pixels) -> None:
    """Demand that the ranges of a model can be learnt from `pictures`, whose `pixels` are uint8 `[N, H, W, 3]`.

    Raises:
        TooFewPicturesError: there are fewer than `MINIMUM`.
        UselessPicturesError: nearly all are of one colour, or most are there more than once.
    """
    count = len(pictures)
    if count < MINIMUM:
        raise TooFewPicturesError(
            f"for calibration {MINIMUM} pictures are needed, {count} are in {pictures.origin}; "
            "add pictures like those the model will see"
        )
    flat = sum(int(np.ptp(picture, axis=(0, 1)).max()) <= _FLAT_LEVELS for picture in pixels)
    if flat >= _NEARLY_ALL * count:
        raise UselessPicturesError(
            f"{flat} of {count} pictures in {pictures.origin} are of one flat colour, so the calibration would learn "
            "nothing; give pictures like those the model will see"
        )
    sums = Counter(hashlib.sha256(picture.tobytes()).digest() for picture in pixels)
    repeated = sum(times for times in sums.values() if times > 1)
    if repeated > count / 2:
        raise UselessPicturesError(
            f"{repeated} of {count} pictures in {pictures.origin} are there more than once, only {len(sums)} differ; "
            f"give {MINIMUM} different ones like those the model will see"
        )
