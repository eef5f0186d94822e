"""Engines: compiled by TensorRT or TensorRT for RTX, and run on a GPU."""
