"""Which files a command is about: pictures that are named, and those in folders that are named."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Of pictures in folders; a file that is named is taken whatever it is called."""
MAX_BYTES = 200_000_000
"""Of a file. A gateway takes ten times less unless it is told otherwise; more would only fill the memory here."""


STDIN = "-"


class NoPictures(Exception):
    """A path leads nowhere, or nothing is in it. The message names it."""


def pictures(paths: Sequence[str]) -> list[str]:
    """Every picture, once, in the order of `paths`; those of a folder sorted, with its folders.

    Raises:
        NoPictures: a path is neither file nor folder, or there is no picture in any of them.
    """
    found: dict[str, None] = {}
    for path in paths:
        if path == STDIN:
            found[path] = None
        elif os.path.isdir(path):
            found.update(dict.fromkeys(_inside(path)))
        elif os.path.isfile(path):
            found[path] = None
        else:
            raise NoPictures(f"{shown(path)}: there is no such file or folder")
    if not found:
        raise NoPictures(f"there are no pictures in {', '.join(map(shown, paths))} ({', '.join(sorted(SUFFIXES))})")
    return list(found)


def classes(folder: str) -> dict[str, list[str]]:
    """The pictures of each folder in `folder`, by the folder's name.

    Raises:
        NoPictures: it is no folder, or has no folders with pictures.
    """
    if not os.path.isdir(folder):
        raise NoPictures(f"{shown(folder)}: there is no such folder")
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    found = {name: list(_inside(os.path.join(folder, name))) for name in names}
    if not any(found.values()):
        raise NoPictures(f"{shown(folder)}: there are no folders with pictures in it; each is named for a class")
    return {name: paths for name, paths in found.items() if paths}


def shown(path: str) -> str:
    """A path as it can be printed, whatever bytes it has."""
    return os.fsencode(path).decode(errors="replace")


def content_of(path: str) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: it cannot be read, or is too large.
    """
    if path == STDIN:
        content = sys.stdin.buffer.read(MAX_BYTES + 1)
    elif (size := os.stat(path).st_size) > MAX_BYTES:
        raise OSError(f"the file has {size} bytes; at most {MAX_BYTES} are sent")
    else:
        content = Path(path).read_bytes()
    if len(content) > MAX_BYTES:
        raise OSError(f"there are more than {MAX_BYTES} bytes")
    return content


def _inside(folder: str) -> Iterator[str]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith("."):
                yield os.path.join(where, name)
