"""Whether a session answers the same at every batch size, by a CUDA graph and without one.

Triton replays a graph at exactly the sizes that it was captured at, so what was compared in one large batch says
nothing of a single picture.
"""

import numpy as np

from build_engines.errors import InvalidOutputError
from build_engines.values import DeviceSession, Pixels, Probabilities, check_probabilities
from contract.config import checked_sizes

SIZE_TOLERANCE = 0.01
"""Of a probability: FP16 and TF32 round in another order at each size, a wrong answer is further off."""


def check_sizes(session: DeviceSession, images: Pixels, wanted: Probabilities) -> None:
    """Demand that `session` answers the first of `images` at `checked_sizes`, in turn, as `wanted` says.

    Args:
        session: its graphs are captured.
        images: `[largest, height, width, 3]`.
        wanted: `[largest, classes]`, answered in one batch before any graph was captured.

    Raises:
        InvalidOutputError: at one size it does not; the message names the size.
    """
    for turn, size in enumerate(checked_sizes(len(images)), start=1):
        rows = session.run(images[:size])
        check_probabilities(session.runtime, rows)
        difference = float(np.abs(rows.astype(np.float64) - wanted[:size]).max(initial=0.0))
        if difference > SIZE_TOLERANCE:
            by = "by a CUDA graph" if size in session.graphs else "without a CUDA graph"
            raise InvalidOutputError(
                f"{session.runtime} answers otherwise in a batch of {size}, {by} (comparison {turn}): probabilities "
                f"differ by up to {difference:.1e} from its first answers, {SIZE_TOLERANCE:.0e} is allowed. Triton "
                "would serve these answers: report the fault to NVIDIA, and build with another release of TensorRT"
            )
