"""A build with --explain: the companion is published beside the entries, once, and only where rollout has a meaning."""

import dataclasses
from pathlib import Path

import pytest

from build_engines.build import build, foresee
from build_engines.cli import main
from build_engines.errors import NotOursError, PlanError, RolloutUndefinedError
from build_engines.plan import Plan
from build_engines.planfile import read_plans
from build_engines.publish import foresee_companion
from build_engines.repository import inspect
from build_engines.summary import description, summary
from build_engines.values import Precision
from contract.config import from_pbtxt, read_config
from contract.spec import Entry
from tests.unit.build_engines.conftest import Silent

DATA = Path(__file__).parents[2] / "data" / "vit_nano"


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan that was carried out: a model of two views, with its companion."""
    folder = tmp_path_factory.mktemp("explained")
    plan = Plan(
        model="vit_nano_convstem_mirror_patch4_32",
        name="nano",
        repository=folder / "models",
        register=("tests.unit.build_engines.architectures",),
        checkpoint=DATA / "weights.safetensors",
        labels=DATA / "labels.txt",
        max_batch_size=2,
        explain=True,
        cache=folder / "cache",
        reports=folder / "reports",
    )
    assert foresee_companion(plan) == "to build"
    build(plan, Silent())
    return plan


def entry_of(plan: Plan, name: str) -> Entry:
    entry = read_config(from_pbtxt((plan.repository / name / "config.pbtxt").read_text()))
    assert entry is not None
    return entry


def test_the_companion_says_what_it_explains(explained: Plan) -> None:
    model, companion = entry_of(explained, "nano"), entry_of(explained, "nano_explain")
    rollout = companion.explains
    assert rollout is not None
    assert rollout.entries == ("nano",)
    assert rollout.weights_sha256 == model.weights_sha256
    assert (rollout.layers, rollout.heads, rollout.rows, rollout.columns, rollout.discard) == (4, 4, 8, 8, 0.0)
    assert (companion.labels, companion.preprocessing) == (model.labels, model.preprocessing)
    assert companion.max_batch_size == 2
    assert companion.build["explains.without"] == "tests.unit.build_engines.architectures.MirrorAveraged.forward"
    assert float(companion.build["explains.max_abs_diff"]) <= 1e-5
    assert "nano: 4 layers, 4 heads" in "\n".join(description(inspect(explained.repository, "nano_explain")))


def test_a_second_build_finds_it_done(explained: Plan) -> None:
    assert foresee_companion(explained) == "as before"
    assert foresee(explained) == [(Precision.FP32, "as before")]
    progress = Silent()
    report = build(explained, progress)
    assert progress.steps == []
    assert report.explained is not None
    assert (report.explained.entry, report.explained.published.version) == ("nano_explain", 1)
    assert report.explained.published.unchanged
    page = (explained.reports / "nano" / "report.md").read_text()
    assert "- Companion (`nano_explain`): as before, version 1; explains the others by attention rollout" in page
    assert "nano_explain" in summary(explained, report, 1.0)


def test_it_is_published_anew_where_it_explains_other_entries(explained: Plan) -> None:
    progress = Silent()
    report = build(dataclasses.replace(explained, explain_discard=0.5), progress)
    assert progress.steps == ["explain", "explain publish"]
    assert report.explained is not None
    assert report.explained.published.version == 2
    rollout = entry_of(explained, "nano_explain").explains
    assert rollout is not None
    assert rollout.discard == 0.5


def test_a_model_without_rollout_is_refused_before_anything_is_published(small: Plan, tmp_path: Path) -> None:
    with pytest.raises(RolloutUndefinedError, match="not defined for linear_8: it is a Linear"):
        build(dataclasses.replace(small, explain=True), Silent())
    assert [child.name for child in small.repository.iterdir()] == [".lock"]
    command = [
        "build",
        "linear_8",
        "--no-pretrained",
        "--explain",
        "--register",
        "tests.unit.build_engines.architectures",
    ]
    command += ["--labels", str(tmp_path / "pets.txt"), "--cache", str(tmp_path), "--reports", str(tmp_path)]
    assert main([*command, "--repository", str(tmp_path / "other")]) == 2


def test_a_name_that_is_taken_is_refused_before_any_work(small: Plan) -> None:
    (small.repository / "linear_8_explain").mkdir(parents=True)
    progress = Silent()
    with pytest.raises(NotOursError):
        build(dataclasses.replace(small, explain=True), progress)
    assert progress.steps == []


def test_a_plan_without_it_publishes_no_companion(small: Plan) -> None:
    assert build(small, Silent()).explained is None
    assert not (small.repository / "linear_8_explain").exists()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"explain": True, "explain_discard": 1.0}, "0 to below 1"),
        ({"explain": True, "explain_discard": -0.1}, "0 to below 1"),
        ({"explain_discard": 0.5}, "give both"),
        ({"explain": True, "name": "n" * 121}, "at most 128"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(small: Plan, changes: dict[str, object], problem: str) -> None:
    with pytest.raises(PlanError, match=problem):
        dataclasses.replace(small, **changes)  # type: ignore[arg-type]


def test_files_of_plans_say_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pets.txt").write_text("cat\ndog\n")
    path = tmp_path / "models.toml"
    path.write_text(
        'register = ["tests.unit.build_engines.architectures"]\n[[model]]\nmodel = "linear_8"\nlabels = "pets.txt"\n'
        "pretrained = false\nexplain = true\nexplain_discard = 0.5\n".replace(
            "register", "cache = 'cache'\n[defaults]\nregister"
        )
    )
    (plan,) = read_plans(path)
    assert (plan.explain, plan.explain_discard) == (True, 0.5)
    assert main(["apply", str(path), "--dry-run"]) == 0
    assert "linear_8_explain" in capsys.readouterr().out
    path.write_text('[[model]]\nmodel = "a"\nexplain = true\n[[model]]\nmodel = "b"\nname = "a_explain"\n')
    with pytest.raises(PlanError, match="both build 'a_explain'"):
        read_plans(path)
    path.write_text('[[model]]\nmodel = "a"\nexplain = true\nexplain_discard = "much"\n')
    with pytest.raises(PlanError, match="must be a number"):
        read_plans(path)
