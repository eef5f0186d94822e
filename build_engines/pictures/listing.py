"""Pictures that a CSV lists, each with its label, wherever they lie."""

import csv
import io
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from build_engines.errors import PicturesUnreadableError
from build_engines.pictures.sources import UNREADABLE, Read

_HEADS = ("path", "label")


@dataclass(frozen=True)
class Listing:
    """A `Source` whose names are the paths that a CSV says, relative to it."""

    root: Path
    names: tuple[str, ...]
    labels: tuple[str, ...] = field(repr=False)

    def identity(self, name: str) -> str:
        """See `Source.identity`."""
        return str((self.root / name).resolve())

    @contextmanager
    def reading(self) -> Iterator[Read]:
        """See `Source.reading`."""
        found = {_archive_of(folder) for folder in {(self.root / name).parent for name in self.names}}
        with ExitStack() as stack:
            archives = {archive: stack.enter_context(_opened(archive)) for archive in found if archive}

            def read(name: str) -> bytes:
                path = self.root / name
                archive = _archive_of(path.parent)
                if archive is None:
                    return path.read_bytes()
                return archives[archive].read(path.relative_to(archive).as_posix())

            yield read


def open_listing(path: Path) -> Listing:
    """The pictures that the CSV at `path` lists.

    Raises:
        PicturesUnreadableError: it cannot be read, has other heads, or a line of it lacks a path or a label.
    """
    try:
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PicturesUnreadableError(f"{path} cannot be read ({type(error).__name__}); give a CSV in UTF-8") from error
    heads = tuple(cell.strip().casefold() for cell in rows[0]) if rows else ()
    if not set(_HEADS) <= set(heads):
        raise PicturesUnreadableError(
            f"{path.name} has the heads {', '.join(heads) or 'of nothing'}; it needs path and label"
        )
    places = [heads.index(head) for head in _HEADS]
    found: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        name, label = (row[place].strip() if place < len(row) else "" for place in places)
        if not name or not label:
            raise PicturesUnreadableError(f"{path.name}: line {number} has no {'path' if not name else 'label'}")
        if found.setdefault(name, label) != label:
            raise PicturesUnreadableError(f"{path.name}: line {number} gives {name} another label than a line before")
    if not found:
        raise PicturesUnreadableError(f"{path.name} lists no pictures")
    return Listing(path.parent, tuple(found), tuple(found.values()))


@lru_cache(maxsize=4096)
def _archive_of(folder: Path) -> Path | None:
    return next((part for part in (folder, *folder.parents) if part.is_file()), None)


def _opened(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except UNREADABLE as error:
        raise PicturesUnreadableError(f"{archive} cannot be read ({type(error).__name__}); give it again") from error
