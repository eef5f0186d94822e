"""ONNX Runtime as a python-based Triton backend: the embedded server's stand-in for NVIDIA's C++ backend of that name.

Triton runs this file in a process of its own for each instance of an entry. What it hands over in one `execute` is
one batch, of which every thread runs a part. Knows only what the entry's config.pbtxt says, nothing of pictures.
"""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
import triton_python_backend_utils as pb_utils

from contract.cpus import available_cpus

if TYPE_CHECKING:
    from embedded.openvino_session import OpenVinoSession

Array = npt.NDArray[Any]

_LARGEST_PART = 4
"""Rows of a batch that are run at once, at most: activations of more leave the CPU's caches."""
DEFAULT_FILE = "model.onnx"
TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(double)": "TYPE_FP64",
    "tensor(float)": "TYPE_FP32",
    "tensor(float16)": "TYPE_FP16",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(string)": "TYPE_STRING",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(uint8)": "TYPE_UINT8",
}


class Tensor(NamedTuple):
    """A tensor as the config or the graph declares it; an edge of -1 may have any length."""

    name: str
    data_type: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.data_type} {list(self.shape)}"

    def allows(self, other: "Tensor") -> bool:
        """Whether every array that `other` describes is one of these."""
        return (
            self[:2] == other[:2]
            and len(self.shape) == len(other.shape)
            and all(mine in (-1, theirs) for mine, theirs in zip(self.shape, other.shape, strict=True))
        )


class Work(NamedTuple):
    """A request's input arrays, and its place among the requests of one `execute`."""

    place: int
    request: Any
    feed: dict[str, Array]


