"""Lets a running Triton serve what was published, and compares its answers with what the build measured.

Changes nothing in the repository: where a version does not answer as it was built to, the caller takes it back.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tritonclient.grpc.model_config_pb2 import ModelConfig

from build_engines.errors import InvalidOutputError, LoadError
from build_engines.repository.running_triton import Limits, RunningTriton, passing_name
from build_engines.values import Pixels, Probabilities, check_probabilities
from contract.config import CONFIG_FILE, checked_sizes, from_pbtxt
from contract.parameters import PREFIX

_LIMITS = Limits()


@dataclass(frozen=True)
class Expected:
    """What the version must answer: what the build measured on the same pictures."""

    images: Pixels
    """`[n, height, width, 3]`."""
    probabilities: Probabilities
    """`[n, classes]`."""
    tolerance: float
    """Largest difference of a probability."""


def load_and_check(url: str, folder: Path, version: int, expected: Expected, limits: Limits = _LIMITS) -> str:
    """Let the Triton at `url` (host:port of its gRPC service) serve the published `version` of the entry `folder`.

    Gives a warning where clients may have had answers of the version before it was compared; empty where none had.

    In explicit mode the version is first loaded under another name, from its bytes, and compared; until then clients
    are served what they were before. Both versions under the entry's name would not do: Triton answers those who name
    none with the newer, unproven one, and runs the older one by the newer one's configuration. A Triton that polls has
    loaded the version by itself: it is waited for, and compared then.

    Raises:
        LoadError: Triton is not there, does not load the version, or its answers differ. In explicit mode it serves
            what it served before.
    """
    config = _own_config(folder, version)
    with RunningTriton(url, limits) as triton:
        before = triton.serving(folder.name)
        asked = triton.loads_when_asked()
        warning = "this Triton loads by itself, so clients had answers of the version before they were compared"
        if asked:
            warning = _try_out(triton, folder / str(version), config, expected, limits)
            triton.load(folder.name)
        triton.expect(folder, version, config, wait=not asked)
        try:
            _compare_sizes(triton, folder.name, version, config, expected)
        except LoadError:
            if asked:
                triton.put_back(folder.name, before)
            raise
    return warning


def is_served(url: str, folder: Path, version: int, limits: Limits = _LIMITS) -> bool:
    """Whether the Triton at `url` serves `version` of the entry `folder` by the version's own configuration.

    Raises:
        LoadError: Triton is not there.
    """
    config = _own_config(folder, version)
    with RunningTriton(url, limits) as triton:
        return triton.serves(folder.name, version, config)


def load(url: str, folder: Path, version: int, limits: Limits = _LIMITS) -> None:
    """Let the Triton at `url` serve `version` of the entry `folder`, which is what its configuration names: a rollback.

    Raises:
        LoadError: Triton is not there, or does not load the version; it then serves what it served before.
    """
    config = _own_config(folder, version)
    with RunningTriton(url, limits) as triton:
        asked = triton.loads_when_asked()
        if asked:
            triton.load(folder.name)
        triton.expect(folder, version, config, wait=not asked)


def _try_out(triton: RunningTriton, folder: Path, config: ModelConfig, expected: Expected, limits: Limits) -> str:
    """Compare the version in `folder` under a name that nobody asks for; say so where it is too large for that."""
    version = int(folder.name)
    files = [file for file in folder.iterdir() if file.is_file() and file.name != CONFIG_FILE]
    size = sum(file.stat().st_size for file in files)
    if size > limits.upload:
        return (
            f"{size / 1e9:.1f} GB are more than a request to Triton can carry, so clients had answers of the version "
            "before they were compared"
        )
    alone = ModelConfig()
    alone.CopyFrom(config)
    alone.name = passing_name(folder.parent.name)
    alone.version_policy.specific.versions[:] = [version]
    # Not an entry of ours, so that no gateway offers it.
    for key in [key for key in alone.parameters if key.startswith(PREFIX)]:
        del alone.parameters[key]
    for output in alone.output:
        output.ClearField("label_filename")
    try:
        triton.load(alone.name, alone, {f"{version}/{file.name}": file for file in files})
        _compare_sizes(triton, alone.name, version, config, expected)
    finally:
        with suppress(LoadError):
            triton.unload(alone.name)
    return ""


def _compare_sizes(triton: RunningTriton, name: str, version: int, config: ModelConfig, expected: Expected) -> None:
    """Compare at one picture, a size between, the largest, and one again: an engine runs some of these by a graph.

    Raises:
        LoadError: see `_compare`; the message names the batch size.
    """
    for size in checked_sizes(max(1, config.max_batch_size)):
        turns = np.arange(size) % len(expected.images)
        wanted = replace(expected, images=expected.images[turns], probabilities=expected.probabilities[turns])
        _compare(triton.infer(name, version, config, wanted.images), wanted, version)


def _compare(found: Probabilities, expected: Expected, version: int) -> None:
    """Demand that `found` is what was expected.

    Raises:
        LoadError: a probability differs by too much, or the answers are no probabilities.
    """
    wanted = expected.probabilities
    fix = "its runtime is not the one that the build measured; build with that Triton's versions"
    if found.shape != wanted.shape:
        raise LoadError(
            f"Triton answers {list(found.shape)} by version {version}, expected {list(wanted.shape)}; {fix}"
        )
    try:
        check_probabilities("Triton", found)
    except InvalidOutputError as error:
        raise LoadError(f"{error}. That was version {version}; {fix}") from error
    difference = float(np.abs(found.astype(np.float64) - wanted).max(initial=0.0))
    if difference > expected.tolerance:
        same = int((found.argmax(axis=1) == wanted.argmax(axis=1)).sum())
        raise LoadError(
            f"version {version} in Triton does not answer as it was measured: probabilities differ by up to "
            f"{difference:.1e} (allowed {expected.tolerance:.0e}), top-1 agrees on {same} of {len(wanted)} "
            f"in one batch; {fix}"
        )


def _own_config(folder: Path, version: int) -> ModelConfig:
    try:
        return from_pbtxt((folder / str(version) / CONFIG_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LoadError(f"version {version} of {folder} is not there, or has no {CONFIG_FILE} of its own") from None
