"""Files that outlive a process killed without notice: shared memory and runtime folders, known by their names.

A name is `vitrine-<pid of the supervisor>-<random>-...`, so that whoever comes next sees whether its owner still lives.
"""

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (not a temporary file: where Linux shows POSIX shared memory)
_NAME = re.compile(r"vitrine-(\d+)-[0-9a-f]{8}-")


def new_prefix() -> str:
    """The start of every name that one stack of this process uses."""
    return f"vitrine-{os.getpid()}-{secrets.token_hex(4)}-"


def folders() -> tuple[Path, Path]:
    """Where leftovers lie: shared memory, and the temporary folder."""
    return SHARED_MEMORY, Path(tempfile.gettempdir())


def sweep(places: Iterable[Path]) -> list[Path]:
    """Remove what dead supervisors of this user left in `places`; say what that was."""
    stale = [
        path
        for place in places
        for path in _entries(place)
        if (match := _NAME.match(path.name)) and not _alive(int(match[1])) and _ours(path)
    ]
    for path in stale:
        _remove(path)
    return stale


def remove(prefix: str, places: Iterable[Path]) -> None:
    """Remove everything in `places` whose name starts with `prefix`."""
    for place in places:
        for path in _entries(place):
            if path.name.startswith(prefix):
                _remove(path)


def _entries(place: Path) -> list[Path]:
    return sorted(place.iterdir()) if place.is_dir() else []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _ours(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.getuid()
    except FileNotFoundError:
        return False
