"""Where the bytes of pictures are: in a folder, in a zip, or in a folder within a zip. Decodes none."""

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from build_engines.errors import PicturesUnreadableError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"))
UNREADABLE = (OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error, struct.error)
"""What the standard library and Pillow raise for files that are broken, encrypted, gone or too large."""

Read = Callable[[str], bytes]


class Source(Protocol):
    """Where the bytes of pictures are."""

    def identity(self, name: str) -> str:
        """What tells a picture from all others, whichever root it was found from."""

    def reading(self) -> AbstractContextManager[Read]:
        """Surrounds reading; gives a function from a name to its bytes, which several threads may call."""


def open_source(path: Path) -> tuple[str, tuple[str, ...], Source]:
    """How the user named the set, the names of its pictures in order, and where their bytes are.

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
    except UNREADABLE as error:
        raise PicturesUnreadableError(
            f"{getattr(error, 'filename', None) or archive or path} cannot be read ({type(error).__name__}); name a "
            "folder of pictures or a zip of them"
        ) from error
    pictures = sorted(name for name in names if _is_picture(name))
    if not pictures:
        kinds = ", ".join(sorted(suffix.removeprefix(".") for suffix in SUFFIXES))
        raise PicturesUnreadableError(f"{path} holds no pictures; they end in {kinds}")
    return origin, tuple(pictures), source


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
        except UNREADABLE as error:
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
    return [Path(name).relative_to(root).as_posix() for name in _files_below(str(root), frozenset())]


def _files_below(folder: str, above: frozenset[str]) -> Iterator[str]:
    """Files in a folder and in those below it; a link to one of those `above`, which has no end, is not followed."""
    place = os.path.realpath(folder)
    if place in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir() and not entry.name.startswith("."):
                yield from _files_below(entry.path, above | {place})
            elif entry.is_file():
                yield entry.path


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    # macOS puts files of its own beside each picture: ._cat.jpg, in zips under __MACOSX.
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden
