"""Sets of pictures, for calibration and for evaluation: from a folder or a zip to the pixels that are served.

Knows no model; `contract.pixels` makes the pixels.
"""

import hashlib
import io
import itertools
import os
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from build_engines.errors import PicturesUnreadableError, TooFewPicturesError, UselessPicturesError
from contract.colours import upright_rgb
from contract.cpus import available_cpus
from contract.pixels import draft, to_pixels
from contract.spec import Preprocessing

MINIMUM = 500
"""Pictures that a calibration needs. About 500 do for classifiers of ImageNet, says NVIDIA's guide to TensorRT."""
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"))
_FLAT_LEVELS = 4
"""Between a channel's darkest and lightest pixel; JPEG makes no more than that of one colour."""
_NEARLY_ALL = 0.9
_UNREADABLE = (OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error, struct.error)
"""What the standard library and Pillow raise for files that are broken, encrypted, gone or too large."""

Pixels = npt.NDArray[np.uint8]
Read = Callable[[str], bytes]


class Source(Protocol):
    """Where the bytes of pictures are."""

    def identity(self, name: str) -> str:
        """What tells a picture from all others, whichever root it was found from."""

    def reading(self) -> AbstractContextManager[Read]:
        """Surrounds reading; gives a function from a name to its bytes, which several threads may call."""


@dataclass(frozen=True)
class Targets:
    """Which class each picture shows, where that is known."""

    indices: npt.NDArray[np.int64] | None
    """One class index for each picture, int64 `[pictures]`."""
    words: str
    """How the folders were matched with the labels, or why they were not, for the report."""


@dataclass(frozen=True)
class PictureSet:
    """Pictures in order of their names."""

    origin: str
    """How the user named them, without the folders above."""
    names: tuple[str, ...]
    """Paths below the root, with slashes."""
    source: Source = field(repr=False)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def classes(self) -> tuple[str | None, ...]:
        """For each picture the folder that it is in, or None where that is the root."""
        return tuple(PurePosixPath(name).parent.name or None for name in self.names)

    @cached_property
    def sha256(self) -> str:
        """Over the names and bytes of the pictures, so that equal sets have equal sums wherever they are.

        Raises:
            PicturesUnreadableError: a picture cannot be read.
        """
        digest = hashlib.sha256()
        with self.source.reading() as read:
            for name in self.names:
                content = self._bytes(read, name)
                digest.update(f"{len(name.encode())} {name} {len(content)}\n".encode())
                digest.update(content)
        return digest.hexdigest()

    def choose(self, count: int, seed: int = 0) -> "PictureSet":
        """`count` pictures by chance, as many of each class as there are; all where there are no more than `count`."""
        chance = random.Random(seed)  # noqa: S311 (nothing is secret here)
        by_class: dict[str | None, list[str]] = {}
        for name, folder in zip(self.names, self.classes, strict=True):
            by_class.setdefault(folder, []).append(name)
        for names in by_class.values():
            chance.shuffle(names)
        folders = list(by_class.values())
        chance.shuffle(folders)
        turns = itertools.chain.from_iterable(itertools.zip_longest(*folders))
        chosen = set(itertools.islice((name for name in turns if name is not None), count))
        return self._only(lambda name: name in chosen)

    def without(self, other: "PictureSet") -> "PictureSet":
        """The pictures that are not in `other`: those held out when `other` was chosen."""
        known = {other.source.identity(name) for name in other.names}
        return self._only(lambda name: self.source.identity(name) not in known)

    def pixels(self, preprocessing: Preprocessing) -> Pixels:
        """The pictures as they are served: uint8 `[pictures, height, width, 3]`.

        Raises:
            PicturesUnreadableError: a picture is broken; the message names it.
        """
        rows: Pixels = np.empty((len(self), preprocessing.height, preprocessing.width, 3), np.uint8)
        with self.source.reading() as read, warnings.catch_warnings(), ThreadPoolExecutor(available_cpus()) as pool:
            # Of odd metadata and large pictures, which are no reason to stop. The filter holds for all threads.
            warnings.simplefilter("ignore")
            decoded = pool.map(lambda name: _decode(self._bytes(read, name), name, preprocessing), self.names)
            for row, picture in zip(rows, decoded, strict=True):
                row[:] = picture
        return rows

    def targets(self, labels: Sequence[str]) -> Targets:
        """The classes that the folders stand for, unless they do not stand for those of `labels`.

        A folder stands for the label of its name, whatever the case and with _ for spaces. Where no folder does, and
        there are as many folders as labels, they stand for them in sorted order (torchvision.datasets.ImageFolder).
        """
        folders = sorted({folder for folder in self.classes if folder is not None})
        if not folders:
            return Targets(None, "they are not in folders, so what they show is not known")
        if None in self.classes:
            return Targets(None, "some are not in a folder, so what they show is not known")
        often = Counter(_plain(label) for label in labels)
        by_name = {_plain(label): index for index, label in enumerate(labels) if often[_plain(label)] == 1}
        unnamed = [folder for folder in folders if _plain(folder) not in by_name]
        if not unnamed:
            index_of = {folder: by_name[_plain(folder)] for folder in folders}
            words = f"{len(folders)} folders have the names of labels"
        elif len(unnamed) == len(folders) == len(labels):
            index_of = {folder: index for index, folder in enumerate(folders)}
            words = f"{len(folders)} folders in sorted order stand for as many labels; none has the name of one"
        else:
            return Targets(
                None,
                f"{len(unnamed)} of their {len(folders)} folders do not have the name of one label, such as "
                f"{unnamed[0]!r}, so what they show is not known",
            )
        indices = [index_of[folder] for folder in self.classes if folder is not None]
        return Targets(np.array(indices, dtype=np.int64), words)

    def _only(self, wanted: Callable[[str], bool]) -> "PictureSet":
        return PictureSet(self.origin, tuple(name for name in self.names if wanted(name)), self.source)

    def _bytes(self, read: Read, name: str) -> bytes:
        try:
            return read(name)
        except (*_UNREADABLE, KeyError) as error:
            raise PicturesUnreadableError(
                f"{name} of {self.origin} cannot be read ({type(error).__name__}); replace or remove it"
            ) from error


