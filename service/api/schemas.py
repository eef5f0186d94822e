"""The JSON bodies of the API. Pydantic only here and in the settings; inside, dataclasses."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from contract.config import INPUT, OUTPUT
from contract.spec import Entry, Preprocessing
from service.pipeline import Classes
from service.states import Refused, Served, State


class PredictionOut(BaseModel):
    """One class."""

    label: str = Field(examples=["cat"])
    index: int = Field(description="The class's position in the model's output.", examples=[3])
    score: float = Field(description="Probability, 0 to 1.", examples=[0.91])


class ResultOut(BaseModel):
    """The classes of one picture."""

    predictions: list[PredictionOut] = Field(description="Best first.")
    warnings: list[str] = Field(description="What was given up to read the picture; each starts with a stable code.")

    @classmethod
    def of(cls, classes: Classes) -> "ResultOut":
        """Shape a pipeline's answer to one picture."""
        predictions = [PredictionOut(label=p.label, index=p.index, score=p.score) for p in classes.predictions]
        return cls(predictions=predictions, warnings=list(classes.warnings))


class ClassificationOut(BaseModel):
    """The answer to one picture."""

    model: str
    version: str
    predictions: list[PredictionOut] = Field(description="Best first.")
    warnings: list[str] = Field(description="What was given up to read the picture; each starts with a stable code.")


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

    @classmethod
    def of(cls, served: Served) -> "ModelOut":
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
    """Every model of the repository, by name; `state` says which are served."""

    models: list[Annotated[ModelOut | LoadingOut | RefusedOut, Field(discriminator="state")]]

    @classmethod
    def of(cls, states: Iterable[State]) -> "ModelsOut":
        """Shape the catalog."""
        return cls(models=[_model(state) for state in states])


def _model(state: State) -> ModelOut | LoadingOut | RefusedOut:
    if isinstance(state, Served):
        return ModelOut.of(state)
    if isinstance(state, Refused):
        return RefusedOut(state="refused", name=state.name, version=state.version, reason=state.reason)
    return LoadingOut(state="loading", name=state.name, reason=state.reason)


class ModelDetailOut(ModelOut):
    """One model with its labels."""

    labels: list[str] = Field(description="By class index.")

    @classmethod
    def of(cls, served: Served) -> "ModelDetailOut":
        """Shape an entry of the catalog."""
        return cls(**ModelOut.of(served).model_dump(), labels=list(served.entry.labels))


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
