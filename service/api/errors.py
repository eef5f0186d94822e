"""Errors as RFC 9457 problem documents: the one table from error to HTTP status, and the handlers that use it."""

import traceback
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from service.api.deps import RequestContext, context_of
from service.api.schemas import OpenInferenceError, Problem
from service.errors import (
    BodyTooLarge,
    ClientLeft,
    CorruptImage,
    DeadlineExceeded,
    Draining,
    EmptyBody,
    ExplanationUnavailable,
    Fault,
    HeadersTooLarge,
    ImageTooComplex,
    ImageTooLarge,
    InvalidBody,
    InvalidOutput,
    InvalidParameter,
    MalformedRequest,
    ModelNotNamed,
    ModelNotReady,
    ModelRefused,
    Overloaded,
    QuotaExceeded,
    ReadTimeout,
    TooManyPictures,
    TritonFailed,
    TritonUnavailable,
    Unauthorized,
    UnknownModel,
    UnsupportedMedia,
    VitrineError,
)

STATUS: Mapping[type[VitrineError], int] = {
    MalformedRequest: 400,
    EmptyBody: 400,
    ModelNotNamed: 400,
    Unauthorized: 401,
    UnknownModel: 404,
    ReadTimeout: 408,
    BodyTooLarge: 413,
    ImageTooLarge: 413,
    ImageTooComplex: 413,
    TooManyPictures: 413,
    UnsupportedMedia: 415,
    InvalidParameter: 422,
    InvalidBody: 422,
    ExplanationUnavailable: 422,
    CorruptImage: 422,
    QuotaExceeded: 429,
    HeadersTooLarge: 431,
    ClientLeft: 499,
    TritonFailed: 502,
    InvalidOutput: 502,
    Overloaded: 503,
    Draining: 503,
    TritonUnavailable: 503,
    ModelNotReady: 503,
    ModelRefused: 503,
    DeadlineExceeded: 504,
}

HTTP_CODES = {404: ("not_found", "There is nothing here"), 405: ("method_not_allowed", "The method is not allowed")}
"""What the router itself answers, by status: code and title."""

_MEANINGS = {
    400: "The request or its body cannot be taken apart, or is empty, or a model must be named.",
    401: "An API key is needed.",
    404: "The model is not served.",
    408: "The body did not arrive in time.",
    413: "Too many bytes, pixels or pictures, or a file that takes too long to decode.",
    415: "Not a picture of an accepted format.",
    422: "The picture is corrupt, the JSON has another shape, a parameter is out of range, or the model cannot be "
    "explained by the method asked for.",
    429: "The API key's rate is exceeded. See Retry-After.",
    502: "Triton failed, or the model's output is no probabilities.",
    503: "At capacity, Triton is away, or the model is not ready or refused. See Retry-After.",
    504: "The deadline passed before there was an answer.",
}

INTERNAL = ("internal_error", "The gateway failed")
_RETRY_AFTER_SECONDS = 1
"""Where nobody knows better: Triton and the catalog are asked each second."""

_MEDIA_TYPE = "application/problem+json"


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What FastAPI is told of the errors of a route: those with these statuses, or all."""
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in statuses or _MEANINGS}


def documented_open_inference(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same of a route of the Open Inference Protocol, whose errors have its shape."""
    return {status: {**told, "model": OpenInferenceError} for status, told in documented(*statuses).items()}


def as_problems(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document of FastAPI's, with errors of the media type that they have; it knows but one for a route."""
    for methods in document["paths"].values():
        for operation in methods.values():
            for response in operation["responses"].values():
                content = response.get("content", {})
                if content.get("application/json", {}).get("schema", {}).get("$ref", "").endswith("/Problem"):
                    content[_MEDIA_TYPE] = content.pop("application/json")
    return document


def problem(status: int, code: str, title: str, detail: str, context: RequestContext) -> JSONResponse:
    """A problem document. `type` is `about:blank`, so `title` and `code` tell what happened (RFC 9457, 4.2.1).

    Where the Open Inference Protocol is spoken it is that protocol's error, one text, which starts with the code.
    """
    if context.open_inference:
        return JSONResponse(OpenInferenceError(error=f"{code}: {detail}").model_dump(), status)
    document = Problem(
        type="about:blank", title=title, status=status, detail=detail, code=code, request_id=context.request_id
    )
    return JSONResponse(document.model_dump(), status, media_type=_MEDIA_TYPE)


def add_handlers(app: FastAPI) -> None:
    """Let every error leave as a problem document. What nobody foresaw is answered by the middleware."""

    @app.exception_handler(VitrineError)
    async def ours(request: Request, error: VitrineError) -> JSONResponse:
        return answer_to(error, context_of(request.scope))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        wrong = "; ".join(f"{item['loc'][-1]}: {item['msg']}" for item in error.errors())
        return answer_to(InvalidParameter(wrong), context_of(request.scope))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        code, title = HTTP_CODES.get(error.status_code, ("http_error", "The request cannot be answered"))
        context = context_of(request.scope)
        context.code, context.fault = code, Fault.CALLER
        answer = problem(error.status_code, code, title, f"{request.method} is not answered here", context)
        answer.headers.update(error.headers or {})
        if error.status_code == 405:
            answer.headers["Allow"] = _with_head(answer.headers.get("Allow", "GET"))
        return answer


def _with_head(allowed: str) -> str:
    """The value of `Allow` (RFC 9110, 10.2.1): where there is GET there is HEAD, of which the router does not know."""
    methods = {method.strip() for method in allowed.split(",")}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def answer_to(error: VitrineError, context: RequestContext) -> JSONResponse:
    """The problem document of one of our errors, noted in the request's context.

    What the error passed on its way, such as a body, is let go: the client may take its time to read the answer.
    """
    passed: BaseException | None = error
    while passed is not None:
        traceback.clear_frames(passed.__traceback__)
        passed = passed.__cause__ or passed.__context__
    context.code, context.fault = error.code, _fault_of(error, context)
    if error.__cause__ is not None:
        context.cause = f"{type(error.__cause__).__name__}: {str(error.__cause__)[:500]}"
    return document(error, context)


def document(error: VitrineError, context: RequestContext) -> JSONResponse:
    """One of our errors as an answer."""
    status = STATUS[type(error)]
    answer = problem(status, error.code, error.title, error.message, context)
    if status in (429, 503):
        answer.headers["Retry-After"] = str(error.retry_after or _RETRY_AFTER_SECONDS)
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _fault_of(error: VitrineError, context: RequestContext) -> Fault:
    """Who asks for an answer sooner than the gateway promises one takes the risk that there is none."""
    if isinstance(error, DeadlineExceeded) and context.deadline is not None and context.deadline.hurried:
        return Fault.CALLER
    return error.fault
