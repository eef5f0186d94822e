"""Every choice of a pre-training. Knows no torch."""

from dataclasses import dataclass

from training.errors import RecipeError
from training.recipe import choice

RATE, RATED_BATCH = 1.5e-4, 256
"""The paper's base learning rate, for a batch of so many."""


@dataclass(frozen=True)
class MaskedRecipe:
    """The choices of one run; stored in its checkpoint, which only the same recipe may resume.

    Raises:
        RecipeError: one is out of range.
    """

    model: str = choice("timm's name of a plain ViT", "vit_nano_patch4_32")
    register: tuple[str, ...] = choice(
        "import this Python module first, which registers an architecture with timm; repeatable", (), metavar="MODULE"
    )
    image_size: int | None = choice(
        "edge of the square that the model sees (default: the model's)", None, metavar="PIXELS"
    )
    epochs: int = choice("passes over the pictures; the paper's is 800", 100)
    batch_size: int = choice("pictures per step", 128)
    learning_rate: float = choice(f"AdamW's peak learning rate for a batch of {RATED_BATCH}", RATE)
    weight_decay: float = choice("on matrices; never on biases, norms and tokens", 0.05)
    warmup: float = choice("share of the run in which the learning rate rises", 0.05)
    mask_ratio: float = choice("share of the patches that are masked", 0.75)
    min_crop: float = choice("least share of a picture's area that a crop shows", 0.2)
    show_every: int = choice("epochs between two pages of reconstructions; the last epoch has one too", 10)
    seed: int = choice("of everything random", 0)

    def __post_init__(self) -> None:
        ranges = {
            "image_size": (1, 4096), "epochs": (1, 100_000), "batch_size": (1, 100_000), "learning_rate": (0, 1),
            "weight_decay": (0, 10), "warmup": (0, 0.9), "mask_ratio": (0.01, 0.99), "min_crop": (0.01, 1),
            "show_every": (1, 100_000), "seed": (0, 2**31 - 1),
        }  # fmt: skip
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise RecipeError(f"--{name.replace('_', '-')} is from {least:g} to {most:g}; got {value:g}")
