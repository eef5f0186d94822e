"""What lies in a repository: whose an entry is, its versions, and which of them Triton serves. Changes nothing."""

import re
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from build_engines.errors import NotOursError
from contract.config import CONFIG_FILE, from_pbtxt
from contract.parameters import is_ours
from contract.spec import ContractError

_VERSION = re.compile(r"[1-9][0-9]*")
"""Triton ignores version folders of other names."""


def check_ours(repository: Path, name: str) -> None:
    """Refuse to touch what Vitrine did not build.

    Raises:
        NotOursError: there is something of that name without a `contract.schema`.
    """
    folder = repository / name
    if (folder.exists() or folder.is_symlink()) and (reason := not_ours(folder)):
        raise NotOursError(f"{reason}; choose another --name, or move it away")


def not_ours(folder: Path) -> str:
    """Why what lies at `folder` is no entry of Vitrine's; empty where it is one, if perhaps a broken one."""
    config = folder / CONFIG_FILE
    if folder.is_symlink() or not config.is_file():
        return f"{folder} is there and is not an entry of Vitrine's"
    try:
        parameters = {key: value.string_value for key, value in config_of(config).parameters.items()}
    except ContractError:
        return f"{config} is no Triton model configuration"
    return "" if is_ours(parameters) else f"{config} has no contract.schema, so Vitrine did not build it"


def versions(folder: Path) -> list[int]:
    """The versions in an entry's folder that Triton sees, in order."""
    if not folder.is_dir():
        return []
    return sorted(int(child.name) for child in folder.iterdir() if child.is_dir() and _VERSION.fullmatch(child.name))


def newest_inputs(folder: Path) -> tuple[int | None, str]:
    """The newest version of an entry and what its provenance says of its inputs; (None, "") where there is none, and no
    inputs where its configuration is broken.
    """
    found = versions(folder)
    config = folder / str(found[-1]) / CONFIG_FILE if found else folder
    if not config.is_file():
        return None, ""
    try:
        return found[-1], str(config_of(config).parameters["build.inputs"].string_value)
    except ContractError:
        return found[-1], ""  # It is built again.


def served(folder: Path) -> tuple[int, ...]:
    """The versions of an entry that Triton serves by its version policy, in order; clients who name none get the last.

    Raises:
        ContractError: the entry's configuration is broken.
    """
    there = versions(folder)
    policy = config_of(folder / CONFIG_FILE).version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            return tuple(there)
        case "specific":
            return tuple(version for version in there if version in policy.specific.versions)
        case _:
            return tuple(there[-max(1, policy.latest.num_versions) :])


def config_of(path: Path) -> ModelConfig:
    """The protobuf of the file `path`.

    Raises:
        ContractError: it is not a model configuration.
        FileNotFoundError: there is no such file.
    """
    try:
        return from_pbtxt(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ContractError(CONFIG_FILE, "is not a Triton model configuration: it is not UTF-8") from None
