"""Labelled pictures on disk as arrays in memory: a folder, or a zip, of `<split>/<class>/<picture>`."""

import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


@dataclass(frozen=True)
class Split:
    """One split, decoded: `images` uint8 `[N, H, W, 3]`, `targets` int64 `[N]`, and the class names by index."""

    images: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.int64]
    classes: tuple[str, ...]


def picture_files(source: Path, split: str) -> Iterator[tuple[str, bytes]]:
    """Yield `(class name, file bytes)` of every picture of `split`, in the order of their paths.

    Raises:
        ValueError: `source` is neither a folder nor a zip, or has no `<split>/<class>/<picture>`.
    """
    found = False
    for path, read in sorted(_members(source), key=lambda member: member[0]):
        if len(path.parts) >= 3 and path.parts[-3] == split and path.suffix.lower() in PICTURE_SUFFIXES:
            found = True
            yield path.parts[-2], read()
    if not found:
        raise ValueError(f"{source} holds no picture named {split}/<class>/<picture>")


def load_split(source: Path, split: str, size: tuple[int, int]) -> Split:
    """Decode every picture of `split`, each resized to `size` (height, width) where it differs."""
    names: list[str] = []
    pictures: list[npt.NDArray[np.uint8]] = []
    for name, content in picture_files(source, split):
        picture = Image.open(io.BytesIO(content)).convert("RGB")
        if picture.size != (size[1], size[0]):
            picture = picture.resize((size[1], size[0]), Image.Resampling.BICUBIC)
        pictures.append(np.asarray(picture))
        names.append(name)
    classes = tuple(sorted(set(names)))
    index = {name: number for number, name in enumerate(classes)}
    return Split(np.stack(pictures), np.array([index[name] for name in names], dtype=np.int64), classes)


def _members(source: Path) -> Iterator[tuple[PurePosixPath, Callable[[], bytes]]]:
    """The path of every file in `source`, and what reads it."""
    if source.is_dir():
        for file in source.rglob("*"):
            if file.is_file():
                yield PurePosixPath(file.relative_to(source)), file.read_bytes
    elif zipfile.is_zipfile(source):
        archive = zipfile.ZipFile(source)
        for info in archive.infolist():
            if not info.is_dir():
                yield PurePosixPath(info.filename), partial(archive.read, info)
    else:
        raise ValueError(f"{source} is neither a folder nor a zip file")
