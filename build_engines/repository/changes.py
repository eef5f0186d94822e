"""Changes of what is published: back to an earlier version, and versions removed. Each is one step, as publishing is.

A Triton that polls follows by itself; one in explicit mode follows when it is asked to (`loading`), and one in mode
none when it is started again.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from build_engines.errors import PlanError, UnknownEntryError
from build_engines.repository.entries import folder_of, folders_of, size_of
from build_engines.repository.layout import not_ours, served, versions
from build_engines.repository.publication import changing, serve


@dataclass(frozen=True)
class Rollback:
    """What a rollback changed."""

    folder: Path
    version: int
    """What is served now."""
    before: int | None
    """What was served before; the same where there was nothing to change."""


@dataclass(frozen=True)
class Removal:
    """What was removed of one entry."""

    name: str
    versions: tuple[int, ...]
    size: int
    """Bytes."""


def rollback(
    repository: Path, name: str, to: int | None = None, *, reached: Callable[[str], None] = lambda _: None
) -> Rollback:
    """Serve version `to` of an entry, or the one before the served one, with its own labels and preprocessing.

    Nothing is removed: the way back is `to` with the higher number, and the next build is served again.

    Raises:
        UnknownEntryError: there is no such entry or version, or none before the served one.
        NotOursError: Vitrine did not build it.
        UnwritableError: the disk is full or there is no permission.
    """
    folder = folder_of(repository, name)
    target, before = _target(folder, to)
    if target == before:
        return Rollback(folder, target, before)
    with changing(repository, name, reached=reached) as staged:
        target, before = _target(staged, to)
        serve(staged, target)
    return Rollback(folder, target, before)


def prune(
    repository: Path,
    name: str | None = None,
    keep: int = 2,
    *,
    dry_run: bool = False,
    reached: Callable[[str], None] = lambda _: None,
) -> tuple[Removal, ...]:
    """Remove the versions of an entry, or of all of Vitrine's, but the newest `keep` and what is served.

    Says what was removed, or would be in a `dry_run`; each entry changes in one step.

    Raises:
        PlanError: `keep` is less than 1.
        UnknownEntryError: there is no such entry.
        NotOursError: Vitrine did not build it.
        UnwritableError: the disk is full or there is no permission.
    """
    if keep < 1:
        raise PlanError(f"--keep must be at least 1, is {keep}")
    folders = [folder for folder in folders_of(repository) if not not_ours(folder)]
    if name is not None:
        folders = [folder_of(repository, name)]
    found = [Removal(folder.name, old, size_of(folder, old)) for folder in folders if (old := _old(folder, keep))]
    return tuple(found) if dry_run else tuple(_remove(repository, each.name, keep, reached) for each in found)


def withdraw(
    repository: Path,
    name: str,
    version: int,
    previous: int | None = None,
    *,
    reached: Callable[[str], None] = lambda _: None,
) -> None:
    """Take back `version`; where it is what is served, serve `previous` (the newest one left) again.

    An entry without a version left is removed.

    Raises:
        UnknownEntryError: there is no such entry or version.
        NotOursError: Vitrine did not build it.
        UnwritableError: the disk is full or there is no permission.
    """
    folder_of(repository, name)
    with changing(repository, name, reached=reached) as staged:
        was = served(staged)
        if version not in versions(staged):
            raise UnknownEntryError(_no_version(staged, version))
        shutil.rmtree(staged / str(version))
        left = versions(staged)
        if not left:
            shutil.rmtree(staged)
        elif version in was:
            serve(staged, previous if previous in left else left[-1])


def _target(folder: Path, to: int | None) -> tuple[int, int | None]:
    """The version that a rollback goes to, and the one that is served."""
    there, before = versions(folder), max(served(folder), default=None)
    if to is None:
        earlier = [version for version in there if before is None or version < before]
        if not earlier:
            raise UnknownEntryError(f"{folder.name} has no version before {before}, which is served; build one first")
        return earlier[-1], before
    if to not in there:
        raise UnknownEntryError(_no_version(folder, to))
    return to, before


def _no_version(folder: Path, version: int) -> str:
    return f"{folder.name} has no version {version}; there are: {', '.join(map(str, versions(folder))) or 'none'}"


def _old(folder: Path, keep: int) -> tuple[int, ...]:
    serving = served(folder)
    return tuple(version for version in versions(folder)[:-keep] if version not in serving)


def _remove(repository: Path, name: str, keep: int, reached: Callable[[str], None]) -> Removal:
    with changing(repository, name, reached=reached) as staged:
        old = _old(staged, keep)
        size = size_of(staged, old)
        for version in old:
            shutil.rmtree(staged / str(version))
    return Removal(name, old, size)
