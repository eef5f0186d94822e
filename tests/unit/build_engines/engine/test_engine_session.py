"""An engine cannot run without a GPU, and says so; tests/gpu runs one."""

from pathlib import Path

import pytest

from build_engines.engine.compilers import load_compiler
from build_engines.engine.engine import Profile, compile_engine
from build_engines.engine.engine_session import open_engine
from build_engines.errors import CompilerMissingError
from build_engines.machine import gpus
from build_engines.values import Compiler, describe

BUNDLED = Path(__file__).parents[4] / "model_repository" / "cifar10_vit" / "1" / "model.onnx"


@pytest.mark.skipif(bool(gpus()), reason="there is a GPU")
def test_an_engine_without_a_gpu_is_refused_in_plain_words(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rtx = load_compiler(Compiler.RTX)
    engine = compile_engine(describe(BUNDLED), rtx, Profile.up_to(4), tmp_path, workspace_bytes=64 << 20)
    with pytest.raises(CompilerMissingError, match=r"^model\.plan can only run on a GPU, .*in ONNX Runtime") as caught:
        open_engine(engine.path, rtx)
    assert str(tmp_path) not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    # The library did look at the engine, and failed at the driver.
    assert "cudaError 35" in rtx.log.error


def test_a_missing_engine_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_engine(tmp_path / "model.plan", load_compiler(Compiler.RTX))
