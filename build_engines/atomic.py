"""What the kernel offers: changing a folder in one step, and a lock that dies with its holder. Knows no repository."""

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV)
"""EXDEV: an overlay filesystem about a folder of its lower layer."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive flock on the file `path`, waiting for it; the kernel releases it when this process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a living process holds the flock on the file `path`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def exchange(one: Path, other: Path) -> bool:
    """Swap two existing folders in one step; False, and nothing done, where the filesystem cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


def link_tree(source: Path, target: Path) -> None:
    """The same tree again, its files hard-linked, or copied where the filesystem or its rules have no hard links."""

    def link(original: str, copy: str) -> str:
        try:
            os.link(original, copy, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV):
                raise
            shutil.copy2(original, copy, follow_symlinks=False)
        return copy

    shutil.copytree(source, target, symlinks=True, copy_function=link)


def sync_tree(folder: Path) -> None:
    """Force the files and folders of a tree to the disk, so that a rename never outlives what it names."""
    for root, _, files in os.walk(folder, topdown=False):
        for file in files:
            if not Path(root, file).is_symlink():
                sync(Path(root, file))
        sync(Path(root))


def sync(path: Path) -> None:
    """Force one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
