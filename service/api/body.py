"""The pictures inside a request: the raw body, the `file` parts of a form, or base64 in JSON."""

import asyncio
import base64
import binascii
import codecs
import io
import re
import sys
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, FailFast, Field, JsonValue, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
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
    VitrineError,
)
from service.interruption import Interruption

PART = "file"
_BASE64: dict[str, JsonValue] = {"contentEncoding": "base64"}
"""RFC 4648, section 4."""
_FIELDS = 64
"""Parts of a form that may be there beside the pictures."""
_T = TypeVar("_T")
_DATA_URL = re.compile(r"\s*data:[^,]{0,256};base64,", re.IGNORECASE)
_SPELLINGS = re.compile(rb"[-_\t\r\n]")
_STANDARD = bytes.maketrans(b"-_", b"+/")
_URL = re.compile(r"\s*(https?|ftp|file|data):", re.IGNORECASE)
_PARTS = 4096
"""Commas and opening brackets that JSON may have. Base64 has none, so a picture has two at most; each of others becomes
an object of a hundred bytes and more, and pydantic took seconds, in which the event loop stood still."""
_LARGE_BYTES = 65_536
"""From here on text that is not ASCII is refused unread: it would be four bytes a character in memory."""
_WIDE = re.compile(rb"\\u(?!00[0-7])")
"""What makes such text of JSON that is ASCII."""


class PictureIn(BaseModel):
    """One picture in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)
    image: str = Field(json_schema_extra=_BASE64)


class PicturesIn(BaseModel):
    """Several pictures in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)
    images: Annotated[list[Annotated[str, Field(json_schema_extra=_BASE64)]], FailFast()] = Field(
        json_schema_extra={"minItems": 1}
    )


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
        DeadlineExceeded: nor in that which the caller gave, which is shorter.
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
    if until.deadline.hurried and left < until.seconds:
        late: VitrineError = DeadlineExceeded("the deadline passed before the body had arrived")
    else:  # By the gateway's own deadline too it is the body that took too long, and nobody here is slow.
        late = ReadTimeout(f"the body did not arrive within {min(until.seconds, round(left, 2)):g} s")
    try:
        with Interruption(min(until.seconds, left), late):
            return await reading
    except ClientDisconnect as error:
        raise ClientLeft("the client left before its body had arrived") from error


async def _whole(request: Request) -> bytes:
    """The body, which is in memory once: `Request.body` joins its pieces, and keeps a second copy."""
    with io.BytesIO() as whole:
        async for piece in request.stream():
            whole.write(piece)
        return whole.getvalue()


class _InMemory(MultiPartParser):
    """Starlette's parser, without temporary files: the body's size is limited already.

    A part is a file also where its name stands in `filename*` only (RFC 7578 has it not, clients do), or where it has
    the name of the picture or a media type of its own and no name at all.
    """

    def on_headers_finished(self) -> None:
        """See starlette."""
        part = self._current_part
        _, options = parse_options_header(part.content_disposition)
        typed = any(name == b"content-type" and not value.startswith(b"text/") for name, value in part.item_headers)
        given = part.content_disposition or b""
        is_file = b"filename*=" in given.lower() or options.get(b"name") == PART.encode() or typed
        if b"name" in options and b"filename" not in options and is_file:
            part.content_disposition = given + b'; filename="picture"'
        super().on_headers_finished()

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
        raise MalformedRequest(_what_is_wrong(error)) from error
    try:
        files = _files(form, expected)
        if len(files) > expected.most:
            raise _too_many(expected)
        return [await file.read() for file in files]
    finally:
        await form.close()


def _files(form: FormData, expected: Expected) -> list[UploadFile]:
    """The pictures: the parts named `PART`; where there are none and one is expected, the only file there is."""
    files = [(name, part) for name, part in form.multi_items() if isinstance(part, UploadFile)]
    named = [part for name, part in files if name == PART]
    if not named and not expected.one:
        named = [part for _, part in files]
    if expected.one and len(named) != 1:
        if not named and len(files) == 1:
            return [files[0][1]]
        found = ", ".join(repr(name[:64]) for name, _ in files[:4]) or "none"
        raise MalformedRequest(f"expected one file, or one named {PART!r}; the form's files are named: {found}")
    return named


def _what_is_wrong(error: MultiPartException) -> str:
    """Starlette's and its parser's words where they name a limit; else what is wrong as a rule."""
    words = error.message
    if words.startswith(("Too many fields", "Part exceeded")):
        return f"the form cannot be read: {words}"
    if "Header" in words or "header" in words:
        return f"a part of the form has headers that cannot be read: {words}"
    return "the multipart body cannot be read; is its boundary right?"


async def _in_json(body: bytes, expected: Expected) -> list[bytes]:
    if not body:
        raise EmptyBody(f"the body is empty; send JSON like {_example(expected)}")
    # In a thread: tens of megabytes take as many milliseconds, and others wait for the loop.
    return await asyncio.to_thread(_decoded, body, expected)


def _example(expected: Expected) -> str:
    return '{"image": "<base64>"}' if expected.one else '{"images": ["<base64>"]}'


def _decoded(body: bytes, expected: Expected) -> list[bytes]:
    content = body.removeprefix(codecs.BOM_UTF8)
    if sum(map(content.count, (b",", b"[", b"{"))) > _PARTS:
        raise InvalidBody(f"the JSON has too many parts; send {_example(expected)} and nothing else")
    if len(content) > _LARGE_BYTES and not (content.isascii() and _WIDE.search(content) is None):
        raise InvalidBody("the JSON has characters that base64 has not")
    try:
        found = expected.shape.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise MalformedRequest("the body is not JSON, although its media type says so") from None
        where = ".".join(map(str, first["loc"])) or "the body"
        raise InvalidBody(f"{where[:128]}: {first['msg']}") from None
    images = [found.image] if isinstance(found, PictureIn) else found.images
    if len(images) > expected.most:
        raise _too_many(expected)
    return [_from_base64(image, number) for number, image in enumerate(images)]


def _from_base64(text: str, number: int) -> bytes:
    """The bytes of base64 in any spelling: as a data URL (RFC 2397), with line breaks, in the alphabet for URLs
    (RFC 4648, 5), without padding.
    """
    data = _DATA_URL.match(text)
    if data is None and _URL.match(text):
        raise InvalidBody("pictures are not fetched from URLs; send the picture itself, as base64")
    try:
        plain = text[data.end() if data else 0 :].encode("ascii").strip()
        if _SPELLINGS.search(plain):
            plain = plain.translate(_STANDARD, b"\t\r\n")
        plain += b"=" * (-len(plain) % 4)
        return base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError) as error:
        spaces = "; it has spaces, which a form makes of +" if " " in text.strip() else ""
        raise InvalidBody(f"image {number} is not base64{spaces}") from error


def _too_many(expected: Expected) -> TooManyPictures:
    return TooManyPictures(f"at most {expected.most} pictures are accepted in one request")
