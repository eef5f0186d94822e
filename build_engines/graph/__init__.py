"""ONNX graphs: exported, compared with torch, at lower precision, and run by ONNX Runtime."""
