"""How many pictures a calibration shows to a graph at once."""

# ruff: noqa: PLC0415 (onnx takes a second to import; `build-engines --help` does not wait for it)

import math

_BATCH = 8
_BATCH_BYTES = 4 * 2**30
"""Of all activations of one batch, not all of which are there at a time."""


def batch_size(source: str) -> int:
    """Pictures in a batch for the graph in the file `source`."""
    return max(1, min(_BATCH, _BATCH_BYTES // activation_bytes(source)))


def activation_bytes(source: str) -> int:
    """Bytes of all tensors that the graph computes for one picture."""
    import onnx

    proto = onnx.load(source, load_external_data=False)
    for tensor in proto.graph.initializer:
        if len(tensor.raw_data) > 1024:
            tensor.ClearField("raw_data")  # Shapes follow from small tensors; the large ones would be copied.
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    made = {output for node in proto.graph.node for output in node.output}
    shapes = [value.type.tensor_type.shape.dim for value in inferred.graph.value_info if value.name in made]
    return sum((4 * math.prod(max(1, int(dim.dim_value)) for dim in shape) for shape in shapes), 1)
