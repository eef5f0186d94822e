"""POST a picture, get its classes; or several."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema
from starlette.responses import Response
from starlette.types import Receive

from service.api.body import PART, Arrival, Expected, PictureIn, PicturesIn, read_pictures
from service.api.deps import API, Services, context_of, services_of
from service.api.errors import STATUS, documented
from service.api.incoming import FORM, JSON
from service.api.schemas import BatchOut, ClassificationOut, ErrorOut, FailedOut, ResultOut
from service.deadline import Deadline
from service.errors import ClientLeft, DeadlineExceeded, InvalidParameter, VitrineError
from service.pipeline import Asked, Classified

_T = TypeVar("_T")
DEADLINE_HEADER = "X-Request-Timeout"


class _Direct(APIRoute):
    """A route that FastAPI documents and Starlette calls.

    FastAPI's taking apart of parameters and putting together of answers took 0.1 to 0.2 ms of CPU a request, as much as
    a tenth of decoding and resizing the picture.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint itself."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


class Selection(BaseModel):
    """The query."""

    top_k: int = Field(5, ge=1, le=1000, description="How many classes to answer at most.")
    min_score: float = Field(
        0, ge=0, le=1, allow_inf_nan=False, description="Leave out classes less probable than this."
    )


def _query(
    selection: Annotated[Selection, Query()],
    seconds: Annotated[
        Annotated[float, Field(gt=0)] | SkipJsonSchema[None],
        Header(
            alias=DEADLINE_HEADER,
            description="Answer within so many seconds, or not at all; no longer than the gateway's own limit.",
        ),
    ] = None,
) -> None:
    """What FastAPI documents of every route here; a direct route never calls it."""


def _path(model: str) -> None:
    """The same of a route with a model in its path."""


router = APIRouter(prefix=API, tags=["classify"], route_class=_Direct, dependencies=[Depends(_query)])
_NAMED = [Depends(_path)]
_BINARY = {"type": "string", "format": "binary"}


def _body(description: str, content: dict[str, Any]) -> dict[str, Any]:
    """A body of one of several media types, for which FastAPI has no word."""
    return {"requestBody": {"required": True, "description": description, "content": content}}


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    return {"schema": {"type": "object", "required": [PART], "properties": {PART: schema}}}


_ONE = _body(
    "The picture: its bytes as they are, a form with one file, or base64 in JSON. Content decides its format.",
    {
        "image/*": {"schema": _BINARY},
        "application/octet-stream": {"schema": _BINARY},
        FORM: _form(_BINARY),
        JSON: {"schema": PictureIn.model_json_schema()},
    },
)
_SEVERAL = _body(
    "The pictures: a form with several files of the same name, or base64 in JSON. Content decides their formats.",
    {FORM: _form({"type": "array", "items": _BINARY, "minItems": 1}), JSON: {"schema": PicturesIn.model_json_schema()}},
)


@router.post("/classify", openapi_extra=_ONE, responses=documented(), response_model=ClassificationOut)
async def classify(request: Request) -> Response:
    """Classify one picture with the default model."""
    return _one(await _classified(request, None, PictureIn))


@router.post(
    "/models/{model}/classify",
    dependencies=_NAMED,
    openapi_extra=_ONE,
    responses=documented(),
    response_model=ClassificationOut,
)
async def classify_with(request: Request) -> Response:
    """Classify one picture with the model of that name."""
    return _one(await _classified(request, request.path_params["model"], PictureIn))


@router.post("/classify/batch", openapi_extra=_SEVERAL, responses=documented(), response_model=BatchOut)
async def classify_batch(request: Request) -> Response:
    """Classify several pictures with the default model: classes or an error for each, in order."""
    return _several(await _classified(request, None, PicturesIn))


@router.post(
    "/models/{model}/classify/batch",
    dependencies=_NAMED,
    openapi_extra=_SEVERAL,
    responses=documented(),
    response_model=BatchOut,
)
async def classify_batch_with(request: Request) -> Response:
    """Classify several pictures with the model of that name: classes or an error for each, in order."""
    return _several(await _classified(request, request.path_params["model"], PicturesIn))


async def _classified(request: Request, model: str | None, shape: type[PictureIn] | type[PicturesIn]) -> Classified:
    services = services_of(request)
    stages = context_of(request.scope).stages
    asked = _asked(request, services, model)
    services.admission.check()  # So that nobody sends in vain.
    most = 1 if shape is PictureIn else min(services.max_batch_pictures, services.admission.capacity)
    with stages.timed("receive"):
        until = Arrival(services.read_seconds, asked.deadline)
        contents = await read_pictures(request, until, Expected(most, shape))
    for content in contents:
        services.metrics.upload_bytes.observe(len(content))
    with services.admission.permit(len(contents)):
        return await _bounded(request.receive, asked.deadline, services.pipeline.classify(contents, asked, stages))


def _one(answer: Classified) -> Response:
    (classes,) = answer.results
    if isinstance(classes, VitrineError):
        raise classes
    result = ResultOut.of(classes)
    return _json(
        ClassificationOut(
            model=answer.model, version=answer.version, predictions=result.predictions, warnings=result.warnings
        )
    )


def _several(answer: Classified) -> Response:
    results = [
        FailedOut(error=_error(each)) if isinstance(each, VitrineError) else ResultOut.of(each)
        for each in answer.results
    ]
    return _json(BatchOut(model=answer.model, version=answer.version, results=results))


def _error(error: VitrineError) -> ErrorOut:
    return ErrorOut(title=error.title, status=STATUS[type(error)], detail=error.message, code=error.code)


def _asked(request: Request, services: Services, model: str | None) -> Asked:
    seconds = services.deadline_seconds
    try:
        selection = Selection.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise InvalidParameter("; ".join(f"{item['loc'][-1]}: {item['msg']}" for item in error.errors())) from None
    given = request.headers.get(DEADLINE_HEADER)
    if given is not None:
        try:
            wanted = float(given)
        except ValueError:
            wanted = 0.0
        if not wanted > 0:
            raise InvalidParameter(f"{DEADLINE_HEADER} is a number of seconds above 0, such as 0.25")
        context_of(request.scope).hurried = wanted < seconds
        seconds = min(seconds, wanted)
    return Asked(model, selection.top_k, selection.min_score, Deadline.after(seconds))


async def _bounded(receive: Receive, deadline: Deadline, work: Awaitable[_T]) -> _T:
    """What `work` gives; it is cancelled at the deadline, and when the client leaves.

    Raises:
        DeadlineExceeded: it took too long.
        ClientLeft: nobody waits for it.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 (a coroutine runs in one)
    given_up: list[VitrineError] = []

    def give_up(why: VitrineError) -> None:
        if not given_up:
            given_up.append(why)
            task.cancel()

    # Not anyio's scope: grpc answers a cancellation with one of its own, which that does not know again.
    late = DeadlineExceeded("the deadline passed before there was an answer")
    timer = asyncio.get_running_loop().call_later(deadline.left, give_up, late)
    watch = asyncio.create_task(_watch(receive, give_up))
    try:
        return await work
    except asyncio.CancelledError:
        if not given_up:
            raise
        if sys.version_info >= (3, 11):
            task.uncancel()
        raise given_up[0] from None
    finally:
        timer.cancel()
        watch.cancel()


async def _watch(receive: Receive, give_up: Callable[[VitrineError], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    give_up(ClientLeft("the client left before there was an answer"))


def _json(body: BaseModel) -> Response:
    return Response(body.model_dump_json(), media_type=JSON)
