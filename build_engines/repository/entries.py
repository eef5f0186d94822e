"""What is published in a repository: shows it, goes back to an earlier version, removes old ones.

A change is one step, as publishing is. A Triton that polls follows by itself; one in explicit mode follows when it is
asked to load the entry, one in mode none when it is started again. Knows no Triton: `build_engines.live` asks one.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from build_engines.errors import NotOursError, PlanError, UnknownEntryError
from build_engines.repository.publication import changing, not_ours, serve, served, versions
from contract.config import CONFIG_FILE, from_pbtxt, read_config
from contract.spec import ContractError, Entry

REPORT = "report.json"


@dataclass(frozen=True)
class PublishedVersion:
    """One version of an entry."""

    number: int
    size: int
    """Bytes of all its files."""
    date: str
    """When it was built, or where that is not known when its newest file was written; ISO 8601, UTC."""
    served: bool
    returnable: bool
    """Whether `rollback` can serve it: it has a configuration of its own."""
    report: Path | None
    """The report of its build, where it has one."""


@dataclass(frozen=True)
class PublishedEntry:
    """One folder of the repository."""

    name: str
    versions: tuple[PublishedVersion, ...]
    entry: Entry | None
    """What is served; None where it is broken or not Vitrine's."""
    backend: str
    """What runs it: Triton's backend, or its platform."""
    problem: str
    """Why it is broken, or not Vitrine's; empty where all is well."""

    @property
    def served(self) -> int | None:
        """The version that answers who names none."""
        return max((version.number for version in self.versions if version.served), default=None)

    @property
    def precision(self) -> str:
        """Of what is served, as its build says."""
        return self._word("precision")

    @property
    def compiler(self) -> str:
        """What made what is served, as its build says; what runs it where the build does not say."""
        return self._word("compiler") or self.backend

    @property
    def gate(self) -> str:
        """What the gate said of what is served: `build.gate`, and what is under it."""
        return self._word("gate")

    def _word(self, key: str) -> str:
        build = self.entry.build if self.entry else {}
        return ", ".join(value for name, value in sorted(build.items()) if name == key or name.startswith(f"{key}."))


@dataclass(frozen=True)
class Inspected:
    """Everything about one entry."""

    folder: Path
    published: PublishedEntry
    provenance: tuple[tuple[str, str], ...]
    """The `build.*` parameters without their prefix, by key."""
    report: Path | None
    """The report of what is served, where it has one."""
    figures: Mapping[str, str] = field(default_factory=dict)
    """What the report says at its top: its numbers and words, not its tables."""


@dataclass(frozen=True)
class Rolled:
    """What a rollback changed."""

    folder: Path
    version: int
    """What is served now."""
    before: int | None
    """What was served before; the same where there was nothing to change."""


@dataclass(frozen=True)
class Pruned:
    """What was removed of one entry."""

    name: str
    versions: tuple[int, ...]
    size: int
    """Bytes."""


def published(repository: Path) -> tuple[PublishedEntry, ...]:
    """Every folder of the repository, by name; the broken and the foreign ones with the reason.

    Raises:
        UnknownEntryError: there is no such repository.
    """
    return tuple(shown for folder in _folders(repository) if (shown := _read(folder)))


def inspect(repository: Path, name: str) -> Inspected:
    """Everything about the entry `name`.

    Raises:
        UnknownEntryError: there is none of that name.
        NotOursError: Vitrine did not build it.
    """
    folder = _folder(repository, name)
    shown = _read(folder)
    if shown is None:
        raise UnknownEntryError(f"the entry {name!r} in {repository} was removed just now")
    reports = [version.report for version in shown.versions if version.number == shown.served]
    report = reports[0] if reports else None
    return Inspected(
        folder=folder,
        published=shown,
        provenance=tuple(sorted(shown.entry.build.items())) if shown.entry else (),
        report=report,
        figures=_figures(report) if report else {},
    )


def rollback(
    repository: Path, name: str, to: int | None = None, *, reached: Callable[[str], None] = lambda _: None
) -> Rolled:
    """Serve version `to` of an entry, or the one before the served one, with its own labels and preprocessing.

    Nothing is removed: the way back is `to` with the higher number, and the next build is served again.

    Raises:
        UnknownEntryError: there is no such entry or version, or none before the served one.
        NotOursError: Vitrine did not build it.
        UnwritableError: the disk is full or there is no permission.
    """
    folder = _folder(repository, name)
    target, before = _target(folder, to)
    if target == before:
        return Rolled(folder, target, before)
    with changing(repository, name, reached=reached) as staged:
        target, before = _target(staged, to)
        serve(staged, target)
    return Rolled(folder, target, before)


