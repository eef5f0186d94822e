"""The JSON bodies of the API. Pydantic only here and in the settings; inside, dataclasses."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from contract.config import INPUT, OUTPUT
from contract.spec import Entry, Preprocessing
from service.catalog import Catalog
from service.companions import Explanations
from service.explanation import Explained
from service.pipeline import Classes, Classified, Prediction
from service.states import Refused, Served, State


class PredictionOut(BaseModel):
    """One class."""

    label: str = Field(examples=["cat"])
    index: int = Field(description="The class's position in the model's output.", examples=[3])
    score: float = Field(description="Probability, 0 to 1.", examples=[0.91])


def _prediction(found: Prediction) -> PredictionOut:
    return PredictionOut(label=found.label, index=found.index, score=found.score)


class ResultOut(BaseModel):
    """The classes of one picture."""

    predictions: list[PredictionOut] = Field(description="Best first.")
    warnings: list[str] = Field(description="What was given up to read the picture; each starts with a stable code.")

    @classmethod
    def of(cls, classes: Classes) -> "ResultOut":
        """Shape a pipeline's answer to one picture."""
        predictions = [_prediction(each) for each in classes.predictions]
        return cls(predictions=predictions, warnings=list(classes.warnings))


class ClassificationOut(BaseModel):
    """The answer to one picture."""

    model: str
    version: str
    predictions: list[PredictionOut] = Field(description="Best first.")
    warnings: list[str] = Field(description="What was given up to read the picture; each starts with a stable code.")

    @classmethod
    def of(cls, answer: Classified, classes: Classes) -> "ClassificationOut":
        """Shape a pipeline's answer to the only picture."""
        predictions = [_prediction(each) for each in classes.predictions]
        return cls(model=answer.model, version=answer.version, predictions=predictions, warnings=list(classes.warnings))


class ErrorOut(BaseModel):
    """What is wrong with one picture of several."""

    title: str
    status: int = Field(description="What the picture alone would be answered with.")
    detail: str
    code: str = Field(description="Stable name of the error.")


class FailedOut(BaseModel):
    """In the place of a picture's classes."""

    error: ErrorOut


class BatchOut(BaseModel):
    """The answer to several pictures."""

    model: str
    version: str
    results: list[ResultOut | FailedOut] = Field(description="One for each picture, in order.")


class GridOut(BaseModel):
    """How much each part of the model's input counted, row by row from the top left."""

    rows: int
    columns: int
    values: list[list[float]] = Field(description="0 (the least of this picture) to 1 (the most).")
    minimum: float = Field(
        description="What 0 stands for: a share of the attention, or with `occlusion` by how much the probability of "
        "the first class falls where this part is hidden; below 0 where it rises."
    )
    maximum: float = Field(description="What 1 stands for.")


class GeometryOut(BaseModel):
    """Where the grid lies on the picture as it is shown, turned as its EXIF says."""

    width: int = Field(description="Of the whole picture, in pixels.")
    height: int
    box: tuple[float, float, float, float] = Field(
        description="Left, top, right and bottom edge of the grid, in pixels of the picture. It reaches outside the "
        "picture where the model sees a frame around it."
    )


class ExplanationOut(BaseModel):
    """Which parts of a picture the answer hangs on."""

    model: str
    version: str
    method: Literal["rollout", "occlusion"]
    grid: GridOut
    geometry: GeometryOut
    layers: int | None = Field(description="How many `layer` can choose from; null where it chooses nothing.")
    heads: int | None = Field(description="How many `head` can choose from; null where it chooses nothing.")
    predictions: list[PredictionOut] = Field(description="Best first, as classify answers. The first is explained.")
    warnings: list[str] = Field(description="What a reader should know; each starts with a stable code.")

    @classmethod
    def of(cls, explained: Explained) -> "ExplanationOut":
        """Shape an explainer's answer."""
        found, rollout = explained.map, explained.rollout
        rows, columns = found.values.shape
        return cls(
            model=explained.model,
            version=explained.version,
            method=explained.method.value,
            grid=GridOut(
                rows=rows,
                columns=columns,
                values=found.scaled.tolist(),
                minimum=float(found.values.min()),
                maximum=float(found.values.max()),
            ),
            geometry=GeometryOut(width=found.size[0], height=found.size[1], box=found.box),
            layers=rollout.layers if rollout else None,
            heads=rollout.heads if rollout else None,
            predictions=[_prediction(each) for each in explained.predictions],
            warnings=list(explained.warnings),
        )


class ExplainOut(BaseModel):
    """How a model's answers can be explained."""

    methods: list[Literal["rollout", "occlusion"]] = Field(description="The first is the default.")
    layers: int | None = Field(description="Of the attention: `layer` is 0 to one less. Null without `rollout`.")
    heads: int | None = Field(description="Of each layer: `head` is 0 to one less. Null without `rollout`.")
    reason: str | None = Field(description="Why there is no `rollout`; null where there is.")

    @classmethod
    def of(cls, explanations: Explanations) -> "ExplainOut":
        """Shape what the catalog knows."""
        companion = explanations.companion
        rollout = companion.entry.explains if companion else None
        return cls(
            methods=["rollout", "occlusion"] if rollout else ["occlusion"],
            layers=rollout.layers if rollout else None,
            heads=rollout.heads if rollout else None,
            reason=explanations.reason,
        )


