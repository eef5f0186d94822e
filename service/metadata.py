"""What a file says beside its picture, left out where it could keep the picture from being read.

Text, profiles and EXIF may be large or damaged; Pillow then gives up the whole picture.
"""

import struct
import zlib

from PIL.ImageFile import ImageFile

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = {b"tRNS", b"acTL", b"fcTL", b"fdAT"}
"""Chunks that are called ancillary (PNG specification, 5.4), and which yet decide what the first frame shows."""
_EXIF = b"eXIf"
_EXIF_BYTES = 65_536
"""A JPEG can hold no more; Pillow reads it tag by tag, in Python."""
_CHUNKS = 10_000


def without_metadata(content: bytes) -> bytes:
    """A PNG with its pixels, its palette, its transparency and its EXIF alone; any other file as it is."""
    if not content.startswith(_SIGNATURE):
        return content
    view, pieces, start, at = memoryview(content), [], 0, len(_SIGNATURE)
    for _ in range(_CHUNKS):
        if at + 8 > len(content):
            break
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + length + 12
        if not _is_needed(kind, view[at + 4 : end]):
            pieces.append(view[start:at])
            start = end
        at = end
    return b"".join((*pieces, view[start:])) if pieces else content


def drop_large_exif(picture: ImageFile) -> None:
    """Forget EXIF that is larger than a camera's."""
    if len(picture.info.get("exif", b"")) > _EXIF_BYTES:
        del picture.info["exif"]


def _is_needed(kind: bytes, chunk: memoryview) -> bool:
    """Whether a chunk, given from its kind to its checksum, is part of the picture."""
    if kind == _EXIF:
        return len(chunk) <= _EXIF_BYTES and zlib.crc32(chunk[:-4]) == int.from_bytes(chunk[-4:], "big")
    is_critical = not kind[0] & 0x20  # PNG specification, 5.4: the first letter is a capital.
    return is_critical or kind in _KEPT
