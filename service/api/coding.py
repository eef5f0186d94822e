"""Bodies that were compressed on their way (RFC 9110, 8.4): unpacked piece by piece, under a limit."""

import asyncio
import zlib
from collections.abc import Callable

from starlette.datastructures import Headers

from service.errors import BodyTooLarge, MalformedRequest, UnsupportedMedia

CODINGS = ("gzip", "x-gzip", "deflate")
_PIECE_BYTES = 262_144
"""Unpacked at a time: a thousandth of them may have come in, and memory is asked for before the next."""
_MEMBERS = 1_000
"""Of a gzip body at most (RFC 1952, 2.2). Tools that write many begin one for each 64 KB; an empty one has 20
bytes, and is a way to a thread and back."""
_EITHER = 32 + zlib.MAX_WBITS
"""zlib finds out which of gzip (RFC 1952) and zlib (RFC 1950, which `deflate` stands for) it is."""


class Unpacking:
    """Unpacks one body."""

    def __init__(self, coding: str, limit: int) -> None:
        self._coding, self._limit = coding, limit
        self._stream = zlib.decompressobj(_EITHER)
        self._unpacked = 0
        self._members = 1

    @classmethod
    def of(cls, headers: Headers, limit: int) -> "Unpacking | None":
        """What unpacks a body with these headers to at most `limit` bytes; None where it is not compressed.

        Raises:
            UnsupportedMedia: it is, in a way that is not read here.
        """
        coding = ", ".join(headers.getlist("content-encoding")).strip().lower()
        if coding in ("", "identity"):
            return None
        if coding not in CODINGS:
            raise UnsupportedMedia(
                f"Content-Encoding {coding[:64]!r} is not read here; send the picture as it is, which compresses "
                "little, or with gzip or deflate"
            )
        return cls(coding, limit)

    async def unpack(self, content: bytes, grow: Callable[[int], None], *, last: bool) -> bytes:
        """What `content`, the next part of the body, unpacks to. `grow` is told of each piece before the next.

        In threads: a few bytes may become many megabytes, and others wait for the event loop.

        Raises:
            BodyTooLarge: it unpacks to more than the limit.
            MalformedRequest: it is not of its coding, ends in the middle, or has too many members.
            Overloaded: from `grow`.
        """
        pieces = []
        while content:
            if self._stream.eof:
                self._begin_next()
            try:
                piece = await asyncio.to_thread(self._stream.decompress, content, _PIECE_BYTES)
            except zlib.error:
                raise MalformedRequest(f"the body is not {self._coding}, although Content-Encoding says so") from None
            self._unpacked += len(piece)
            if self._unpacked > self._limit:
                raise BodyTooLarge(f"the body unpacks to more than {self._limit} bytes, which is the limit")
            grow(len(piece))
            pieces.append(piece)
            content = self._stream.unconsumed_tail or self._stream.unused_data
        if last and not self._stream.eof and self._unpacked:
            raise MalformedRequest(f"the {self._coding} body ends in the middle")
        return b"".join(pieces)

    def _begin_next(self) -> None:
        self._members += 1
        if self._members > _MEMBERS:
            raise MalformedRequest(f"the {self._coding} body has more than {_MEMBERS} members; compress it in one go")
        self._stream = zlib.decompressobj(_EITHER)
