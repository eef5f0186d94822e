"""An engine on a GPU, to verify and time it. Judges no answer, and compiles nothing.

Written against the API of TensorRT 11.2 (which 10.16 and TensorRT for RTX share) and run by tests/gpu where there is a
GPU.
"""

# ruff: noqa: PLC0415 (torch takes seconds to import; `build-engines --help` does not wait for it)

from pathlib import Path
from typing import Any

from build_engines.engine.compilers import Library, library_line
from build_engines.errors import CompileError, CompilerMissingError, InvalidOutputError
from build_engines.machine import gpus
from build_engines.values import Pixels, Probabilities
from contract.config import INPUT, OUTPUT


class EngineSession:
    """An engine with an execution context and a stream of its own; see `Session`."""

    def __init__(self, library: Library, engine: Any, context: Any, stream: Any) -> None:
        self.runtime = f"{library.words}, {library.device().gpu}"
        """What runs it, in words for a report."""
        self._library = library
        self._engine = engine
        self._context = context
        self._stream = stream

    @property
    def batches(self) -> tuple[int, int]:
        """The smallest and the largest batch that the engine takes."""
        smallest, _, largest = self._engine.get_tensor_profile_shape(INPUT, 0)
        return int(smallest[0]), int(largest[0])

    def run(self, images: Pixels) -> Probabilities:
        """Float32 `[n, classes]` to uint8 `[n, height, width, 3]`.

        The copies to the GPU and back are part of it, and it is complete when it returns, so a clock around it measures
        what a server would wait for.

        Raises:
            InvalidOutputError: the engine takes no such batch, or fails.
        """
        import torch

        with (
            self._library.errors_as(InvalidOutputError, "cannot run the engine", "Build it again on this machine"),
            torch.cuda.stream(self._stream),
        ):
            pixels = torch.tensor(images, device="cuda")
            if not self._context.set_input_shape(INPUT, tuple(pixels.shape)):
                smallest, largest = self.batches
                raise InvalidOutputError(
                    f"the engine takes batches of {smallest} to {largest} pictures of its own size, not "
                    f"{list(images.shape)}"
                )
            shape = tuple(self._context.get_tensor_shape(OUTPUT))
            answers = torch.empty(shape, dtype=torch.float32, device="cuda")
            self._context.set_tensor_address(INPUT, pixels.data_ptr())
            self._context.set_tensor_address(OUTPUT, answers.data_ptr())
            if not self._context.execute_async_v3(self._stream.cuda_stream):
                raise InvalidOutputError(
                    f"{self._library.words} cannot run the engine: {library_line(self._library.log.error)}. Build it "
                    "again on this machine"
                )
            # On the same stream, and it waits for it.
            rows: Probabilities = answers.cpu().numpy()
        return rows


def open_engine(path: Path, library: Library) -> EngineSession:
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
        import torch

        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    return EngineSession(library, engine, context, stream)
