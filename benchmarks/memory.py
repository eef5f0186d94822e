"""What decoding takes, format by format and mode by mode: measured, beside what the gateway counts on.

    python -m benchmarks.memory --megapixels 16

Each picture is opened, decoded, resized and cropped in a process of its own; what counts is the most memory it had.
"""

import argparse
import io
import multiprocessing
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features
from rich.console import Console
from rich.table import Table

from contract.spec import Preprocessing
from service.images import open_picture
from service.server import share_freed_memory

INPUT = Preprocessing(224, 224, 0.9)
_spawn = multiprocessing.get_context("spawn")
"""Not forked: what this process has freed would be used again, and not be seen."""


@dataclass(frozen=True)
class Case:
    """One way to store a picture."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Need:
    """What one picture takes, in bytes."""

    pixels: int
    counted: int
    """By the gateway, before it decodes."""
    measured: int


def cases(side: int) -> Iterator[Case]:
    """A square picture of so many pixels a side, in every mode of every format: gradients, and a band of noise."""
    rgb, grey = _picture(side), _picture(side).convert("L")
    rgba, sixteen = rgb.copy(), Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    rgba.putalpha(grey)
    palette = rgb.quantize(64)
    for name, picture in {"1": rgb.convert("1"), "L": grey, "LA": rgba.convert("LA"), "P": palette}.items():
        yield Case(f"PNG {name}", _saved(picture, "PNG", compress_level=1))
    for name, picture in {"RGB": rgb, "RGBA": rgba, "I;16": sixteen}.items():
        yield Case(f"PNG {name}", _saved(picture, "PNG", compress_level=1))
    for name, colour, channels in (("LA, 16 bits", 4, 2), ("RGB, 16 bits", 2, 3), ("RGBA, 16 bits", 6, 4)):
        yield Case(f"PNG {name}", _deep_png(side, colour, channels))
    on_its_side = Image.Exif()
    on_its_side[0x0112] = 6  # With an odd size, it is not decoded at reduced scale.
    for mode in ("L", "RGB", "CMYK"):
        picture = rgb.convert(mode)
        yield Case(f"JPEG {mode}", _saved(picture, "JPEG", exif=on_its_side))
        yield Case(f"JPEG {mode}, progressive", _saved(picture, "JPEG", exif=on_its_side, progressive=True))
    finest = {"progressive": True, "subsampling": 0}
    yield Case("JPEG RGB, progressive, 4:4:4", _saved(rgb, "JPEG", exif=on_its_side, **finest))
    yield Case("JPEG RGB, reduced", _saved(rgb, "JPEG"))
    yield Case("JPEG RGB, reduced, progressive", _saved(rgb, "JPEG", progressive=True))
    for name, picture in {"1": rgb.convert("1"), "L": grey, "P": palette, "RGB": rgb, "RGBA": rgba}.items():
        yield Case(f"BMP {name}", _saved(picture, "BMP"))
    yield Case("GIF", _saved(palette, "GIF"))
    yield Case("GIF, transparent", _saved(palette, "GIF", transparency=3))
    yield from _tiffs(rgb, rgba, palette, sixteen)
    for name, options in {"lossy": {}, "lossless": {"lossless": True, "quality": 0}}.items():
        yield Case(f"WebP RGB, {name}", _saved(rgb, "WEBP", method=0, **options))
        yield Case(f"WebP RGBA, {name}", _saved(rgba, "WEBP", method=0, **options))
    yield Case("WebP, animated", _saved(rgb, "WEBP", method=0, save_all=True, append_images=[rgb.rotate(180)]))
    if features.check("avif"):
        for name, picture in {"L": grey, "RGB": rgb, "RGBA": rgba}.items():
            yield Case(f"AVIF {name}", _saved(picture, "AVIF", speed=10))
        yield Case("AVIF RGB, 4:4:4", _saved(rgb, "AVIF", speed=10, subsampling="4:4:4"))


def _tiffs(rgb: Image.Image, rgba: Image.Image, palette: Image.Image, sixteen: Image.Image) -> Iterator[Case]:
    pictures = {mode: rgb.convert(mode) for mode in ("1", "L", "RGB", "CMYK", "YCbCr")}
    pictures |= {"LA": rgba.convert("LA"), "RGBA": rgba, "P": palette, "I;16": sixteen}
    pictures |= {"I": sixteen.convert("I"), "F": sixteen.convert("F")}
    for mode, picture in pictures.items():
        yield Case(f"TIFF {mode}", _saved(picture, "TIFF"))
        if mode != "1":
            yield Case(f"TIFF {mode}, deflate", _saved(picture, "TIFF", compression="tiff_adobe_deflate"))
    one_strip = {"compression": "tiff_adobe_deflate", "strip_size": 10**9}
    yield Case("TIFF RGB, deflate, one strip", _saved(rgb, "TIFF", **one_strip))
    yield Case("TIFF RGB, turned", _saved(rgb, "TIFF", tiffinfo={274: 6}))
    yield Case("TIFF RGB, LZW, turned", _saved(rgb, "TIFF", compression="tiff_lzw", tiffinfo={274: 6}))


def need_of(content: bytes) -> Need:
    """What a picture takes, measured in a process of its own."""
    there, here = _spawn.Pipe(duplex=False)
    child = _spawn.Process(target=_measure, args=(content, here))
    child.start()
    here.close()
    try:
        pixels, counted, measured = there.recv()
    finally:
        child.join()
    return Need(pixels, counted, measured)


def _measure(content: bytes, result: Connection) -> None:
    share_freed_memory()
    small = open_picture(_saved(_picture(64), "PNG"), 10**9, INPUT)
    small.decode()
    small.pixels()  # What is loaded with the first picture.
    Path("/proc/self/clear_refs").write_text("5")  # The most so far is what there is now (proc(5)).
    before = _status("VmRSS")
    width, height = Image.open(io.BytesIO(content)).size
    opened = open_picture(content, 10**9, INPUT)
    opened.decode()
    opened.pixels()
    result.send((width * height, opened.bytes, _status("VmHWM") - before))


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def _picture(side: int) -> Image.Image:
    ramp = np.add.outer(np.arange(side) // 16, np.arange(side) // 16).astype(np.uint8)
    pixels = np.dstack([ramp, ramp + 85, ramp * 3])
    pixels[: side // 8] = np.random.default_rng(0).integers(0, 256, (side // 8, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _saved(picture: Image.Image, picture_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, picture_format, **options)
    return stream.getvalue()


def _deep_png(side: int, colour: int, channels: int) -> bytes:
    """Pillow writes no PNG of 16 bits and several channels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 16, colour, 0, 0, 0)
    rows = zlib.compress(bytes(1 + side * channels * 2) * side, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megapixels", type=float, default=16, help="default: 16")
    side = int((parser.parse_args().megapixels * 1e6) ** 0.5) | 1
    table = Table("picture", "file", "counted", "measured", title=f"bytes a pixel of {side} x {side}")
    for case in cases(side):
        need = need_of(case.content)
        counted, measured = (f"{each / need.pixels:.1f}" for each in (need.counted, need.measured))
        table.add_row(case.name, f"{len(case.content) / 1e6:.1f} MB", counted, measured)
    Console().print(table)


if __name__ == "__main__":
    main()
