"""Attention rollout inside a graph: how much of each patch reaches what the head reads.

Abnar & Zuidema, "Quantifying Attention Flow in Transformers", 2020, 3.1 (attention rollout): a layer hands on half of
what its attention mixes and half of what was there, and what the layers hand on is multiplied up. Heads are averaged
there; taking their maximum or minimum, and leaving out the weakest attention, come from Gildenblat, "Exploring
Explainability for Vision Transformers", 2020.
"""

# ruff: noqa: PLC0415 (torch takes seconds to import; `build-engines --help` does not wait for it)

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from build_engines.errors import InvalidOutputError, ParityError
from build_engines.graph.exporter import check_contract, export_module, normalising
from build_engines.graph.onnxruntime_session import open_graph
from build_engines.graph.parity import Parity, compare_answers
from build_engines.values import Attentive, Graph, Pixels, Probabilities
from contract.config import ATTENTION, OUTPUT, ROLLOUT
from contract.spec import Fusion

if TYPE_CHECKING:
    import torch
    from torch import nn

TOLERANCE = 1e-5
"""Of a share of the attention."""
DISCARD_TOLERANCE = 1e-3
"""The same where some is left out: rounding decides of what is just as weak whether it is."""


def export_rollout(source: Attentive, discard: float, folder: Path) -> Graph:
    """Write the graph of a companion into `folder`: probabilities, rollout, and attention by layer and head.

    Raises:
        ExportError: torch cannot export it, or what it exported breaks the contract.
    """
    graph = export_module(rollout_module(source, discard), source.preprocessing, tuple(_outputs(source)), folder)
    check_contract(graph, source.preprocessing, _outputs(source))
    return graph


def rollout_module(source: Attentive, discard: float) -> "nn.Module":
    """The model with the contract's ends: uint8 `[batch, height, width, 3]` in, a companion's three outputs out.

    Of the attention only what the head reads is given: `[batch, layers, heads, rows, columns]`. `discard` is the share
    of each layer's fused attention that is set to 0, the weakest, together with what is as weak as the strongest of it.
    """
    import torch
    from torch import nn

    class Rollout(nn.Module):
        readout: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.normalise = normalising(source.mean, source.std)
            self.model = source.model
            self.register_buffer("readout", torch.tensor(source.readout))

        def forward(self, image: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
            logits, attention = self.model(self.normalise(image))
            product: torch.Tensor | None = None
            for layer in attention:
                handed = handed_on(fused(layer), discard)
                product = handed if product is None else handed @ product
            assert product is not None  # noqa: S101 (a transformer has layers)
            looked = torch.stack([self._read(layer) for layer in attention], dim=1)
            return torch.softmax(logits, dim=-1), self._read(product), looked

        def _read(self, matrices: "torch.Tensor") -> "torch.Tensor":
            """`[..., tokens, tokens]` to how much of each patch the head reads, `[..., rows, columns]`."""
            patches: torch.Tensor = (self.readout @ matrices)[..., -source.rows * source.columns :]
            return patches.reshape(*patches.shape[:-1], source.rows, source.columns)

    return Rollout().eval()


def measure_rollout(
    graph: Graph,
    source: Attentive,
    discard: float,
    batches: Sequence[Pixels],
    reference: Callable[[Pixels], Probabilities] | None = None,
) -> tuple[Parity, float]:
    """How far a companion's graph is from torch on each of `batches`: its probabilities, and the largest difference of
    its maps.

    `reference` answers as the model that is explained; without one, the probabilities are compared with those of the
    part of it that is explained.

    Raises:
        ParityError: they differ by more than rounding, or ONNX Runtime cannot run the graph.
    """
    import torch

    module, pairs, furthest = rollout_module(source, discard), [], 0.0
    try:
        session = open_graph(graph.path)
        for images in batches:
            found, *maps = session.outputs(images, OUTPUT, ROLLOUT, ATTENTION)
            with torch.inference_mode():
                expected, *wanted = (each.numpy() for each in module(torch.from_numpy(images)))
            pairs.append((reference(images) if reference else expected, found))
            furthest = max(furthest, *(float(np.abs(a - b).max()) for a, b in zip(maps, wanted, strict=True)))
    except InvalidOutputError as error:
        raise ParityError(str(error)) from error
    allowed = DISCARD_TOLERANCE if discard else TOLERANCE
    if not furthest <= allowed:
        raise ParityError(
            f"the rollout of the graph differs from torch's by up to {furthest:.1e} (allowed {allowed:.0e}). The "
            "exporter or ONNX Runtime is wrong: try other versions of them"
        )
    return compare_answers(pairs), furthest


def fused(attention: "torch.Tensor") -> "torch.Tensor":
    """`[batch, heads, tokens, tokens]` to one matrix for each `Fusion`, in its order: `[batch, 3, tokens, tokens]`."""
    import torch

    how = {
        Fusion.MEAN: attention.mean(dim=1),
        Fusion.MAX: attention.amax(dim=1),
        Fusion.MIN: attention.amin(dim=1),
    }
    return torch.stack([how[fusion] for fusion in Fusion], dim=1)


def handed_on(matrices: "torch.Tensor", discard: float) -> "torch.Tensor":
    """What a layer hands on: half its attention and half of what was there, each row summing to 1."""
    import torch

    tokens = matrices.shape[-1]
    if count := int(discard * tokens * tokens):
        weakest = matrices.flatten(-2).topk(count, dim=-1, largest=False).values.amax(dim=-1)
        matrices = torch.where(matrices <= weakest[..., None, None], 0.0, matrices)
    mixed = 0.5 * matrices + 0.5 * torch.eye(tokens)
    return mixed / mixed.sum(dim=-1, keepdim=True)


def _outputs(source: Attentive) -> Mapping[str, Sequence[int]]:
    """The dims of each output, without the batch."""
    grid = (source.rows, source.columns)
    return {
        OUTPUT: (source.classes,),
        ROLLOUT: (len(Fusion), *grid),
        ATTENTION: (source.layers, source.heads, *grid),
    }
