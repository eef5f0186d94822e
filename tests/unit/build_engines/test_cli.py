"""The command: what it prints, and with which code it ends."""

import subprocess
import sys

import pytest

from build_engines.cli import main
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


def test_a_build_is_summed_up(plan_arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(plan_arguments) == 0
    out = capsys.readouterr().out
    assert "Published linear_8 version 1" in out
    assert "uint8 [batch, 8, 8, 3], batches up to 4" in out
    assert "/v1/models/linear_8/classify" in out
    assert [line.split()[0] for line in out.splitlines()[:5]] == ["source", "export", "check", "verify", "publish"]
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
    ]
