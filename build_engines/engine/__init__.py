"""Engines: compiled by TensorRT or TensorRT for RTX, and run on a GPU."""

from build_engines.engine.compilers import WORDS, engines_run_here, load_compiler
from build_engines.engine.engine import Profile, compile_engine, load_stamp
from build_engines.engine.engine_session import EngineSession, open_engine