class TritonPythonModel:
    """One instance of an entry. Triton finds the class by this name."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """Leave the config as it is: an entry says everything itself."""
        return config

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph, and refuse one that is not what the config describes."""
        config = json.loads(args["model_config"])
        path = Path(args["model_repository"], args["model_version"], config["default_model_filename"] or DEFAULT_FILE)
        instances = sum(group["count"] for group in config["instance_group"]) or 1
        self._batches = config["max_batch_size"] > 0
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]
        self._threads = max(1, available_cpus() // instances)
        self._pool = ThreadPoolExecutor(self._threads, "run")
        self._bf16 = wants_bf16(config)
        self._session = open_session(path, self._threads, bf16=self._bf16)
        # The weights are in memory twice then: how many threads run a graph is decided when it is opened.
        apart = self._batches and self._threads > 1 and not self._bf16
        self._alone = open_session(path, 1) if apart else self._session
        check(config, self._session, path.name)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer every request, or give it its error; in the order of `requests`."""
        responses: list[Any] = [None] * len(requests)
        works = []
        for place, request in enumerate(requests):
            try:
                works.append(Work(place, request, self._read(request)))
            except Exception as error:  # noqa: BLE001, PERF203  (a request's error is its answer)
                responses[place] = failure(error)
        for group in self._groups(works):
            try:
                answers = self._answer(group)
            except Exception as error:  # noqa: BLE001  (ONNX Runtime's errors have no common base; other groups go on)
                answers = [failure(error) for _ in group]
            for work, answer in zip(group, answers, strict=True):
                responses[work.place] = answer
        return responses

    def finalize(self) -> None:
        """Let go of the graph's memory: an unloaded version's process may live on for a while."""
        self._pool.shutdown()
        del self._session, self._alone

    def _read(self, request: Any) -> dict[str, Array]:
        tensors = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self._inputs}
        return {name: text_decoded(tensor.as_numpy()) for name, tensor in tensors.items() if tensor is not None}

    def _groups(self, works: Sequence[Work]) -> Iterable[list[Work]]:
        """The requests that can share a run: those whose arrays differ along the batch axis only."""
        if not self._batches:
            return [[work] for work in works]
        ordered = sorted(works, key=shape_beside_batch)
        return [list(group) for _, group in groupby(ordered, key=shape_beside_batch)]

    def _answer(self, group: Sequence[Work]) -> list[Any]:
        """Run the group as one batch and hand each request the rows that are its own."""
        feeds = [work.feed for work in group]
        feed = (
            feeds[0] if len(feeds) == 1 else {name: np.concatenate([each[name] for each in feeds]) for name in feeds[0]}
        )
        wanted = [work.request.requested_output_names() for work in group]
        names = [name for name in self._outputs if any(name in each for each in wanted)]
        if not self._batches:
            return [response(dict(zip(names, self._session.run(names, feed), strict=True)), wanted[0])]
        rows = [len(next(iter(each.values()))) for each in feeds]
        outputs = dict(zip(names, self._run(names, feed, sum(rows)), strict=True))
        for name, array in outputs.items():
            if len(array) != sum(rows):
                raise ValueError(f"the graph made {len(array)} rows of {name} from a batch of {sum(rows)}")
        own = (slice(end - count, end) for end, count in zip(accumulate(rows), rows, strict=True))
        return [
            response({name: array[rows_of_it] for name, array in outputs.items()}, asked)
            for rows_of_it, asked in zip(own, wanted, strict=True)
        ]

    def _run(self, names: Sequence[str], feed: dict[str, Array], rows: int) -> Sequence[Array]:
        """Run a batch: each thread has as many rows of its own as the others, and all of them share what is left.

        So the threads follow the load. An op that threads share ends with its slowest: side by side, two threads took
        15 to 20 % less for the rows of vit_tiny_patch16_224. OpenVINO would gain 7 to 14 %; its batches stay whole.
        """
        if self._bf16:
            return self._session.run(names, feed)
        share = rows // self._threads
        own, count = share * self._threads, -(-share // _LARGEST_PART) * self._threads
        answers: list[Sequence[Array]] = []
        if own:
            bounds = pairwise(own * place // count for place in range(count + 1))
            parts = ({name: array[start:end] for name, array in feed.items()} for start, end in bounds)
            answers += self._pool.map(lambda part: self._alone.run(names, part), parts)
        if rows > own:
            answers.append(self._session.run(names, {name: array[own:] for name, array in feed.items()}))
        if len(answers) == 1:
            return answers[0]
        return [np.concatenate(outputs) for outputs in zip(*answers, strict=True)]


def wants_bf16(config: dict[str, Any]) -> bool:
    """Whether the entry is to be multiplied in BF16 by OpenVINO, the only accelerator that is known here.

    Raises:
        TritonModelException: the config asks for another accelerator of the CPU, or for another precision.
    """
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    for each in accelerators.get("cpu_execution_accelerator", []):
        precision = each.get("parameters", {}).get("precision")
        if (each["name"], precision) != ("openvino", "BF16"):
            raise pb_utils.TritonModelException(
                f"config.pbtxt asks for the accelerator {each['name']} with precision {precision}; "
                "known is openvino with precision BF16"
            )
        return True
    return False


def open_session(path: Path, threads: int, *, bf16: bool = False) -> "onnxruntime.InferenceSession | OpenVinoSession":
    """The graph at `path` (a path and not its bytes, so that weights in files beside it are found).

    Raises:
        TritonModelException: it is to be multiplied in BF16, and OpenVINO is not installed.
    """
    if bf16:
        try:
            from embedded.openvino_session import OpenVinoSession  # noqa: PLC0415 (an extra)
        except ImportError as error:
            raise pb_utils.TritonModelException(
                f"the entry is computed in BF16 by OpenVINO ({error}): pip install 'vitrine[openvino]', or serve the "
                "FP32 entry"
            ) from error
        return OpenVinoSession(path, threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads wait busily for each other, and stop with the run: a picture takes 14 to 24 % less time than with threads
    # that sleep. Waiting busily for the next run would take the CPU from the gateway beside them.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # On a CPU without VNNI, products of uint8 and int8 otherwise saturate: half of the right sum, where it is large.
    # The right ones are slower. No effect on other CPUs and graphs (onnxruntime_session_options_config_keys.h).
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 4  # Errors reach the caller as exceptions; once is enough.
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def check(config: dict[str, Any], session: "onnxruntime.InferenceSession | OpenVinoSession", file: str) -> None:
    """Refuse a graph that cannot take every input the config allows, or lacks an output the config promises.

    Raises:
        TritonModelException: the two differ; the message names both sides.
    """
    batch = (-1,) if config["max_batch_size"] > 0 else ()
    for side, declared, of_graph in (
        ("input", config["input"], session.get_inputs()),
        ("output", config["output"], session.get_outputs()),
    ):
        ours = [Tensor(one["name"], one["data_type"], (*batch, *map(int, shape(one)))) for one in declared]
        graph = {one.name: Tensor(one.name, TYPES.get(one.type, one.type), edges(one.shape)) for one in of_graph}
        fits = all(one.name in graph and graph[one.name].allows(one) for one in ours)
        if not fits or (side == "input" and len(ours) != len(graph)):
            raise pb_utils.TritonModelException(
                f"config.pbtxt has {side} {', '.join(map(str, ours))}; "
                f"{file} has {side} {', '.join(map(str, graph.values()))}"
            )


def shape(declared: dict[str, Any]) -> Sequence[int]:
    """The shape that reaches the graph: `reshape` where the config has one, else `dims`."""
    dims: Sequence[int] = declared.get("reshape", {}).get("shape", declared["dims"])
    return dims


def edges(shape_of_graph: Sequence[int | str | None]) -> tuple[int, ...]:
    """A graph's shape with its names for free edges as -1."""
    return tuple(edge if isinstance(edge, int) and edge >= 0 else -1 for edge in shape_of_graph)


def shape_beside_batch(work: Work) -> list[tuple[str, tuple[int, ...]]]:
    """What two requests must have in common to share a run."""
    return [(name, array.shape[1:]) for name, array in work.feed.items()]


def response(outputs: dict[str, Array], wanted: Iterable[str]) -> Any:
    """The answer to a request that asked for the outputs `wanted`."""
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, outputs[name]) for name in outputs if name in wanted])


def failure(error: Exception) -> Any:
    """The answer to a request that could not be run."""
    return pb_utils.InferenceResponse([], pb_utils.TritonError(str(error)))


def text_decoded(array: Array) -> Array:
    """A TYPE_STRING array as ONNX Runtime takes it (str); Triton's holds UTF-8 bytes. Any other array as it is."""
    if array.dtype != np.object_:
        return array
    decoded = [text.decode() if isinstance(text, bytes) else text for text in array.ravel()]
    return np.array(decoded, dtype=np.object_).reshape(array.shape)
