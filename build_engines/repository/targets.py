"""What the engines of a repository run on: one Triton loads them all, so they must agree."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from build_engines.errors import TargetMismatchError
from build_engines.values import STAMP, Compiler
from contract.config import CONFIG_FILE, from_pbtxt
from contract.parameters import BUILD_PREFIX
from contract.spec import ContractError

_PARTS = ("compiler", "version", "gpu", "compute_capability")


@dataclass(frozen=True)
class Target:
    """What an engine runs on. With another version or capability it does not load; on another GPU of the same
    capability, as H200 after H100, TensorRT warns, and the kernels that it chose by timing are not the fastest there.
    """

    compiler: str
    version: str
    gpu: str
    compute_capability: str

    def __str__(self) -> str:
        return f"{self.compiler} {self.version}, {self.gpu} (compute capability {self.compute_capability})"


def target_of(stamp: Mapping[str, str]) -> Target | None:
    """What the engine with this stamp runs on; None where it is no engine's stamp. Other keys may be among it."""
    parts = [stamp.get(f"{STAMP}{key}") for key in _PARTS]
    known = [part for part in parts if part]
    return Target(*known) if len(known) == len(parts) else None


def check_kind(repository: Path, names: Collection[str], compiler: Compiler) -> None:
    """Refuse to mix engines of TensorRT for RTX, for which Triton has no backend, with what Triton loads.

    The entries `names` are being built anew, so they may be of either kind.

    Raises:
        TargetMismatchError: an entry there is of the other kind.
    """
    ours = compiler is Compiler.RTX
    for name, stamp in _neighbours(repository, names):
        if (stamp.get(f"{STAMP}compiler") == Compiler.RTX.value) != ours:
            raise TargetMismatchError(
                f"{repository} is for Triton ({name}), which does not load engines of TensorRT for RTX: give those a "
                "folder of their own (--repository rtx_engines)"
                if ours
                else f"{repository} holds engines of TensorRT for RTX ({name}), which Triton does not load: choose "
                "another --repository for what it shall load"
            )


def check_target(repository: Path, names: Collection[str], stamp: Mapping[str, str]) -> None:
    """Refuse to put engines for two targets into one repository, which one Triton is to load.

    The entries `names` are being built anew, so they may be for another target: where TensorRT was upgraded and there
    are no others, nothing stands in their way.

    Raises:
        TargetMismatchError: an engine there runs on something else; the message names both.
    """
    ours = target_of(stamp)
    if ours is None:
        return
    for name, other in _neighbours(repository, names):
        theirs = target_of(other)
        if theirs and theirs != ours:
            raise TargetMismatchError(
                f"{name} in {repository} is an engine for {theirs}; this one is for {ours}. One Triton "
                "cannot load both: build with what is there, choose another --repository, or remove or rebuild "
                f"{name} first"
            )


def _neighbours(repository: Path, names: Collection[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The other entries, each with what it says of its build."""
    for config in sorted(repository.glob(f"*/{CONFIG_FILE}")):
        if config.parent.name not in names:
            yield config.parent.name, _provenance(config)


def _provenance(config: Path) -> Mapping[str, str]:
    """The `build.*` parameters of an entry; none where it is not readable, which is not for this step to judge."""
    try:
        parameters = from_pbtxt(config.read_text("utf-8")).parameters
    except (ContractError, UnicodeDecodeError, OSError):
        return {}
    return {str(key).removeprefix(BUILD_PREFIX): str(value.string_value) for key, value in parameters.items()}
