"""One step of a build: done when its result is asked for, and never twice, because its key says all that decides it."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Protocol

from build_engines.cache import Cache, digest_of
from build_engines.machine import library_versions
from build_engines.steps.code_version import code_of


class Progress(Protocol):
    """Who is told how a build goes."""

    def step(self, name: str, /) -> AbstractContextManager[None]:
        """Surrounds the step `name`."""

    def kept(self, name: str, /) -> None:
        """The step `name` was done by an earlier build."""


class Silent:
    """A `Progress` that nobody watches."""

    def step(self, _name: str, /) -> AbstractContextManager[None]:
        """See `Progress.step`."""
        return nullcontext()

    def kept(self, _name: str, /) -> None:
        """See `Progress.kept`."""


class Runner:
    """What the steps of a build share: the cache, who is told, how long each took, and the code that joins them."""

    def __init__(self, cache: Cache, progress: Progress, reached: Callable[[str], None], code: str) -> None:
        self.cache, self.progress, self.reached, self.code = cache, progress, reached, code
        self.seconds: dict[str, float] = {}


class Step:
    """A step and what decides its result: its inputs, the steps it needs, our own code, and the libraries.

    Args:
        runner: what it shares with the other steps.
        name: of its folder in the cache.
        title: for people.
        make: fills the empty folder that it is given.
        inputs: what JSON can say of the user's choices and files.
        code: functions and classes whose modules, and all of ours that those import, are the code that makes it.
        needs: the steps whose results it starts from.
    """

    def __init__(  # noqa: PLR0913 (all that a step is)
        self,
        runner: Runner,
        name: str,
        title: str,
        make: Callable[[Path], None],
        *,
        inputs: Mapping[str, object],
        code: Sequence[Callable[..., object]],
        needs: Sequence["Step"] = (),
    ) -> None:
        self._runner, self._name, self._title, self._make, self._needs = runner, name, title, make, needs
        self._key: dict[str, object] = {
            **inputs,
            "needs": [need.digest for need in needs],
            "code": [runner.code, code_of(*code)],
            "libraries": library_versions(),
        }
        self.digest: str = digest_of(name, self._key)

    @property
    def done(self) -> bool:
        """Whether it was done before."""
        return self._runner.cache.find(self._name, self._key) is not None

    @cached_property
    def folder(self) -> Path:
        """Where its result is."""
        runner = self._runner
        if found := runner.cache.find(self._name, self._key):
            runner.progress.kept(self._title)
            return found
        for need in self._needs:
            _ = need.folder
        started = time.monotonic()
        with runner.progress.step(self._title):
            made = runner.cache.make(self._name, self._key, self._make)
        runner.seconds[self._title] = time.monotonic() - started
        runner.reached(self._title)
        return made
