"""What the routes that take pictures share: how they are documented, the query, and the deadline."""

import asyncio
from collections.abc import Awaitable
from functools import cache
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema
from starlette.responses import Response
from starlette.types import Receive

from service.api.body import PART, Arrival, Expected, PictureIn, PicturesIn, read_pictures
from service.api.deps import context_of, services_of
from service.api.incoming import FORM, JSON
from service.deadline import Deadline
from service.errors import ClientLeft, DeadlineExceeded, InvalidParameter
from service.interruption import Interruption

DEADLINE_HEADER = "X-Request-Timeout"
_BINARY = {"type": "string", "format": "binary"}
_T = TypeVar("_T")
_Query = TypeVar("_Query", bound=BaseModel)


class Selection(BaseModel):
    """The query. A parameter that is misspelt is refused: ignored, it would change an answer without a word."""

    model_config = ConfigDict(extra="forbid")

    top_k: int = Field(5, ge=1, le=1000, description="How many classes to answer at most.")
    min_score: float = Field(
        0, ge=0, le=1, allow_inf_nan=False, description="Leave out classes less probable than this."
    )


def asks(query: type[BaseModel], *, named: bool = False) -> list[Any]:
    """The dependencies of a direct route: FastAPI documents their parameters, and a direct route never calls them."""

    def parameters(
        query: Annotated[query, Query()],  # type: ignore[valid-type] # a model for each kind of route
        seconds: Annotated[
            Annotated[float, Field(gt=0)] | SkipJsonSchema[None],
            Header(
                alias=DEADLINE_HEADER,
                description="Answer within so many seconds, or not at all; no longer than the gateway's own limit.",
            ),
        ] = None,
    ) -> None: ...

    def with_model(model: str) -> None: ...

    return [Depends(with_model), Depends(parameters)] if named else [Depends(parameters)]


def _body(description: str, content: dict[str, Any]) -> dict[str, Any]:
    """A body of one of several media types, for which FastAPI has no word: it goes into `openapi_extra`."""
    return {"requestBody": {"required": True, "description": description, "content": content}}


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    return {"schema": {"type": "object", "required": [PART], "properties": {PART: schema}}}


ONE = _body(
    "The picture: its bytes as they are, a form with one file, or base64 in JSON. Content decides its format.",
    {
        "image/*": {"schema": _BINARY},
        "application/octet-stream": {"schema": _BINARY},
        FORM: _form(_BINARY),
        JSON: {"schema": PictureIn.model_json_schema()},
    },
)
SEVERAL = _body(
    "The pictures: a form with several files of the same name, or base64 in JSON. Content decides their formats.",
    {FORM: _form({"type": "array", "items": _BINARY, "minItems": 1}), JSON: {"schema": PicturesIn.model_json_schema()}},
)


def query_of(request: Request, shape: type[_Query]) -> _Query:
    """The query of a request.

    Raises:
        InvalidParameter: a parameter is unknown or out of range.
    """
    given = request.scope["query_string"]
    try:
        return shape.model_validate(dict(request.query_params)) if given else _defaults(shape)
    except ValidationError as error:
        known = ", ".join(shape.model_fields)
        said = (
            f"{str(item['loc'][-1])[:64]!r} is no parameter here; known are {known}"
            if item["type"] == "extra_forbidden"
            else f"{item['loc'][-1]}: {item['msg']}"
            for item in error.errors()
        )
        raise InvalidParameter("; ".join(said)) from None


@cache
def _defaults(shape: type[_Query]) -> _Query:
    """A query that says nothing."""
    return shape()


def deadline_of(request: Request) -> Deadline:
    """When a request must be answered: in the gateway's time, or sooner where the caller says so.

    Raises:
        InvalidParameter: what the caller says is no time.
    """
    seconds = services_of(request).deadline_seconds
    wanted = seconds
    given = request.headers.get(DEADLINE_HEADER)
    if given is not None:
        try:
            wanted = float(given)
        except ValueError:
            wanted = 0.0
        if not wanted > 0:
            raise InvalidParameter(f"{DEADLINE_HEADER} is a number of seconds above 0, such as 0.25")
    deadline = Deadline.after(min(seconds, wanted), hurried=wanted < seconds)
    context_of(request.scope).deadline = deadline
    return deadline


async def receive_pictures(
    request: Request, deadline: Deadline, shape: type[PictureIn] | type[PicturesIn]
) -> list[bytes]:
    """The pictures of a request, counted.

    Raises:
        VitrineError: see `read_pictures`; and there is no room for their work.
    """
    services = services_of(request)
    services.admission.check()  # So that nobody sends in vain.
    most = 1 if shape is PictureIn else min(services.max_batch_pictures, services.admission.capacity)
    with context_of(request.scope).stages.timed("receive"):
        contents = await read_pictures(request, Arrival(services.read_seconds, deadline), Expected(most, shape))
    for content in contents:
        services.metrics.upload_bytes.observe(len(content))
    return contents


async def bounded(receive: Receive, deadline: Deadline, work: Awaitable[_T]) -> _T:
    """What `work` gives; it is cancelled at the deadline, and when the client leaves.

    Raises:
        DeadlineExceeded: it took too long.
        ClientLeft: nobody waits for it.
    """
    late = DeadlineExceeded("the deadline passed before there was an answer")
    with Interruption(deadline.left, late) as interruption:
        watch = asyncio.create_task(_watch(receive, interruption))
        try:
            return await work
        finally:
            watch.cancel()


async def _watch(receive: Receive, interruption: Interruption) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    interruption.end(ClientLeft("the client left before there was an answer"))


def as_json(body: BaseModel) -> Response:
    """The answer."""
    return Response(body.model_dump_json(), media_type=JSON)
