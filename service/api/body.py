"""The pictures inside a request: the raw body, the `file` parts of a form, or base64 in JSON."""

import asyncio
import base64
import binascii
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

from service.deadline import Deadline
from service.errors import ClientLeft, EmptyBody, InvalidBody, MalformedRequest, ReadTimeout, TooManyPictures

PART = "file"
FORM = "multipart/form-data"
JSON = "application/json"
_BASE64: dict[str, JsonValue] = {"contentEncoding": "base64"}
"""RFC 4648, section 4."""
_FIELDS = 16
"""Parts of a form that may be there beside the pictures."""
_T = TypeVar("_T")
_URL = re.compile(r"\s*(https?|ftp|file|data):", re.IGNORECASE)


@dataclass(frozen=True)
class Arrival:
    """When a body must be there."""

    seconds: float
    """From now."""
    deadline: Deadline
    """The request's, which may come first."""


class PictureIn(BaseModel):
    """One picture in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)
    image: str = Field(json_schema_extra=_BASE64)


class PicturesIn(BaseModel):
    """Several pictures in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)
    images: list[Annotated[str, Field(json_schema_extra=_BASE64)]] = Field(json_schema_extra={"minItems": 1})


async def read_picture(request: Request, until: Arrival) -> bytes:
    """The one picture in the body.

    Raises:
        RequestError: there is none, or it cannot be had; see `read_pictures`.
    """
    media_type = _media_type(request)
    if media_type == FORM:
        contents = await _in_time(_parts(request, 1), until)
        if len(contents) != 1:
            raise MalformedRequest(f"expected one part named {PART!r}, found {len(contents)}")
        content = contents[0]
    elif media_type == JSON:
        (content,) = await _in_json(request, until, PictureIn, 1)
    else:
        content = await _in_time(request.body(), until)
    if not content:
        raise EmptyBody(f"the body is empty; send the bytes of a picture, or a form with one part named {PART!r}")
    return content


async def read_pictures(request: Request, until: Arrival, most: int) -> list[bytes]:
    """The pictures in the body, in order.

    Raises:
        EmptyBody: there are none.
        MalformedRequest: a form or JSON that cannot be taken apart, or neither of them.
        InvalidBody: JSON of another shape, or an image that is no base64.
        TooManyPictures: there are more than `most`.
        ReadTimeout: the body did not arrive in its time.
        DeadlineExceeded: the deadline passed before it had arrived.
        ClientLeft: the client closed the connection.
        BodyTooLarge: from the middleware that counts the bytes.
    """
    media_type = _media_type(request)
    if media_type == FORM:
        contents = await _in_time(_parts(request, most), until)
    elif media_type == JSON:
        contents = await _in_json(request, until, PicturesIn, most)
    else:
        raise MalformedRequest(f'send a form with parts named {PART!r}, or JSON like {{"images": ["<base64>"]}}')
    if not contents:
        raise EmptyBody(f"there is no picture; send a form with parts named {PART!r}")
    return contents


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _in_time(reading: Awaitable[_T], until: Arrival) -> _T:
    """What `reading` gives, if the body arrives in time."""
    try:
        with anyio.fail_after(max(0.0, min(until.seconds, until.deadline.left))):
            return await reading
    except TimeoutError as error:
        until.deadline.remaining()
        raise ReadTimeout(f"the body did not arrive within {until.seconds:g} s") from error
    except ClientDisconnect as error:
        raise ClientLeft("the client left before its body had arrived") from error


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


async def _parts(request: Request, most: int) -> list[bytes]:
    # One part more than may be there is read, so that it can be told from a broken form.
    parser = _InMemory(request.headers, request.stream(), max_files=most + 1, max_fields=_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many(most) from error
        raise MalformedRequest("the multipart body cannot be read; is its boundary right?") from error
    try:
        parts = form.getlist(PART)
        if most > 1 and len(parts) > most:
            raise _too_many(most)
        files = [part for part in parts if isinstance(part, UploadFile)]
        if len(files) < len(parts):
            raise MalformedRequest(f"the part {PART!r} must be a file: give it a filename")
        return [await file.read() for file in files]
    finally:
        await form.close()


async def _in_json(
    request: Request, until: Arrival, shape: type[PictureIn] | type[PicturesIn], most: int
) -> list[bytes]:
    body = await _in_time(request.body(), until)
    if not body:
        raise EmptyBody('the body is empty; send JSON like {"image": "<base64>"}')
    # In a thread: tens of megabytes take as many milliseconds, and others wait for the loop.
    return await asyncio.to_thread(_decoded, body, shape, most)


def _decoded(body: bytes, shape: type[PictureIn] | type[PicturesIn], most: int) -> list[bytes]:
    try:
        found = shape.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise MalformedRequest("the body is not JSON, although its media type says so") from error
        where = ".".join(map(str, first["loc"])) or "the body"
        raise InvalidBody(f"{where[:128]}: {first['msg']}") from error
    images = [found.image] if isinstance(found, PictureIn) else found.images
    if len(images) > most:
        raise _too_many(most)
    return [_from_base64(image, number) for number, image in enumerate(images)]


def _from_base64(text: str, number: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        if _URL.match(text):
            raise InvalidBody("pictures are not fetched from URLs; send the picture itself, as base64") from error
        raise InvalidBody(f"image {number} is not base64") from error


def _too_many(most: int) -> TooManyPictures:
    return TooManyPictures(f"at most {most} pictures are accepted in one request")
