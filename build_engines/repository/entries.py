"""What is published in a repository, shown as it is at one moment. Changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from build_engines.errors import NotOursError, UnknownEntryError
from build_engines.repository.layout import not_ours, served, versions
from contract.config import CONFIG_FILE, from_pbtxt, read_config
from contract.spec import ContractError, Entry

REPORT = "report.json"


@dataclass(frozen=True)
class EntryVersion:
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
    versions: tuple[EntryVersion, ...]
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
class Description:
    """Everything about one entry."""

    folder: Path
    published: PublishedEntry
    provenance: tuple[tuple[str, str], ...]
    """The `build.*` parameters without their prefix, by key."""
    report: Path | None
    """The report of what is served, where it has one."""


def published(repository: Path) -> tuple[PublishedEntry, ...]:
    """Every folder of the repository, by name; the broken and the foreign ones with the reason.

    Raises:
        UnknownEntryError: there is no such repository.
    """
    return tuple(shown for folder in folders_of(repository) if (shown := _read(folder)))


def inspect(repository: Path, name: str) -> Description:
    """Everything about the entry `name`.

    Raises:
        UnknownEntryError: there is none of that name.
        NotOursError: Vitrine did not build it.
    """
    folder = folder_of(repository, name)
    shown = _read(folder)
    if shown is None:
        raise UnknownEntryError(f"the entry {name!r} in {repository} was removed just now")
    reports = [version.report for version in shown.versions if version.number == shown.served]
    report = reports[0] if reports else None
    return Description(
        folder=folder,
        published=shown,
        provenance=tuple(sorted(shown.entry.build.items())) if shown.entry else (),
        report=report,
    )


def folders_of(repository: Path) -> list[Path]:
    """The folders of a repository, by name."""
    if not repository.is_dir():
        raise UnknownEntryError(f"there is no repository {repository}; name Triton's folder with --repository")
    return sorted(child for child in repository.iterdir() if child.is_dir())


def folder_of(repository: Path, name: str) -> Path:
    """The folder of the entry `name`, which is Vitrine's."""
    folders = {folder.name: folder for folder in folders_of(repository)}
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
        except FileNotFoundError as error:
            shown = PublishedEntry(folder.name, (), None, "", f"{error.filename} is not there")
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


def _version(folder: Path, number: int, serving: bool, entry: Entry | None) -> EntryVersion:
    own = folder / str(number)
    report = own / REPORT
    build = entry.build if entry and serving else _build(own / CONFIG_FILE)
    newest = max(file.lstat().st_mtime for file in (own, *own.rglob("*")))
    return EntryVersion(
        number=number,
        size=size_of(folder, (number,)),
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


def size_of(folder: Path, numbers: tuple[int, ...]) -> int:
    """Bytes of all files of these versions."""
    return sum(
        file.stat().st_size for number in numbers for file in (folder / str(number)).rglob("*") if file.is_file()
    )
