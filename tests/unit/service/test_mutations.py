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
from tests.fakes import a_picture, encoded, mutated

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(["AVIF"] if features.check("avif") else []))
MUTATIONS = 10_000
INPUT = Preprocessing(8, 8, crop_pct=0.9)


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
