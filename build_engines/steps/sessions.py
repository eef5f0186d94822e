"""What answers on this machine as a variant will where it is served."""

from dataclasses import dataclass
from pathlib import Path

from build_engines.engine import EngineSession, engines_run_here, load_compiler, open_engine
from build_engines.graph import OnnxRuntimeSession, OpenVinoSession, open_as_compiled, open_bf16, open_graph
from build_engines.values import Compiler, Graph
from contract.config import ENGINE_FILE, Runtime


@dataclass(frozen=True)
class Files:
    """What a variant consists of on disk, and what runs it where it is served."""

    graph: Graph
    """What is served, or what the engine was made of."""
    engine: Path | None = None
    """The folder of its engine, where it has one."""
    bf16: bool = False
    """Whether the graph is multiplied in BF16."""

    @property
    def served(self) -> tuple[Path, ...]:
        """The files of a version of its entry."""
        return (self.engine / ENGINE_FILE,) if self.engine else self.graph.files

    @property
    def runtime(self) -> Runtime:
        """What runs it."""
        return Runtime.TENSORRT if self.engine else Runtime.OPENVINO if self.bf16 else Runtime.ONNXRUNTIME


def open_session(files: Files, compiler: Compiler) -> OnnxRuntimeSession | OpenVinoSession | EngineSession:
    """The engine where there is one and a GPU can run it, else the graph."""
    if files.engine and engines_run_here(compiler):
        return open_engine(files.engine / ENGINE_FILE, load_compiler(compiler))
    return open_bf16(files.graph.path) if files.bf16 else open_as_served(files.graph, compiler)


def open_as_served(graph: Graph, compiler: Compiler) -> OnnxRuntimeSession:
    """The graph in ONNX Runtime: as that serves it, or as `compiler` computes it."""
    return open_graph(graph.path) if compiler is Compiler.NONE else open_as_compiled(graph)
