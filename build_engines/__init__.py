"""The offline builder: a timm model name or a checkpoint in, a verified entry of a Triton model repository out.

The only home of torch, timm and onnx. Never imports `service`.
"""

import os

# ONNX Runtime otherwise tells Microsoft of every graph that it opens: its name, its producer, hashes of its weights. It
# reads this as it is loaded, by whichever library loads it first (its Privacy.md, "Disabling Telemetry").
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
