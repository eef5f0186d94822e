"""A whole build, a second one that finds it done, and what a failed one leaves: nothing."""

import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image
from pydantic import TypeAdapter

from build_engines import build as orchestrator
from build_engines import publish as publishing
from build_engines.build import build, foresee
from build_engines.errors import ClassesMismatchError, LoadError, NotOursError
from build_engines.graph import openvino_session
from build_engines.pictures import made_pictures
from build_engines.plan import Plan
from build_engines.report import Report
from build_engines.results import Outcome, Published
from build_engines.values import Precision
from contract.config import Runtime, from_pbtxt, read_config, runtime_of
from contract.spec import Preprocessing
from tests.unit.build_engines.conftest import Silent


def test_the_orchestrator_fits_on_two_screens() -> None:
    assert len(Path(orchestrator.__file__).read_text().splitlines()) <= 130


def test_a_published_entry_reads_back_as_it_was_built(small: Plan) -> None:
    progress = Silent()
    report = build(dataclasses.replace(small, notes={"accuracy.top1": "87.10"}), progress)
    assert progress.steps == ["export", "fp32 verify", "fp32 publish"]
    (variant,) = report.variants
    assert (variant.outcome, variant.version) == (Outcome.PUBLISHED, 1)
    folder = small.repository / small.entry_name(Precision.FP32)
    entry = read_config(from_pbtxt((folder / "config.pbtxt").read_text()))
    assert entry is not None
    assert entry.labels == ("cat", "dog")
    assert entry.max_batch_size == 4
    assert entry.build["accuracy.top1"] == "87.10"
    assert entry.build["parity.batches"] == "1,2,4"
    assert variant.measured is not None
    assert entry.build["onnx_sha256"] == variant.measured.files["model.onnx"]
    assert (folder / "labels.txt").read_text().splitlines() == ["cat", "dog"]
    assert (folder / "1" / "model.onnx").stat().st_size == variant.measured.graph_size
    assert TypeAdapter(Report).validate_json((small.reports / "linear_8" / "report.json").read_text()) == report
    assert "**published** as version 1\n" in (folder / "1" / "report.md").read_text()
    assert json.loads((folder / "1" / "report.json").read_text())["variants"][0]["published"]["version"] == 1


@pytest.mark.parametrize("why", [LoadError("no"), KeyboardInterrupt()])
def test_what_triton_did_not_take_is_withdrawn(
    small: Plan, monkeypatch: pytest.MonkeyPatch, why: BaseException
) -> None:
    def load_and_check(*_: object) -> str:
        raise why

    monkeypatch.setattr(publishing, "load_and_check", load_and_check)
    with pytest.raises(type(why)):
        build(dataclasses.replace(small, load="127.0.0.1:1"), Silent())
    assert foresee(small) == [(Precision.FP32, "to publish")]


