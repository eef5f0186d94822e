"""What arrived instead of a picture, by its first bytes, and what to do about it. Decides nothing."""

import re
from collections.abc import Callable

_BRANDS = {
    b"heic": "HEIC", b"heix": "HEIC", b"heim": "HEIC", b"hevc": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF",
    b"crx ": "a raw picture of a Canon camera", b"qt  ": "a QuickTime video", b"jxl ": "JPEG XL",
}  # fmt: skip
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF document; send one of its pages as a picture"),
    (b"version https://git-lfs", "a Git LFS pointer, not the picture; run `git lfs pull` first"),
    (b"\x1f\x8b", "gzip; unpack it, or say so with Content-Encoding: gzip"),
    (b"PK\x03\x04", "a zip archive; send the pictures in it"),
    (b"8BPS", "a Photoshop document; export it as PNG"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000; convert it to PNG"),
    (b"\xff\x4f\xff\x51", "JPEG 2000; convert it to PNG"),
    (b"\xff\x0a", "JPEG XL; convert it to PNG"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL; convert it to PNG"),
    (b"FUJIFILMCCD-RAW", "a raw picture of a camera; send its JPEG"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video; send one of its pictures"),
    (b"\x00\x00\x01\x00", "a Windows icon; convert it to PNG"),
    (b"\x93NUMPY", "a NumPy array; save it as PNG"),
    (b"P1\n", "a Netpbm picture; convert it to PNG"),
    (b"P4\n", "a Netpbm picture; convert it to PNG"),
    (b"P5\n", "a Netpbm picture; convert it to PNG"),
    (b"P6\n", "a Netpbm picture; convert it to PNG"),
    (b"SIMPLE  =", "a FITS picture; convert it to PNG or TIFF"),
    (b"--", "a multipart form whose Content-Type header is missing; send multipart/form-data with its boundary"),
    (b"data:", 'a data URL; send its bytes, or JSON like {"image": "<data URL>"}'),
    (b"/9j/", 'a JPEG in base64; decode it, or send JSON like {"image": "<base64>"}'),
    (b"iVBORw0KGgo", 'a PNG in base64; decode it, or send JSON like {"image": "<base64>"}'),
    (b"UklGR", 'a WebP in base64; decode it, or send JSON like {"image": "<base64>"}'),
    (b"R0lGOD", 'a GIF in base64; decode it, or send JSON like {"image": "<base64>"}'),
)
_AS_TEXT = "bytes that went through a text encoding, and cannot be made whole again; read the file as binary"
_LINE_ENDS_GONE = "a picture without its line ends, as `curl -d` sends it; use --data-binary"
_MANGLED: tuple[tuple[bytes, str], ...] = (
    (b"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", _AS_TEXT),
    (b"\xc3\xbf\xc3\x98\xc3\xbf", _AS_TEXT),
    (b"\xef\xbf\xbdPNG", _AS_TEXT),
    (b"\xc2\x89PNG", _AS_TEXT),
    (b"\x89PNG\x1a", _LINE_ENDS_GONE),
    (b"\x89PNG\n\x1a", "a PNG whose line ends were changed; transfer it as binary"),
    (b"\x89PNG\r\r\n", "a PNG whose line ends were changed; transfer it as binary"),
)
_JPEG = b"\xff\xd8\xff"
_LONG = 4096
"""Bytes, among which a JPEG has a line feed or a carriage return; one in ten trillion has neither by chance."""


def what_arrived(content: bytes) -> str:
    """What `content` is and what to do, as far as its first bytes tell; empty where they do not."""
    for beginning, what in (*_BEGINNINGS, *_MANGLED):
        if content.startswith(beginning):
            return what
    if content[4:8] == b"ftyp":
        brand = _BRANDS.get(content[8:12], "an MP4 video")
        return f"{brand}; send one of its pictures" if "video" in brand else f"{brand}; convert it to JPEG"
    text = content[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return next((what for tells, what in _TEXTS if tells(text)), "")


def _has(pattern: bytes) -> Callable[[bytes], bool]:
    return re.compile(pattern, re.DOTALL).search  # type: ignore[return-value] # a match is true


_TEXTS: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (_has(rb"^<!doctype html|^<html"), "an HTML page, perhaps the one of an error; look at what was downloaded"),
    (_has(rb"^(<\?xml.*)?<svg|^<!doctype svg"), "SVG, which is no picture of pixels; render it to PNG"),
    (_has(rb"^\{"), "JSON; send it with Content-Type: application/json"),
)


def without_line_ends(content: bytes) -> str:
    """What to do where a JPEG has lost its line ends on the way; empty where it has some."""
    lost = content.startswith(_JPEG) and len(content) >= _LONG and not (b"\n" in content or b"\r" in content)
    return _LINE_ENDS_GONE if lost else ""
