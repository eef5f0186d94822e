"""What a session asks of TensorRT and CUDA, by stand-ins; and that no engine runs without a GPU. tests/gpu runs one."""

import re
from pathlib import Path

import numpy as np
import pytest

from build_engines.engine.compilers import load_compiler
from build_engines.engine.engine import Profile, compile_engine
from build_engines.engine.engine_session import open_engine
from build_engines.errors import CompilerMissingError, InvalidOutputError
from build_engines.graph.onnxruntime_session import OnnxRuntimeSession, open_graph
from build_engines.judge import Course, check_sizes, time_alone
from build_engines.pictures import made_pictures
from build_engines.values import Compiler, Pixels, Spent, describe
from contract.config import graph_sizes
from contract.spec import Preprocessing
from tests.unit.build_engines.engine.standin import STREAM, StandIn

TRAINED = Path(__file__).parents[3] / "data" / "vit_nano" / "model.onnx"


def test_an_engine_without_a_gpu_is_refused_in_plain_words(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rtx = load_compiler(Compiler.RTX)
    engine = compile_engine(describe(TRAINED), rtx, Profile.up_to(4), tmp_path, workspace_bytes=64 << 20)
    with pytest.raises(CompilerMissingError, match=r"^model\.plan can only run on a GPU, .*in ONNX Runtime") as caught:
        open_engine(engine.path, rtx)
    assert str(tmp_path) not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    # The library did look at the engine, and failed at the driver, which is missing (35) or shows no GPU (100).
    assert re.search("cudaError (35|100)", rtx.log.error)


def test_a_missing_engine_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_engine(tmp_path / "model.plan", load_compiler(Compiler.RTX))


@pytest.fixture(scope="module")
def reference() -> OnnxRuntimeSession:
    return open_graph(TRAINED)


@pytest.fixture(scope="module")
def images() -> Pixels:
    return made_pictures(8, Preprocessing(32, 32))


def test_buffers_are_made_once_and_serve_every_size(reference: OnnxRuntimeSession, images: Pixels) -> None:
    stand_in = StandIn(reference)
    for size in (1, 3, 8, 1):
        assert np.allclose(stand_in.session.run(images[:size]), reference.run(images[:size]), atol=1e-6)
    assert len(stand_in.calls.named("buffer", "pinned")) == 4
    assert stand_in.calls.named("address") == [("address", "image"), ("address", "probabilities")]
    assert stand_in.calls.named("enqueue") == [("enqueue", STREAM, size) for size in (1, 3, 8, 1)]


def test_a_graph_is_captured_after_a_run_the_smallest_first_and_replayed_at_its_size_only(
    reference: OnnxRuntimeSession, images: Pixels
) -> None:
    stand_in = StandIn(reference)
    stand_in.session.capture((1, 2, 8))
    each = [("shape", "image"), ("enqueue", STREAM), ("wait",), ("capture",), ("enqueue", STREAM)]
    done = stand_in.calls.named("shape", "enqueue", "wait", "capture")
    assert [call[:2] for call in done] == each * 3
    assert [call[2] for call in done if call[0] == "shape"] == [1, 2, 8]
    assert stand_in.session.graphs == (1, 2, 8)
    stand_in.calls.clear()
    for size in (1, 3, 8, 1):
        assert np.allclose(stand_in.session.run(images[:size]), reference.run(images[:size]), atol=1e-6)
    assert stand_in.calls.named("shape", "enqueue", "replay") == [
        ("replay", 1),
        ("shape", "image", 3),
        ("enqueue", STREAM, 3),
        ("replay", 8),
        ("replay", 1),
    ]


def test_copies_are_timed_apart_from_the_graph(reference: OnnxRuntimeSession, images: Pixels) -> None:
    stand_in = StandIn(reference)
    stand_in.session.capture((8,))
    assert stand_in.session.time(images) == Spent(compute=1.0, copies=0.5)
    (timing,) = time_alone(stand_in.session, Course(images, (8,), seconds=0.0))
    assert (timing.p50_ms, timing.copies_ms) == (1000.0, 500.0)


def test_a_capture_that_fails_names_the_size_and_what_triton_would_do(reference: OnnxRuntimeSession) -> None:
    stand_in = StandIn(reference, captures=False)
    with pytest.raises(
        InvalidOutputError, match=r"no CUDA graph can be captured for a batch of 1: .*not permitted.*Triton"
    ):
        stand_in.session.capture((1, 8))
    assert stand_in.session.graphs == ()


def test_an_engine_that_does_not_run_says_why(reference: OnnxRuntimeSession, images: Pixels) -> None:
    stand_in = StandIn(reference)
    stand_in.context.runs = False
    with pytest.raises(
        InvalidOutputError, match=r"cannot run the engine: Error Code 1: Cuda Runtime \(out of memory\)"
    ):
        stand_in.session.run(images)


@pytest.mark.parametrize("shape", [(9, 32, 32, 3), (0, 32, 32, 3), (1, 16, 16, 3)])
def test_what_the_engine_does_not_take_is_refused(reference: OnnxRuntimeSession, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidOutputError, match="takes batches of 1 to 8 pictures"):
        StandIn(reference).session.run(np.zeros(shape, np.uint8))


def test_sizes_are_compared_with_and_without_a_graph(reference: OnnxRuntimeSession, images: Pixels) -> None:
    stand_in = StandIn(reference)
    stand_in.session.capture(graph_sizes(8))
    stand_in.calls.clear()
    check_sizes(stand_in.session, images, reference.run(images))
    served = [(call[0], call[-1]) for call in stand_in.calls.named("enqueue", "replay")]
    assert served == [("replay", 1), ("enqueue", 3), ("replay", 8), ("replay", 1)]


def test_answers_that_differ_under_a_graph_only_are_found(reference: OnnxRuntimeSession, images: Pixels) -> None:
    stand_in = StandIn(reference, spoilt=True)
    wanted = reference.run(images)
    check_sizes(stand_in.session, images, wanted)
    stand_in.session.capture(graph_sizes(8))
    with pytest.raises(
        InvalidOutputError, match=r"in a batch of 1, by a CUDA graph \(comparison 1\).*its first answers"
    ):
        check_sizes(stand_in.session, images, wanted)
