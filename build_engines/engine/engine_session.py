"""An engine on a GPU, as Triton runs it, to verify and time it. Judges no answer, and compiles nothing.

As Triton's TensorRT backend does, it has one execution context, buffers that stay where they are, pinned memory on the
host, and CUDA graphs that are replayed at exactly the batch sizes that they were captured at; other sizes run without
one. Written against the API of TensorRT 11.2 (which 10.16 and TensorRT for RTX share). tests/unit runs it with a
stand-in of that API, tests/gpu with the real one where there is a GPU.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from build_engines.engine.compilers import Library, library_line
from build_engines.engine.cuda import Cuda, Replay, TorchCuda
from build_engines.errors import CompileError, CompilerMissingError, InvalidOutputError, first_line
from build_engines.machine import gpus
from build_engines.values import Pixels, Probabilities, Spent
from contract.config import INPUT, OUTPUT

_AGAIN = "Build it again on this machine"


class EngineSession:
    """An engine with an execution context and a stream of its own; see `Session`."""

    def __init__(self, library: Library, engine: Any, context: Any, cuda: Cuda) -> None:
        self.runtime = f"{library.words}, {library.device().gpu}"
        """What runs it, in words for a report."""
        self._library, self._engine, self._context, self._cuda = library, engine, context, cuda
        self._replays: dict[int, Replay] = {}
        _, largest = self.batches
        picture = tuple(engine.get_tensor_shape(INPUT))[1:]
        classes = tuple(engine.get_tensor_shape(OUTPUT))[1:]
        self._picture = picture
        self._input, self._sent = (make((largest, *picture), "uint8") for make in (cuda.buffer, cuda.pinned))
        self._output, self._got = (make((largest, *classes), "float32") for make in (cuda.buffer, cuda.pinned))
        context.set_tensor_address(INPUT, self._input.data_ptr())
        context.set_tensor_address(OUTPUT, self._output.data_ptr())

    @property
    def batches(self) -> tuple[int, int]:
        """The smallest and the largest batch that the engine takes."""
        smallest, _, largest = self._engine.get_tensor_profile_shape(INPUT, 0)
        return int(smallest[0]), int(largest[0])

    @property
    def graphs(self) -> tuple[int, ...]:
        """The batch sizes that run by a CUDA graph."""
        return tuple(self._replays)

    def capture(self, sizes: Sequence[int]) -> None:
        """Capture a CUDA graph for each of `sizes`, the smallest first, as Triton does in the order of the config.

        Each runs once before it is captured, because the first run at a size updates what the context keeps (TensorRT's
        developer guide, "CUDA Graphs").

        Raises:
            InvalidOutputError: the engine cannot run in a graph.
        """
        for size in sorted(set(sizes)):
            with self._errors("run the engine"):
                self._shape(size)
                self._enqueue()
                self._cuda.wait()
            try:
                self._replays[size] = self._cuda.capture(self._enqueue)
            except RuntimeError as error:  # (torch's and CUDA's errors are; so is what `_enqueue` raises)
                raise self._uncaptured(size, error) from error
            except InvalidOutputError as error:
                raise self._uncaptured(size, error) from error

    def run(self, images: Pixels) -> Probabilities:
        """Float32 `[n, classes]` to uint8 `[n, height, width, 3]`, by a CUDA graph where one was captured for n.

        Raises:
            InvalidOutputError: the engine takes no such batch, or fails.
        """
        rows, _ = self._answered(images)
        return rows

    def time(self, images: Pixels) -> Spent:
        """What `run` takes, by events on the device: the copies apart from the engine.

        Raises:
            InvalidOutputError: see `run`.
        """
        _, spent = self._answered(images)
        return spent

    def _answered(self, images: Pixels) -> tuple[Probabilities, Spent]:
        cuda, size = self._cuda, len(images)
        self._check(images)
        with self._errors("run the engine"):
            # Numpy's copy, because torch warns of arrays that cannot be written.
            self._sent[:size].numpy()[...] = images
            start = cuda.mark()
            cuda.copy(self._input[:size], self._sent[:size])
            sent = cuda.mark()
            if replay := self._replays.get(size):
                replay()
            else:
                self._shape(size)
                self._enqueue()
            computed = cuda.mark()
            cuda.copy(self._got[:size], self._output[:size])
            end = cuda.mark()
            cuda.wait()
            copies = cuda.seconds(start, sent) + cuda.seconds(computed, end)
            rows: Probabilities = self._got[:size].numpy().copy()
            return rows, Spent(cuda.seconds(sent, computed), copies)

    def _check(self, images: Pixels) -> None:
        smallest, largest = self.batches
        if not smallest <= len(images) <= largest or images.shape[1:] != self._picture:
            raise InvalidOutputError(
                f"the engine takes batches of {smallest} to {largest} pictures of its own size, not "
                f"{list(images.shape)}"
            )

    def _shape(self, size: int) -> None:
        if not self._context.set_input_shape(INPUT, (size, *self._picture)):
            raise self._failed(f"take a batch of {size}")

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._cuda.stream):
            raise self._failed("run the engine")

    def _failed(self, doing: str) -> InvalidOutputError:
        said = library_line(self._library.log.error) or "its log gives no reason"
        return InvalidOutputError(f"{self._library.words} cannot {doing}: {said}. {_AGAIN}")

    def _uncaptured(self, size: int, error: Exception) -> InvalidOutputError:
        said = library_line(self._library.log.error or first_line(error))
        return InvalidOutputError(
            f"no CUDA graph can be captured for a batch of {size}: {said}. Triton would log that and serve the size "
            "without a graph, slower than was meant; update the driver, or free memory of the GPU"
        )

    def _errors(self, doing: str) -> Any:
        return self._library.errors_as(InvalidOutputError, f"cannot {doing}", _AGAIN)


def open_engine(path: Path, library: Library, cuda: Callable[[], Cuda] = TorchCuda) -> EngineSession:
    """The engine at `path`, ready to run.

    Raises:
        CompilerMissingError: there is no GPU that could run it. (Tried without one: TensorRT for RTX compiles there,
            but does not deserialise what it compiled.)
        CompileError: the engine was made by another version, for another GPU, or is damaged.
    """
    fix = "Build it again on this machine, with this compiler"
    with library.errors_as(CompileError, f"cannot open {path.name}", fix):
        engine = library.runtime().deserialize_cuda_engine(path.read_bytes())
        if engine is None and not gpus():
            raise CompilerMissingError(
                f"{path.name} can only run on a GPU, and this machine has none that its driver shows (nvidia-smi). The "
                "accuracy of its graph can be measured in ONNX Runtime; its speed only where a GPU is"
            )
        if engine is None:
            raise CompileError(f"{library.words} cannot open {path.name}: {library_line(library.log.error)}. {fix}")
        context = engine.create_execution_context()
        if context is None:
            raise CompileError(
                f"{library.words} cannot prepare {path.name} to run: {library_line(library.log.error)}. Free memory of "
                "the GPU, or build with a smaller --max-batch-size"
            )
        return EngineSession(library, engine, context, cuda())
