"""Parity: what the graph answers in ONNX Runtime against what the model answers in torch, on the same pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from build_engines.errors import InvalidOutputError, ParityError
from build_engines.graph.onnxruntime_session import open_graph
from build_engines.values import Graph, Pixels, Probabilities

TOLERANCE = 1e-4
"""Of a probability."""
LOG_TOLERANCE = 1e-2
"""Of the logarithm of a probability, above `_LIKELY`. An untrained model gives each of its classes nearly the same
probability, 0.001 of 1000, and only the logarithm tells its answers apart."""
_LIKELY = 1e-6
_TIE = 1e-5


@dataclass(frozen=True)
class Parity:
    """How far the graph's answers are from the model's."""

    batches: tuple[int, ...]
    max_abs_diff: float
    """Of a probability."""
    max_log_diff: float
    """Of the logarithm of a probability."""
    agreement: float
    """Share of pictures with the same top-1; below 1 only where the model itself is undecided."""

    @property
    def provenance(self) -> Mapping[str, str]:
        """What the provenance of the entry says about it."""
        return {
            "parity.max_abs_diff": f"{self.max_abs_diff:.1e}",
            "parity.max_log_diff": f"{self.max_log_diff:.1e}",
            "parity.batches": ",".join(str(batch) for batch in self.batches),
        }


def measure_parity(graph: Graph, reference: Callable[[Pixels], Probabilities], batches: Sequence[Pixels]) -> Parity:
    """Compare `graph` with `reference`, which answers as the model does, on each of `batches`.

    Raises:
        ParityError: ONNX Runtime cannot run the graph, or its answers differ by more than rounding.
    """
    try:
        session = open_graph(graph.path)
        pairs = [(reference(images), session.run(images)) for images in batches]
    except InvalidOutputError as error:
        raise ParityError(str(error)) from error
    return compare_answers(pairs)


def compare_answers(pairs: Sequence[tuple[Probabilities, Probabilities]]) -> Parity:
    """The parity of pairs of (the model's, the graph's) probabilities, a pair for each batch.

    Raises:
        ParityError: they differ by more than rounding, or are no probabilities at all.
    """
    for expected, got in pairs:
        if expected.shape != got.shape:
            raise ParityError(f"the model answers {expected.shape} at batch {len(expected)}, the graph {got.shape}")
        for side, rows in (("the model", expected), ("the graph", got)):
            if not np.isfinite(rows).all():
                raise ParityError(f"{side} answers NaN or infinity at batch {len(rows)}; look at the weights")
            if (rows < 0).any():
                raise ParityError(
                    f"{side} answers with numbers below 0 at batch {len(rows)}; they are no probabilities"
                )
    batches = tuple(len(expected) for expected, _ in pairs)
    wanted = np.concatenate([expected for expected, _ in pairs]).astype(np.float64)
    found = np.concatenate([got for _, got in pairs]).astype(np.float64)
    likely = wanted > _LIKELY
    logarithms = np.log(np.maximum(found[likely], 1e-30)) - np.log(wanted[likely])
    first, second = wanted.argmax(axis=1), found.argmax(axis=1)
    parity = Parity(
        batches=batches,
        max_abs_diff=float(np.abs(found - wanted).max()),
        max_log_diff=float(np.abs(logarithms).max(initial=0.0)),
        agreement=float((first == second).mean()),
    )
    each = np.arange(len(wanted))
    gap = float((wanted[each, first] - wanted[each, second]).max())
    if parity.max_abs_diff > TOLERANCE or parity.max_log_diff > LOG_TOLERANCE or gap > _TIE:
        raise ParityError(
            f"the graph does not answer as the model does: probabilities differ by up to {parity.max_abs_diff:.1e} "
            f"(allowed {TOLERANCE:.0e}), their logarithms by {parity.max_log_diff:.1e} (allowed {LOG_TOLERANCE:.0e}), "
            f"top-1 agrees on {parity.agreement:.1%}. The exporter or ONNX Runtime is wrong: try other versions of them"
        )
    return parity
