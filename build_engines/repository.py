"""Publishes an entry's next version in one step: a reader of the repository sees all of it or none.

A build works in a folder of its own under `.<repository>.building`, beside the repository: Triton takes every folder in
the repository for a model, hidden ones too. Work of dead builders is known by its flock and removed by the next build.
"""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from build_engines import atomic
from build_engines.errors import NotOursError, UnwritableError
from contract.config import CONFIG_FILE, LABELS_FILE, Scheduling, from_pbtxt, to_pbtxt, write_config
from contract.parameters import is_ours
from contract.spec import ContractError, Entry

LOCK_FILE = ".lock"
_VERSION = re.compile(r"[1-9][0-9]*")
"""Triton ignores version folders of other names."""


@dataclass(frozen=True)
class Published:
    """What a build added to the repository."""

    path: Path
    """The entry's folder."""
    version: int


@contextmanager
def workspace(repository: Path) -> Iterator[Path]:
    """An empty folder from which `publish` can rename into `repository`; removed at the end.

    Raises:
        UnwritableError: the body, or this itself, met a full disk or had no permission.
    """
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            with atomic.locked(repository / LOCK_FILE):
                area = _area(repository)
                _remove_dead(area)
                folder = Path(tempfile.mkdtemp(prefix="build-", dir=area))
                held.enter_context(atomic.locked(folder / LOCK_FILE))
            try:
                (folder / "work").mkdir()
                yield folder / "work"
            finally:
                with atomic.locked(repository / LOCK_FILE):
                    shutil.rmtree(folder)
                    if not any(area.iterdir()):
                        area.rmdir()
    except OSError as error:
        raise UnwritableError(
            f"cannot write {error.filename or repository} ({error.strerror or error}); free space or grant permission, "
            "and build again. The repository is as it was"
        ) from error


def check_ours(repository: Path, name: str) -> None:
    """Refuse to touch what Vitrine did not build.

    Raises:
        NotOursError: there is something of that name without a `contract.schema`.
    """
    folder = repository / name
    if not folder.exists() and not folder.is_symlink():
        return
    config = folder / CONFIG_FILE
    fix = "choose another --name, or move it away"
    if folder.is_symlink() or not config.is_file():
        raise NotOursError(f"{folder} is there and is not an entry of Vitrine's; {fix}")
    try:
        parameters = {
            key: value.string_value for key, value in from_pbtxt(config.read_text("utf-8")).parameters.items()
        }
    except (ContractError, UnicodeDecodeError):
        raise NotOursError(f"{config} is no Triton model configuration; {fix}") from None
    if not is_ours(parameters):
        raise NotOursError(f"{config} has no contract.schema, so Vitrine did not build it; {fix}")


def publish(
    repository: Path,
    entry: Entry,
    files: Sequence[Path],
    scheduling: Scheduling,
    *,
    reached: Callable[[str], None] = lambda _: None,
) -> Published:
    """Make `files`, which lie in a `workspace` of `repository`, the next version of `entry`.

    `reached` is told each step that is done; a test ends the process there.

    Raises:
        NotOursError: the entry's name is taken.
        OSError: the disk is full or there is no permission; `workspace` gives it a name.
    """
    with atomic.locked(repository / LOCK_FILE):
        check_ours(repository, entry.name)
        reached("locked")
        folder = repository / entry.name
        version = max(versions(folder), default=0) + 1
        staged = Path(tempfile.mkdtemp(prefix="entry-", dir=files[0].parent)) / entry.name
        _stage(staged, folder, version, files, _texts(entry, scheduling))
        reached("staged")
        atomic.sync_tree(staged)
        reached("synced")
        if not folder.exists():
            staged.rename(folder)
        elif not atomic.exchange(staged, folder):
            replace_piecewise(staged, folder, version, reached)
        reached("published")
        atomic.sync(repository)
    return Published(folder, version)


def versions(folder: Path) -> list[int]:
    """The versions in an entry's folder that Triton sees, in order."""
    if not folder.is_dir():
        return []
    return sorted(int(child.name) for child in folder.iterdir() if child.is_dir() and _VERSION.fullmatch(child.name))


def replace_piecewise(staged: Path, folder: Path, version: int, reached: Callable[[str], None]) -> None:
    """`publish` where the filesystem cannot exchange two folders.

    Each version is whole at any moment, but the labels and the configuration follow it one after the other.
    """
    (staged / str(version)).rename(folder / str(version))
    reached("version moved")
    for name in (LABELS_FILE, CONFIG_FILE):
        (staged / name).replace(folder / name)
        reached(f"{name} moved")
    atomic.sync(folder)


def _texts(entry: Entry, scheduling: Scheduling) -> dict[str, str]:
    """The entry's own files, in the order in which they may follow one another where they cannot change at once."""
    return {
        LABELS_FILE: "".join(f"{label}\n" for label in entry.labels),
        CONFIG_FILE: to_pbtxt(write_config(entry, scheduling)),
    }


def _stage(staged: Path, folder: Path, version: int, files: Sequence[Path], texts: Mapping[str, str]) -> None:
    """The whole entry as it shall be: what is there already, the new version, and the entry's own files anew."""
    if folder.exists():
        atomic.link_tree(folder, staged)
    else:
        staged.mkdir()
    (staged / str(version)).mkdir()
    for file in files:
        file.rename(staged / str(version) / file.name)
    for name, text in texts.items():
        # A linked file is the published one: to write into it would change that.
        (staged / name).unlink(missing_ok=True)
        (staged / name).write_text(text, encoding="utf-8")


def _area(repository: Path) -> Path:
    """Where builds work: a folder beside the repository, from which renames reach into it.

    Never inside it: a folder `.building` there stops Triton 2.51 from starting ("failed to load all models").
    """
    resolved = repository.resolve()
    area = resolved.parent / f".{resolved.name}.building"
    probe, target = area / f"probe-{os.getpid()}", resolved / f".probe-{os.getpid()}"
    try:
        area.mkdir(exist_ok=True)
        probe.touch()
        probe.rename(target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise UnwritableError(
            f"a build works in {area} and renames from there, which is refused ({error.strerror}); let the repository "
            "be a folder inside what is mounted and writable, not the mount point itself"
        ) from error
    finally:
        probe.unlink(missing_ok=True)
        target.unlink(missing_ok=True)
    return area


def _remove_dead(area: Path) -> None:
    """Remove the work of builders that no longer hold their lock."""
    for folder in area.glob("build-*"):
        if not atomic.is_locked(folder / LOCK_FILE):
            shutil.rmtree(folder)
