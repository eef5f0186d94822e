"""What the engines of a repository run on: one Triton loads them all, so they must agree."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from build_engines.errors import TargetMismatchError
from build_engines.values import STAMP
from contract.config import CONFIG_FILE, from_pbtxt
from contract.parameters import BUILD_PREFIX
from contract.spec import ContractError


@dataclass(frozen=True)
class Target:
    """What an engine runs on: with any other it does not load."""

    compiler: str
    version: str
    compute_capability: str

    def __str__(self) -> str:
        return f"{self.compiler} {self.version}, compute capability {self.compute_capability}"


def target_of(stamp: Mapping[str, str]) -> Target | None:
    """What the engine with this stamp runs on; None where it is no engine's stamp. Other keys may be among it."""
    parts = [stamp.get(f"{STAMP}{key}") for key in ("compiler", "version", "compute_capability")]
    known = [part for part in parts if part]
    return Target(*known) if len(known) == len(parts) else None


def check_target(repository: Path, name: str, stamp: Mapping[str, str]) -> None:
    """Refuse to put engines for two targets into one repository, which one Triton is to load.

    The entry `name` is being built anew, so it may be for another target: where TensorRT was upgraded and it is the
    only one, nothing stands in its way.

    Raises:
        TargetMismatchError: an engine there runs on something else; the message names both.
    """
    ours = target_of(stamp)
    if ours is None:
        return
    for config in sorted(repository.glob(f"*/{CONFIG_FILE}")):
        if config.parent.name == name:
            continue
        theirs = target_of(_provenance(config))
        if theirs and theirs != ours:
            raise TargetMismatchError(
                f"{config.parent.name} in {repository} is an engine for {theirs}; this one is for {ours}. One Triton "
                "cannot load both: build with what is there, choose another --repository, or remove or rebuild "
                f"{config.parent.name} first"
            )


def _provenance(config: Path) -> Mapping[str, str]:
    """The `build.*` parameters of an entry; none where it is not readable, which is not for this step to judge."""
    try:
        parameters = from_pbtxt(config.read_text("utf-8")).parameters
    except (ContractError, UnicodeDecodeError, OSError):
        return {}
    return {str(key).removeprefix(BUILD_PREFIX): str(value.string_value) for key, value in parameters.items()}