def test_an_entry_as_before_is_loaded_where_triton_does_not_serve_it(
    small: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(small, Silent())
    loaded: list[object] = []
    served = False
    monkeypatch.setattr(publishing, "is_served", lambda *_: served)

    def load_and_check(*given: object) -> str:
        loaded.append(given[:3])
        return "seen"

    monkeypatch.setattr(publishing, "load_and_check", load_and_check)
    with_load = dataclasses.replace(small, load="127.0.0.1:1")
    (variant,) = build(with_load, Silent()).variants
    assert (variant.outcome, variant.published) == (Outcome.UNCHANGED, Published(1, unchanged=True, warning="seen"))
    assert loaded == [("127.0.0.1:1", small.repository / "linear_8", 1)]
    served = True
    build(with_load, Silent())
    assert len(loaded) == 1


def test_a_broken_configuration_of_a_version_is_built_again(small: Plan) -> None:
    build(small, Silent())
    (small.repository / "linear_8" / "1" / "config.pbtxt").write_text("{{{")
    assert foresee(small) == [(Precision.FP32, "to publish")]
    (variant,) = build(small, Silent()).variants
    assert (variant.outcome, variant.version) == (Outcome.PUBLISHED, 2)


def test_a_second_build_finds_everything_done(small: Plan) -> None:
    assert foresee(small) == [(Precision.FP32, "to build")]
    build(small, Silent())
    assert foresee(small) == [(Precision.FP32, "as before")]
    progress = Silent()
    (variant,) = build(small, progress).variants
    assert (variant.outcome, variant.version) == (Outcome.UNCHANGED, 1)
    assert (progress.steps, progress.kept_steps) == ([], ["fp32 verify", "export"])
    assert [path.name for path in (small.repository / "linear_8").iterdir() if path.is_dir()] == ["1"]


def test_another_instance_count_is_published_without_another_export(small: Plan) -> None:
    build(small, Silent())
    progress = Silent()
    (variant,) = build(dataclasses.replace(small, instances=2), progress).variants
    assert (variant.outcome, variant.version) == (Outcome.PUBLISHED, 2)
    assert progress.steps == ["fp32 publish"]


@pytest.mark.parametrize("change", [{"labels": "other"}, {"max_batch_size": 3}])
def test_other_inputs_are_built_anew(small: Plan, tmp_path: Path, change: dict[str, object]) -> None:
    build(small, Silent())
    if "labels" in change:
        (tmp_path / "other.txt").write_text("dog\ncat\n")
        change = {"labels": tmp_path / "other.txt"}
    progress = Silent()
    (variant,) = build(dataclasses.replace(small, **change), progress).variants  # type: ignore[arg-type]
    assert variant.version == 2
    assert progress.steps == ["export", "fp32 verify", "fp32 publish"]


@pytest.fixture
def half(small: Plan, tmp_path: Path) -> Plan:
    """FP32 and BF16, judged by a few pictures, and published whatever is found."""
    (tmp_path / "pictures").mkdir()
    for number, picture in enumerate(made_pictures(8, Preprocessing(height=8, width=8))):
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{number}.png")
    both = (Precision.FP32, Precision.BF16)
    return dataclasses.replace(small, precisions=both, evaluation=tmp_path / "pictures", force=True)


def test_bf16_is_the_fp32_graph_with_another_runtime(half: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_session, "multiplies_bf16", lambda: True)
    progress = Silent()
    fp32, bf16 = build(half, progress).variants
    assert progress.steps == ["export", "reference", "fp32 verify", "bf16 verify", "fp32 publish", "bf16 publish"]
    assert fp32.measured is not None
    assert bf16.measured is not None
    assert fp32.measured.files == bf16.measured.files
    assert bf16.measured.runtime.startswith("OpenVINO ")
    assert bf16.measured.race is not None
    assert bf16.measured.race.against is Precision.FP32
    config = from_pbtxt((half.repository / "linear_8_bf16" / "config.pbtxt").read_text())
    assert runtime_of(config) is Runtime.OPENVINO
    entry = read_config(config)
    assert entry is not None
    assert entry.build["precision"] == "bf16"
    assert not [key for key in entry.build if key.startswith("calibration")]
    assert build(half, Silent()).variants[1].outcome is Outcome.UNCHANGED


def test_where_bf16_cannot_be_made_fp32_is_published(half: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_session, "multiplies_bf16", lambda: False)
    fp32, bf16 = build(half, Silent()).variants
    assert (fp32.outcome, bf16.outcome) == (Outcome.PUBLISHED, Outcome.FAILED)
    assert "leave bf16 out" in bf16.failure
    assert not (half.repository / "linear_8_bf16").exists()


def test_a_refused_build_leaves_nothing(small: Plan, tmp_path: Path) -> None:
    with pytest.raises(ClassesMismatchError):
        build(dataclasses.replace(small, num_classes=3), Silent())
    assert [child.name for child in small.repository.iterdir()] == [".lock"]
    assert sorted(child.name for child in tmp_path.iterdir()) == ["cache", "models", "pets.txt"]
    assert list((tmp_path / "cache" / "model").iterdir()) == []


def test_a_taken_name_is_refused_before_any_work(small: Plan) -> None:
    (small.repository / small.entry_name(Precision.FP32)).mkdir(parents=True)
    progress = Silent()
    with pytest.raises(NotOursError):
        build(small, progress)
    assert progress.steps == []
