"""Publishes an entry's next version, and changes entries, in one step: a reader of the repository sees all or nothing.

Each version keeps the configuration that it was published with, so that it can be served again. A build works in a
folder of its own under `.<repository>.building`, beside the repository: Triton takes every folder in the repository for
a model, hidden ones too. Work of dead builders is known by its flock and removed by the next build.
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

from tritonclient.grpc.model_config_pb2 import ModelConfig

from build_engines import atomic
from build_engines.errors import NotOursError, UnknownEntryError, UnwritableError
from contract.config import (
    CONFIG_FILE,
    LABELS_FILE,
    Runtime,
    Scheduling,
    from_pbtxt,
    read_config,
    to_pbtxt,
    write_config,
)
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
    previous: int | None = None
    """The version that was served before."""


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
            "and try again. The repository is as it was"
        ) from error


def check_ours(repository: Path, name: str) -> None:
    """Refuse to touch what Vitrine did not build.

    Raises:
        NotOursError: there is something of that name without a `contract.schema`.
    """
    folder = repository / name
    if (folder.exists() or folder.is_symlink()) and (reason := not_ours(folder)):
        raise NotOursError(f"{reason}; choose another --name, or move it away")


def not_ours(folder: Path) -> str:
    """Why what lies at `folder` is no entry of Vitrine's; empty where it is one, if perhaps a broken one."""
    config = folder / CONFIG_FILE
    if folder.is_symlink() or not config.is_file():
        return f"{folder} is there and is not an entry of Vitrine's"
    try:
        parameters = {key: value.string_value for key, value in _config(config).parameters.items()}
    except ContractError:
        return f"{config} is no Triton model configuration"
    return "" if is_ours(parameters) else f"{config} has no contract.schema, so Vitrine did not build it"


def publish(  # noqa: PLR0913 (an entry, its files, and how they are run)
    repository: Path,
    entry: Entry,
    files: Sequence[Path],
    scheduling: Scheduling,
    *,
    runtime: Runtime = Runtime.ONNXRUNTIME,
    reached: Callable[[str], None] = lambda _: None,
) -> Published:
    """Make `files`, which lie in a `workspace` of `repository`, the next version of `entry`, which is then served.

    `reached` is told each step that is done; a test ends the process there.

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
        reached("staged")
        _put(staged, folder, reached)
    return Published(folder, version, max(before, default=None))


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
        config = _config(staged / str(version) / CONFIG_FILE)
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


def versions(folder: Path) -> list[int]:
    """The versions in an entry's folder that Triton sees, in order."""
    if not folder.is_dir():
        return []
    return sorted(int(child.name) for child in folder.iterdir() if child.is_dir() and _VERSION.fullmatch(child.name))


def newest_inputs(folder: Path) -> tuple[int | None, str]:
    """The newest version of an entry and what its provenance says of its inputs; (None, "") where there is none."""
    found = versions(folder)
    config = folder / str(found[-1]) / CONFIG_FILE if found else folder
    if not config.is_file():
        return None, ""
    return found[-1], str(_config(config).parameters["build.inputs"].string_value)


def served(folder: Path) -> tuple[int, ...]:
    """The versions of an entry that Triton serves by its version policy, in order; clients who name none get the last.

    Raises:
        ContractError: the entry's configuration is broken.
    """
    there = versions(folder)
    policy = _config(folder / CONFIG_FILE).version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            return tuple(there)
        case "specific":
            return tuple(version for version in there if version in policy.specific.versions)
        case _:
            return tuple(there[-max(1, policy.latest.num_versions) :])


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
        elif not (folder / str(version) / CONFIG_FILE).exists() and (staged / str(version) / CONFIG_FILE).exists():
            (staged / str(version) / CONFIG_FILE).rename(folder / str(version) / CONFIG_FILE)
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
    """The whole entry as it shall be: what is there already, the new version, and the entry's own files anew."""
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


def _config(path: Path) -> ModelConfig:
    """The protobuf of the file `path`.

    Raises:
        ContractError: it is not a model configuration.
        FileNotFoundError: there is no such file.
    """
    try:
        return from_pbtxt(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ContractError(CONFIG_FILE, "is not a Triton model configuration: it is not UTF-8") from None


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
