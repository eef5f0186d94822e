"""Whether tensors are exactly those of a model, and if not, what they probably are."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

_SHOWN = 3
_HEAD = re.compile(r"(^|\.)(head|head_dist|fc|classifier|heads|linear_head|cls_classifier)(\.|$)")


@dataclass(frozen=True)
class Fit:
    """How tensors and a model differ, by timm's names."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    """In the model, and in the file."""
    common: int

    @property
    def exact(self) -> bool:
        """Whether nothing differs."""
        return not (self.missing or self.unexpected or self.shapes)

    def words(self, model: str) -> str:
        """What differs, both sides named."""
        problems = []
        if self.missing:
            problems.append(f"{model} needs {_few(self.missing)}, which the checkpoint lacks")
        if self.unexpected:
            problems.append(f"the checkpoint has {_few(self.unexpected)}, which {model} does not know")
        if self.shapes:
            details = [
                f"{key} ({list(wanted)} in the model, {list(given)} in the file)"
                for key, (wanted, given) in self.shapes.items()
            ]
            problems.append(f"shapes differ: {_few(details)}")
        return "; ".join(problems)


def compare(tensors: Mapping[str, "Tensor"], model: "nn.Module") -> Fit:
    """The names and shapes of `tensors` beside those of `model`."""
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    given = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    both = [key for key in wanted if key in given]
    return Fit(
        tuple(key for key in wanted if key not in given and not key.endswith("num_batches_tracked")),
        tuple(key for key in given if key not in wanted),
        {key: (wanted[key], given[key]) for key in both if wanted[key] != given[key]},
        len(both),
    )


def likely_cause(names: Mapping[str, "Tensor"], fit: Fit, origin: str) -> str:
    """What the file, whose own names are `names`, probably is, and what to do; empty where nothing tells."""
    joined = "\n".join(names)
    for tells, words in _SIGNS:
        if tells(joined):
            return words
    if re.search(r"-\d{5}-of-\d{5}\.", origin):
        return "it is one of several shards: give the folder that holds them all and config.json"
    if fit.missing and all(map(_HEAD.search, fit.missing)):
        if extra := [name for name in fit.unexpected if _HEAD.search(name)]:
            return (
                f"its head is another one ({_few(extra)}), such as an nn.Sequential in the place of timm's layer: "
                "rename its layer to timm's name, or register the architecture with --register"
            )
        return (
            "it is an encoder without a classifier, as pretraining leaves it (MAE, DINO, DINOv2, CLIP): give the "
            "weights of a model that was trained to classify"
        )
    return _shapes(fit)


def _shapes(fit: Fit) -> str:
    differ = fit.shapes
    if any(key.endswith(("norm.weight", "cls_token", "conv_stem.weight")) for key in differ):
        words = "it is of a larger or smaller model of the kind, as its widths say: name that one"
    elif "pos_embed" in differ:
        wanted, given = (_side(shape) for shape in differ["pos_embed"])
        words = (
            f"it was trained at another resolution: {given} patches a side, the model has {wanted}; "
            "--image-size names the resolution"
        )
    elif any(key.endswith("relative_position_bias_table") for key in differ):
        words = "it was trained at another resolution or window: name the model of that size, or --image-size"
    elif any(key.endswith("patch_embed.proj.weight") for key in differ):
        words = "its patches are of another size or number of channels: name the model that has them"
    elif differ and all(map(_HEAD.search, differ)):
        words = "it has another number of classes; --num-classes sets the model's"
    elif fit.missing and fit.unexpected and fit.common == 0:
        words = "it is of another architecture, or in a layout that is not known: docs/builds.md lists those that are"
    else:
        words = ""
    return words


def _side(shape: tuple[int, ...]) -> int:
    """How many patches a side has, whatever tokens are in front of them."""
    return math.isqrt(shape[1]) if len(shape) == 3 else shape[1]


def _says(pattern: str) -> Callable[[str], bool]:
    return lambda names: re.search(pattern, names, re.MULTILINE) is not None


_SIGNS: tuple[tuple[Callable[[str], bool], str], ...] = (
    (
        _says(r"lora_[AB]|\.lora_|^base_model\.model\.|modules_to_save"),
        "it is a LoRA or another PEFT adapter, not the model: merge it (model.merge_and_unload()) and save the result",
    ),
    (
        _says(r"\.(SCB|qweight|qzeros|absmax|quant_map|_packed_params)$|\.quant_state\.|_packed_params\."),
        "its weights are quantised (bitsandbytes, GPTQ, torch.ao): give those from before, --precision int8 makes ours",
    ),
    (
        _says(r"exp_avg|momentum_buffer"),
        "it is the state of an optimizer: give the file with the model's weights",
    ),
    (
        _says(r"^(vit|deit|beit|swin|dinov2|resnet)\.(embeddings|embedder|encoder)\."),
        "its names are those of transformers: give the whole folder, whose config.json says what the model is",
    ),
    (
        _says(r"^decoder_(pos_)?(embed|blocks)|^decoder\.|^lm_head\."),
        "it is of a pretraining (MAE, BEiT, SimMIM) with a decoder and without a classifier: fine-tune it first",
    ),
    (
        _says(r"head\.(mlp|last_layer)\.|prototypes|projection_head|^predictor\."),
        "it is of a self-supervised training (DINO, SwAV, SimCLR), whose head projects and does not classify: "
        "train a classifier on it first",
    ),
    (
        _says(r"^visual\.|\.resblocks\.|^text_model\.|^vision_model\."),
        "it is a model of pictures and text (CLIP, SigLIP) without a classifier: train one on its picture encoder",
    ),
    (
        _says(r"image_encoder\.|mask_decoder|decode_head\.|roi_heads|^rpn\.|bbox_|^transformer\.decoder"),
        "it is a detector or segments pictures: entries are classifiers",
    ),
    (
        _says(r"^backbone\..*\n(.*\n)*head\.(fc|layers)"),
        "it is in the layout of mmpretrain, which is not read: convert it to timm's names",
    ),
    (
        _says(r"/kernel|\.kernel$|^params[/.]"),
        "its names are those of JAX or Keras: convert it to PyTorch",
    ),
)


def _few(items: "tuple[str, ...] | list[str]") -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
