"""What a file says of itself before anything is decoded: how it is laid out, and what decoding it will take.

Some files are cheap to send and dear to decode, although they have few pixels: a JPEG of a thousand scans, a TIFF of a
million strips. Their layout gives them away.
"""

import io
import struct

from PIL import ExifTags
from PIL.ImageFile import ImageFile

from service.errors import ImageTooComplex

_SCANS = 64
"""Of a JPEG. Encoders write about ten; each is a pass over the whole picture, 8 ms for 36 megapixels."""
_TIFF_VALUES = 65_536
"""Of one TIFF tag, strips and tiles among them: Pillow keeps a Python object for each."""
_TIFF_TAGS = 4_096
_RLE_PIXELS = 1_000_000
"""Of a BMP with run lengths, which Pillow expands in Python, pixel by pixel."""
_READS = 50_000
_BYTES_A_READ = 64

_SCAN = b"\xff\xda"
_BYTES_OF_MODE = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""A pixel in Pillow's memory; 4 in every other mode."""
_WEBP_BYTES = 13
"""A pixel of a WebP: two canvases and the frame as bytes, of 4 each, and its alpha plane."""
_AVIF_BYTES = 16
"""A pixel of an AVIF of 12 bits in three planes of 2: these, the decoder's own, and the frame as bytes."""


