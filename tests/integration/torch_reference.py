"""Print what a seeded timm model says of a picture, as JSON, by timm's own transform: `NAME PICTURE`.

Run by test_built_entries.py in the builder's environment. Shares no code with the builder but the seed.
"""

import json
import sys

import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

torch.manual_seed(0)
model = timm.create_model(sys.argv[1], pretrained=False).eval()
transform = create_transform(**resolve_model_data_config(model), is_training=False)
with torch.inference_mode():
    logits = model(transform(Image.open(sys.argv[2]).convert("RGB"))[None])
sys.stdout.write(json.dumps(logits.softmax(1)[0].tolist()))
