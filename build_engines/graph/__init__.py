"""ONNX graphs: exported, compared with torch, brought to lower precision, and run by ONNX Runtime or OpenVINO."""

from build_engines.graph.conversion import Recipe, convert
from build_engines.graph.exported import Exported, Facts, load_exported, save_facts
from build_engines.graph.exporter import OPSET, check_contract, export_graph
from build_engines.graph.onnxruntime_session import OnnxRuntimeSession, open_as_compiled, open_graph
from build_engines.graph.openvino_session import OpenVinoSession, open_bf16
from build_engines.graph.packing import WeightType, pack_weights, store_weights
from build_engines.graph.parity import Parity, measure_parity
from build_engines.graph.qdq import has_attention
from build_engines.graph.rollout import export_rollout, measure_rollout
from build_engines.graph.sensitivity import keep_blocks
