"""Where a build works until it publishes: a folder of its own beside the repository.

Not inside it, because Triton takes every folder there for a model, hidden ones too. The work of a dead builder is known
by its flock, and the next build removes it.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from build_engines import atomic
from build_engines.errors import UnwritableError

LOCK_FILE = ".lock"


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
