"""Graphs in OpenVINO on the CPU, in BF16, opened as the embedded server opens them. Judges no answer."""

# ruff: noqa: PLC0415 (OpenVINO is an extra)

from pathlib import Path
from typing import Any

import numpy as np

from build_engines.errors import PrecisionError, first_line
from build_engines.values import Pixels, Probabilities
from contract.config import INPUT, OUTPUT
from contract.cpus import available_cpus
from contract.openvino import multiplies_bf16, openvino_properties


class OpenVinoSession:
    """A graph in OpenVINO; see `Session`."""

    def __init__(self, compiled: Any, runtime: str) -> None:
        self.runtime = runtime
        """What runs it, in words for a report."""
        self._compiled = compiled

    def run(self, images: Pixels) -> Probabilities:
        """See `Session.run`."""
        rows: Probabilities = np.asarray(self._compiled({INPUT: images})[OUTPUT])
        return rows


def open_bf16(path: Path) -> OpenVinoSession:
    """The FP32 graph at `path`, multiplied in BF16 by as many threads as there are CPUs.

    Raises:
        PrecisionError: OpenVINO is not installed or cannot compile the graph, or the CPU does not multiply in BF16.
    """
    if not multiplies_bf16():
        raise PrecisionError("this CPU does not multiply in BF16 (it has neither AVX-512 BF16 nor AMX); leave bf16 out")
    try:
        import openvino
    except ImportError as error:
        raise PrecisionError(
            "bf16 is computed by OpenVINO: pip install 'vitrine[openvino]', or leave bf16 out"
        ) from error
    threads = available_cpus()
    try:
        compiled = openvino.Core().compile_model(str(path), "CPU", openvino_properties(threads, bf16=True))
    except RuntimeError as error:
        raise PrecisionError(f"OpenVINO cannot compile the graph: {first_line(error)}") from error
    version = openvino.__version__.partition("-")[0]
    return OpenVinoSession(compiled, f"OpenVINO {version} in BF16, {threads} CPU thread{'s' if threads > 1 else ''}")
