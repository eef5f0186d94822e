"""Which of the user's pictures calibrate, and which judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from build_engines.pictures.picture_set import PictureSet, open_pictures
from build_engines.pictures.words import PictureWords

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

    def evaluation_words(self, labels: Sequence[str]) -> PictureWords:
        """Those for evaluation in words: how they were matched with `labels`, and whether calibration saw them."""
        assert self.evaluation is not None  # noqa: S101 (asked for only where there are some)
        seen = "calibration saw some of them, so the accuracy of new ones may be lower"
        matched = self.evaluation.targets(labels).words
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
