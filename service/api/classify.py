"""POST a picture, get its classes; or several."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.body import PictureIn, PicturesIn
from service.api.deps import API, context_of, services_of
from service.api.direct import Direct
from service.api.errors import STATUS, documented
from service.api.receiving import (
    ONE,
    SEVERAL,
    Selection,
    as_json,
    asks,
    bounded,
    deadline_of,
    query_of,
    receive_pictures,
)
from service.api.schemas import BatchOut, ClassificationOut, ErrorOut, FailedOut, ResultOut
from service.errors import VitrineError
from service.pipeline import Asked, Classified

router = APIRouter(prefix=API, tags=["classify"], route_class=Direct)

_ASKS, _ASKS_BY_NAME = asks(Selection), asks(Selection, named=True)


@router.post(
    "/classify", dependencies=_ASKS, openapi_extra=ONE, responses=documented(), response_model=ClassificationOut
)
async def classify(request: Request) -> Response:
    """Classify one picture with the default model."""
    return _one(await _classified(request, None, PictureIn))


@router.post(
    "/models/{model}/classify",
    dependencies=_ASKS_BY_NAME,
    openapi_extra=ONE,
    responses=documented(),
    response_model=ClassificationOut,
)
async def classify_with(request: Request) -> Response:
    """Classify one picture with the model of that name."""
    return _one(await _classified(request, request.path_params["model"], PictureIn))


@router.post(
    "/classify/batch", dependencies=_ASKS, openapi_extra=SEVERAL, responses=documented(), response_model=BatchOut
)
async def classify_batch(request: Request) -> Response:
    """Classify several pictures with the default model: classes or an error for each, in order."""
    return _several(await _classified(request, None, PicturesIn))


@router.post(
    "/models/{model}/classify/batch",
    dependencies=_ASKS_BY_NAME,
    openapi_extra=SEVERAL,
    responses=documented(),
    response_model=BatchOut,
)
async def classify_batch_with(request: Request) -> Response:
    """Classify several pictures with the model of that name: classes or an error for each, in order."""
    return _several(await _classified(request, request.path_params["model"], PicturesIn))


async def _classified(request: Request, model: str | None, shape: type[PictureIn] | type[PicturesIn]) -> Classified:
    services = services_of(request)
    selection, deadline = query_of(request, Selection), deadline_of(request)
    asked = Asked(model, selection.top_k, selection.min_score, deadline)
    contents = await receive_pictures(request, deadline, shape)
    with services.admission.permit(len(contents)):
        work = services.pipeline.classify(contents, asked, context_of(request.scope).stages)
        return await bounded(request.receive, deadline, work)


def _one(answer: Classified) -> Response:
    (classes,) = answer.results
    if isinstance(classes, VitrineError):
        raise classes
    return as_json(ClassificationOut.of(answer, classes))


def _several(answer: Classified) -> Response:
    results = [
        FailedOut(error=_error(each)) if isinstance(each, VitrineError) else ResultOut.of(each)
        for each in answer.results
    ]
    return as_json(BatchOut(model=answer.model, version=answer.version, results=results))


def _error(error: VitrineError) -> ErrorOut:
    return ErrorOut(title=error.title, status=STATUS[type(error)], detail=error.message, code=error.code)
