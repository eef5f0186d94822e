"""Graphs in ONNX Runtime on the CPU, opened as the embedded server opens them. Judges no answer."""

# ruff: noqa: PLC0415 (onnxruntime takes a second to import; `build-engines --help` does not wait for it)

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from build_engines.errors import InvalidOutputError
from contract.config import INPUT, OUTPUT
from contract.cpus import available_cpus

Pictures = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]


class Run(Protocol):
    """What answers pictures: a graph or an engine in its runtime."""

    def run(self, images: Pictures) -> Probabilities:
        """Float32 `[n, classes]` to uint8 `[n, height, width, 3]`, complete when it returns."""


class Session:
    """A graph in ONNX Runtime; see `Run`."""

    def __init__(self, path: Path, session: Any, runtime: str) -> None:
        self.runtime = runtime
        """What runs it, in words for a report."""
        self._path = path
        self._session = session

    def run(self, images: Pictures) -> Probabilities:
        """See `Run.run`.

        Raises:
            InvalidOutputError: ONNX Runtime cannot run the graph on them.
        """
        with _onnxruntime_errors(self._path):
            answers: Probabilities = self._session.run([OUTPUT], {INPUT: images})[0]
        return answers


def open_graph(path: Path, *, exact: bool = False, threads: int | None = None) -> Session:
    """The graph at `path`, its weights beside it where they are not inside.

    Args:
        path: of the graph.
        exact: compute each op by itself, as the graph says, without ONNX Runtime's optimiser. For graphs that are
            meant for another runtime; one that ONNX Runtime serves is measured as it is served.
        threads: how many; as many as there are CPUs where it is None, which is what one instance is served with.

    Raises:
        InvalidOutputError: ONNX Runtime cannot open the graph.
    """
    import onnxruntime

    threads = threads or available_cpus()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # Errors reach the caller as exceptions; once is enough.
    # Threads otherwise wait busily for the next run and take the CPU from whatever is measured in turn with this one:
    # the bundled model at batch 1 took 8.4 ms alone, 12.4 ms in turn with a second session, 8.6 ms with this.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if exact:
        # With optimisation, ONNX Runtime 1.24 computes Q/DQ graphs with FP16 around them wrongly on a CPU: of 2,000 of
        # CIFAR-10's test pictures the bundled model at INT8 was right on 82.6 % with it and on 86.3 % without, at FP32
        # on 86.2 %.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with _onnxruntime_errors(path):
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    words = f"ONNX Runtime {onnxruntime.__version__}, {threads} CPU thread{'s' if threads > 1 else ''}"
    return Session(path, session, f"{words}, without its optimiser" if exact else words)


def answers(session: Run, images: Pictures, batch: int = 32) -> Probabilities:
    """The answers to all `images`, uint8 `[N, height, width, 3]`, as float32 `[N, classes]`, `batch` at a time.

    Raises:
        InvalidOutputError: the runtime fails, or makes other than one row for each picture.
    """
    rows = []
    for start in range(0, len(images), batch):
        some = np.ascontiguousarray(images[start : start + batch])
        row = session.run(some)
        if row.ndim != 2 or len(row) != len(some):
            raise InvalidOutputError(
                f"{len(some)} pictures were answered with an array of shape {list(row.shape)}, not with one row each; "
                "the graph's batch must be free"
            )
        rows.append(row.astype(np.float32, copy=False))
    return np.concatenate(rows)


@contextmanager
def _onnxruntime_errors(path: Path) -> Iterator[None]:
    """ONNX Runtime's errors as ours, without the folders of this machine: reports quote them."""
    try:
        yield
    except Exception as error:  # (its errors have no base of their own)
        text = " ".join(str(error).split()).replace(str(path.parent) + "/", "")
        raise InvalidOutputError(
            f"ONNX Runtime cannot run {path.name} on the CPU: {text}. If another runtime is meant, measure it there"
        ) from error
