"""How OpenVINO runs an entry in BF16: said once, for the builder that judges it and the server that serves it."""

import re
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_INSTRUCTIONS = re.compile(r"^flags\s*:.*\b(avx512_bf16|amx_bf16)\b", re.MULTILINE)


def multiplies_bf16(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether this machine's CPU multiplies in BF16: Intel's from Cooper Lake and Sapphire Rapids, AMD's from Zen 4."""
    try:
        return _INSTRUCTIONS.search(cpuinfo.read_text(encoding="utf-8")) is not None
    except OSError:
        return False


def openvino_properties(threads: int, *, bf16: bool) -> dict[str, str | int | bool]:
    """What a model is compiled with (OpenVINO, "CPU Device"): one run at a time, by `threads` threads.

    `bf16` is for a CPU that multiplies in it (`multiplies_bf16`); elsewhere FP32 is asked for.
    """
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        # The gateway and other instances use the same CPUs.
        "ENABLE_CPU_PINNING": False,
    }
