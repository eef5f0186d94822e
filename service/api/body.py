"""The picture inside a request: the raw body, or the one `file` part of a multipart form."""

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from service.errors import EmptyBody, MalformedRequest

PART = "file"
_MAX_PARTS = 16


async def read_picture(request: Request) -> bytes:
    """The bytes of the picture in the body.

    Raises:
        EmptyBody: there is no body, or the part is empty.
        MalformedRequest: a form that cannot be taken apart, or has no or several `file` parts.
        BodyTooLarge: from the middleware that counts the bytes.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data":
        content = await _read_part(request)
    else:
        content = await request.body()
    if not content:
        raise EmptyBody("the body is empty; send the bytes of a picture, or a form with one part named 'file'")
    return content


async def _read_part(request: Request) -> bytes:
    parser = MultiPartParser(request.headers, request.stream(), max_files=_MAX_PARTS, max_fields=_MAX_PARTS)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:  # KeyError: a media type without a boundary
        raise MalformedRequest("the multipart body cannot be read; is its boundary right?") from error
    try:
        parts = form.getlist(PART)
        if len(parts) != 1:
            raise MalformedRequest(f"expected one part named {PART!r}, found {len(parts)}")
        if not isinstance(parts[0], UploadFile):
            raise MalformedRequest(f"the part {PART!r} must be a file: give it a filename")
        return await parts[0].read()
    finally:
        await form.close()
