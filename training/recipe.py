"""Every choice of a training, declared once: for the command line, for the run's own record and for the docs.

What is None follows from the number of pictures and from whether the weights are trained already (`BANDS`). Knows no
torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from training.errors import RecipeError

IMAGE_SHIFTED = 64
"""Pixels of an edge up to which pictures are shifted by a few pixels, and not cropped to a part of themselves."""


def choice(words: str, default: Any = None, **more: Any) -> Any:
    """A field of `Recipe`: what it means, for `--help` and the docs."""
    return field(default=default, metadata={"help": words, **more})


@dataclass(frozen=True)
class Recipe:
    """The choices of one run; stored in its checkpoint, which only the same recipe may resume.

    Raises:
        RecipeError: two of them contradict each other, or one is out of range.
    """

    model: str = choice("timm's name of the model; none where --checkpoint is a folder that says it", "")
    checkpoint: str = choice("weights to start from, in any form that build-engines reads", "", metavar="PATH")
    checkpoint_key: str = choice("which network of the checkpoint, where it holds several", "", metavar="KEY")
    pretrained: bool = choice("start from random weights, not from timm's", True, flag="--no-pretrained")
    register: tuple[str, ...] = choice(
        "import this Python module first, which registers an architecture with timm; repeatable", (), metavar="MODULE"
    )
    image_size: int | None = choice(
        "edge of the square that the model sees; position embeddings are resampled (default: the model's)",
        None,
        metavar="PIXELS",
    )
    crop_pct: float | None = choice(
        "share of a picture's edge that the model sees (default: the model's)", None, metavar="SHARE"
    )
    head_only: bool | None = choice("keep the trained weights and fit a linear head on their features", None)
    freeze: int = choice("keep the stem and the first N blocks as they are", 0)
    epochs: int | None = choice("passes over the training pictures")
    batch_size: int = choice("pictures per step", 128)
    learning_rate: float | None = choice("AdamW's peak learning rate, of the head; deeper layers have less of it")
    layer_decay: float | None = choice("learning rate of a layer over that of the next; 1 is the same for all")
    weight_decay: float = choice("on matrices; never on biases, norms and embeddings", 0.05)
    warmup_epochs: float = choice("linear warm-up before the cosine", 1.0)
    label_smoothing: float = choice("share of the target spread over all classes", 0.1)
    drop_path: float | None = choice("stochastic depth of the last block")
    mix_probability: float | None = choice("share of batches given MixUp or CutMix")
    mix_until: float = choice("share of the run after which mixing stops", 0.75)
    rand_augment: str = choice("timm's words for RandAugment, such as rand-m9-n2-mstd0.5", "", metavar="WORDS")
    repeats: int = choice("how many times a batch holds each of its pictures, each augmented anew", 1)
    min_crop: float | None = choice(
        "least share of a picture's area that a crop shows; 1 shifts it by an eighth at most instead (default: 1 for "
        f"pictures of up to {IMAGE_SHIFTED} pixels, else 0.35)"
    )
    clip_norm: float = choice("the gradient's largest norm; 0 never clips", 1.0)
    ema_decay: float = choice("of the averaged weights, which are the result, per step; 0 keeps no average", 0.998)
    patience: int | None = choice("epochs without a better held-out accuracy after which the run ends; 0 never ends it")
    hold_out: float | None = choice(
        "share of the training pictures that is held out to choose by, where the folder has no val/ (default: 0.2, or "
        "0 where there is a test/ and no patience)"
    )
    distill: tuple[str, ...] = choice(
        "learn from this teacher as well: the folder of a run, or of a saved model; repeatable, several are averaged",
        (),
        metavar="FOLDER",
    )
    distill_kind: str = choice(
        "match the teacher's probabilities, or its first class", "soft", choices=("soft", "hard")
    )
    distill_weight: float = choice("of the teacher's part of the loss, from 0 to 1", 0.5)
    distill_temperature: float = choice("by which both logits are divided, for soft", 2.0)
    seed: int = choice("of everything random", 0)

    def __post_init__(self) -> None:
        if not self.model and not self.checkpoint:
            raise RecipeError("name a timm --model, such as vit_tiny_patch16_224, or give a --checkpoint folder")
        if self.checkpoint and not self.pretrained:
            raise RecipeError("--checkpoint and --no-pretrained exclude each other: the checkpoint brings the weights")
        if self.head_only and self.freeze:
            raise RecipeError("--head-only keeps every block as it is; leave --freeze out")
        if self.head_only and (self.distill or not self.pretrained):
            raise RecipeError(
                "--head-only fits a head to trained weights by its labels; leave --distill and --no-pretrained out"
            )
        for name, least, most in _RANGES:
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise RecipeError(f"--{name.replace('_', '-')} is from {least:g} to {most:g}; got {value:g}")
        if self.repeats > self.batch_size:
            raise RecipeError(f"--repeats {self.repeats} is more than a batch of {self.batch_size} holds")

    def settled(self, pictures: int, *, trained: bool) -> "Recipe":
        """The same with every None filled in for `pictures` to train on; `trained` says what the weights are.

        Raises:
            RecipeError: a head is asked for over weights that know nothing, or with choices that it has no use for.
        """
        if self.head_only and self.of_training:
            option = self.of_training[0].replace("_", "-")
            raise RecipeError(f"--head-only fits a head in one go, to weights that stay; leave --{option} out")
        if self.head_only and not trained:
            raise RecipeError("--head-only needs trained weights: give --checkpoint, or a model with timm's weights")
        band = band_of(pictures, trained=trained)
        wanted = {name: getattr(band, name) for name in BAND_CHOICES if getattr(self, name) is None}
        if self.of_training:
            wanted.pop("head_only", None)
        return replace(self, **{"head_only": self.head_only or False, **wanted})

    @property
    def of_training(self) -> tuple[str, ...]:
        """What was chosen that says nothing of a head over weights that stay as they are."""
        chosen = [each.name for each in fields(self) if getattr(self, each.name) != each.default]
        return tuple(name for name in chosen if name not in _OF_A_HEAD)

    def for_size(self, edge: int) -> "Recipe":
        """The same with the crop that suits pictures of `edge` pixels."""
        return self if self.min_crop is not None else replace(self, min_crop=1.0 if edge <= IMAGE_SHIFTED else 0.35)


_OF_A_HEAD = (
    *("model", "checkpoint", "checkpoint_key", "pretrained", "register"),
    *("image_size", "crop_pct", "head_only", "hold_out", "seed"),
)
"""Choices that a linear head over trained weights has too."""
_RANGES = (
    ("image_size", 1, 4096),
    ("crop_pct", 0.1, 2),
    ("freeze", 0, 1000),
    ("epochs", 1, 100_000),
    ("batch_size", 2, 100_000),
    ("learning_rate", 0, 100),
    ("layer_decay", 0.01, 1),
    ("weight_decay", 0, 10),
    ("warmup_epochs", 0, 100_000),
    ("label_smoothing", 0, 0.9),
    ("drop_path", 0, 0.9),
    ("mix_probability", 0, 1),
    ("mix_until", 0, 1),
    ("repeats", 1, 100),
    ("min_crop", 0.01, 1),
    ("clip_norm", 0, 1e6),
    ("ema_decay", 0, 0.999999),
    ("patience", 0, 100_000),
    ("hold_out", 0, 0.9),
    ("distill_weight", 0, 1),
    ("distill_temperature", 0.1, 100),
    ("seed", 0, 2**31 - 1),
)


@dataclass(frozen=True)
class Band:
    """What a number of pictures calls for."""

    trained: bool
    below: float
    """Pictures, from the band before up to this many."""
    head_only: bool
    epochs: int
    learning_rate: float
    layer_decay: float
    drop_path: float
    mix_probability: float
    patience: int


BANDS = (
    Band(True, 1_000, True, 30, 5e-4, 0.65, 0.0, 0.0, 10),
    Band(True, 10_000, False, 20, 5e-4, 0.65, 0.1, 0.0, 5),
    Band(True, 100_000, False, 10, 5e-4, 0.75, 0.1, 0.3, 3),
    Band(True, float("inf"), False, 5, 5e-4, 0.8, 0.1, 0.5, 2),
    Band(False, 10_000, False, 100, 1e-3, 1.0, 0.1, 0.5, 0),
    Band(False, float("inf"), False, 16, 2e-3, 1.0, 0.05, 0.3, 0),
)
"""From few pictures to many, for weights that are trained already and for random ones. The fewer, the less may move."""
BAND_CHOICES = tuple(each.name for each in fields(Band) if each.name not in ("trained", "below"))


def band_of(pictures: int, *, trained: bool) -> Band:
    """The band for so many pictures to train on."""
    return next(band for band in BANDS if band.trained is trained and pictures < band.below)


def band_rows() -> Iterator[tuple[str, ...]]:
    """For the documentation: the weights to start from, the number of pictures, and each choice that follows."""
    for band in BANDS:
        pictures = "more" if band.below == float("inf") else f"below {band.below:,.0f}"
        choices = (getattr(band, name) for name in BAND_CHOICES)
        words = (("yes" if value else "no") if isinstance(value, bool) else f"{value:g}" for value in choices)
        yield "trained" if band.trained else "random", pictures, *words