def open_pictures(path: Path) -> PictureSet:
    """The pictures in a folder, in a zip, or in a folder within a zip (`pictures.zip/train`), flat or in class folders.

    Raises:
        PicturesUnreadableError: there is no such thing, it is no zip, or it holds no pictures.
    """
    source: Source
    archive = next((part for part in (path, *path.parents) if part.is_file()), None)
    try:
        if archive is not None:
            inner = path.relative_to(archive).as_posix()
            origin = archive.name if inner == "." else f"{archive.name}/{inner}"
            prefix = "" if inner == "." else f"{inner}/"
            names, source = _names_in_zip(archive, prefix), _Zip(archive, prefix)
        elif path.is_dir():
            # resolve() gives a name to "." and "..".
            origin, names, source = path.resolve().name, _names_in_folder(path), _Folder(path)
        else:
            raise PicturesUnreadableError(
                f"there is no {path}; name a folder of pictures, a zip, or a folder within a zip (pictures.zip/train)"
            )
    except _UNREADABLE as error:
        raise PicturesUnreadableError(
            f"{archive or path} cannot be read ({type(error).__name__}); name a folder of pictures or a zip of them"
        ) from error
    pictures = sorted(name for name in names if _is_picture(name))
    if not pictures:
        kinds = ", ".join(sorted(suffix.removeprefix(".") for suffix in SUFFIXES))
        raise PicturesUnreadableError(f"{path} holds no pictures; they end in {kinds}")
    return PictureSet(origin, tuple(pictures), source)


def check_calibration(pictures: PictureSet, pixels: Pixels) -> None:
    """Demand that the ranges of a model can be learnt from `pictures`, whose `pixels` are uint8 `[N, H, W, 3]`.

    Raises:
        TooFewPicturesError: there are fewer than `MINIMUM`.
        UselessPicturesError: nearly all are of one colour, or most are there more than once.
    """
    count = len(pictures)
    if count < MINIMUM:
        raise TooFewPicturesError(
            f"for calibration {MINIMUM} pictures are needed, {count} are in {pictures.origin}; "
            "add pictures like those the model will see"
        )
    flat = sum(int(np.ptp(picture, axis=(0, 1)).max()) <= _FLAT_LEVELS for picture in pixels)
    if flat >= _NEARLY_ALL * count:
        raise UselessPicturesError(
            f"{flat} of {count} pictures in {pictures.origin} are of one flat colour, so the calibration would learn "
            "nothing; give pictures like those the model will see"
        )
    sums = Counter(hashlib.sha256(picture.tobytes()).digest() for picture in pixels)
    repeated = sum(times for times in sums.values() if times > 1)
    if repeated > count / 2:
        raise UselessPicturesError(
            f"{repeated} of {count} pictures in {pictures.origin} are there more than once, only {len(sums)} differ; "
            f"give {MINIMUM} different ones like those the model will see"
        )


@dataclass(frozen=True)
class _Folder:
    root: Path

    def identity(self, name: str) -> str:
        """See `Source.identity`."""
        return str((self.root / name).resolve())

    @contextmanager
    def reading(self) -> Iterator[Read]:
        """See `Source.reading`."""
        yield lambda name: (self.root / name).read_bytes()


@dataclass(frozen=True)
class _Zip:
    path: Path
    prefix: str

    def identity(self, name: str) -> str:
        """See `Source.identity`."""
        return f"{self.path.resolve()}/{self.prefix}{name}"

    @contextmanager
    def reading(self) -> Iterator[Read]:
        """See `Source.reading`."""
        try:
            archive = zipfile.ZipFile(self.path)
        except _UNREADABLE as error:
            raise PicturesUnreadableError(
                f"{self.path.name} can no longer be read ({type(error).__name__}); leave it there while a build runs"
            ) from error
        with archive:
            yield lambda name: archive.read(self.prefix + name)


def _names_in_zip(archive: Path, prefix: str) -> list[str]:
    with zipfile.ZipFile(archive) as opened:
        return [
            info.filename.removeprefix(prefix)
            for info in opened.infolist()
            if not info.is_dir() and info.filename.startswith(prefix)
        ]


def _names_in_folder(root: Path) -> list[str]:
    names: list[str] = []
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:
            subfolders.clear()  # A link to a folder above it has no end.
            continue
        seen.add(place)
        names.extend(Path(folder, file).relative_to(root).as_posix() for file in files)
    return names


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    # macOS puts files of its own beside each picture: ._cat.jpg, in zips under __MACOSX.
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def _decode(content: bytes, name: str, preprocessing: Preprocessing) -> Pixels:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            extent = draft(picture, preprocessing)
            return to_pixels(upright_rgb(picture), preprocessing, extent)
    except (*_UNREADABLE, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise PicturesUnreadableError(
            f"{name} is no picture that Pillow can read ({type(error).__name__}); replace or remove it"
        ) from error


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name).strip().casefold()