class PreprocessingOut(BaseModel):
    """How a picture becomes the model's input."""

    height: int
    width: int
    crop_pct: float
    crop_mode: str
    interpolation: str

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> "PreprocessingOut":
        """Shape a contract's preprocessing."""
        return cls(
            height=preprocessing.height,
            width=preprocessing.width,
            crop_pct=preprocessing.crop_pct,
            crop_mode=preprocessing.crop_mode.value,
            interpolation=preprocessing.interpolation.value,
        )


class RefusedVersionOut(BaseModel):
    """A newer version of a served model, which does not answer."""

    version: str
    reason: str


class ModelOut(BaseModel):
    """One model that is served."""

    state: Literal["served"]
    name: str
    version: str
    classes: int
    max_batch_size: int
    input: PreprocessingOut
    build: dict[str, str] = Field(description="Provenance, as the builder wrote it.")
    refused: RefusedVersionOut | None = Field(description="A newer version, if there is one that cannot be served.")
    explain: ExplainOut
    default: bool = Field(description="Whether it answers where no model is named.")

    @classmethod
    def of(cls, served: Served, catalog: Catalog) -> "ModelOut":
        """Shape an entry of the catalog."""
        entry, newer = served.entry, served.refused
        return cls(
            state="served",
            name=entry.name,
            version=served.version,
            classes=entry.classes,
            max_batch_size=entry.max_batch_size,
            input=PreprocessingOut.of(entry.preprocessing),
            build=dict(entry.build),
            refused=RefusedVersionOut(version=newer.version, reason=newer.reason) if newer else None,
            explain=ExplainOut.of(catalog.explanations(served)),
            default=entry.name == catalog.default,
        )


class LoadingOut(BaseModel):
    """One model that is not served yet."""

    state: Literal["loading"]
    name: str
    reason: str


class RefusedOut(BaseModel):
    """One model that cannot be served until somebody mends it."""

    state: Literal["refused"]
    name: str
    version: str
    reason: str


class ModelsOut(BaseModel):
    """Every model of the repository, by name; `state` says which are served. Companions are not listed."""

    models: list[Annotated[ModelOut | LoadingOut | RefusedOut, Field(discriminator="state")]]

    @classmethod
    def of(cls, catalog: Catalog) -> "ModelsOut":
        """Shape the catalog."""
        shown = [state for state in catalog.states() if not (isinstance(state, Served) and state.is_companion)]
        return cls(models=[_model(state, catalog) for state in shown])


def _model(state: State, catalog: Catalog) -> ModelOut | LoadingOut | RefusedOut:
    if isinstance(state, Served):
        return ModelOut.of(state, catalog)
    if isinstance(state, Refused):
        return RefusedOut(state="refused", name=state.name, version=state.version, reason=state.reason)
    return LoadingOut(state="loading", name=state.name, reason=state.reason)


class ModelDetailOut(ModelOut):
    """One model with its labels."""

    labels: list[str] = Field(description="By class index.")

    @classmethod
    def of(cls, served: Served, catalog: Catalog) -> "ModelDetailOut":
        """Shape an entry of the catalog."""
        return cls(**ModelOut.of(served, catalog).model_dump(), labels=list(served.entry.labels))


class StatusOut(BaseModel):
    """The answer of a probe."""

    status: str = Field(examples=["ok"])


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable name of the error: docs/http-api.md lists them.")
    request_id: str


class OpenInferenceError(BaseModel):
    """An error of the Open Inference Protocol."""

    error: str = Field(description="The stable code, a colon, and what is wrong.")


class ServerMetadataOut(BaseModel):
    """Who answers."""

    name: str
    version: str
    extensions: list[str]


class LiveOut(BaseModel):
    """The answer of a probe."""

    live: bool


class ReadyOut(BaseModel):
    """The answer of a probe."""

    ready: bool


class ModelReadyOut(ReadyOut):
    """The answer of a probe of one model."""

    name: str


class TensorMetadataOut(BaseModel):
    """One tensor of a model; -1 is any number of pictures."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadataOut(BaseModel):
    """The tensors of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadataOut]
    outputs: list[TensorMetadataOut]


class TensorConfigOut(BaseModel):
    """One tensor in Triton's model configuration, without the batch."""

    name: str
    data_type: str
    format: str = "FORMAT_NONE"
    dims: list[int]
    label_filename: str = ""


class ModelConfigOut(BaseModel):
    """What of Triton's model configuration a client needs."""

    name: str
    platform: str
    max_batch_size: int
    input: list[TensorConfigOut]
    output: list[TensorConfigOut]

    @classmethod
    def of(cls, entry: Entry) -> "ModelConfigOut":
        """Shape an entry."""
        size = [entry.preprocessing.height, entry.preprocessing.width, 3]
        return cls(
            name=entry.name,
            platform="vitrine",
            max_batch_size=entry.max_batch_size,
            input=[TensorConfigOut(name=INPUT, data_type="TYPE_UINT8", format="FORMAT_NHWC", dims=size)],
            output=[TensorConfigOut(name=OUTPUT, data_type="TYPE_FP32", dims=[entry.classes])],
        )


class OutputTensorOut(BaseModel):
    """The output."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float | str]


class InferResponseOut(BaseModel):
    """An answer of the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str = ""
    outputs: list[OutputTensorOut]
    parameters: dict[str, str] = Field(default={}, description="`warnings`, where there are any.")
