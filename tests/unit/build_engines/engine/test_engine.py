"""Graphs to engines, by the real TensorRT for RTX, which needs no GPU."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from build_engines.engine.compilers import Library, load_compiler
from build_engines.engine.engine import Profile, compile_engine, load_stamp
from build_engines.errors import CompileError, PlanError
from build_engines.values import Compiler, Graph, describe

TRAINED = Path(__file__).parents[3] / "data" / "vit_nano" / "model.onnx"
PROFILE = Profile(opt=2, largest=4)
Save = Callable[..., Graph]


@pytest.fixture(scope="module")
def rtx() -> Library:
    return load_compiler(Compiler.RTX)


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves a graph of one layer, for pictures of 2 x 2, with `middle` between the picture's Cast and the layer."""

    def save(
        *middle: onnx.NodeProto,
        batch: str | int = "batch",
        side: str | int = 2,
        first: str = "image",
        precision: type = np.float32,
        beside: bool = False,
        **constants: Any,
    ) -> Graph:
        wide = TensorProto.FLOAT16 if precision is np.float16 else TensorProto.FLOAT
        nodes = [
            helper.make_node("Cast", [first], ["levels"], to=wide),
            *(middle or [helper.make_node("Identity", ["levels"], ["middle"])]),
            helper.make_node("Reshape", ["middle", "shape"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
            helper.make_node("Cast", ["logits"], ["wide_logits"], to=TensorProto.FLOAT),
            helper.make_node("Softmax", ["wide_logits"], ["probabilities"]),
        ]
        if first != "image":
            nodes.insert(0, helper.make_node("Transpose", ["image"], [first], perm=[0, 2, 1, 3], name="early"))
        weights: npt.NDArray[Any] = np.random.default_rng(0).normal(0, 0.01, (12, 10)).astype(precision)
        constants |= {"weights": weights, "shape": np.array([-1, 12])}
        graph = helper.make_graph(
            nodes,
            "linear",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, side, 2, 3])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, 10])],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("elsewhere", 1)]
        path = tmp_path / "model.onnx"
        onnx.save(
            helper.make_model(graph, opset_imports=opsets, ir_version=10),
            path,
            save_as_external_data=beside,
            location="model.onnx.data",
            size_threshold=0,
        )
        return describe(path)

    return save


def test_a_graph_is_compiled_and_stamped(rtx: Library, tmp_path: Path) -> None:
    graph = describe(TRAINED)
    engine = compile_engine(graph, rtx, Profile.up_to(32), tmp_path, workspace_bytes=256 << 20)
    assert engine.path == tmp_path / "model.plan"
    assert engine.path.stat().st_size > 1_000_000
    assert (
        engine.stamp
        == load_stamp(tmp_path)
        == {
            "engine.compiler": "rtx",
            "engine.version": rtx.module.__version__,
            "engine.gpu": "any; compiled without one",
            "engine.compute_capability": "8.0 and later",
            "engine.flags": "strongly_typed,tf32",
            "engine.profile": "1,8,32",
            "engine.workspace_bytes": str(256 << 20),
            "engine.onnx_sha256": graph.sha256,
        }
    )


def test_the_profile_is_in_the_engine(rtx: Library, save: Save, tmp_path: Path) -> None:
    graph = save()

    def compiled(profile: Profile) -> bytes:
        return compile_engine(graph, rtx, profile, tmp_path, workspace_bytes=64 << 20).path.read_bytes()

    assert compiled(PROFILE) == compiled(PROFILE)
    assert len({compiled(PROFILE), compiled(replace(PROFILE, opt=3)), compiled(replace(PROFILE, largest=9))}) == 3


@pytest.mark.parametrize("precision", [np.float32, np.float16])
def test_int8_is_compiled_as_the_graph_says(rtx: Library, save: Save, tmp_path: Path, precision: type) -> None:
    int8 = save(
        helper.make_node("QuantizeLinear", ["levels", "scale", "zero"], ["quantized"]),
        helper.make_node("DequantizeLinear", ["quantized", "scale", "zero"], ["middle"]),
        precision=precision,
        scale=precision(2.0),
        zero=np.int8(0),
    )
    assert compile_engine(int8, rtx, PROFILE, tmp_path, workspace_bytes=64 << 20).path.stat().st_size > 0


def test_a_graph_that_mixes_types_is_refused_because_networks_are_strongly_typed(
    rtx: Library, save: Save, tmp_path: Path
) -> None:
    half = helper.make_node("Cast", ["levels"], ["half"], to=TensorProto.FLOAT16)
    mixed = save(half, helper.make_node("Add", ["half", "levels"], ["middle"], name="mixed"))
    with pytest.raises(CompileError, match=r"node 'mixed' \(Add\).*--compiler none"):
        compile_engine(mixed, rtx, PROFILE, tmp_path, workspace_bytes=64 << 20)


def test_weights_beside_the_graph_are_found(
    rtx: Library, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = save(beside=True)
    assert len(graph.files) == 2
    monkeypatch.chdir("/")
    assert compile_engine(graph, rtx, PROFILE, tmp_path, workspace_bytes=64 << 20).path.stat().st_size > 0
    graph.files[1].unlink()
    with pytest.raises(CompileError, match="file of its weights is not beside it: export it again"):
        compile_engine(graph, rtx, PROFILE, tmp_path, workspace_bytes=64 << 20)


def test_nothing_reaches_the_terminal(
    rtx: Library, save: Save, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = save()
    compile_engine(graph, rtx, PROFILE, tmp_path, workspace_bytes=64 << 20)
    graph.path.write_bytes(b"nonsense")
    with pytest.raises(CompileError):
        compile_engine(graph, rtx, PROFILE, tmp_path, workspace_bytes=64 << 20)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"nonsense", None])
