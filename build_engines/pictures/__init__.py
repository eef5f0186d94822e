"""Pictures for calibration and evaluation, as the pixels that are served."""

from build_engines.pictures.calibration import check_calibration
from build_engines.pictures.choice import Choice, choose_pictures
from build_engines.pictures.made import made_pictures
from build_engines.pictures.picture_set import PictureSet, Targets, open_pictures
from build_engines.pictures.words import PictureWords

__all__ = [
    "Choice",
    "PictureSet",
    "PictureWords",
    "Targets",
    "check_calibration",
    "choose_pictures",
    "made_pictures",
    "open_pictures",
]
