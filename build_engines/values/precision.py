"""The precisions, and what compiles them."""

from enum import Enum

STAMP = "engine."
"""What the keys of an engine's stamp start with, in the provenance and behind `build.` in a configuration."""


class Precision(str, Enum):
    """The number format that the heavy layers of a variant compute in."""

    FP32 = "fp32"
    BF16 = "bf16"
    """On a CPU that multiplies in it, by OpenVINO; the graph is that of FP32."""
    FP16 = "fp16"
    INT8 = "int8"
    FP8 = "fp8"

    @property
    def higher(self) -> "tuple[Precision, ...]":
        """The precisions above this one, the next higher first."""
        return {
            Precision.FP32: (),
            Precision.BF16: (Precision.FP32,),
            Precision.FP16: (Precision.FP32,),
            Precision.INT8: (Precision.FP16, Precision.FP32),
            Precision.FP8: (Precision.FP16, Precision.FP32),
        }[self]

    @property
    def calibrated(self) -> bool:
        """Whether its graph follows from what the model computes of pictures."""
        return self in (Precision.FP16, Precision.INT8, Precision.FP8)


class Compiler(str, Enum):
    """What turns a variant's graph into what is served."""

    NONE = "none"
    """Nothing: the graph itself is served, by ONNX Runtime on a CPU."""
    TENSORRT = "tensorrt"
    """TensorRT, for NVIDIA's Triton on a GPU of the kind that the engine is built on."""
    RTX = "rtx"
    """TensorRT for RTX, which compiles without a GPU. Triton has no backend for its engines."""
