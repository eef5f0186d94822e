"""Another scheduling of a published version: tried beside the entry in a running Triton, and made the entry's own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from build_engines import atomic
from build_engines.errors import LoadError, UnknownEntryError
from build_engines.repository.entries import folder_of
from build_engines.repository.layout import config_of, served
from build_engines.repository.publication import changing, serve
from build_engines.repository.running_triton import RunningTriton, passing_name
from build_engines.repository.workspace import workspace
from contract.config import CONFIG_FILE, Runtime, Scheduling, read_config, runtime_of, to_pbtxt, write_config
from contract.parameters import PREFIX
from contract.spec import Entry

_GONE_S = 30.0
_POLL_S = 0.2


@dataclass(frozen=True)
class Tuned:
    """How an entry is run: what `tune` chooses."""

    scheduling: Scheduling
    max_batch_size: int


@dataclass(frozen=True)
class Tunable:
    """A published version whose scheduling can be changed."""

    folder: Path
    version: int
    entry: Entry
    runtime: Runtime
    now: Tuned

    def config(self, tuned: Tuned, name: str = "", note: str = "") -> ModelConfig:
        """What Triton runs the version by under another scheduling, as the entry `name`; `note` is its provenance."""
        build = {**self.entry.build, "tuned": note} if note else self.entry.build
        entry = replace(self.entry, name=name or self.entry.name, max_batch_size=tuned.max_batch_size, build=build)
        return write_config(entry, tuned.scheduling, self.runtime)


def tunable(repository: Path, name: str) -> Tunable:
    """The version that an entry serves.

    Raises:
        UnknownEntryError: there is no such entry, or it has no whole configuration.
        NotOursError: Vitrine did not build it.
    """
    folder = folder_of(repository, name)
    version = max(served(folder), default=0)
    own = folder / str(version) / CONFIG_FILE
    if not own.is_file():
        raise UnknownEntryError(f"{folder} serves no version with a configuration of its own; build it again")
    config = config_of(own)
    entry = read_config(config)
    assert entry is not None  # noqa: S101 (`folder_of` has seen that it is ours)
    scheduling = Scheduling(
        config.dynamic_batching.max_queue_delay_microseconds, sum(group.count for group in config.instance_group) or 1
    )
    return Tunable(folder, version, entry, runtime_of(config), Tuned(scheduling, entry.max_batch_size))


@contextmanager
def trial(triton: RunningTriton, found: Tunable, tuned: Tuned) -> Iterator[tuple[str, ModelConfig]]:
    """The version under a name that nobody asks for, run by `tuned`, for as long as the body lasts: name and config.

    It lies in the repository meanwhile, without anything by which a gateway would offer it. The entry goes on as it is.

    Raises:
        LoadError: Triton does not load it, or does not read this repository.
    """
    name = passing_name(found.folder.name)
    config = found.config(tuned, name)
    for key in [key for key in config.parameters if key.startswith(PREFIX)]:
        del config.parameters[key]
    for output in config.output:
        output.ClearField("label_filename")
    repository, version = found.folder.parent, str(found.version)
    asked = triton.loads_when_asked()
    with workspace(repository) as work:
        staged = work / name
        staged.mkdir()
        atomic.link_tree(found.folder / version, staged / version)
        (staged / version / CONFIG_FILE).unlink()
        (staged / CONFIG_FILE).write_text(to_pbtxt(config), encoding="utf-8")
        placed = staged.rename(repository / name)
        try:
            if asked:
                triton.load(name)
            triton.expect(placed, found.version, config, wait=not asked)
            yield name, config
        finally:
            placed.rename(work / "done")
            if asked:
                with suppress(LoadError):
                    triton.unload(name)
            _wait_until_gone(triton, name)


def retune(repository: Path, found: Tunable, tuned: Tuned, note: str) -> None:
    """Run the version by `tuned` from now on, in one step. A Triton that polls loads it anew.

    Raises:
        UnknownEntryError: the entry serves another version by now.
        UnwritableError: the disk is full or there is no permission.
    """
    name = found.folder.name
    with changing(repository, name) as staged:
        if (version := max(served(staged), default=0)) != found.version:
            raise UnknownEntryError(
                f"{name} serves version {version} by now; version {found.version} was measured. Tune it again"
            )
        own = staged / str(found.version) / CONFIG_FILE
        own.unlink()  # It is a link to the published file.
        own.write_text(to_pbtxt(found.config(tuned, note=note)), encoding="utf-8")
        serve(staged, found.version)


def _wait_until_gone(triton: RunningTriton, name: str) -> None:
    """Return when Triton has let go of an entry, so that it takes nothing from what is measured next."""
    give_up = time.monotonic() + _GONE_S
    while triton.serving(name) and time.monotonic() < give_up:
        time.sleep(_POLL_S)
