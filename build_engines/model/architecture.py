"""A model of timm's by its name and the arguments that a checkpoint asks for, made with as many classes as it has."""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from build_engines.errors import UnknownModelError
from build_engines.model.creation import create_model

if TYPE_CHECKING:
    from torch import Tensor, nn

SEED = 0
"""Of random weights, so that builds repeat."""


@dataclass(frozen=True)
class Architecture:
    """What `create` makes."""

    name: str
    """timm's, with or without a tag."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Plain values for timm's model, where they are not its own: `norm_eps`, `block` and `mlp_layer` are named here."""
    image_size: int | None = None
    """What it shall see, where that is not what its name says."""
    head_layers: int = 0
    """How many of the last layers' class tokens a linear head sees beside the mean of the patches (DINOv2)."""

    def create(self, classes: int, seed: int = SEED) -> "nn.Module":
        """The model with random weights.

        Raises:
            UnsupportedModelError: it cannot be made for the image size.
            TypeError, ValueError, RuntimeError, AssertionError: timm makes no model of the arguments.
        """
        import torch

        torch.manual_seed(seed)
        arguments = {**_made(self.arguments), "num_classes": 0 if self.head_layers else classes}
        model = create_model(self.name, self.image_size, **arguments)
        return _with_linear_head(model, self.head_layers, classes) if self.head_layers else model

    def variants(self, tensors: Mapping[str, "Tensor"]) -> "list[Architecture]":
        """This, and what a checkpoint's own layers say where they are others than the name's."""
        found = [self]
        if "fc_norm.weight" in tensors and "norm.weight" not in tensors and "cls_token" in tensors:
            # MAE's fine-tuning: the mean of the patches, normalised after it (models_vit.py, global_pool).
            found.append(replace(self, arguments={**self.arguments, "global_pool": "avg"}))
        token, head = tensors.get("backbone.cls_token"), tensors.get("linear_head.weight")
        if token is not None and head is not None and head.shape[-1] % token.shape[-1] == 0:
            # The linear classifiers of DINOv2's hub (dinov2/hub/classifiers.py).
            found.append(replace(self, head_layers=head.shape[-1] // token.shape[-1] - 1))
        return found

    @property
    def classifier(self) -> Sequence[str]:
        """The names of the layers that give the logits, where timm says which they are."""
        import timm

        if self.head_layers:
            return ("head",)
        cfg = timm.get_pretrained_cfg(self.name)
        layers = cfg.classifier if cfg else None
        return (layers,) if isinstance(layers, str) else tuple(layers or ())

    @property
    def words(self) -> str:
        """The arguments, for the provenance."""
        said = [f"{key}={value}" for key, value in self.arguments.items()]
        if self.head_layers:
            said.append(f"linear head over the last {self.head_layers} layers")
        return ", ".join(said)


def _made(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as timm takes them."""
    from timm.layers import SwiGLUPacked
    from timm.models.resnet import BasicBlock, Bottleneck
    from torch import nn

    made = dict(arguments)
    if "norm_eps" in made:
        made["norm_layer"] = partial(nn.LayerNorm, eps=made.pop("norm_eps"))
    blocks = {"basic": BasicBlock, "bottleneck": Bottleneck, "swiglu": SwiGLUPacked}
    return {key: blocks.get(value, value) if isinstance(value, str) else value for key, value in made.items()}


def _with_linear_head(encoder: "nn.Module", layers: int, classes: int) -> "nn.Module":
    import torch

    class LinearHead(torch.nn.Module):
        """The class tokens of the last layers and the mean of the last one's patches, and a linear layer over them."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.pretrained_cfg = encoder.pretrained_cfg
            width = int(encoder.num_features)  # type: ignore[arg-type]
            self.head = torch.nn.Linear(width * (layers + 1), classes)

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            """Logits `[batch, classes]` of normalised pictures `[batch, 3, height, width]`."""
            outputs = self.encoder.get_intermediate_layers(  # type: ignore[operator]
                pictures, n=layers, return_prefix_tokens=True, norm=True
            )
            tokens = [prefix[:, 0] for _, prefix in outputs]
            logits: torch.Tensor = self.head(torch.cat([*tokens, outputs[-1][0].mean(dim=1)], dim=1))
            return logits

    return LinearHead()


def current_name(name: str) -> str:
    """The name by which timm knows the model today, where `name` is one that it gave up.

    Raises:
        UnknownModelError: timm knows no such model, or no such tag of it.
    """
    import timm
    from timm.models._registry import get_deprecated_models

    name = get_deprecated_models().get(name) or name
    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        close = difflib.get_close_matches(architecture, known, n=3, cutoff=0.5)
        hint = f"the closest are {', '.join(close)}" if close else "timm.list_models() names all"
        raise UnknownModelError(f"timm {timm.__version__} knows no model {architecture!r}; {hint}")
    tags = [full.partition(".")[2] for full in timm.list_models(f"{architecture}.*", include_tags=True)]
    if tag and tag not in tags:
        raise UnknownModelError(
            f"timm knows {architecture}, but no tag {tag!r} of it; it has {', '.join(filter(None, tags))}"
        )
    return name
