"""Which learning rate and weight decay each parameter gets: timm's groups, looked at and checked.

Layer-wise decay is that of BEiT (Bao et al. 2021) as timm carries it out: depth by the model's own `group_matcher`,
so that a block of a ViT, of a Swin stage or of a ConvNet is one step of depth.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from timm.models import group_parameters
from timm.optim import create_optimizer_v2
from torch import nn

from training.errors import RecipeError


@dataclass(frozen=True)
class Group:
    """Parameters that are treated alike."""

    depth: int
    """Layers between this one and the head, which has 0."""
    scale: float
    """By which the learning rate is multiplied."""
    weight_decay: float
    names: tuple[str, ...]
    parameters: int


def make_optimizer(
    model: nn.Module, learning_rate: float, weight_decay: float, layer_decay: float
) -> torch.optim.Optimizer:
    """AdamW over all that requires gradients; timm's schedulers apply each group's `lr_scale`.

    Raises:
        RecipeError: the model has no layers to tell apart.
    """
    layered = layer_decay < 1
    if layered and len(set(depths(model).values())) < 2:
        raise RecipeError(f"{type(model).__name__} has no layers that timm tells apart; give --layer-decay 1")
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        model,
        opt="adamw",
        lr=learning_rate,
        weight_decay=weight_decay,
        layer_decay=layer_decay if layered else None,
    )
    check(model, optimizer)
    return optimizer


def check(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Demand that every parameter that is trained is in exactly one group.

    Raises:
        RecipeError: one is in none or in several.
    """
    counts = Counter(id(parameter) for group in optimizer.param_groups for parameter in group["params"])
    for name, parameter in model.named_parameters():
        if counts[id(parameter)] != int(parameter.requires_grad):
            raise RecipeError(
                f"{name} is in {counts[id(parameter)]} parameter groups, not in one; give --layer-decay 1"
            )


def depths(model: nn.Module, *, coarse: bool = False) -> dict[str, int]:
    """The layer of each parameter by timm's `group_matcher`, from the stem, 0, to the head.

    Coarse counts stages where the model has them.
    """
    if not hasattr(model, "group_matcher"):
        return dict.fromkeys((name for name, _ in model.named_parameters()), 0)
    layers: dict[str, int] = group_parameters(model, model.group_matcher(coarse=coarse), reverse=True)  # type: ignore[operator]
    return layers


def freeze(model: nn.Module, blocks: int) -> tuple[str, ...]:
    """Keep the stem and the first `blocks` blocks as they are; gives the names of the parameters.

    Raises:
        RecipeError: that would leave only the head, or there are no blocks.
    """
    if not blocks:
        return ()
    layers = depths(model)
    most = max(layers.values()) - 1
    if blocks > most:
        raise RecipeError(f"--freeze {blocks}: the model has {most} blocks; to keep all of them, give --head-only")
    frozen = tuple(name for name, layer in layers.items() if layer <= blocks)
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    return frozen


def hold_still(model: nn.Module, frozen: tuple[str, ...]) -> None:
    """Put the batch normalisation of frozen parameters in evaluation mode, so that it keeps its statistics."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and f"{name}.weight" in frozen:
            module.eval()


def groups(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Group]:
    """The groups of `optimizer`, from the head to the stem."""
    layers = depths(model)
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    top = max(layers.values())
    found = []
    for group in optimizer.param_groups:
        names = tuple(name_of[id(parameter)] for parameter in group["params"])
        depth = min(top - layers[name] for name in names)
        count = sum(parameter.numel() for parameter in group["params"])
        found.append(Group(depth, float(group.get("lr_scale", 1.0)), float(group["weight_decay"]), names, count))
    return sorted(found, key=lambda group: (group.depth, -group.weight_decay))


def group_lines(found: list[Group]) -> Iterator[str]:
    """A table of groups, for people."""
    yield f"{'depth':>5}  {'lr x':>8}  {'decay':>6}  {'tensors':>7}  {'parameters':>10}  first"
    for group in found:
        first: Any = group.names[0]
        yield (
            f"{group.depth:>5}  {group.scale:>8.5f}  {group.weight_decay:>6g}  {len(group.names):>7}  "
            f"{group.parameters:>10,}  {first}"
        )
