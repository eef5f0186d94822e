"""The offline builder: a timm model name or a checkpoint in, a verified entry of a Triton model repository out.

The only home of torch, timm and onnx. Never imports `service`.
"""
