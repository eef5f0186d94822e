"""A stand-in for TensorRT and CUDA: the shape of their API, answers of ONNX Runtime, and a record of each call.

Tensors are of torch on the CPU, so an address is one of this process, and an engine reads and writes there as TensorRT
does. What a CUDA graph replays is what its capture enqueued.
"""

import ctypes
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from build_engines.engine.compilers import Device, Library, Log, load_compiler
from build_engines.engine.engine_session import EngineSession
from build_engines.graph.onnxruntime_session import OnnxRuntimeSession
from build_engines.values import Compiler

STREAM = 77


class Calls(list[tuple[Any, ...]]):
    """What was called, in order."""

    def named(self, *names: str) -> list[tuple[Any, ...]]:
        """The calls of these names."""
        return [call for call in self if call[0] in names]


class StandInContext:
    """An `IExecutionContext`."""

    def __init__(self, graph: OnnxRuntimeSession, largest: int, calls: Calls, log: Log) -> None:
        self._graph, self._largest, self._calls, self._log = graph, largest, calls, log
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}
        self.runs = True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._calls.append(("address", name))
        self._addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._calls.append(("shape", name, shape[0]))
        self._shape = shape
        return 1 <= shape[0] <= self._largest

    def execute_async_v3(self, stream: int) -> bool:
        self._calls.append(("enqueue", stream, self._shape[0]))
        if not self.runs:
            self._log.note("ERROR", "Error Code 1: Cuda Runtime (out of memory)")
            return False
        self.compute(self._shape)
        return True

    def compute(self, shape: tuple[int, ...]) -> None:
        """Answer what lies at the input's address."""
        size = int(np.prod(shape))
        source = (ctypes.c_uint8 * size).from_address(self._addresses["image"])
        rows = self._graph.run(np.frombuffer(bytes(source), np.uint8).reshape(shape).copy())
        ctypes.memmove(self._addresses["probabilities"], np.ascontiguousarray(rows).ctypes.data, rows.nbytes)


class StandInEngine:
    """An `ICudaEngine` for pictures of 32 x 32 and ten classes."""

    def __init__(self, context: StandInContext, largest: int) -> None:
        self._context, self._largest = context, largest

    def get_tensor_profile_shape(self, name: str, profile: int) -> tuple[tuple[int, ...], ...]:
        assert (name, profile) == ("image", 0)
        return (1, 32, 32, 3), (2, 32, 32, 3), (self._largest, 32, 32, 3)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return {"image": (-1, 32, 32, 3), "probabilities": (-1, 10)}[name]

    def create_execution_context(self) -> StandInContext:
        return self._context


class StandInCuda:
    """A `Cuda` whose device is this process."""

    stream = STREAM

    def __init__(self, calls: Calls, *, captures: bool = True, spoilt: bool = False) -> None:
        self._calls, self._captures, self._spoilt = calls, captures, spoilt
        self._now = 0.0
        self._results: list[Any] = []

    def buffer(self, shape: tuple[int, ...], dtype: str) -> Any:
        self._calls.append(("buffer", shape))
        self._results.append(torch.zeros(shape, dtype=getattr(torch, dtype)))
        return self._results[-1]

    def pinned(self, shape: tuple[int, ...], dtype: str) -> Any:
        self._calls.append(("pinned", shape))
        return torch.zeros(shape, dtype=getattr(torch, dtype))

    def copy(self, to: Any, source: Any) -> None:
        self._calls.append(("copy", len(source)))
        self._now += 0.25
        to.copy_(source)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        self._calls.append(("capture",))
        if not self._captures:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        before = len(self._calls)
        work()
        (_, _, size) = self._calls[before]

        def replay() -> None:
            self._calls.append(("replay", size))
            self._now += 1.0
            self.replayed(size)

        return replay

    def replayed(self, size: int) -> None:
        """What a graph of this size computes: the shape that it was captured with, whatever was set later."""
        assert self.context is not None
        self.context.compute((size, 32, 32, 3))
        if self._spoilt:
            self._results[1][0] = self._results[1][0].flip(0)

    context: StandInContext | None = None

    def mark(self) -> float:
        return self._now

    def seconds(self, before: float, after: float) -> float:
        return after - before

    def wait(self) -> None:
        self._calls.append(("wait",))


class StandIn:
    """An engine's session with everything below it replaced."""

    def __init__(
        self, graph: OnnxRuntimeSession, largest: int = 8, *, captures: bool = True, spoilt: bool = False
    ) -> None:
        self.calls = Calls()
        log = Log()
        self.library: Library = replace(
            load_compiler(Compiler.RTX), log=log, device=lambda: Device("a stand-in", "9.0"), version="0"
        )
        self.context = StandInContext(graph, largest, self.calls, log)
        self.cuda = StandInCuda(self.calls, captures=captures, spoilt=spoilt)
        self.cuda.context = self.context
        self.session = EngineSession(self.library, StandInEngine(self.context, largest), self.context, self.cuda)
