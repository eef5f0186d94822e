"""Publishes an entry's next version, and changes entries, in one step: a reader of the repository sees all or nothing.

Each version keeps the configuration that it was published with, so that it can be served again.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from build_engines import atomic
from build_engines.errors import UnknownEntryError
from build_engines.repository.layout import check_ours, config_of, served, versions
from build_engines.repository.workspace import LOCK_FILE, workspace
from contract.config import CONFIG_FILE, LABELS_FILE, Runtime, Scheduling, read_config, to_pbtxt, write_config
from contract.spec import ContractError, Entry


@dataclass(frozen=True)
class Publication:
    """What a build added to the repository."""

    path: Path
    """The entry's folder."""
    version: int
    previous: int | None = None
    """The version that was served before."""


def publish(  # noqa: PLR0913 (an entry, its files, and how they are run)
    repository: Path,
    entry: Entry,
    files: Sequence[Path],
    scheduling: Scheduling,
    *,
    runtime: Runtime = Runtime.ONNXRUNTIME,
    finish: Callable[[Path, int], None] = lambda _folder, _version: None,
    reached: Callable[[str], None] = lambda _: None,
) -> Publication:
    """Make `files`, which lie in a `workspace` of `repository`, the next version of `entry`, which is then served.

    `finish` is given the new version's folder and number, before anyone sees it, and may write files there. `reached`
    is told each step that is done; a test ends the process there.

    Raises:
        NotOursError: the entry's name is taken.
        OSError: the disk is full or there is no permission; `workspace` gives it a name.
    """
    with atomic.locked(repository / LOCK_FILE):
        check_ours(repository, entry.name)
        reached("locked")
        folder = repository / entry.name
        before = served(folder) if folder.exists() else ()
        version = max(versions(folder), default=0) + 1
        staged = Path(tempfile.mkdtemp(prefix="entry-", dir=files[0].parent)) / entry.name
        _stage(staged, folder, version, files, _texts(entry, write_config(entry, scheduling, runtime)))
        finish(staged / str(version), version)
        reached("staged")
        _put(staged, folder, reached)
    return Publication(folder, version, max(before, default=None))


@contextmanager
def changing(repository: Path, name: str, *, reached: Callable[[str], None] = lambda _: None) -> Iterator[Path]:
    """A copy of the entry `name` (its files are links: replace them, never write into them) which the body changes.

    At the body's end the copy becomes the entry, in one step; where the body removed it, the entry is removed.

    Raises:
        NotOursError: Vitrine did not build it.
        UnwritableError: the disk is full or there is no permission.
    """
    folder = repository / name
    with workspace(repository) as work, atomic.locked(repository / LOCK_FILE):
        check_ours(repository, name)
        reached("locked")
        staged = work / name
        atomic.link_tree(folder, staged)
        yield staged
        reached("staged")
        if staged.exists():
            _put(staged, folder, reached)
        else:
            folder.rename(staged)
            reached("published")
            atomic.sync(repository)


def serve(staged: Path, version: int) -> None:
    """Let the entry in `staged` serve `version`, with the labels and the preprocessing that it was published with.

    Nothing is removed: a version policy names `version` where there are newer ones.

    Raises:
        UnknownEntryError: it has no whole configuration of its own.
    """
    try:
        config = config_of(staged / str(version) / CONFIG_FILE)
        config.name = staged.name
        entry = read_config(config)
    except FileNotFoundError:
        raise UnknownEntryError(
            f"version {version} of {staged.name} was published without a configuration of its own, so its labels and "
            "preprocessing are not known; build it again"
        ) from None
    except ContractError as error:
        raise UnknownEntryError(
            f"the configuration of version {version} of {staged.name} is broken ({error}); build it again"
        ) from None
    if entry is None:
        raise UnknownEntryError(f"version {version} of {staged.name} is not Vitrine's; build it again")
    config.ClearField("version_policy")
    if version != versions(staged)[-1]:
        config.version_policy.specific.versions.append(version)
    _write(staged, _texts(entry, config))


def replace_piecewise(staged: Path, folder: Path, reached: Callable[[str], None]) -> None:
    """Make `folder` what `staged` is, where the filesystem cannot exchange two folders.

    Each version is whole at any moment, but the labels and the configuration follow a new one one after the other, and
    a version that is removed goes last.
    """
    there, wanted = versions(folder), versions(staged)
    for version in wanted:
        if version not in there:
            (staged / str(version)).rename(folder / str(version))
            reached("version moved")
        elif (staged / str(version) / CONFIG_FILE).exists():  # It may have another scheduling than before.
            (staged / str(version) / CONFIG_FILE).replace(folder / str(version) / CONFIG_FILE)
    for name in (LABELS_FILE, CONFIG_FILE):
        (staged / name).replace(folder / name)
        reached(f"{name} moved")
    for version in there:
        if version not in wanted:
            (folder / str(version)).rename(staged / str(version))
            reached("version removed")
    atomic.sync(folder)


def _put(staged: Path, folder: Path, reached: Callable[[str], None]) -> None:
    """Make `staged`, which is whole, the entry `folder`. The lock is held."""
    atomic.sync_tree(staged)
    reached("synced")
    if not folder.exists():
        staged.rename(folder)
    elif not atomic.exchange(staged, folder):
        replace_piecewise(staged, folder, reached)
    reached("published")
    atomic.sync(folder.parent)


def _texts(entry: Entry, config: ModelConfig) -> dict[str, str]:
    """The entry's own files, in the order in which they may follow one another where they cannot change at once."""
    return {LABELS_FILE: "".join(f"{label}\n" for label in entry.labels), CONFIG_FILE: to_pbtxt(config)}


def _stage(staged: Path, folder: Path, version: int, files: Sequence[Path], texts: Mapping[str, str]) -> None:
    """The whole entry as it will be: what is there already, the new version, and the entry's own files rewritten."""
    if folder.exists():
        atomic.link_tree(folder, staged)
        _keep_config(staged)
    else:
        staged.mkdir()
    new = staged / str(version)
    new.mkdir()
    for file in files:
        file.rename(new / file.name)
    (new / CONFIG_FILE).write_text(texts[CONFIG_FILE], encoding="utf-8")
    _write(staged, texts)


def _keep_config(staged: Path) -> None:
    """Where the newest version has no configuration of its own, it is the entry's: give it a copy."""
    newest = versions(staged)[-1:]
    for version in newest:
        own = staged / str(version) / CONFIG_FILE
        if not own.exists() and version in served(staged):
            shutil.copy2(staged / CONFIG_FILE, own)


def _write(staged: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        # A linked file is the published one: to write into it would change that.
        (staged / name).unlink(missing_ok=True)
        (staged / name).write_text(text, encoding="utf-8")
