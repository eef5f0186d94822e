"""Pictures that a glance tells apart, and setups of a small model on them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from training.recipe import Recipe
from training.setup import Setup, set_up

TINY = Recipe(
    model="vit_nano_convstem_patch4_32", epochs=2, batch_size=8, warmup_epochs=0.5, ema_decay=0.5, learning_rate=2e-3
)
MakeSetup = Callable[..., Setup]


def draw(folder: Path, split: str, count: int, seed: int = 0) -> None:
    """`count` pictures of each of two classes: bright above, bright below."""
    random = np.random.default_rng(seed)
    for name, rows in (("above", slice(0, 16)), ("below", slice(16, 32))):
        place = folder / split / name
        place.mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 60, (32, 32, 3), dtype=np.uint8)
            pixels[rows] += 150
            Image.fromarray(pixels).save(place / f"{number}.png")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Features are kept for the session, and not in the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ and test/ of two classes."""
    folder = tmp_path_factory.mktemp("data")
    draw(folder, "train", 24)
    draw(folder, "test", 6, seed=1)
    return folder


@pytest.fixture
def setup(data: Path) -> MakeSetup:
    """Makes a setup of TINY with changes."""

    def make(path: Path = data, **changes: Any) -> Setup:
        recipe = Recipe(TINY.model) if changes.get("head_only") else TINY
        return set_up(replace(recipe, **changes), path, lambda _: None)

    return make
