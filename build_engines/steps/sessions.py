"""What answers on this machine as a variant will where it is served."""

from pathlib import Path

from build_engines.engine import EngineSession, engines_run_here, load_compiler, open_engine
from build_engines.graph import OnnxRuntimeSession, open_as_compiled, open_graph
from build_engines.values import Compiler, Graph
from contract.config import ENGINE_FILE


def open_session(graph: Graph, engine: Path | None, compiler: Compiler) -> OnnxRuntimeSession | EngineSession:
    """The engine in the folder `engine` where there is one and a GPU can run it, else its graph."""
    if engine and engines_run_here(compiler):
        return open_engine(engine / ENGINE_FILE, load_compiler(compiler))
    return open_as_served(graph, compiler)


def open_as_served(graph: Graph, compiler: Compiler) -> OnnxRuntimeSession:
    """The graph in ONNX Runtime: as that serves it, or as `compiler` computes it."""
    return open_graph(graph.path) if compiler is Compiler.NONE else open_as_compiled(graph)
