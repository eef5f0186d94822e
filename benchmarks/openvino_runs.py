"""A graph in OpenVINO as the benchmarks of several runtimes have it, and why it cannot run here."""

# ruff: noqa: PLC0415 (OpenVINO is an extra)

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.cpus import available_cpus
from contract.openvino import multiplies_bf16, openvino_properties


def open_in_openvino(path: Path, *, bf16: bool = False) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
    """What runs the graph at `path`: uint8 `[n, height, width, 3]` to float32 `[n, classes]`."""
    import openvino

    properties = openvino_properties(available_cpus(), bf16=bf16)
    compiled: Any = openvino.Core().compile_model(str(path), "CPU", properties)
    return lambda images: np.asarray(compiled(images)[0])


def no_openvino() -> str:
    """Why OpenVINO cannot run; empty where it can."""
    return "" if find_spec("openvino") else "it is not installed (pip install 'vitrine[openvino]')"


def no_bf16() -> str:
    """Why this CPU does not multiply in BF16; empty where it does."""
    return "" if multiplies_bf16() else "this CPU does not multiply in BF16"
