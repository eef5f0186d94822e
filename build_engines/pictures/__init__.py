"""Pictures for calibration and evaluation, as the pixels that are served."""

from build_engines.pictures.choice import Choice, check_calibration, choose_pictures
from build_engines.pictures.decoding import decode
from build_engines.pictures.made import made_pictures
from build_engines.pictures.picture_set import PictureSet, PictureWords, Targets, open_pictures
