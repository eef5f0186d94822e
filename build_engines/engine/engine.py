"""A graph compiled: an engine of TensorRT or of TensorRT for RTX, by the same code, and the stamp that says for what.

One optimization profile, in which nothing but the batch is free, so that Triton can capture a CUDA graph for any batch
size. The precisions are in the graph: networks are strongly typed. Runs no engine.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build_engines.engine.compilers import Library, library_line
from build_engines.engine.timing_cache import keep_timings, read_timings
from build_engines.errors import CompileError, PlanError
from build_engines.values import STAMP, Graph
from contract.config import ENGINE_FILE, INPUT, OUTPUT

_STAMP_FILE = "engine.json"
_DAMAGED = ("MODEL_DESERIALIZE_FAILED", "INVALID_VALUE", "INVALID_GRAPH")
"""The ONNX parser's codes for a file that is broken or missing, the weights' file included."""
_ELSEWHERE = "Serve this variant with ONNX Runtime (--compiler none), or try another release of the compiler"
_MEMORY = ("memory", "could not find any implementation")
"""TensorRT 10 says the second where no tactic fits into the workspace."""


@dataclass(frozen=True)
class Profile:
    """The batch sizes that an engine takes: 1 to `largest`, tuned for `opt`.

    Raises:
        PlanError: they are out of order.
    """

    opt: int
    largest: int

    def __post_init__(self) -> None:
        if not 1 <= self.opt <= self.largest:
            raise PlanError(f"an engine for batches of 1 to {self.largest} cannot be tuned for {self.opt}")

    @classmethod
    def up_to(cls, largest: int, opt: int | None = None) -> "Profile":
        """Tuned for `opt`; where it is None for 8, or for the largest where that is smaller."""
        return cls(opt=opt or min(8, largest), largest=largest)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The smallest, the one tuned for, the largest."""
        return 1, self.opt, self.largest


@dataclass(frozen=True)
class Engine:
    """An engine on disk."""

    path: Path
    stamp: Mapping[str, str]
    """What it was made with and what it runs on; the keys start with `STAMP`."""


def compile_engine(  # noqa: PLR0913 (what is compiled, by what, for what, and with which means)
    graph: Graph,
    library: Library,
    profile: Profile,
    folder: Path,
    *,
    workspace_bytes: int,
    timing_cache: Path | None = None,
) -> Engine:
    """Compile `graph` into `folder`, with its stamp beside it.

    TensorRT compiles on the GPU that it compiles for. TensorRT for RTX needs none; Triton has no backend for its
    engines, so they are for programs that call that library themselves.

    Args:
        graph: strongly typed, as each precision's step leaves it.
        library: of `load_compiler`.
        profile: the batch sizes.
        folder: where the engine goes.
        workspace_bytes: the most scratch memory that the engine may plan for.
        timing_cache: a file of measured kernels, read before and kept after, which makes the next build faster; one of
            another TensorRT or GPU is replaced. It has no effect on TensorRT for RTX.

    Raises:
        CompileError: the compiler refuses the graph; the message says where, and what to do.
        CompilerMissingError: the compiler does not start on this machine.
        OSError: the disk is full or there is no permission.
    """
    with library.errors_as(CompileError, "cannot compile the graph", _ELSEWHERE):
        builder = library.builder()
        network = _parse(graph, library, builder)
        config = builder.create_builder_config()
        config.set_memory_pool_limit(library.module.MemoryPoolType.WORKSPACE, workspace_bytes)
        _add_profile(builder, network, config, profile)
        caching = timing_cache if library.caches_timings else None
        if caching:
            read_timings(config, caching)
            # What it says of an old cache is no reason why the build fails later.
            library.log.clear()
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise _refusal(library)
        if caching:
            keep_timings(config, caching)
        flags = _flags(library.module, config)
    path = folder / ENGINE_FILE
    with path.open("wb") as file:
        file.write(plan)
    device = library.device()
    engine = Engine(
        path=path,
        stamp={
            f"{STAMP}compiler": library.compiler.value,
            f"{STAMP}version": library.version,
            f"{STAMP}gpu": device.gpu,
            f"{STAMP}compute_capability": device.compute_capability,
            f"{STAMP}flags": flags,
            f"{STAMP}profile": ",".join(str(size) for size in profile.sizes),
            f"{STAMP}workspace_bytes": str(workspace_bytes),
            f"{STAMP}onnx_sha256": graph.sha256,
        },
    )
    (folder / _STAMP_FILE).write_text(json.dumps(dict(engine.stamp)), encoding="utf-8")
    return engine


def load_stamp(folder: Path) -> Mapping[str, str]:
    """The stamp of the engine in `folder`."""
    stamp: dict[str, str] = json.loads((folder / _STAMP_FILE).read_text("utf-8"))
    return stamp


def _parse(graph: Graph, library: Library, builder: Any) -> Any:
    """The network of `graph`; by its path, because the weights may lie beside it."""
    network = builder.create_network(library.network_flags)
    parser = library.module.OnnxParser(network, library.logger)
    if not parser.parse_from_file(str(graph.path)):
        raise CompileError(f"{library.words} cannot read {graph.path.name}: {_parser_error(parser, graph)}")
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    tensors += [network.get_output(index) for index in range(network.num_outputs)]
    found = [(tensor.name, tensor.dtype.name, tuple(tensor.shape)) for tensor in tensors]
    match found:
        case [(name, "UINT8", (-1, height, width, 3)), (output, "FLOAT", (-1, classes))] if (name, output) == (
            INPUT,
            OUTPUT,
        ) and min(height, width, classes) > 0:
            return network
    raise CompileError(
        f"{graph.path.name} must take {INPUT!r}, UINT8 [batch, height, width, 3], and give {OUTPUT!r}, FLOAT [batch, "
        f"classes], with a free batch and nothing else free; it has {found}. Export it again"
    )


def _parser_error(parser: Any, graph: Graph) -> str:
    """The first thing that the parser stumbled over, and the fix."""
    if parser.num_errors == 0:
        return f"the parser gives no reason. {_ELSEWHERE}"
    error = parser.get_error(0)
    text = library_line(str(error.desc())).replace(f"{graph.path.parent}/", "")
    if error.code().name in _DAMAGED:
        return f"{text}. The file is damaged, or the file of its weights is not beside it: export it again"
    fix = "Only a Cast takes the picture itself: export it again" if "UInt8" in text else _ELSEWHERE
    where = f"node {error.node_name()!r} ({error.node_operator()}): " if error.node_operator() else ""
    return f"{where}{text}. {fix}"


def _add_profile(builder: Any, network: Any, config: Any, profile: Profile) -> None:
    image = network.get_input(0)
    picture = tuple(image.shape)[1:]
    shapes = builder.create_optimization_profile()
    shapes.set_shape(image.name, *((size, *picture) for size in profile.sizes))
    config.add_optimization_profile(shapes)


def _refusal(library: Library) -> CompileError:
    """What the log says of a build that gave nothing, and the fix."""
    error = library_line(library.log.error) or "its log gives no reason"
    fix = _ELSEWHERE
    if any(word in error.lower() for word in _MEMORY):
        fix = "Free memory of the GPU, raise --workspace-mib, or lower --max-batch-size"
    return CompileError(f"{library.words} cannot compile the graph: {error}. {fix}")


def _flags(module: Any, config: Any) -> str:
    # The bits, because to ask for a deprecated flag by its name warns.
    names = [name.lower() for name, flag in module.BuilderFlag.__members__.items() if config.flags >> int(flag) & 1]
    return ",".join(("strongly_typed", *names))
