"""The gateway: pictures in over HTTP, classes out, Triton behind. Never imports torch, onnx or build_engines."""
