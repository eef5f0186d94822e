"""Whether a set of pictures is good enough to calibrate with."""

import hashlib
from collections import Counter

import numpy as np

from build_engines.errors import TooFewPicturesError, UselessPicturesError
from build_engines.pictures.picture_set import PictureSet
from build_engines.values import Pixels

MINIMUM = 500
"""Pictures that a calibration needs. About 500 do for classifiers of ImageNet, says NVIDIA's guide to TensorRT."""
_FLAT_LEVELS = 4
"""Between a channel's darkest and lightest pixel; JPEG makes no more than that of one colour."""
_NEARLY_ALL = 0.9


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
