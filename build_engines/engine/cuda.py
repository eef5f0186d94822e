"""What an engine's session needs of CUDA, by torch: buffers, one stream, graphs, events. Tests have a stand-in."""

# ruff: noqa: PLC0415 (torch takes seconds to import; `build-engines --help` does not wait for it)

from collections.abc import Callable
from typing import Any, Protocol

Replay = Callable[[], None]
"""Enqueues what was captured."""


class Cuda(Protocol):
    """A GPU with one stream, on which everything below happens in order."""

    @property
    def stream(self) -> int:
        """The stream's handle, for a library in C."""

    def buffer(self, shape: tuple[int, ...], dtype: str) -> Any:
        """A torch tensor on the device. `dtype` is torch's name of it."""

    def pinned(self, shape: tuple[int, ...], dtype: str) -> Any:
        """A torch tensor in memory of the host that the device copies from and to by itself."""

    def copy(self, to: Any, source: Any) -> None:
        """Enqueue a copy."""

    def capture(self, work: Callable[[], None]) -> Replay:
        """A CUDA graph of what `work` enqueues, which is not done yet.

        Raises:
            RuntimeError: `work` enqueues what cannot be captured.
        """

    def mark(self) -> Any:
        """An event after all that was enqueued."""

    def seconds(self, before: Any, after: Any) -> float:
        """Seconds on the device between two marks that are done."""

    def wait(self) -> None:
        """Return when all that was enqueued is done."""


class TorchCuda:
    """The GPU that CUDA gives this process first; see `Cuda`."""

    def __init__(self) -> None:
        import torch

        self._torch: Any = torch
        self._stream = self._torch.cuda.Stream()

    @property
    def stream(self) -> int:
        """See `Cuda`."""
        return int(self._stream.cuda_stream)

    def buffer(self, shape: tuple[int, ...], dtype: str) -> Any:
        """See `Cuda`."""
        return self._torch.zeros(shape, dtype=getattr(self._torch, dtype), device="cuda")

    def pinned(self, shape: tuple[int, ...], dtype: str) -> Any:
        """See `Cuda`."""
        return self._torch.zeros(shape, dtype=getattr(self._torch, dtype), pin_memory=True)

    def copy(self, to: Any, source: Any) -> None:
        """See `Cuda`."""
        with self._torch.cuda.stream(self._stream):
            to.copy_(source, non_blocking=True)

    def capture(self, work: Callable[[], None]) -> Replay:
        """See `Cuda`."""
        graph = self._torch.cuda.CUDAGraph()
        # As Triton: other threads may go on calling CUDA meanwhile.
        with self._torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            work()

        def replay() -> None:
            with self._torch.cuda.stream(self._stream):
                graph.replay()

        return replay

    def mark(self) -> Any:
        """See `Cuda`."""
        event = self._torch.cuda.Event(enable_timing=True)
        event.record(self._stream)
        return event

    def seconds(self, before: Any, after: Any) -> float:
        """See `Cuda`."""
        return float(before.elapsed_time(after)) / 1000

    def wait(self) -> None:
        """See `Cuda`."""
        self._stream.synchronize()
