"""The size of the frames inside an AVIF, which need not be the size that its container states.

libavif decodes a frame at its own size first: a file of a kilobyte that states 16 x 16 may hold one of 268 megapixels.
Container: ISO/IEC 14496-12, 8.11.3 (`iloc`) and 8.7.5 (`stco`). Frame: AV1 specification, 5.3.1, 5.5.1.
"""

import io
import struct
from collections.abc import Iterator
from itertools import islice

from service.errors import ImageTooComplex

_CONTAINERS = {b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"meta": 4}
"""Boxes that hold boxes, and how many bytes come before these."""
_DEPTH = len(_CONTAINERS)
_PIECES = 2_000
"""Boxes of a file, or items and their extents: a picture, its alpha and its metadata; hundreds where it is a grid."""
_HEADER_BYTES = 512
"""In which the sequence header of an item comes; it is among the first."""
_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6


class _Bits:
    """Reads numbers of so many bits, the highest first."""

    def __init__(self, content: bytes) -> None:
        self._number, self._left = int.from_bytes(content, "big"), 8 * len(content)

    def read(self, count: int) -> int:
        """The next number. Raises ValueError at the end."""
        self._left -= count
        if self._left < 0:
            raise ValueError("no more bits")
        return self._number >> self._left & ((1 << count) - 1)


def largest_frame(content: bytes) -> int:
    """Pixels of the largest frame among the first of each item and track; 0 where the file is not understood.

    Raises:
        ImageTooComplex: it is in far more pieces than a picture needs.
    """
    if content[4:8] != b"ftyp":
        return 0
    try:
        return max((frame for start in _starts(content) for frame in _frames(start)), default=0)
    except (ValueError, struct.error, IndexError):
        return 0  # libavif says what is missing.


def _starts(content: bytes) -> Iterator[bytes]:
    """The first bytes of every item and track."""
    boxes = list(islice(_boxes(memoryview(content), _DEPTH), _PIECES + 1))
    if len(boxes) > _PIECES:
        raise _too_complex()
    data = next((box for kind, box in boxes if kind == b"idat"), memoryview(b""))
    for kind, box in boxes:
        if kind == b"iloc":
            yield from _items(box, memoryview(content), data)
        elif kind in (b"stco", b"co64") and len(box) >= 16:
            (at,) = struct.unpack_from(">I" if kind == b"stco" else ">Q", box, 8)
            yield content[at : at + _HEADER_BYTES]


def _boxes(content: memoryview, depth: int) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and content of each box; after a container, those inside it."""
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", content, at + 8), 16
        end = at + max(size, head) if size else len(content)
        inside = content[at + head : end]
        yield kind, inside
        if kind in _CONTAINERS and depth:
            yield from _boxes(inside[_CONTAINERS[kind] :], depth - 1)
        at = end


def _items(box: memoryview, content: memoryview, data: memoryview) -> Iterator[bytes]:
    """The first bytes of each item that `iloc` locates, from its extents."""
    stream = io.BytesIO(box)

    def number(size: int) -> int:
        return int.from_bytes(stream.read(size), "big")

    version, _, sizes, more = number(1), number(3), number(1), number(1)
    offset_size, length_size, base_size, index_size = sizes >> 4, sizes & 0xF, more >> 4, more & 0xF
    wide, extents_left = 4 if version == 2 else 2, _PIECES
    for _ in range(number(wide)):
        number(wide)
        source = data if version and number(2) & 0xF == 1 else content
        number(2)
        base, extents, found = number(base_size), number(2), b""
        extents_left -= 1 + extents
        if extents_left < 0:
            raise _too_complex()
        for _ in range(extents):
            if version:
                number(index_size)
            at, length = base + number(offset_size), number(length_size) or _HEADER_BYTES
            found += source[at : at + min(length, _HEADER_BYTES - len(found))]
        yield found


def _frames(content: bytes) -> Iterator[int]:
    """Pixels of the frames that each sequence header before the first frame announces."""
    at = 0
    while at + 2 <= len(content):
        kind, extended, sized = content[at] >> 3 & 0xF, content[at] >> 2 & 1, content[at] >> 1 & 1
        at += 1 + extended
        size, length = 0, 0
        while sized and length < 8:  # leb128 (4.10.5)
            size |= (content[at + length] & 0x7F) << 7 * length
            length += 1
            if content[at + length - 1] < 0x80:
                break
        at += length
        if kind in (_FRAME_HEADER, _FRAME):
            return
        if kind == _SEQUENCE_HEADER:
            yield _frame_pixels(_Bits(content[at : at + _HEADER_BYTES]))
        at += size if sized else len(content)


def _frame_pixels(bits: _Bits) -> int:
    """What a sequence header says (5.5.1): of all its fields, only the largest size of a frame."""
    bits.read(4)
    reduced = bits.read(1)
    if reduced:
        bits.read(5)
    else:
        _skip_operating_points(bits)
    wide, high = bits.read(4) + 1, bits.read(4) + 1
    return (bits.read(wide) + 1) * (bits.read(high) + 1)


def _skip_operating_points(bits: _Bits) -> None:
    model, delay = 0, 0
    if bits.read(1):  # timing_info (5.5.3)
        bits.read(64)
        if bits.read(1):  # uvlc (4.10.3)
            zeros = 0
            while not bits.read(1):
                zeros += 1
            bits.read(zeros)
        model = bits.read(1)
        if model:  # decoder_model_info (5.5.4)
            delay = bits.read(5) + 1
            bits.read(42)
    display_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if model and bits.read(1):  # operating_parameters_info (5.5.5)
            bits.read(2 * delay + 1)
        if display_delay and bits.read(1):
            bits.read(4)


def _too_complex() -> ImageTooComplex:
    return ImageTooComplex(f"the AVIF is in more than {_PIECES} pieces; save the picture again")
