"""What the output of each step says: whether it is as expected, and in what words. Parses text, runs nothing."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

DRIVER = 580
"""The first branch of NVIDIA's driver for CUDA 13, which the pinned containers have."""
_CAPTURED = re.compile(r"captured CUDA graph for (\S+)")
_UNCAPTURED = re.compile(
    r"(?:unable to (?:start|record|finish|instantiate) CUDA graph for"
    r"|Failed to set cuda graph shape for"
    r"|Detected shape tensor, CUDA graph is not captured for).*"
)
"""What Triton's TensorRT backend logs (its src/instance_state.cc), at verbosity 1 and as errors or warnings."""
_COUNTS = re.compile(r"(\d+) (passed|failed|skipped|error)")
_FUSED = re.compile(r"mha|fmha|attention", re.IGNORECASE)
_EIGHT_BITS = re.compile(r"(?<![a-z])(?:int8|fp8|i8i8|e4m3)", re.IGNORECASE)


@dataclass(frozen=True)
class Verdict:
    """What came of a step."""

    ok: bool
    words: str


Judge = Callable[[int, str], Verdict]
"""Of an exit code and all that was printed."""


def driver(code: int, output: str) -> Verdict:
    """`nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader`."""
    lines = [line for line in output.splitlines() if line.count(",") == 2]
    if code or not lines:
        return Verdict(False, "the driver shows no GPU")
    name, version, memory = (word.strip() for word in lines[0].split(","))
    branch = int(version.partition(".")[0] or 0) if version.partition(".")[0].isdecimal() else 0
    words = f"{len(lines)} x {name}, {memory}, driver {version}"
    return Verdict(branch >= DRIVER, words if branch >= DRIVER else f"{words}: older than R{DRIVER}")


def doctor(code: int, output: str) -> Verdict:
    """`build-engines doctor`."""
    line = next((line for line in output.splitlines() if re.match(r"(yes|no)?\s+TensorRT\s{2}", line)), "")
    return Verdict(code == 0 and line.startswith("yes"), " ".join(line.split()) or "it says nothing of TensorRT")


def tests(code: int, output: str) -> Verdict:
    """Pytest over tests/gpu."""
    counts = {word: int(count) for count, word in _COUNTS.findall(output.rpartition("\n=")[2] or output)}
    words = ", ".join(f"{count} {word}" for word, count in counts.items()) or "no test ran"
    return Verdict(code == 0 and counts.get("passed", 0) > 0 and not counts.get("skipped"), words)


def build(code: int, output: str) -> Verdict:
    """`build-engines build`: 3 is its code where the gate refused a variant, which is an answer as well."""
    said = [line.strip() for line in output.splitlines() if re.search(r"published as|refused|failed|error:", line)]
    return Verdict(code in (0, 3), "; ".join(said) or f"it ended with {code}")


def captures(_: int, output: str) -> Verdict:
    """Triton's log at verbosity 1."""
    failed = [match.group(0).strip() for match in _UNCAPTURED.finditer(output)]
    captured = len(_CAPTURED.findall(output))
    words = f"{captured} CUDA graphs were captured"
    if failed:
        words += f", and {len(failed)} were not: {failed[0]}"
    return Verdict(captured > 0 and not failed, words)


def tuning(code: int, output: str) -> Verdict:
    """`build-engines tune --dry-run`."""
    rows = sum(line.startswith("│") for line in output.splitlines())
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "")
    return Verdict(code == 0 and rows > 0, f"{rows} schedulings measured; {last}")


def layers(precision: str) -> Judge:
    """The layers of an engine: its attention is fused and, of an 8-bit engine, its products have 8 bits."""

    def judge(code: int, output: str) -> Verdict:
        found = list(_layers(output))
        fused = sum(bool(_FUSED.search(layer)) for layer in found)
        eight = sum(bool(_EIGHT_BITS.search(layer)) for layer in found)
        words = f"{len(found)} layers, {fused} of fused attention, {eight} with 8 bits"
        return Verdict(code == 0 and fused > 0 and (eight > 0 or precision not in ("int8", "fp8")), words)

    return judge


def _layers(output: str) -> Sequence[str]:
    """Each layer as text: from the inspector's JSON, which trtexec prints among its log, or lines that name a layer."""
    start, end = output.find("{"), output.rfind("}")
    if start >= 0:
        try:
            return [json.dumps(layer) for layer in json.loads(output[start : end + 1])["Layers"]]
        except (ValueError, KeyError, TypeError):
            pass
    return [line for line in output.splitlines() if re.search(r"\[I\].*(Name:|Layer)", line)]
