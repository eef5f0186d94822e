"""Stand-ins at the ports: a Triton that lives in a dictionary, and pictures made on the spot."""

import asyncio
import io
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tritonclient.grpc.model_config_pb2 import ModelConfig

from contract.config import Scheduling, read_config, write_config
from contract.spec import Entry, Preprocessing, Rollout
from service.errors import UnknownModel
from service.triton import ModelVersion

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.float32]


def an_entry(name: str = "colours", labels: tuple[str, ...] = ("red", "green", "blue"), **changes: Any) -> Entry:
    """An entry that needs no weights: `FakeBackend` answers how red, green and blue a picture is."""
    return Entry(name=name, preprocessing=Preprocessing(8, 8, crop_pct=1.0), labels=labels, max_batch_size=4, **changes)


WEIGHTS = "ab" * 32
"""The digest of an entry's weights, where it is to be explained."""


def a_companion(*entries: str, name: str = "watcher", weights: str = WEIGHTS) -> Entry:
    """What explains these entries of `an_entry`: two layers of two heads, on a grid of 4 x 4."""
    return replace(an_entry(name), explains=Rollout(entries or ("colours",), weights, 2, 2, 4, 4))


def colour_shares(pixels: Pixels) -> Rows:
    """`[N, H, W, 3]` to the share of each channel, `[N, 3]`; grey for black pictures."""
    sums = pixels.reshape(len(pixels), -1, 3).sum(1).astype(np.float32) + 1
    shares: Rows = sums / sums.sum(1, keepdims=True)
    return shares


@dataclass
class FakeBackend:
    """Implements `service.triton.InferenceBackend`. `failure`, when set, is raised by every call."""

    configs: dict[tuple[str, str], ModelConfig] = field(default_factory=dict)
    unready: list[ModelVersion] = field(default_factory=list)
    """What the index has besides the configurations' versions."""
    answer: Callable[[Pixels], Rows] = colour_shares
    failure: Exception | None = None
    config_failures: dict[str, Exception] = field(default_factory=dict)
    """What `config` raises, by entry."""
    hung: set[str] = field(default_factory=set)
    """Entries whose `config` never answers."""
    looks: int = 0
    """How often `index` was called."""
    slow: asyncio.Event | None = None
    """Where there is one, `index` waits for it."""
    hold: asyncio.Event | None = None
    """Where there is one, `infer` waits for it."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once `infer` was called."""
    calls: list[tuple[str, str]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    """How many pictures each call of `infer` had."""
    spoilt: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """What `outputs` answers instead, by output."""

    def serve(self, entry: Entry, version: str = "1") -> None:
        """Serve an entry, instead of any other version of it."""
        self.configs = {key: config for key, config in self.configs.items() if key[0] != entry.name}
        self.configs[entry.name, version] = write_config(entry, Scheduling())

    async def index(self) -> list[ModelVersion]:
        """See `InferenceBackend.index`."""
        self.looks += 1
        if self.slow is not None:
            await self.slow.wait()
        self._fail()
        return [*(ModelVersion(name, version, True, "") for name, version in self.configs), *self.unready]

    async def config(self, name: str, version: str) -> ModelConfig:
        """See `InferenceBackend.config`."""
        self._fail()
        if name in self.hung:
            await asyncio.Event().wait()
        if name in self.config_failures:
            raise self.config_failures[name]
        return self.configs[name, version]

    async def infer(self, name: str, version: str, pixels: Pixels, timeout: float) -> Rows:  # noqa: ARG002
        """See `InferenceBackend.infer`."""
        self._fail()
        self.calls.append((name, version))
        self.batches.append(len(pixels))
        self.reached.set()
        if self.hold is not None:
            await self.hold.wait()
        if (name, version) not in self.configs:
            raise UnknownModel(f"{name} version {version} is gone")
        return self.answer(pixels)

    async def outputs(
        self, name: str, version: str, pixels: Pixels, wanted: tuple[str, ...], timeout: float
    ) -> list[npt.NDArray[np.float32]]:
        """See `InferenceBackend.outputs`. The maps of a companion say how bright the patches are."""
        rows = await self.infer(name, version, pixels, timeout)
        entry = read_config(self.configs[name, version])
        assert entry is not None
        assert entry.explains is not None
        shape = entry.explains
        patches = pixels.reshape(len(pixels), shape.rows, -1, shape.columns, pixels.shape[2] // shape.columns, 3)
        grid = patches.mean((2, 4, 5), dtype=np.float32) / 255
        order = np.arange(1, 4, dtype=np.float32)[:, None, None]
        found = {
            "probabilities": rows,
            "rollout": grid[:, None] / order,
            "attention": grid[:, None, None]
            * np.arange(1, 1 + shape.layers * shape.heads, dtype=np.float32).reshape(
                1, shape.layers, shape.heads, 1, 1
            ),
        }
        return [self.spoilt.get(each, found[each]) for each in wanted]

    async def close(self) -> None:
        """See `InferenceBackend.close`."""

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


def a_picture(colour: tuple[int, int, int] = (255, 0, 0), size: tuple[int, int] = (32, 24)) -> Image.Image:
    """One colour, with a brighter corner so that turning it changes it."""
    picture = Image.new("RGB", size, colour)
    picture.paste((250, 240, 230), (0, 0, size[0] // 4, size[1] // 4))
    return picture


def encoded(picture: Image.Image, picture_format: str = "PNG", **options: Any) -> bytes:
    """The bytes of a picture's file."""
    buffer = io.BytesIO()
    picture.save(buffer, picture_format, **options)
    return buffer.getvalue()


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


def turned(picture: Image.Image, orientation: int, picture_format: str = "PNG") -> bytes:
    """A file that shows `picture` once its EXIF orientation (1 to 8) is applied."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = picture if orientation == 1 else picture.transpose(undo[orientation])
    return encoded(stored, picture_format, exif=exif)
