"""A model in one runtime, timed in a process of its own, whose memory no other row has used.

    python -m benchmarks.runtimes.timed 'ONNX Runtime' vit_tiny_patch16_224 FOLDER --batches 1 8 --seconds 2

It prints a line of JSON for each batch size: `Timed`.
"""

import argparse
import ctypes
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.runtimes.apart import Bounds
from benchmarks.runtimes.runtimes import REFERENCE, RUNTIMES, Run, load
from build_engines.pictures import made_pictures
from build_engines.values import Pixels

LEAST, MOST = 3, 300
"""Runs of a cell."""
PICTURES = 32
"""That the answers are compared on."""
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""Written to `clear_refs`: the peak of the resident memory starts anew (proc(5))."""


class Timed(NamedTuple):
    """One batch size."""

    batch: int
    samples: tuple[float, ...]
    """Milliseconds of each run, from pixels to probabilities, both in the host's memory."""
    peak_mb: float
    """Resident memory at most, above that of the loaded model: activations and buffers. On a GPU what torch's allocator
    held at most, weights included."""
    agreement: float
    """Share of pictures with the top-1 of the reference."""
    furthest: float
    """The largest difference of a probability from the reference."""
    skipped: str = ""


def resident_mb(peak: bool) -> float:
    """This process's resident memory, now or at most since the peak was reset, in MB."""
    name = "VmHWM:" if peak else "VmRSS:"
    line = next(line for line in _STATUS.read_text("utf-8").splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / 1e6


def peak_from_now() -> None:
    """Forget the peak of the memory until now."""
    _CLEAR.write_text(_RESET_PEAK)
    torch: Any = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def timed(run: Run, images: Pixels, seconds: float) -> tuple[float, ...]:
    """Milliseconds of each run over `seconds`, at least `LEAST` of them, after one that is not counted."""
    run(images)
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < LEAST or (time.perf_counter() < end and len(samples) < MOST):
        begun = time.perf_counter()
        run(images)
        samples.append((time.perf_counter() - begun) * 1000)
    return tuple(samples)


def measure(name: str, model_name: str, folder: Path, bounds: Bounds) -> None:
    """Print what was found of each batch size as it is known."""
    batches, seconds, limit = bounds
    runtime = RUNTIMES[name]
    model = load(model_name, fused=runtime.fused)
    images = made_pictures(max(PICTURES, *batches), model.classifier.preprocessing)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        run = runtime.prepare(model, Path(work))
        # What the export left behind would hide as much of the peak; one picture at a time leaves the least.
        ctypes.CDLL(None).malloc_trim(0)
        before = resident_mb(peak=False)
        answers = np.concatenate([run(images[start : start + 1]) for start in range(PICTURES)])
        reference = folder / "reference.npy"
        if name == REFERENCE:
            np.save(reference, answers)
        wanted = np.load(reference) if reference.exists() else answers
        agreement = float((answers.argmax(1) == wanted.argmax(1)).mean())
        furthest = float(np.abs(answers - wanted).max())
        each = 0.0
        for batch in batches:
            if LEAST * each * batch > limit:
                words = f"{LEAST} runs would take over {limit:g} s"
                print(json.dumps(Timed(batch, (), 0.0, agreement, furthest, words)._asdict()), flush=True)
                continue
            peak_from_now()
            samples = timed(run, images[:batch], seconds)
            each = float(np.median(samples)) / 1000 / batch
            peak = _on_gpu() or resident_mb(peak=True) - before
            print(json.dumps(Timed(batch, samples, peak, agreement, furthest)._asdict()), flush=True)


def _on_gpu() -> float:
    torch: Any = sys.modules.get("torch")
    return float(torch.cuda.max_memory_allocated() / 1e6) if torch and torch.cuda.is_available() else 0.0


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes.timed")
    parser.add_argument("runtime", choices=RUNTIMES)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path, help="the reference's answers are kept here")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--limit", type=float, default=60.0)
    options = parser.parse_args()
    if reason := RUNTIMES[options.runtime].why_not():
        print(json.dumps({"why_not": reason}))
        return 0
    bounds = Bounds(tuple(options.batches), options.seconds, options.limit)
    measure(options.runtime, options.model, options.folder, bounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
