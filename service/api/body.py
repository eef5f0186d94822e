"""The pictures inside a request: the raw body, the `file` parts of a form, or base64 in JSON."""

import asyncio
import base64
import binascii
import io
import re
import sys
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, TypeVar

import anyio
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from service.api.incoming import FORM, JSON, media_type
from service.deadline import Deadline
from service.errors import (
    ClientLeft,
    DeadlineExceeded,
    EmptyBody,
    InvalidBody,
    MalformedRequest,
    ReadTimeout,
    TooManyPictures,
)

PART = "file"
_BASE64: dict[str, JsonValue] = {"contentEncoding": "base64"}
"""RFC 4648, section 4."""
_FIELDS = 16
"""Parts of a form that may be there beside the pictures."""
_T = TypeVar("_T")
_URL = re.compile(r"\s*(https?|ftp|file|data):", re.IGNORECASE)


class PictureIn(BaseModel):
    """One picture in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)
    image: str = Field(json_schema_extra=_BASE64)


class PicturesIn(BaseModel):
    """Several pictures in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)
    images: list[Annotated[str, Field(json_schema_extra=_BASE64)]] = Field(json_schema_extra={"minItems": 1})


@dataclass(frozen=True)
class Expected:
    """What a route takes."""

    most: int
    """Pictures in a request."""
    shape: type[PictureIn] | type[PicturesIn]
    """Of JSON."""

    @property
    def one(self) -> bool:
        """Whether it is exactly one picture, which may then be the body itself."""
        return self.shape is PictureIn


@dataclass(frozen=True)
class Arrival:
    """When a body must be there."""

    seconds: float
    """From now."""
    deadline: Deadline
    """The request's, which may come first."""


async def read_pictures(request: Request, until: Arrival, expected: Expected) -> list[bytes]:
    """The pictures in the body, in order.

    Raises:
        EmptyBody: there are none.
        MalformedRequest: a form or JSON that cannot be taken apart, or neither of them where several are expected.
        InvalidBody: JSON of another shape, or an image that is no base64.
        TooManyPictures: there are more than expected.
        ReadTimeout: the body did not arrive in its time.
        DeadlineExceeded: the deadline passed before it had arrived.
        ClientLeft: the client closed the connection.
        BodyTooLarge: from the middleware that counts the bytes.
        Overloaded: likewise; there is no memory for them.
    """
    found = media_type(request.headers)
    if found == FORM:
        contents = await _in_time(_parts(request, expected), until)
    elif found == JSON:
        contents = await _in_json(await _in_time(_whole(request), until), expected)
    elif expected.one:
        contents = [await _in_time(_whole(request), until)]
    else:
        raise MalformedRequest(f'send a form with parts named {PART!r}, or JSON like {{"images": ["<base64>"]}}')
    if not contents or contents == [b""]:
        how = "the bytes of a picture, or a form with one part" if expected.one else "a form with parts"
        raise EmptyBody(f"there is no picture; send {how} named {PART!r}")
    return contents


async def read_whole(request: Request, until: Arrival) -> bytes:
    """The body.

    Raises:
        VitrineError: it does not arrive, as `read_pictures` says.
    """
    return await _in_time(_whole(request), until)


async def _in_time(reading: Awaitable[_T], until: Arrival) -> _T:
    """What `reading` gives, if the body arrives in time."""
    left = until.deadline.left
    try:
        with anyio.fail_after(max(0.0, min(until.seconds, left))):
            return await reading
    except TimeoutError as error:
        if left < until.seconds:
            raise DeadlineExceeded("the deadline passed before the body had arrived") from error
        raise ReadTimeout(f"the body did not arrive within {until.seconds:g} s") from error
    except ClientDisconnect as error:
        raise ClientLeft("the client left before its body had arrived") from error


async def _whole(request: Request) -> bytes:
    """The body, which is in memory once: `Request.body` joins its pieces, and keeps a second copy."""
    with io.BytesIO() as whole:
        async for piece in request.stream():
            whole.write(piece)
        return whole.getvalue()


class _InMemory(MultiPartParser):
    """Starlette's parser, without temporary files: the body's size is limited already."""

    spool_max_size = sys.maxsize

    @property
    def _charset(self) -> str:
        """UTF-8: a form's media type has no charset (RFC 7578, 8), and Python knows some that fail or take long."""
        return "utf-8"

    @_charset.setter
    def _charset(self, given: str) -> None:
        """What the caller says is ignored."""


async def _parts(request: Request, expected: Expected) -> list[bytes]:
    # One part more than may be there is read, so that it can be told from a broken form.
    parser = _InMemory(request.headers, request.stream(), max_files=expected.most + 1, max_fields=_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many(expected) from error
        raise MalformedRequest("the multipart body cannot be read; is its boundary right?") from error
    try:
        parts = form.getlist(PART)
        if expected.one and len(parts) != 1:
            raise MalformedRequest(f"expected one part named {PART!r}, found {len(parts)}")
        if len(parts) > expected.most:
            raise _too_many(expected)
        files = [part for part in parts if isinstance(part, UploadFile)]
        if len(files) < len(parts):
            raise MalformedRequest(f"the part {PART!r} must be a file: give it a filename")
        return [await file.read() for file in files]
    finally:
        await form.close()


async def _in_json(body: bytes, expected: Expected) -> list[bytes]:
    if not body:
        example = '{"image": "<base64>"}' if expected.one else '{"images": ["<base64>"]}'
        raise EmptyBody(f"the body is empty; send JSON like {example}")
    # In a thread: tens of megabytes take as many milliseconds, and others wait for the loop.
    return await asyncio.to_thread(_decoded, body, expected)


def _decoded(body: bytes, expected: Expected) -> list[bytes]:
    try:
        found = expected.shape.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise MalformedRequest("the body is not JSON, although its media type says so") from error
        where = ".".join(map(str, first["loc"])) or "the body"
        raise InvalidBody(f"{where[:128]}: {first['msg']}") from error
    images = [found.image] if isinstance(found, PictureIn) else found.images
    if len(images) > expected.most:
        raise _too_many(expected)
    return [_from_base64(image, number) for number, image in enumerate(images)]


def _from_base64(text: str, number: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        if _URL.match(text):
            raise InvalidBody("pictures are not fetched from URLs; send the picture itself, as base64") from error
        raise InvalidBody(f"image {number} is not base64") from error


def _too_many(expected: Expected) -> TooManyPictures:
    return TooManyPictures(f"at most {expected.most} pictures are accepted in one request")
