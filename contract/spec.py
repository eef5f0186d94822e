"""A repository entry as one value: what a model takes, what it answers, and where it came from.

Knows no Triton and no file: `contract.config` turns an entry into a `config.pbtxt` and back.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_SIDE = 4096


class ContractError(ValueError):
    """An entry breaks the contract. `key` names the field or parameter that is wrong."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key


class CropMode(str, Enum):
    """How a picture is brought to the input's shape, by timm's names."""

    CENTER = "center"
    """Scale the shorter edge, keep the aspect ratio, cut the centre."""
    SQUASH = "squash"
    """Scale both edges, give up the aspect ratio, cut the centre."""
    BORDER = "border"
    """Scale the longer edge, keep the aspect ratio, fill the borders."""


class Interpolation(str, Enum):
    """Resampling filters, by timm's names."""

    NEAREST = "nearest"
    BOX = "box"
    BILINEAR = "bilinear"
    HAMMING = "hamming"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


@dataclass(frozen=True)
class Preprocessing:
    """How an RGB picture becomes the input array; `contract.pixels` carries it out.

    Raises:
        ContractError: a value is out of range.
    """

    height: int
    width: int
    crop_pct: float = 0.875
    """Input size over resize size, so that resize = floor(size / crop_pct). Above 1, the picture gets a black frame."""
    crop_mode: CropMode = CropMode.CENTER
    interpolation: Interpolation = Interpolation.BICUBIC
    fill: tuple[int, int, int] = (0, 0, 0)
    """Colour of what the picture does not cover. timm fills with black unless the crop mode is `border`."""

    def __post_init__(self) -> None:
        for key, side in (("height", self.height), ("width", self.width)):
            if not 1 <= side <= MAX_SIDE:
                raise ContractError(key, f"must be 1 to {MAX_SIDE} pixels, is {side}")
        if not 0.1 <= self.crop_pct <= 10:
            raise ContractError("crop_pct", f"must be 0.1 to 10, is {self.crop_pct}")
        if len(self.fill) != 3 or not all(0 <= level <= 255 for level in self.fill):
            raise ContractError("fill", f"must be three levels of 0 to 255, is {self.fill}")
        if self.fill != (0, 0, 0) and self.crop_mode is not CropMode.BORDER:
            raise ContractError(
                "fill", f"only crop mode border fills with a colour; crop mode is {self.crop_mode.value}"
            )


class Fusion(str, Enum):
    """How the attention of a layer's heads becomes one matrix, in the order of a companion's output."""

    MEAN = "mean"
    MAX = "max"
    MIN = "min"


@dataclass(frozen=True)
class Rollout:
    """What makes an entry a companion: whose answers it explains, and the shape of its maps.

    Raises:
        ContractError: a value is out of range.
    """

    entries: tuple[str, ...]
    """Names of the entries whose answers it explains."""
    weights_sha256: str
    """Of the weights that it shares with them: their `build.weights_sha256`."""
    layers: int
    heads: int
    rows: int
    """Of the grid of patches."""
    columns: int
    discard: float = 0.0
    """Share of each layer's weakest attention that is left out, 0 to below 1."""

    def __post_init__(self) -> None:
        if not self.entries or not all(NAME.fullmatch(name) for name in self.entries):
            raise ContractError("explains", f"must name entries, each matching {NAME.pattern}; is {self.entries}")
        if not SHA256.fullmatch(self.weights_sha256):
            raise ContractError("explains_weights", f"must be a SHA-256 in hex, is {self.weights_sha256!r}")
        if min(self.layers, self.heads, self.rows, self.columns) < 1:
            raise ContractError("explains", "must have at least one layer, head, row and column")
        if not 0 <= self.discard < 1:
            raise ContractError("explains_discard", f"must be 0 to below 1, is {self.discard}")


@dataclass(frozen=True)
class Entry:
    """One model of the repository.

    Its input is named `image`: uint8 `[batch, height, width, 3]`, RGB. Its output is named `probabilities`: float32
    `[batch, classes]`, each row summing to 1. A companion has two more, both float32: `rollout` `[batch, fusions, rows,
    columns]`, in the order of `Fusion`, and `attention` `[batch, layers, heads, rows, columns]`.

    Raises:
        ContractError: a value is out of range.
    """

    name: str
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    """One for each class, by index. Need not be unique (ImageNet has two cranes)."""
    max_batch_size: int
    build: Mapping[str, str] = field(default_factory=dict)
    """Provenance: shown, never interpreted, but for `weights_sha256`: a companion names the one that it explains."""
    explains: Rollout | None = None
    """What it explains where it is a companion; None where it is a classifier of its own."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ContractError("name", f"must match {NAME.pattern}, is {self.name!r}")
        if not self.labels:
            raise ContractError("labels", "must name at least one class")
        for index, label in enumerate(self.labels):
            if not label.strip() or "\n" in label:
                raise ContractError("labels", f"class {index} must be one non-empty line, is {label!r}")
            if not _is_unicode(label):
                raise ContractError("labels", f"class {index} must be valid Unicode, is {label!r}")
        if self.max_batch_size < 1:
            raise ContractError("max_batch_size", f"must be at least 1, is {self.max_batch_size}")

    @property
    def weights_sha256(self) -> str:
        """The digest of its weights, as its build says; empty where it does not."""
        return self.build.get("weights_sha256", "")

    @property
    def classes(self) -> int:
        """How many classes the model tells apart."""
        return len(self.labels)


def _is_unicode(text: str) -> bool:
    """Whether it can be sent: JSON's escapes can spell halves of surrogate pairs, which UTF-8 does not have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
