"""What the gateway answers, as values. Reads JSON of the shape that docs/openapi.json describes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Prediction:
    """One class."""

    label: str
    index: int
    """The class's position in the model's output."""
    score: float
    """Probability, 0 to 1."""


@dataclass(frozen=True)
class Classification:
    """The classes of one picture."""

    model: str
    version: str
    predictions: tuple[Prediction, ...]
    """Best first."""
    warnings: tuple[str, ...] = ()
    """What was given up to read the picture; each starts with a stable code."""
    timing: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds of each stage in the gateway, and `total`."""


@dataclass(frozen=True)
class Explanation:
    """What the model looked at."""

    model: str
    version: str
    method: str
    """`rollout` or `occlusion`."""
    values: tuple[tuple[float, ...], ...]
    """Rows of the grid, top to bottom; 0 (the least of this picture) to 1 (the most)."""
    minimum: float
    """What 0 stands for: a share of the attention, or by how much hiding this part lowers the first class."""
    maximum: float
    size: tuple[int, int]
    """Width and height of the picture, turned as its EXIF says."""
    box: tuple[float, float, float, float]
    """Where the grid lies on the picture: left, top, right, bottom, in its pixels."""
    layers: int | None
    heads: int | None
    predictions: tuple[Prediction, ...]
    warnings: tuple[str, ...] = ()
    timing: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds of each stage in the gateway, and `total`."""


@dataclass(frozen=True)
class Model:
    """One entry of the repository."""

    name: str
    state: Literal["served", "loading", "refused"]
    version: str | None = None
    reason: str | None = None
    """Why it, or a newer version of it, is not served."""
    default: bool = False
    """Whether it answers where no model is named."""
    classes: int | None = None
    height: int | None = None
    width: int | None = None
    build: Mapping[str, str] = field(default_factory=dict)
    """Provenance, as the builder wrote it."""
    methods: tuple[str, ...] = ()
    """How it can be explained; the first is the default."""
    layers: int | None = None
    heads: int | None = None
    labels: tuple[str, ...] = ()
    """By class index, where one model was asked for."""

    @property
    def precision(self) -> str | None:
        """Such as fp32, where the entry says."""
        return self.build.get("precision")

    @property
    def top1(self) -> float | None:
        """The accuracy that the entry states, in percent: as its build measured it, else as its builder says."""
        stated = self.build.get("measured.top1", self.build.get("accuracy.top1"))
        try:
            return float(stated) if stated else None
        except ValueError:
            return None


def to_classification(body: Any, timing: Mapping[str, float]) -> Classification:
    """From JSON.

    Raises:
        KeyError, TypeError, ValueError: it has another shape.
    """
    return Classification(
        str(body["model"]), str(body["version"]), _predictions(body), tuple(map(str, body["warnings"])), timing
    )


def to_explanation(body: Any, timing: Mapping[str, float]) -> Explanation:
    """From JSON.

    Raises:
        KeyError, TypeError, ValueError: it has another shape.
    """
    geometry, grid = body["geometry"], body["grid"]
    left, top, right, bottom = map(float, geometry["box"])
    return Explanation(
        model=str(body["model"]),
        version=str(body["version"]),
        method=str(body["method"]),
        values=tuple(tuple(map(float, row)) for row in grid["values"]),
        minimum=float(grid["minimum"]),
        maximum=float(grid["maximum"]),
        size=(int(geometry["width"]), int(geometry["height"])),
        box=(left, top, right, bottom),
        layers=body["layers"],
        heads=body["heads"],
        predictions=_predictions(body),
        warnings=tuple(map(str, body["warnings"])),
        timing=timing,
    )


def to_models(body: Any) -> list[Model]:
    """From JSON.

    Raises:
        KeyError, TypeError, ValueError: it has another shape.
    """
    return [to_model(each) for each in body["models"]]


def to_model(body: Any) -> Model:
    """From JSON.

    Raises:
        KeyError, TypeError, ValueError: it has another shape.
    """
    newer, entry, explain = body.get("refused") or {}, body.get("input") or {}, body.get("explain") or {}
    return Model(
        name=str(body["name"]),
        state=body["state"],
        version=body.get("version"),
        reason=body.get("reason") or (f"version {newer['version']} is refused: {newer['reason']}" if newer else None),
        default=bool(body.get("default")),
        classes=body.get("classes"),
        height=entry.get("height"),
        width=entry.get("width"),
        build=dict(body.get("build") or {}),
        methods=tuple(explain.get("methods") or ()),
        layers=explain.get("layers"),
        heads=explain.get("heads"),
        labels=tuple(map(str, body.get("labels") or ())),
    )


def _predictions(body: Any) -> tuple[Prediction, ...]:
    return tuple(
        Prediction(str(each["label"]), int(each["index"]), float(each["score"])) for each in body["predictions"]
    )
