"""POST a picture, get its classes."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from service.api.body import PART, read_picture
from service.api.deps import ServicesDep, context_of
from service.api.schemas import ClassificationOut, Problem

router = APIRouter(prefix="/v1", tags=["classify"])

TopK = Annotated[int, Query(ge=1, le=1000, description="How many classes to answer at most.")]
MinScore = Annotated[float, Query(ge=0, le=1, description="Leave out classes less probable than this.")]

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The picture's bytes. Content decides its format, whatever the media type says.",
        "content": {
            "image/*": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": {
                "schema": {"type": "object", "required": [PART], "properties": {PART: _BINARY["schema"]}}
            },
        },
    }
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": description}
    for status, description in {
        400: "The body is empty or cannot be taken apart, or a model must be named.",
        404: "The model is not served.",
        413: "Too many bytes or pixels.",
        415: "Not a picture of an accepted format.",
        422: "The picture is corrupt, or a parameter is out of range.",
        502: "Triton failed, or the model's output is no probabilities.",
        503: "At capacity, Triton is away, or the model is not ready. See Retry-After.",
        504: "The answer did not come in time.",
    }.items()
}


@router.post("/classify", openapi_extra=_BODY, responses=_ERRORS)
async def classify(
    request: Request, services: ServicesDep, top_k: TopK = 5, min_score: MinScore = 0
) -> ClassificationOut:
    """Classify one picture with the default model."""
    return await _classify(request, services, None, top_k, min_score)


@router.post("/models/{model}/classify", openapi_extra=_BODY, responses=_ERRORS)
async def classify_with(
    request: Request, services: ServicesDep, model: str, top_k: TopK = 5, min_score: MinScore = 0
) -> ClassificationOut:
    """Classify one picture with the model of that name."""
    return await _classify(request, services, model, top_k, min_score)


async def _classify(
    request: Request, services: ServicesDep, model: str | None, top_k: int, min_score: float
) -> ClassificationOut:
    stages = context_of(request.scope).stages
    with stages.timed("receive"):
        content = await read_picture(request)
    services.metrics.upload_bytes.observe(len(content))
    return ClassificationOut.of(await services.pipeline.classify(content, model, top_k, min_score, stages))
