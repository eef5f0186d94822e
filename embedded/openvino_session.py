"""A graph in OpenVINO with the face of ONNX Runtime's session, for the backend of that name.

Triton's backend for ONNX Runtime takes OpenVINO as an execution accelerator. NVIDIA's gives it no precision, and
computes in FP32; this one multiplies in BF16 where the entry says so and the CPU does.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import openvino

from contract.openvino import multiplies_bf16, openvino_properties

_KINDS = {"float32": "float", "float64": "double"}
"""ONNX Runtime's words where they are not numpy's."""


class Port(NamedTuple):
    """An input or output, as `onnxruntime.NodeArg` describes it."""

    name: str
    type: str
    shape: list[int | None]
    """None for an edge of any length."""


class OpenVinoSession:
    """The graph at `path`, run by `threads` threads, in BF16 where the CPU multiplies in it, else in FP32."""

    def __init__(self, path: Path, threads: int) -> None:
        properties = openvino_properties(threads, bf16=multiplies_bf16())
        self._compiled = openvino.Core().compile_model(str(path), "CPU", properties)

    def get_inputs(self) -> list[Port]:
        """As `onnxruntime.InferenceSession.get_inputs`."""
        return [_port(port) for port in self._compiled.inputs]

    def get_outputs(self) -> list[Port]:
        """As `onnxruntime.InferenceSession.get_outputs`."""
        return [_port(port) for port in self._compiled.outputs]

    def run(self, names: Sequence[str], feed: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """As `onnxruntime.InferenceSession.run`."""
        answers = self._compiled(dict(feed))
        return [np.asarray(answers[name]) for name in names]


def _port(port: Any) -> Port:
    kind = str(np.dtype(port.get_element_type().to_dtype()))
    edges = [None if edge.is_dynamic else edge.get_length() for edge in port.get_partial_shape()]
    return Port(port.get_any_name(), f"tensor({_KINDS.get(kind, kind)})", edges)
