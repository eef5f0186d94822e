"""A pickle's tensors, without running anything that the pickle asks to run."""

# ruff: noqa: PLC0415 (torch takes seconds to import; `build-engines --help` does not wait for it)

import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from build_engines.errors import CheckpointUnreadableError, CheckpointUnsafeError, first_line

_SAVE = "Save the state dict alone, best with safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
_REFUSED = re.compile(r"GLOBAL (\S+) was not an allowed global|whose module (\S+) is blocked")
_MODULES = re.compile(r"^(torch\.nn\.|torchvision\.|timm\.|transformers\.|ultralytics\.|__main__\.|models?\.)")


class _Nothing:
    """Stands for an object that lies beside the weights. Takes whatever it is given and keeps none of it."""

    def __new__(cls, *_: object, **__: object) -> "_Nothing":
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


class _Mapping:
    """Stands for a kind of dict that lies beside the weights."""

    def __new__(cls, *_: object, **__: object) -> "OrderedDict[object, object]":  # type: ignore[misc]
        return OrderedDict()


_OBJECTS = (
    *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"),
    *("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype"),
    *("numpy._core.numeric._frombuffer", "numpy.core.numeric._frombuffer", "_codecs.encode"),
    *(f"numpy.{kind}" for kind in ("float16", "float32", "float64", "int32", "int64", "bool_")),
    *("argparse.Namespace", "types.SimpleNamespace"),
    *(f"pathlib.{kind}" for kind in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    *(f"pathlib._local.{kind}" for kind in ("Path", "PosixPath", "WindowsPath")),
    *(f"datetime.{kind}" for kind in ("datetime", "date", "time", "timedelta", "timezone")),
    *("uuid.UUID", "decimal.Decimal", "fractions.Fraction", "builtins.set", "builtins.frozenset"),
    *(f"builtins.{kind}" for kind in ("dict", "list", "int", "float", "str", "bool", "tuple", "bytes", "complex")),
    *(f"__builtin__.{kind}" for kind in ("set", "frozenset", "dict", "list", "int", "float", "str", "long", "object")),
    *("builtins.object", "copy_reg._reconstructor", "copyreg._reconstructor", "typing.Any", "typing.Union"),
    *(f"omegaconf.{kind}" for kind in ("dictconfig.DictConfig", "listconfig.ListConfig", "base.Metadata")),
    *("omegaconf.base.ContainerMetadata", "omegaconf.nodes.AnyNode", "omegaconf.nodes.StringNode"),
    *(f"omegaconf.nodes.{kind}Node" for kind in ("Integer", "Float", "Boolean", "Enum", "Path", "Bytes")),
)
"""Values, settings and logs that training scripts put beside the weights. None of them is imported or made."""
_MAPPINGS = (
    *("yacs.config.CfgNode", "easydict.EasyDict", "addict.Dict", "addict.addict.Dict", "collections.defaultdict"),
    *("detectron2.config.config.CfgNode", "mmcv.utils.config.ConfigDict", "mmengine.config.config.ConfigDict"),
    *("ml_collections.config_dict.config_dict.ConfigDict", "argparse_dataclass.Namespace", "munch.Munch"),
    *("pytorch_lightning.utilities.parsing.AttributeDict", "lightning.pytorch.utilities.parsing.AttributeDict"),
    *("lightning_fabric.utilities.data.AttributeDict", "lightning.fabric.utilities.data.AttributeDict"),
    *("timm.utils.misc.AttrDict", "utils.AttrDict", "attrdict.dictionary.AttrDict", "box.box.Box"),
)


def read_pickle(path: Path) -> object:
    """What `torch.save` wrote into `path`, with stand-ins for the known harmless things beside the tensors.

    Raises:
        CheckpointUnsafeError: it asks for something else; the message names it, and nothing of it was run.
        CheckpointUnreadableError: it is broken.
    """
    import torch

    stand_ins: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
        *((_Nothing, name) for name in _OBJECTS),
        *((_Mapping, name) for name in _MAPPINGS),
    ]
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of the pickle's protocol: what cannot be read is an error.
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointUnsafeError(_unsafe(path, str(error))) from error
    except Exception as error:
        # A broken pickle makes its reader raise whatever its bytes lead to.
        raise CheckpointUnreadableError(
            f"{path} is not a whole checkpoint of torch.save ({first_line(error)}); copy or download it again"
        ) from error


def _unsafe(path: Path, said: str) -> str:
    if "protocol" in said or "Unsupported operand" in said:
        return (
            f"{path} is a pickle of a kind that the safe reader does not know (pickle.dump, or torch.save with another "
            f"pickle_protocol than 2), or is broken; nothing of it was run. {_SAVE}"
        )
    match = _REFUSED.search(said)
    name = (match[1] or match[2]) if match else ""
    if _MODULES.match(name):
        return f"{path} is a whole model in a pickle, with its code ({name}); nothing of it was run. {_SAVE}"
    asks = f"that asks for {name}, more than tensors" if name else "that asks for more than tensors, or is broken"
    return f"{path} is a pickle {asks}; nothing of it was run. {_SAVE}"
