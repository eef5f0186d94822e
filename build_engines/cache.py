"""Finished steps on disk, each in a folder that is named by what decides its result.

A step whose key was seen before is not done again, and a build that was killed goes on after its last whole step.
Knows no step.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from build_engines import atomic
from build_engines.errors import UnwritableError

KEY_FILE = "key.json"
LIMIT_BYTES = 20 * 2**30
_LOCKS = ".locks"
_MAKING = ".making-"


def digest_of(name: str, key: Mapping[str, object]) -> str:
    """The name of the folder of the step `name` whose result `key` decides; later steps have it in their keys."""
    return hashlib.sha256(_text(name, key).encode()).hexdigest()[:32]


class Cache:
    """The finished steps under one folder, which several builds may use at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, name: str, key: Mapping[str, object]) -> Path | None:
        """The folder of the step, where it was finished before."""
        folder = self._folder / name / digest_of(name, key)
        if not (folder / KEY_FILE).is_file():
            return None
        os.utime(folder)
        return folder

    def make(self, name: str, key: Mapping[str, object], make: Callable[[Path], None]) -> Path:
        """The folder of the step, filled now by `make`, which is given an empty one, where it was not finished before.

        Two builds that need the same step at once make it once.

        Raises:
            UnwritableError: the disk is full, or the folder may not be written.
        """
        digest = digest_of(name, key)
        with self._held(name, digest):
            if found := self.find(name, key):
                return found
            folder = self._folder / name / digest
            work = Path(tempfile.mkdtemp(prefix=f"{_MAKING}{digest}-", dir=folder.parent))
            try:
                make(work)
                (work / KEY_FILE).write_text(_text(name, key) + "\n", encoding="utf-8")
                atomic.sync_tree(work)
                if folder.exists():
                    shutil.rmtree(folder)  # What a removal that was killed left.
                work.rename(folder)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        return folder

    def shrink(self, limit: int = LIMIT_BYTES) -> None:
        """Remove the steps that were not used for the longest time until those left take at most `limit` bytes."""
        self._remove_unfinished()
        with suppress(FileNotFoundError):  # Another build removes some too.
            self._shrink(limit)

    def _shrink(self, limit: int) -> None:
        steps = sorted(self._folder.glob(f"*/*/{KEY_FILE}"), key=lambda file: -file.parent.stat().st_mtime)
        total = 0
        for file in steps:
            total += sum(each.stat().st_size for each in file.parent.rglob("*") if each.is_file())
            if total > limit and not atomic.is_locked(self._lock(file.parent.parent.name, file.parent.name)):
                # Without its key a folder is no finished step, so one that is half removed is not taken for one.
                file.unlink()
                shutil.rmtree(file.parent)

    def _remove_unfinished(self) -> None:
        """What builds that were killed left."""
        for work in self._folder.glob(f"*/{_MAKING}*"):
            digest = work.name.removeprefix(_MAKING).partition("-")[0]
            if not atomic.is_locked(self._lock(work.parent.name, digest)):
                shutil.rmtree(work, ignore_errors=True)

    @contextmanager
    def _held(self, name: str, digest: str) -> Iterator[None]:
        try:
            (self._folder / name).mkdir(parents=True, exist_ok=True)
            (self._folder / _LOCKS).mkdir(exist_ok=True)
            with atomic.locked(self._lock(name, digest)):
                for dead in (self._folder / name).glob(f"{_MAKING}{digest}-*"):
                    shutil.rmtree(dead, ignore_errors=True)
                yield
        except OSError as error:
            raise UnwritableError(
                f"cannot write {error.filename or self._folder} ({error.strerror or error}); free space or name "
                "another folder with --cache, and build again: it goes on after the last whole step"
            ) from error

    def _lock(self, name: str, digest: str) -> Path:
        return self._folder / _LOCKS / f"{name}-{digest}"


def _text(name: str, key: Mapping[str, object]) -> str:
    return json.dumps({"step": name, "key": dict(key)}, sort_keys=True, ensure_ascii=False, indent=1)
