"""Files of an accepted format that are whole and not read: how they are laid out, for an answer that names it."""

import io
import struct
from contextlib import suppress
from typing import Any

from PIL import TiffImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_FIX = "save it with 8 bits a sample, as PNG or JPEG"
_TIFF_MAGIC = (b"II*\0", b"MM\0*")
_PHOTOMETRIC, _SAMPLES, _BITS, _COMPRESSION, _FORMAT = 262, 277, 258, 259, 339
_COLOURS = {0: "grey", 1: "grey", 2: "RGB", 3: "a palette", 5: "CMYK", 6: "YCbCr", 8: "CIE L*a*b*", 32844: "LogL"}
_FORMATS = {1: "unsigned", 2: "signed", 3: "floating point", 5: "complex", 6: "complex floating point"}
_UNREAD_COMPRESSION = {34712: "JPEG 2000", 34892: "lossy JPEG", 34661: "JBIG", 50001: "WebP", 50002: "JPEG XL"}
_FRAMES = {0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical", 0xCB: "lossless"}


def unread_layout(content: bytes) -> str:
    """How a TIFF, JPEG or BMP is laid out that Pillow does not read, and what to do; empty where it is just broken.

    Source: TIFF 6.0, section 2; ITU-T T.81, table B.1; Microsoft's BITMAPINFOHEADER.
    """
    with suppress(Exception):  # What is damaged raises whatever its bytes make a parser raise.
        if content.startswith(_TIFF_MAGIC):
            return _tiff(content)
        if content.startswith(b"\xff\xd8\xff"):
            return _jpeg(content)
        if content.startswith(b"BM"):
            return _bmp(content)
    return ""


def _tiff(content: bytes) -> str:
    directory = ImageFileDirectory_v2(content[:8])
    stream = io.BytesIO(content)
    stream.seek(directory.next)
    directory.load(stream)
    compression = int(directory.get(_COMPRESSION, 1))
    if compression not in TiffImagePlugin.COMPRESSION_INFO or compression in _UNREAD_COMPRESSION:
        return f"a TIFF compressed with {_UNREAD_COMPRESSION.get(compression, f'method {compression}')}; {_FIX}"
    samples, colours = int(directory.get(_SAMPLES, 1)), int(directory.get(_PHOTOMETRIC, 0))
    bits, formats = _first(directory.get(_BITS, 1)), _first(directory.get(_FORMAT, 1))
    if any(key[1] == colours and key[2] == (formats,) and set(key[4]) == {bits} for key in TiffImagePlugin.OPEN_INFO):
        readable = {len(key[4]) + len(key[5]) for key in TiffImagePlugin.OPEN_INFO if key[1] == colours}
        if samples in readable:
            return ""
    many = f"{samples} {_FORMATS.get(formats, '')} sample{'s' if samples > 1 else ''} of {bits} bits"
    return f"a TIFF of {_COLOURS.get(colours, f'colours {colours}')} with {many}; {_FIX}"


def _first(value: Any) -> int:
    """Of a tag that has a value for each sample."""
    return int(value[0] if isinstance(value, tuple) else value)


def _jpeg(content: bytes) -> str:
    place = 2
    while content[place] == 0xFF and place + 9 < len(content):
        marker = content[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision = content[place + 4]
            if marker in _FRAMES or marker > 0xCA:
                return f"a {_FRAMES.get(marker, 'differential')} JPEG; {_FIX}"
            return "" if precision == 8 else f"a JPEG of {precision} bits a sample; {_FIX}"
        place += 2 + struct.unpack(">H", content[place + 2 : place + 4])[0]
    return ""


def _bmp(content: bytes) -> str:
    bits, compression = struct.unpack("<HI", content[28:34])
    if compression in (4, 5):
        return f"a BMP that holds a {'JPEG' if compression == 4 else 'PNG'} for a printer; send that"
    return f"a BMP of {bits} bits a pixel; {_FIX}" if bits not in (1, 4, 8, 16, 24, 32) else ""
