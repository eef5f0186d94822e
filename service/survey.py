"""One look at Triton: what it has, and the state of each entry. One entry's trouble stays that entry's."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from tritonclient.grpc.model_config_pb2 import ModelConfig

from contract.config import read_config
from contract.spec import ContractError, Entry
from service.errors import VitrineError
from service.reasons import one_line
from service.states import Loading, Refused, Served, State
from service.triton import InferenceBackend, ModelVersion

_log = logging.getLogger(__name__)

CONFIG_SECONDS = 1.0
"""How long Triton may take to hand out one configuration."""
_CONFIGS_AT_ONCE = 8
_UNLOADED = "unloaded"
"""Triton's reason for a version that was told to go."""

_Finding = Entry | Loading | Refused | None
"""What is found of one version; None where it is no entry of ours."""


@dataclass(frozen=True)
class _Read:
    config: ModelConfig
    finding: Entry | Refused | None


class Survey:
    """Looks, and remembers what it read. `count_fault` is called for each error that nobody foresaw."""

    def __init__(self, backend: InferenceBackend, count_fault: Callable[[], None]) -> None:
        self._backend = backend
        self._count_fault = count_fault
        self._read: dict[tuple[str, str], _Read] = {}
        self._failed: dict[tuple[str, str], str] = {}

    async def look(self) -> dict[str, State]:
        """The state of each entry, by name. An entry that is not ours has none.

        Raises:
            VitrineError: Triton did not say what it has.
        """
        index = await self._backend.index()
        self._failed = {(line.name, line.version): reason for line in index if (reason := self._failure(line))}
        ready = {(line.name, line.version) for line in index if line.ready}
        self._read = {key: read for key, read in self._read.items() if key in ready}
        entries: dict[str, list[ModelVersion]] = defaultdict(list)
        for line in index:
            entries[line.name].append(line)
        at_once = asyncio.Semaphore(_CONFIGS_AT_ONCE)
        states = await asyncio.gather(*(self._state(lines, at_once) for lines in entries.values()))
        return {name: state for name, state in zip(entries, states, strict=True) if state is not None}

    def _failure(self, line: ModelVersion) -> str:
        """Why Triton could not load a version; empty where it did not fail.

        In its poll mode it tries again at every look, and is half of the time loading: until that ends, what it said
        the last time holds.
        """
        if line.ready or line.reason == _UNLOADED:
            return ""
        return one_line(line.reason) or self._failed.get((line.name, line.version), "")

    async def _state(self, lines: list[ModelVersion], at_once: asyncio.Semaphore) -> State | None:
        """The version that answers: of those that are whole, the one that most Tritons have; of equals the highest.

        Without one, what the highest lacks. During a roll the old version answers until half of the Tritons have the
        new one: a version that only the first of them has would send it everything.
        """
        newest_first = sorted(lines, key=lambda line: _number(line.version), reverse=True)
        lacks: dict[str, Loading | Refused] = {}
        for line in sorted(newest_first, key=lambda line: len(line.at), reverse=True):
            finding = await self._finding(line, at_once)
            if finding is None:
                return None
            if isinstance(finding, Entry):
                refused = await self._refused(newest_first[: newest_first.index(line)], at_once)
                others = frozenset[tuple[str, int]]().union(*(each.at for each in lines)) - line.at
                return Served(finding, line.version, refused, line.at, len(others))
            lacks[line.version] = finding
        told = [lacks[line.version] for line in newest_first]
        return next((each for each in told if isinstance(each, Refused)), told[0])

    async def _refused(self, newer: list[ModelVersion], at_once: asyncio.Semaphore) -> Refused | None:
        """The newest of these that somebody has to mend."""
        for line in newer:
            finding = await self._finding(line, at_once)
            if isinstance(finding, Refused):
                return finding
        return None

    async def _finding(self, line: ModelVersion, at_once: asyncio.Semaphore) -> _Finding:
        if reason := self._failed.get((line.name, line.version)):
            return Refused(line.name, line.version, f"the inference server cannot load it: {reason}")
        if not line.ready:
            why = "has unloaded it" if line.reason == _UNLOADED else "has not loaded it; its log may say why"
            return Loading(line.name, f"the inference server {why}")
        if _number(line.version) < 1:
            return Refused(line.name, line.version, f"its version must be a number, is {line.version[:32]!r}")
        async with at_once:
            return await self._asked(line.name, line.version)

    async def _asked(self, name: str, version: str) -> _Finding:
        """What its configuration says; where that cannot be had, what it said before."""
        known = self._read.get((name, version))
        try:
            config = await asyncio.wait_for(self._backend.config(name, version), CONFIG_SECONDS)
        except Exception as error:  # noqa: BLE001  whatever it is, it must not end the others
            if known is not None:
                return known.finding
            return Loading(name, f"its configuration cannot be had: {self._explained(error, name, version)}")
        if known is not None and known.config == config:
            return known.finding
        finding = self._judged(name, version, config)
        self._read[name, version] = _Read(config, finding)
        return finding

    def _judged(self, name: str, version: str, config: ModelConfig) -> Entry | Refused | None:
        try:
            entry = read_config(config)
            if entry is not None and entry.name != name:
                raise ContractError("name", f"must be {name!r}, is {entry.name!r}")
        except Exception as error:  # noqa: BLE001  the same
            return Refused(name, version, self._explained(error, name, version))
        if entry is None:
            _log.info("skipping %s: it has no contract.schema, so it is not an entry of ours", name)
        return entry

    def _explained(self, error: Exception, name: str, version: str) -> str:
        """The reason to show; what nobody foresaw goes to the log whole, and is counted."""
        if isinstance(error, VitrineError):
            return error.message
        if isinstance(error, ContractError):
            return one_line(str(error))
        if isinstance(error, asyncio.TimeoutError):
            return f"the inference server did not answer within {CONFIG_SECONDS:g} s"
        _log.error("reading %s version %s failed", name, version, exc_info=error)
        self._count_fault()
        return "the gateway failed to read it; its log has the error"


def _number(version: str) -> int:
    """A version as a number; 0 where it is none that Triton could have."""
    return int(version) if version.isascii() and version.isdecimal() and len(version) < 20 else 0