def prune(
    repository: Path,
    name: str | None = None,
    keep: int = 2,
    *,
    dry_run: bool = False,
    reached: Callable[[str], None] = lambda _: None,
) -> tuple[Pruned, ...]:
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
    folders = [folder for folder in _folders(repository) if not not_ours(folder)]
    if name is not None:
        folders = [_folder(repository, name)]
    found = [Pruned(folder.name, old, _size(folder, old)) for folder in folders if (old := _old(folder, keep))]
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
    _folder(repository, name)
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


def _folders(repository: Path) -> list[Path]:
    if not repository.is_dir():
        raise UnknownEntryError(f"there is no repository {repository}; name Triton's folder with --repository")
    return sorted(child for child in repository.iterdir() if child.is_dir())


def _folder(repository: Path, name: str) -> Path:
    """The folder of the entry `name`, which is Vitrine's."""
    folders = {folder.name: folder for folder in _folders(repository)}
    if name not in folders:
        known = ", ".join(folders) or "none"
        raise UnknownEntryError(f"there is no entry {name!r} in {repository}; there are: {known}")
    if reason := not_ours(folders[name]):
        raise NotOursError(f"{reason}; build-engines leaves it alone")
    return folders[name]


def _read(folder: Path) -> PublishedEntry | None:
    """The entry as it was at one moment, though a builder may exchange the folder meanwhile; None once it is gone."""
    while (before := _moment(folder)) is not None:
        try:
            shown = _read_once(folder)
        except FileNotFoundError:
            continue
        if _moment(folder) == before:
            return shown
    return None


def _moment(folder: Path) -> tuple[int, int] | None:
    """What changes when another folder takes this place."""
    try:
        status = folder.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_ctime_ns


def _read_once(folder: Path) -> PublishedEntry:
    numbers = versions(folder)
    serving: tuple[int, ...] = ()
    entry, backend, problem = None, "", not_ours(folder)
    if not problem:
        config = from_pbtxt((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        serving, backend = served(folder), str(config.backend or config.platform)
        try:
            entry = read_config(config)
        except ContractError as error:
            problem = str(error)
        if not serving:
            problem = problem or f"no version is served; there are: {', '.join(map(str, numbers)) or 'none'}"
    shown = tuple(_version(folder, number, number in serving, entry) for number in numbers)
    return PublishedEntry(folder.name, shown, entry, backend, problem)


def _version(folder: Path, number: int, serving: bool, entry: Entry | None) -> PublishedVersion:
    own = folder / str(number)
    report = own / REPORT
    build = entry.build if entry and serving else _build(own / CONFIG_FILE)
    newest = max((file.stat().st_mtime for file in own.rglob("*")), default=own.stat().st_mtime)
    return PublishedVersion(
        number=number,
        size=_size(folder, (number,)),
        date=build.get("date") or datetime.fromtimestamp(newest, timezone.utc).isoformat(timespec="seconds"),
        served=serving,
        returnable=(own / CONFIG_FILE).is_file(),
        report=report if report.is_file() else None,
    )


def _build(config: Path) -> Mapping[str, str]:
    """The provenance that a version's own configuration tells."""
    try:
        entry = read_config(from_pbtxt(config.read_text(encoding="utf-8")))
    except (FileNotFoundError, UnicodeDecodeError, ContractError):
        return {}
    return entry.build if entry else {}


def _figures(report: Path) -> dict[str, str]:
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: str(value) for key, value in content.items() if isinstance(value, str | int | float)}


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


def _remove(repository: Path, name: str, keep: int, reached: Callable[[str], None]) -> Pruned:
    with changing(repository, name, reached=reached) as staged:
        old = _old(staged, keep)
        size = _size(staged, old)
        for version in old:
            shutil.rmtree(staged / str(version))
    return Pruned(name, old, size)


def _size(folder: Path, numbers: tuple[int, ...]) -> int:
    return sum(
        file.stat().st_size for number in numbers for file in (folder / str(number)).rglob("*") if file.is_file()
    )
