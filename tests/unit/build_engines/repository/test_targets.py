"""Engines of one repository run on one target."""

import json
from pathlib import Path

import pytest

from build_engines.errors import TargetMismatchError
from build_engines.repository.targets import Target, check_target, target_of

STAMP = {"engine.compiler": "tensorrt", "engine.version": "11.2.1.2", "engine.compute_capability": "9.0"}


def publish(repository: Path, name: str, stamp: dict[str, str]) -> None:
    parameters = "".join(
        f"parameters {{ key: {json.dumps(f'build.{key}')} value {{ string_value: {json.dumps(value)} }} }}\n"
        for key, value in stamp.items()
    )
    (repository / name).mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(f"name: {json.dumps(name)}\n{parameters}")


def test_a_target_is_compiler_version_and_compute_capability() -> None:
    assert target_of(STAMP | {"engine.gpu": "NVIDIA H200"}) == Target("tensorrt", "11.2.1.2", "9.0")
    assert target_of({"precision": "fp32"}) is None


def test_a_repository_of_the_same_target_is_accepted(tmp_path: Path) -> None:
    publish(tmp_path, "same", STAMP | {"engine.gpu": "NVIDIA H200", "engine.profile": "1,2,3"})
    publish(tmp_path, "plain", {"precision": "fp32"})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.pbtxt").write_bytes(b"\xff{{{")
    check_target(tmp_path, "new", STAMP)
    check_target(tmp_path / "nowhere", "new", STAMP)


def test_a_graph_goes_beside_engines_of_any_target(tmp_path: Path) -> None:
    publish(tmp_path, "engine", STAMP)
    check_target(tmp_path, "new", {"precision": "fp32"})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("compiler", "rtx", "rtx 11.2.1.2, compute capability 9.0"),
        ("version", "10.16.1.11", "tensorrt 10.16.1.11, compute capability 9.0"),
        ("compute_capability", "8.9", "tensorrt 11.2.1.2, compute capability 8.9"),
    ],
)
def test_another_target_is_refused_with_both_sides_and_the_fix(
    tmp_path: Path, key: str, value: str, words: str
) -> None:
    publish(tmp_path, "a_same", STAMP)
    publish(tmp_path, "b_other", STAMP | {f"engine.{key}": value})
    with pytest.raises(TargetMismatchError) as caught:
        check_target(tmp_path, "new", STAMP)
    assert str(caught.value).startswith(
        f"b_other in {tmp_path} is an engine for {words}; this one is for tensorrt 11.2"
    )
    assert "--repository" in str(caught.value)


def test_an_entry_may_replace_itself_when_tensorrt_was_upgraded(tmp_path: Path) -> None:
    publish(tmp_path, "engine", STAMP)
    upgraded = STAMP | {"engine.version": "11.3.0.1"}
    check_target(tmp_path, "engine", upgraded)
    publish(tmp_path, "engine_fp16", STAMP)
    with pytest.raises(TargetMismatchError, match="engine_fp16"):
        check_target(tmp_path, "engine", upgraded)
