"""A timm Vision Transformer that says its attention: computed unfused, and taken where timm drops some in training."""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

import copy
from typing import TYPE_CHECKING, Any

from build_engines.errors import RolloutUndefinedError, first_line
from build_engines.values import Attentive, Classifier

if TYPE_CHECKING:
    import torch
    from torch import nn

_SUM_TOLERANCE = 1e-3
"""Of a row of attention, in FP32."""


def attentive(name: str, classifier: Classifier) -> Attentive:
    """The model of `classifier`, timm's `name`, with its attention. `classifier` stays as it is.

    Raises:
        RolloutUndefinedError: attention rollout has no meaning for this architecture; the message says why.
    """
    from timm.models.vision_transformer import VisionTransformer

    model: Any = classifier.model
    if not isinstance(model, VisionTransformer):
        raise _undefined(
            name,
            f"it is a {type(model).__name__}, and rollout follows timm's VisionTransformer (ViT, DeiT), in which each "
            "layer's attention is between the same tokens from the patches to the answer",
        )
    rows, columns = (int(edge) for edge in model.patch_embed.grid_size)
    readout = _readout(name, model, rows * columns)
    kinds = {type(module) for module in model.modules() if hasattr(module, "fused_attn")} - set(_plain_attention())
    if kinds:
        raise _undefined(name, f"its attention is of another kind ({', '.join(kind.__name__ for kind in kinds)})")
    watched = _watched(model)
    heads = _heads(name, watched, classifier, len(readout), len(model.blocks))
    return Attentive(
        model=watched,
        preprocessing=classifier.preprocessing,
        mean=classifier.mean,
        std=classifier.std,
        classes=classifier.classes,
        layers=len(model.blocks),
        heads=heads,
        rows=rows,
        columns=columns,
        readout=readout,
        view=_besides(model),
    )


def _readout(name: str, model: Any, patches: int) -> tuple[float, ...]:
    """The share of each token in what the head reads: class, distillation and register tokens first, then patches."""
    prefix = int(model.num_prefix_tokens)
    tokens = prefix + patches
    if model.attn_pool is not None:
        raise _undefined(name, "its head reads the tokens by an attention of its own (map pooling)")
    if model.global_pool == "token":
        # DeiT's two heads, of the class and of the distillation token, are averaged (Touvron et al., 2021, 3).
        read = range(2 if hasattr(model, "head_dist") else 1)
    elif model.global_pool == "avg":
        read = range(0 if model.pool_include_prefix else prefix, tokens)
    else:
        raise _undefined(
            name, f"its head pools by {model.global_pool or 'nothing'!r}: which tokens it reads depends on the picture"
        )
    return tuple(1 / len(read) if token in read else 0.0 for token in range(tokens))


def _plain_attention() -> "tuple[type[nn.Module], ...]":
    """Timm's modules whose attention is what its tokens are mixed by, and nothing besides."""
    from timm.layers import Attention
    from timm.models.vision_transformer import ParallelScalingBlock

    return Attention, ParallelScalingBlock


def _watched(model: Any) -> "nn.Module":
    """A copy of `model` whose `forward` gives logits and the attention of each layer."""
    from torch import nn

    # Not an attribute of the modules: torch.export puts those back as they were, each a copy.
    seen: list[torch.Tensor] = []

    class Tap(nn.Module):
        """In the place of the dropout that timm applies to attention, which does nothing in evaluation mode."""

        def forward(self, attention: "torch.Tensor") -> "torch.Tensor":
            seen.append(attention)
            return attention

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = copy.deepcopy(model)
            for module in self.model.modules():
                if hasattr(module, "fused_attn"):
                    module.fused_attn = False
                    module.attn_drop = Tap()

        def forward(self, pictures: "torch.Tensor") -> "tuple[torch.Tensor, tuple[torch.Tensor, ...]]":
            seen.clear()
            # Not `self.model(pictures)`: an architecture may ask several views of a picture at once in its own forward.
            logits: torch.Tensor = self.model.forward_head(self.model.forward_features(pictures))
            attention = tuple(seen)
            seen.clear()
            return logits, attention

    return Watched().eval()


def _heads(name: str, watched: "nn.Module", classifier: Classifier, tokens: int, layers: int) -> int:
    """How many heads each layer has, found by looking at one picture."""
    import torch

    size = classifier.preprocessing
    with torch.inference_mode():
        try:
            _, attention = watched(torch.zeros(2, 3, size.height, size.width))
        except (RuntimeError, TypeError, ValueError, AssertionError, AttributeError) as error:
            raise _undefined(name, f"it cannot be run with unfused attention ({first_line(error)})") from error
    shapes = {tuple(each.shape) for each in attention}
    heads = next(iter(shapes))[1] if shapes else 0
    if len(attention) != layers or shapes != {(2, heads, tokens, tokens)}:
        raise _undefined(
            name,
            f"its {layers} blocks show {len(attention)} attention matrices of shapes {sorted(shapes)}, not one of all "
            f"{tokens} tokens each",
        )
    if any(float((each.sum(-1) - 1).abs().max()) > _SUM_TOLERANCE for each in attention):
        raise _undefined(name, "its attention is no share: the rows do not sum to 1")
    return heads


def _besides(model: Any) -> str:
    """What an architecture of someone's own does around the transformer in its own `forward`."""
    from timm.models.vision_transformer import VisionTransformer

    owner = next(base for base in type(model).__mro__ if "forward" in base.__dict__)
    return "" if owner is VisionTransformer else f"{owner.__module__}.{owner.__qualname__}.forward"


def _undefined(name: str, why: str) -> RolloutUndefinedError:
    return RolloutUndefinedError(
        f"attention rollout is not defined for {name}: {why}. Build it without --explain; the gateway explains it by "
        "occlusion"
    )
