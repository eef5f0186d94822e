"""Graphs in ONNX Runtime on the CPU, opened as the embedded server opens them. Judges no answer."""

# ruff: noqa: PLC0415 (onnxruntime takes a second to import; `build-engines --help` does not wait for it)

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from build_engines.errors import InvalidOutputError
from build_engines.graph.qdq import exact_twin, has_pairs
from build_engines.values import Graph, Maps, Pixels, Probabilities
from contract.config import INPUT, OUTPUT
from contract.cpus import available_cpus


class OnnxRuntimeSession:
    """A graph in ONNX Runtime; see `Session`."""

    def __init__(self, path: Path, session: Any, runtime: str) -> None:
        self.runtime = runtime
        """What runs it, in words for a report."""
        self._path = path
        self._session = session

    def run(self, images: Pixels) -> Probabilities:
        """See `Session.run`.

        Raises:
            InvalidOutputError: ONNX Runtime cannot run the graph on them.
        """
        return self.outputs(images, OUTPUT)[0]

    def outputs(self, images: Pixels, *names: str) -> list[Maps]:
        """The outputs of these names, each float32 `[n, ...]`, to uint8 `[n, height, width, 3]`.

        Raises:
            InvalidOutputError: ONNX Runtime cannot run the graph on them.
        """
        with _onnxruntime_errors(self._path):
            answers: list[Maps] = self._session.run(list(names), {INPUT: images})
        return answers


def open_graph(path: Path, *, exact: bool = False, threads: int | None = None) -> OnnxRuntimeSession:
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
    # the first bundled model at batch 1 took 8.4 ms alone, 12.4 ms in turn with a second session, 8.6 ms with this.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # As the embedded server opens it: right on a CPU without VNNI, too, where INT8 would saturate.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if exact:
        # With optimisation, ONNX Runtime 1.24 computes Q/DQ graphs with FP16 around them wrongly on a CPU: of 2,000 of
        # CIFAR-10's test pictures the first bundled model at INT8 was right on 82.6 % with it and on 86.3 % without, at
        # FP32 on 86.2 %.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with _onnxruntime_errors(path):
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    words = f"ONNX Runtime {onnxruntime.__version__}, {threads} CPU thread{'s' if threads > 1 else ''}"
    return OnnxRuntimeSession(path, session, f"{words}, without its optimiser" if exact else words)


def open_as_compiled(graph: Graph) -> OnnxRuntimeSession:
    """`graph` as TensorRT computes it: where it has Q/DQ pairs a twin of it, op by op (see `qdq.exact_twin`).

    Raises:
        InvalidOutputError: ONNX Runtime cannot open the graph.
    """
    if not has_pairs(graph):
        return open_graph(graph.path)
    with tempfile.TemporaryDirectory() as folder:
        return open_graph(exact_twin(graph, Path(folder)).path, exact=True)


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