def test_a_broken_file_is_refused_without_the_folders_of_this_machine(
    rtx: Library, save: Save, tmp_path: Path, content: bytes | None
) -> None:
    graph = save()
    if content is None:
        graph.path.unlink()
    else:
        graph.path.write_bytes(content)
    words = r"^TensorRT for RTX [\d.]+ cannot read model\.onnx: .+The file is damaged, .+: export it again$"
    with pytest.raises(CompileError, match=words) as caught:
        compile_engine(graph, rtx, PROFILE, tmp_path, workspace_bytes=64 << 20)
    assert str(tmp_path) not in str(caught.value)
    assert not (tmp_path / "model.plan").exists()


def test_a_transpose_of_the_picture_is_refused_with_the_node_and_the_fix(
    rtx: Library, save: Save, tmp_path: Path
) -> None:
    words = r"node 'early' \(Transpose\): .* has type UInt8 .*\. Only a Cast takes the picture itself: export it again$"
    with pytest.raises(CompileError, match=words) as caught:
        compile_engine(save(first="turned"), rtx, PROFILE, tmp_path, workspace_bytes=64 << 20)
    assert "/_src/" not in str(caught.value)


def test_an_unknown_operator_is_named(rtx: Library, save: Save, tmp_path: Path) -> None:
    graph = save(helper.make_node("Frobnicate", ["levels"], ["middle"], name="odd", domain="elsewhere"))
    with pytest.raises(CompileError, match=r"node 'odd' \(Frobnicate\): .*--compiler none"):
        compile_engine(graph, rtx, PROFILE, tmp_path, workspace_bytes=64 << 20)


@pytest.mark.parametrize("shape", [{"batch": 4}, {"side": "side"}])
def test_what_is_not_free_in_its_batch_alone_is_refused(
    rtx: Library, save: Save, tmp_path: Path, shape: dict[str, Any]
) -> None:
    with pytest.raises(CompileError, match=r"free batch and nothing else free; it has \[\('image', 'UINT8'"):
        compile_engine(save(**shape), rtx, PROFILE, tmp_path, workspace_bytes=64 << 20)


def test_an_empty_file_is_refused(rtx: Library, save: Save, tmp_path: Path) -> None:
    graph = save()
    graph.path.write_bytes(b"")
    with pytest.raises(CompileError, match=r"it has \[\]\. Export it again"):
        compile_engine(graph, rtx, PROFILE, tmp_path, workspace_bytes=64 << 20)


@pytest.fixture
def turing(rtx: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each compilation is for compute capability 7.5 alone, for which TensorRT for RTX has no FP32."""
    create = rtx.module.Builder.create_builder_config

    def for_turing(builder: Any) -> Any:
        config = create(builder)
        config.num_compute_capabilities = 1
        assert config.set_compute_capability(rtx.module.ComputeCapability.SM75, 0)
        return config

    monkeypatch.setattr(rtx.module.Builder, "create_builder_config", for_turing)


@pytest.mark.usefixtures("turing")
def test_what_the_compiler_says_of_a_refused_graph_is_in_the_message(rtx: Library, save: Save, tmp_path: Path) -> None:
    words = r"cannot compile the graph: .*FP32 GEMM is not supported\)\. .*--compiler none"
    with pytest.raises(CompileError, match=words) as caught:
        compile_engine(save(), rtx, PROFILE, tmp_path, workspace_bytes=64 << 20)
    assert "/_src/" not in str(caught.value)
    assert not (tmp_path / "model.plan").exists()
    compile_engine(save(precision=np.float16), rtx, PROFILE, tmp_path, workspace_bytes=64 << 20)


@pytest.mark.usefixtures("turing")
def test_an_earlier_failure_is_not_told_again(rtx: Library, save: Save, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="FP32 GEMM"):
        compile_engine(save(), rtx, PROFILE, tmp_path, workspace_bytes=64 << 20)
    assert "FP32 GEMM" in rtx.log.error
    with pytest.raises(CompileError, match="no such thing"), rtx.errors_as(CompileError, "cannot do it", "Leave it"):
        raise RuntimeError("no such thing")


def test_tensorrt_for_rtx_is_asked_for_no_timings(rtx: Library, save: Save, tmp_path: Path) -> None:
    cache = tmp_path / "timings" / "rtx.cache"
    compile_engine(save(), rtx, PROFILE, tmp_path, workspace_bytes=64 << 20, timing_cache=cache)
    assert not cache.parent.exists()


@pytest.mark.parametrize(("largest", "opt", "sizes"), [(32, None, (1, 8, 32)), (4, None, (1, 4, 4)), (9, 3, (1, 3, 9))])
def test_a_profile_is_tuned_for_eight_unless_it_is_told(
    largest: int, opt: int | None, sizes: tuple[int, int, int]
) -> None:
    assert Profile.up_to(largest, opt).sizes == sizes


@pytest.mark.parametrize(("opt", "largest"), [(0, 4), (5, 4)])
def test_a_profile_is_in_order(opt: int, largest: int) -> None:
    with pytest.raises(PlanError, match=f"batches of 1 to {largest} cannot be tuned for {opt}"):
        Profile(opt, largest)
