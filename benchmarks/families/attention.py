"""What attention written out takes in memory, beside what a fused kernel takes: one layer of ViT-B, in this process.

python -m benchmarks.families.attention fused
"""

import json
import sys

import torch
from timm.layers import Attention, set_fused_attn

from benchmarks.families.counts import attention_bytes, tokens_of
from benchmarks.runtimes.timed import peak_from_now, resident_mb

BATCH, EDGE, PATCH, HEADS, WIDTH = 32, 512, 16, 12, 768


def main() -> int:
    """Print the peak in MB above what was there before the layer ran."""
    set_fused_attn(sys.argv[1] == "fused")
    layer = Attention(WIDTH, num_heads=HEADS, qkv_bias=True).eval()
    tokens = torch.rand(BATCH, tokens_of(EDGE, PATCH), WIDTH)
    with torch.inference_mode():
        layer(tokens[:1])  # What the first run leaves behind is not attention's.
        before = resident_mb(peak=False)
        peak_from_now()
        layer(tokens)
    computed = attention_bytes(BATCH, HEADS, tokens_of(EDGE, PATCH)) / 1e6
    print(json.dumps({"peak_mb": resident_mb(peak=True) - before, "matrix_mb": computed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
