"""Engines of the datacentre's TensorRT, built, run and timed for real: left out, with the reason, where that cannot be.

Pixels are noise, so probabilities are compared and no accuracy is.
"""

from pathlib import Path

import numpy as np
import pytest

from build_engines.engine.compilers import Library, is_installed, load_compiler, why_not
from build_engines.engine.engine import Engine, Profile, compile_engine
from build_engines.engine.engine_session import EngineSession, open_engine
from build_engines.errors import CompileError, InvalidOutputError
from build_engines.graph.onnxruntime_session import open_graph
from build_engines.judge import check_sizes
from build_engines.machine import gpus
from build_engines.pictures import made_pictures
from build_engines.values import Compiler, Pixels, describe
from contract.config import graph_sizes
from contract.spec import Preprocessing

REASON = why_not(Compiler.TENSORRT, installed=is_installed(Compiler.TENSORRT), gpus=gpus())
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)

BUNDLED = Path(__file__).parents[2] / "model_repository" / "cifar10_vit" / "1" / "model.onnx"
LARGEST = 16


@pytest.fixture(scope="module")
def tensorrt() -> Library:
    return load_compiler(Compiler.TENSORRT)


@pytest.fixture(scope="module")
def images() -> Pixels:
    return made_pictures(LARGEST, Preprocessing(32, 32))


@pytest.fixture(scope="module")
def timings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("timings") / "tensorrt.cache"


@pytest.fixture(scope="module")
def engine(tensorrt: Library, timings: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The bundled model at FP32."""
    folder = tmp_path_factory.mktemp("engine")
    profile = Profile.up_to(LARGEST)
    return compile_engine(describe(BUNDLED), tensorrt, profile, folder, workspace_bytes=1 << 30, timing_cache=timings)


@pytest.fixture(scope="module")
def session(engine: Engine, tensorrt: Library) -> EngineSession:
    return open_engine(engine.path, tensorrt)


def test_it_is_stamped_with_the_gpu_that_it_is_for(engine: Engine, tensorrt: Library) -> None:
    assert engine.stamp["engine.compiler"] == "tensorrt"
    assert engine.stamp["engine.version"] == tensorrt.version
    shown = {(gpu.name, f"{gpu.capability[0]}.{gpu.capability[1]}") for gpu in gpus()}
    assert (engine.stamp["engine.gpu"], engine.stamp["engine.compute_capability"]) in shown


def test_it_answers_what_the_graph_answers(session: EngineSession, images: Pixels) -> None:
    wanted = open_graph(BUNDLED)
    assert session.batches == (1, LARGEST)
    for batch in (1, 3, LARGEST, 1):
        answers = session.run(images[:batch])
        assert answers.dtype == np.float32
        assert answers.shape == (batch, 10)
        # TF32 multiplies with 10 bits of mantissa.
        assert np.abs(answers - wanted.run(images[:batch])).max() < 0.01


def test_by_graphs_it_answers_the_same_at_every_size(engine: Engine, tensorrt: Library, images: Pixels) -> None:
    captured = open_engine(engine.path, tensorrt)
    wanted = captured.run(images)
    captured.capture(graph_sizes(LARGEST))
    assert captured.graphs == graph_sizes(LARGEST)
    check_sizes(captured, images, wanted)
    assert captured.time(images[:1]).compute > 0


def test_a_batch_beyond_the_profile_is_refused(session: EngineSession, images: Pixels) -> None:
    with pytest.raises(InvalidOutputError, match=f"takes batches of 1 to {LARGEST}"):
        session.run(np.concatenate((images, images)))
    assert len(session.run(images)) == LARGEST


def test_timings_are_kept_for_the_next_build(engine: Engine, tensorrt: Library, timings: Path, tmp_path: Path) -> None:
    content = timings.read_bytes()
    profile = Profile.up_to(LARGEST)
    again = compile_engine(
        describe(BUNDLED), tensorrt, profile, tmp_path, workspace_bytes=1 << 30, timing_cache=timings
    )
    assert again.stamp == engine.stamp
    assert content
    assert timings.read_bytes()


def test_int8_with_fp16_around_it_runs(tensorrt: Library, images: Pixels, tmp_path: Path) -> None:
    from modelopt.onnx.quantization import quantize  # noqa: PLC0415 (takes ten seconds, also where all is left out)

    path = tmp_path / "model.onnx"
    quantize(
        str(BUNDLED),
        quantize_mode="int8",
        calibration_data={"image": images},
        calibration_eps=["cpu"],
        high_precision_dtype="fp16",
        output_path=str(path),
        log_level="ERROR",
    )
    engine = compile_engine(describe(path), tensorrt, Profile.up_to(LARGEST), tmp_path, workspace_bytes=1 << 30)
    answers = open_engine(engine.path, tensorrt).run(images)
    assert np.isfinite(answers).all()
    assert np.allclose(answers.sum(axis=1), 1, atol=1e-3)


def test_a_damaged_engine_is_refused(engine: Engine, tensorrt: Library, tmp_path: Path) -> None:
    broken = tmp_path / "model.plan"
    broken.write_bytes(engine.path.read_bytes()[:-1000])
    with pytest.raises(CompileError, match=r"cannot open model\.plan"):
        open_engine(broken, tensorrt)
