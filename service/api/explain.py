"""POST a picture, get which parts of it the answer comes from: as numbers, or drawn over the picture."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.datastructures import Headers
from starlette.responses import Response

from contract.spec import Fusion
from service.api.body import PictureIn
from service.api.deps import API, context_of, services_of
from service.api.direct import Direct
from service.api.errors import documented
from service.api.incoming import JSON
from service.api.receiving import (
    ONE,
    Selection,
    as_json,
    asks,
    bounded,
    deadline_of,
    query_of,
    receive_pictures,
)
from service.api.schemas import ExplanationOut
from service.explanation import Method, Wanted
from service.pipeline import Asked

PNG = "image/png"

router = APIRouter(prefix=API, tags=["explain"], route_class=Direct)


class Choice(Selection):
    """The query."""

    method: Method | None = Field(
        None, description="`rollout` needs a companion; `occlusion` explains any model. Default: the first that it has."
    )
    fusion: Fusion = Field(Fusion.MEAN, description="How the heads' attention is joined. Not for `occlusion`.")
    layer: int | None = Field(
        None, ge=0, description="The attention of this layer alone, from 0, instead of the rollout of all layers."
    )
    head: int | None = Field(None, ge=0, description="Of this head alone, from 0; needs `layer`.")
    opacity: float = Field(
        0.6, ge=0, le=1, allow_inf_nan=False, description="Of the map over the picture, where a picture is accepted."
    )


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The map: numbers, or, where image/png is accepted, colours over the picture.",
        "content": {PNG: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post(
    "/models/{model}/explain",
    dependencies=asks(Choice, named=True),
    openapi_extra=ONE,
    responses={**documented(), **_ANSWERS},
    response_model=ExplanationOut,
)
async def explain(request: Request) -> Response:
    """Explain the answer of the model of that name to one picture."""
    services = services_of(request)
    choice, deadline = query_of(request, Choice), deadline_of(request)
    wanted = Wanted(
        asked=Asked(request.path_params["model"], choice.top_k, choice.min_score, deadline),
        method=choice.method,
        fusion=choice.fusion,
        layer=choice.layer,
        head=choice.head,
        opacity=choice.opacity if prefers(request.headers, PNG, JSON) else None,
    )
    (content,) = await receive_pictures(request, deadline, PictureIn)
    with services.admission.permit(1):
        work = services.explainer.explain(content, wanted, context_of(request.scope).stages)
        found = await bounded(request.receive, deadline, work)
    answer = as_json(ExplanationOut.of(found)) if found.png is None else Response(found.png, media_type=PNG)
    answer.headers["Vary"] = "Accept"
    return answer


def prefers(headers: Headers, media_type: str, other: str) -> bool:
    """Whether `Accept` (RFC 9110, 12.5.1) wants `media_type` more than `other`."""
    accepted = ",".join(headers.getlist("accept"))
    return _quality(accepted, media_type) > _quality(accepted, other)


def _quality(accepted: str, media_type: str) -> float:
    """The weight of the most specific range that has `media_type`; 0 where none has it, or its weight is no number."""
    ranges = {}
    for each in accepted.split(","):
        name, *parameters = (part.strip().lower() for part in each.split(";"))
        weights = [value for key, _, value in (part.partition("=") for part in parameters) if key.strip() == "q"]
        try:
            ranges[name] = float(weights[0]) if weights else 1.0
        except ValueError:
            ranges[name] = 0.0
    kind = media_type.partition("/")[0]
    return next((ranges[name] for name in (media_type, f"{kind}/*", "*/*") if name in ranges), 0.0)
