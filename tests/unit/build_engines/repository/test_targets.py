"""Engines of one repository run on one target."""

import json
from pathlib import Path

import pytest

from build_engines.errors import TargetMismatchError
from build_engines.repository.targets import Target, check_kind, check_target, target_of
from build_engines.values import Compiler

STAMP = {
    "engine.compiler": "tensorrt",
    "engine.version": "11.2.1.2",
    "engine.gpu": "NVIDIA H200",
    "engine.compute_capability": "9.0",
}
RTX = STAMP | {"engine.compiler": "rtx", "engine.gpu": "any"}


def publish(repository: Path, name: str, stamp: dict[str, str]) -> None:
    parameters = "".join(
        f"parameters {{ key: {json.dumps(f'build.{key}')} value {{ string_value: {json.dumps(value)} }} }}\n"
        for key, value in stamp.items()
    )
    (repository / name).mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(f"name: {json.dumps(name)}\n{parameters}")


def test_a_target_is_compiler_version_and_gpu() -> None:
    assert target_of(STAMP) == Target("tensorrt", "11.2.1.2", "NVIDIA H200", "9.0")
    assert target_of({"precision": "fp32"}) is None


def test_a_repository_of_the_same_target_is_accepted(tmp_path: Path) -> None:
    publish(tmp_path, "same", STAMP | {"engine.profile": "1,2,3"})
    publish(tmp_path, "plain", {"precision": "fp32"})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.pbtxt").write_bytes(b"\xff{{{")
    check_target(tmp_path, ["new"], STAMP)
    check_target(tmp_path / "nowhere", ["new"], STAMP)


def test_a_graph_goes_beside_engines_of_any_target(tmp_path: Path) -> None:
    publish(tmp_path, "engine", STAMP)
    check_target(tmp_path, ["new"], {"precision": "fp32"})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("version", "10.16.1.11", "tensorrt 10.16.1.11, NVIDIA H200 (compute capability 9.0)"),
        ("gpu", "NVIDIA H100", "tensorrt 11.2.1.2, NVIDIA H100 (compute capability 9.0)"),
        ("compute_capability", "8.9", "tensorrt 11.2.1.2, NVIDIA H200 (compute capability 8.9)"),
    ],
)
def test_another_target_is_refused_with_both_sides_and_the_fix(
    tmp_path: Path, key: str, value: str, words: str
) -> None:
    publish(tmp_path, "a_same", STAMP)
    publish(tmp_path, "b_other", STAMP | {f"engine.{key}": value})
    with pytest.raises(TargetMismatchError) as caught:
        check_target(tmp_path, ["new"], STAMP)
    assert str(caught.value).startswith(
        f"b_other in {tmp_path} is an engine for {words}; this one is for tensorrt 11.2"
    )
    assert "--repository" in str(caught.value)


def test_a_build_may_replace_its_own_entries_when_tensorrt_was_upgraded(tmp_path: Path) -> None:
    for name in ("model", "model_fp16"):
        publish(tmp_path, name, STAMP)
    upgraded = STAMP | {"engine.version": "11.3.0.1"}
    check_target(tmp_path, ["model", "model_fp16"], upgraded)
    with pytest.raises(TargetMismatchError, match="model_fp16"):
        check_target(tmp_path, ["model"], upgraded)


@pytest.mark.parametrize("stamp", [STAMP, {"precision": "fp32"}, {}])
def test_engines_of_tensorrt_for_rtx_go_beside_nothing_that_triton_loads(tmp_path: Path, stamp: dict[str, str]) -> None:
    publish(tmp_path, "served", stamp)
    check_kind(tmp_path, ["new"], Compiler.NONE)
    check_kind(tmp_path, ["new"], Compiler.TENSORRT)
    check_kind(tmp_path, ["served"], Compiler.RTX)
    with pytest.raises(TargetMismatchError, match=r"is for Triton \(served\), .*--repository rtx_engines"):
        check_kind(tmp_path, ["new"], Compiler.RTX)


def test_what_triton_loads_goes_beside_no_engine_of_tensorrt_for_rtx(tmp_path: Path) -> None:
    publish(tmp_path, "compiled", RTX)
    check_kind(tmp_path, ["new"], Compiler.RTX)
    for compiler in (Compiler.NONE, Compiler.TENSORRT):
        with pytest.raises(TargetMismatchError, match=r"holds engines of TensorRT for RTX \(compiled\)"):
            check_kind(tmp_path, ["new"], compiler)
