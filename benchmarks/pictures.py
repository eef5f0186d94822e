"""The files of labelled pictures: a folder, or a zip, of `<split>/<class>/<picture>`."""

import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


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