class CountedBytes(io.BytesIO):
    """A file in memory that may be read in so many pieces: 50,000, and one more for each 64 of its bytes.

    Pillow reads the parts of a file one by one, in Python: this bounds the segments, chunks, blocks, tags and runs of
    every format alike.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._left = _READS + len(content) // _BYTES_A_READ

    def read(self, size: int | None = -1, /) -> bytes:
        """See `io.BytesIO`.

        Raises:
            ImageTooComplex: it was read too often.
        """
        self._left -= 1
        if self._left < 0:
            raise ImageTooComplex("the file is in more pieces than its size needs; save the picture again")
        return super().read(size)


def size_of_webp(content: bytes) -> tuple[int, int] | None:
    """Width and height of a WebP by its first chunk (RFC 9649, 2.5 to 2.7): Pillow takes its canvas as it opens it."""
    kind = content[12:16] if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else b""
    if kind == b"VP8X" and len(content) >= 30:
        return int.from_bytes(content[24:27], "little") + 1, int.from_bytes(content[27:30], "little") + 1
    if kind == b"VP8L" and len(content) >= 25:
        bits = int.from_bytes(content[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(content) >= 30:
        return int.from_bytes(content[26:28], "little") & 0x3FFF, int.from_bytes(content[28:30], "little") & 0x3FFF
    return None


def check_tags(content: bytes) -> None:
    """Look at the first directory of a TIFF (TIFF 6.0, section 2; BigTIFF) before Pillow makes objects of its values.

    Raises:
        ImageTooComplex: a tag has more values than a picture of this size needs, or there are too many tags.
    """
    if content[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return
    order, big = "<" if content[:1] == b"I" else ">", 43 in content[2:4]
    entry = struct.Struct(order + ("HHQ8x" if big else "HHI4x"))
    count = struct.Struct(order + ("Q" if big else "H"))
    try:
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)
        (tags,) = count.unpack_from(content, at)
        for number in range(min(tags, _TIFF_TAGS + 1)):
            _, kind, values = entry.unpack_from(content, at + count.size + number * entry.size)
            # Bytes, text and what is undefined stay one object; what the file is too short for is skipped.
            if number == _TIFF_TAGS or (kind not in (1, 2, 6, 7) and _TIFF_VALUES < values < len(content)):
                raise ImageTooComplex(
                    f"the TIFF has more than {_TIFF_TAGS} tags, or {_TIFF_VALUES} values in one of them, such as "
                    "strips or tiles; save it again with larger ones"
                )
    except struct.error:
        return  # Pillow says what is missing.


def check_layout(picture: ImageFile, content: bytes) -> int:
    """Look at what an opened picture has to go through.

    Returns:
        How often decoding goes over the whole picture: the scans of a JPEG, else 1.

    Raises:
        ImageTooComplex: a JPEG of too many scans, or a large BMP with run lengths.
    """
    scans = _scans(picture, content)
    if scans > _SCANS:
        raise ImageTooComplex(f"the JPEG has {scans} scans; at most {_SCANS} are accepted: save it as an ordinary one")
    if picture.width * picture.height > _RLE_PIXELS and any(tile[0] == "bmp_rle" for tile in picture.tile):
        raise ImageTooComplex(f"a BMP with run lengths may have {_RLE_PIXELS} pixels; save it as PNG")
    return scans


def picture_bytes(picture: ImageFile) -> int:
    """Bytes of the picture itself, at the size that it will be decoded to."""
    return picture.width * picture.height * _BYTES_OF_MODE.get(picture.mode, 4)


def decoder_bytes(picture: ImageFile, content: bytes, scans: int, frame: int) -> int:
    """Bytes that decoding takes at most beside the picture: every copy, buffer and table on the way.

    Called before a JPEG is asked for at reduced scale; `frame` is what the largest frame of an AVIF has in pixels.
    Measured format by format and mode by mode by `python -m benchmarks.memory`; docs/operations.md has the table.
    """
    pixels = picture.width * picture.height
    match picture.format:
        case "WEBP":
            needed = pixels * _WEBP_BYTES
        case "AVIF":
            needed = max(pixels, frame) * _AVIF_BYTES
        case "TIFF":
            needed = _tiff_bytes(picture)
        case "JPEG" | "MPO" if scans > 1:
            needed = _coefficient_bytes(picture)
        case _:
            needed = 0
    return needed + len(content)


def _scans(picture: ImageFile, content: bytes) -> int:
    """How often libjpeg goes over the picture. Where the first scan has all of a picture that is not progressive, once.

    In compressed data no byte 0xFF stands before one of a marker's (ITU-T T.81, B.1.1.5): the rest can be counted.
    """
    if picture.format not in ("JPEG", "MPO") or picture.fp is None:
        return 1
    data = picture.fp.tell()
    first = content.rfind(_SCAN, 0, data)
    if "progressive" not in picture.info and content[first + 4 : first + 5] == bytes([len(_layers(picture))]):
        return 1
    return 1 + content.count(_SCAN, data)


def _layers(picture: ImageFile) -> list[tuple[int, int, int, int]]:
    """The components of a JPEG: number, samples across and down in each block, quantisation table."""
    layers: list[tuple[int, int, int, int]] = getattr(picture, "layer", [])
    return layers


def _coefficient_bytes(picture: ImageFile) -> int:
    """All coefficients, which libjpeg keeps of a picture that comes in several scans: two bytes for each sample."""
    layers = _layers(picture)
    across, down = (max((layer[axis] for layer in layers), default=1) for axis in (1, 2))
    samples = sum(layer[1] * layer[2] for layer in layers) / (across * down)
    return int(2 * samples * picture.width * picture.height)


def _tiff_bytes(picture: ImageFile) -> int:
    """A second picture where it has to be turned, and the strip or tile that libtiff unpacks at a time."""
    tags = getattr(picture, "tag_v2", {})

    def most(tag: ExifTags.Base, default: int) -> int:
        value = tags.get(tag, default)
        return int(max(value) if isinstance(value, tuple) else value)

    turned = picture_bytes(picture) if most(ExifTags.Base.Orientation, 1) != 1 else 0
    if picture.info.get("compression") == "raw":
        return turned
    width = most(ExifTags.Base.TileWidth, most(ExifTags.Base.ImageWidth, 0))
    rows = most(ExifTags.Base.ImageLength, 0)
    height = most(ExifTags.Base.TileLength, min(rows, most(ExifTags.Base.RowsPerStrip, rows)))
    bits = most(ExifTags.Base.BitsPerSample, 1) * most(ExifTags.Base.SamplesPerPixel, 1)
    return turned + width * height * bits // 8
