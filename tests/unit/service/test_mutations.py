"""Ten thousand pictures, broken at random in every format: each decodes or is refused with one of our errors."""

import random
import resource
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from contract.spec import Preprocessing
from service.errors import RequestError
from service.images import open_picture
from tests.fakes import a_picture, encoded

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(["AVIF"] if features.check("avif") else []))
MUTATIONS = 10_000
INPUT = Preprocessing(8, 8, crop_pct=0.9)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """The file with bits flipped, bytes replaced, cut out, doubled, or its end missing."""
    broken = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        at = chance.randrange(len(broken))
        match chance.randrange(6):
            case 0:
                broken[at] ^= 1 << chance.randrange(8)
            case 1:
                broken[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                broken[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"))
            case 3:
                del broken[at : at + chance.randrange(1, 16)]
            case 4:
                broken[at:at] = broken[at : at + 32]
            case _:
                del broken[max(1, at) :]
        if not broken:
            return b"\0"
    return bytes(broken)


def memory() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.filterwarnings("ignore")  # Pillow's, of odd metadata
def test_a_broken_picture_is_decoded_or_refused_and_leaves_nothing_behind() -> None:
    chance = random.Random(20)  # noqa: S311 (nothing is secret here)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))
    whole = [encoded(picture, kind) for picture in (a_picture(), noise, noise.convert("L")) for kind in FORMATS]
    outcomes: Counter[str] = Counter()
    before = 0
    for number in range(MUTATIONS):
        if number == MUTATIONS // 10:  # By then everything was loaded once.
            before = memory()
        try:
            opened = open_picture(mutated(chance.choice(whole), chance), 1_000_000, INPUT)
            opened.decode()
            opened.pixels()
            outcomes["ok"] += 1
        except RequestError as error:
            outcomes[error.code] += 1
    assert set(outcomes) <= {"ok", "image_corrupt", "image_too_large", "image_too_complex", "media_type_unsupported"}
    assert outcomes["ok"] > 1_000
    assert outcomes["image_corrupt"] > 1_000
    assert memory() - before < 30_000_000
