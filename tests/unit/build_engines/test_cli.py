"""The command: what it prints, and with which code it ends."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from build_engines.cli import GATE_REFUSED, REFUSED, main
from build_engines.plan import Plan


def test_help_teaches_and_does_not_wait_for_torch() -> None:
    script = (
        "import sys\nfrom build_engines.cli import main\n"
        "try:\n    main(['build', '--help'])\n"
        "finally:\n    print('heavy:', {'torch', 'timm', 'onnx', 'onnxruntime'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "heavy: set()" in done.stdout
    for taught in ("--no-pretrained", "--checkpoint", "config.pbtxt", "Exit codes:", "training.architecture"):
        assert taught in done.stdout


def test_the_help_says_what_each_code_means(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["build", "--help"])
    said = capsys.readouterr().out.partition("Exit codes:")[2]
    assert re.findall(r"^  (\d+) ", said, re.MULTILINE) == ["0", "1", str(REFUSED), str(GATE_REFUSED), "130"]
    # A build may end with any of them after a part of it was published.
    assert "nothing was published" not in said
    assert "what was published before the end stays, and nothing is half published" in said


def test_a_build_is_summed_up(plan_arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(plan_arguments) == 0
    out = capsys.readouterr().out
    assert "published as version 1" in out
    assert "/v1/models/linear_8/classify" in out
    assert [line.split()[:2] for line in out.splitlines()[:4]][1:] == [
        ["export", out.splitlines()[1].split()[1]],
        ["fp32", "verify"],
        ["fp32", "publish"],
    ]
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--num-classes", "9"], "[classes_mismatch]"),
        (["--checkpoint", "nowhere.pth"], "not allowed with argument"),
        (["--note", "accuracy"], "[invalid_plan]"),
        (["--note", "a=1", "--note", "a=2"], "[invalid_plan]"),
        (["--num-classes", "ten"], "invalid int value"),
        (["--name", "a/b"], "[invalid_plan]"),
        (["--precision", "int4"], "[invalid_plan]"),
        (["--precision", "int8"], "[invalid_plan]"),
        (["--compiler", "tensorrt"], "[compiler_missing]"),
    ],
)
def test_a_refusal_is_one_message_and_code_2(
    plan_arguments: list[str], capsys: pytest.CaptureFixture[str], extra: list[str], message: str
) -> None:
    try:
        code = main([*plan_arguments, *extra])
    except SystemExit as refused:
        code = int(refused.code or 0)
    err = capsys.readouterr().err
    assert code == 2
    assert message in err
    assert "Traceback" not in err


@pytest.fixture
def plan_arguments(small: Plan) -> list[str]:
    return [
        *("build", small.model, "--register", *small.register, "--no-pretrained", "--labels", str(small.labels)),
        *("--repository", str(small.repository), "--max-batch-size", "4"),
        *("--cache", str(small.cache), "--reports", str(small.reports)),
    ]


def test_what_is_published_is_listed_rolled_back_and_pruned(
    plan_arguments: list[str], small: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> str:
        assert main([*arguments, "--repository", str(small.repository)]) == 0
        return capsys.readouterr().out

    assert main(plan_arguments) == 0
    assert main([*plan_arguments, "--instances", "2"]) == 0
    capsys.readouterr()
    assert "version 2 of 1, 2" in said("list")
    assert "uint8 [batch, 8, 8, 3], batches up to 4" in said("inspect", "linear_8")
    assert "serves version 1, before it was 2" in said("rollback", "linear_8")
    assert "no version is old enough" in said("prune", "linear_8", "--keep", "1")
    assert "serves version 2, before it was 1" in said("rollback", "linear_8", "--to", "2")
    assert "versions gone: 1" in said("prune", "--keep", "1")
    assert main(["inspect", "nothing", "--repository", str(small.repository)]) == 2
    assert "[unknown_entry]" in capsys.readouterr().err


def test_the_doctor_says_what_can_be_built(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "TensorRT for RTX" in capsys.readouterr().out


def test_a_file_of_plans_is_applied_and_then_left_alone(
    small: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models.toml").write_text(
        'repository = "models"\ncache = "cache"\nreports = "reports"\n[[model]]\nmodel = "linear_8"\n'
        f'register = ["{small.register[0]}"]\npretrained = false\nlabels = "pets.txt"\n'
    )
    apply = ["apply", str(tmp_path / "models.toml")]
    for words in ("to build", "published as version 1", "as before"):
        assert main([*apply, "--dry-run"] if words == "to build" else apply) == 0
        assert words in capsys.readouterr().out


def test_a_model_that_cannot_be_built_does_not_keep_the_others_from_it(
    small: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models.toml").write_text(
        'repository = "models"\ncache = "cache"\nreports = "reports"\n'
        f'[defaults]\nregister = ["{small.register[0]}"]\npretrained = false\nlabels = "pets.txt"\n'
        '[[model]]\nmodel = "linear_9000"\n[[model]]\nmodel = "linear_8"\n'
    )
    assert main(["apply", str(tmp_path / "models.toml")]) == 2
    said = capsys.readouterr()
    assert "[unknown_model]" in said.err
    assert "published as version 1" in said.out
