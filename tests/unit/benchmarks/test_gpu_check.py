"""The check of a GPU machine, against programs that print what the real ones do."""

import json
import sys
import zipfile
from pathlib import Path

import pytest

from benchmarks.gpu_check import judges
from benchmarks.gpu_check.__main__ import check, run
from benchmarks.gpu_check.report import Outcome, page, write
from benchmarks.gpu_check.steps import PRECISIONS, Pictures, Step

SMI = "NVIDIA H100 80GB HBM3, 580.65.06, 81559 MiB\n"
DOCTOR = "yes  TensorRT          11.2.1.2 (--compiler tensorrt)\nno   TensorRT for RTX  not installed\n"
CAPTURED = "I1125 TRITONBACKEND: captured CUDA graph for check_fp16_0_0, batch size {}\n"


@pytest.mark.parametrize(
    ("code", "output", "ok", "says"),
    [
        (0, SMI, True, "1 x NVIDIA H100 80GB HBM3, 81559 MiB, driver 580.65.06"),
        (0, SMI * 2, True, "2 x NVIDIA H100"),
        (0, SMI.replace("580.65", "570.10"), False, "older than R580"),
        (0, SMI.replace("580.65.06", "[N/A]"), False, "older than R580"),
        (9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver\n", False, "no GPU"),
        (127, "nvidia-smi is not installed here\n", False, "no GPU"),
    ],
)
def test_the_driver(code: int, output: str, ok: bool, says: str) -> None:
    verdict = judges.driver(code, output)
    assert verdict.ok is ok
    assert says in verdict.words


@pytest.mark.parametrize(
    ("code", "output", "ok"),
    [(0, DOCTOR, True), (0, DOCTOR.replace("yes", "no ", 1), False), (1, DOCTOR, False), (0, "", False)],
)
def test_what_doctor_says_of_tensorrt(code: int, output: str, ok: bool) -> None:
    assert judges.doctor(code, output).ok is ok


@pytest.mark.parametrize(
    ("code", "last", "ok", "says"),
    [
        (0, "======== 8 passed in 61.02s ========", True, "8 passed"),
        (0, "======== 7 passed, 1 skipped in 61.02s ========", False, "7 passed, 1 skipped"),
        (0, "======== 8 skipped in 0.02s ========", False, "8 skipped"),
        (1, "======== 1 failed, 7 passed in 61.02s ========", False, "1 failed, 7 passed"),
        (5, "======== no tests ran in 0.01s ========", False, "no test ran"),
    ],
)
def test_the_tests_of_engines(code: int, last: str, ok: bool, says: str) -> None:
    verdict = judges.tests(code, f"collected 8 items\n{last}\n")
    assert (verdict.ok, verdict.words) == (ok, says)


@pytest.mark.parametrize(
    ("output", "ok", "says"),
    [
        (CAPTURED.format(1) + CAPTURED.format(2), True, "2 CUDA graphs were captured"),
        ("I1125 loaded model check_fp16\n", False, "0 CUDA graphs"),
        (CAPTURED.format(1) + "E1125 unable to finish CUDA graph for check_fp16_0_0: out of memory\n", False, "memory"),
        ("E1125 unable to start CUDA graph for check: busy\n", False, "1 were not"),
        ("E1125 unable to record CUDA graph for check\n", False, "1 were not"),
        ("E1125 unable to instantiate CUDA graph for check\n", False, "1 were not"),
        ("W1125 Failed to set cuda graph shape for check\n", False, "1 were not"),
        ("W1125 Detected shape tensor, CUDA graph is not captured for check\n", False, "1 were not"),
    ],
)
def test_tritons_log_of_captures(output: str, ok: bool, says: str) -> None:
    verdict = judges.captures(0, output)
    assert verdict.ok is ok
    assert says in verdict.words


FUSED = {"Name": "_gemm_mha_v2_myl0_12", "LayerType": "Myelin", "TacticName": "sm90_fmha_fp16"}
PRODUCT = {"Name": "blocks.0.mlp.fc1", "LayerType": "gemm", "TacticName": "sm90_xmma_gemm_i8i8_int8"}
PLAIN = {"Name": "norm", "LayerType": "kgen", "TacticName": "0x1"}


@pytest.mark.parametrize(
    ("precision", "found", "ok"),
    [
        ("fp16", [FUSED, PLAIN], True),
        ("fp16", [PLAIN], False),
        ("int8", [FUSED, PRODUCT], True),
        ("int8", [FUSED, PLAIN], False),
        ("fp8", [PRODUCT], False),
    ],
)
def test_layers(precision: str, found: list[dict[str, str]], ok: bool) -> None:
    listed = f"[I] Layer information:\n{json.dumps({'Layers': found, 'Bindings': []})}\n"
    assert judges.layers(precision)(0, listed).ok is ok
    assert judges.layers(precision)(0, "".join(f"[I] Layer {json.dumps(layer)[1:-1]}\n" for layer in found)).ok is ok
    assert not judges.layers(precision)(1, listed).ok


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return path


TRITON = f"""
import signal, socket, sys, time
port = int(next(word for word in sys.argv if word.startswith("--grpc-port=")).partition("=")[2])
print({CAPTURED!r}, flush=True)
with socket.create_server(("127.0.0.1", port)):
    signal.pause()
"""
BUILDER = f"""
import pathlib, sys
words = sys.argv[1:]
if words[0] == "doctor":
    print({DOCTOR!r})
elif words[0] == "build":
    assert words[words.index("--load") + 1].startswith("127.0.0.1:")
    for precision in {PRECISIONS!r}:
        version = pathlib.Path(words[words.index("--repository") + 1], "check_" + precision, "1")
        version.mkdir(parents=True)
        (version / "model.plan").write_text("engine")
    print("  check_int8   refused: no faster")
    sys.exit(3)
else:
    print("│ 1 │ 0 │ 8 │ 1.0 │ 900.0 │ 40.0 │\\ncheck_fp16 stays as it is")
"""
PYTHON = f"""
import json, sys
print("= 9 passed in 1.00s =" if "pytest" in sys.argv else json.dumps({{"Layers": {[FUSED, PRODUCT]!r}}}))
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    program(folder / "builder", BUILDER)
    program(folder / "python", PYTHON)
    return folder


def checked(tools: Path, work: Path) -> list[Outcome]:
    given = Pictures(tools / "calibration", tools / "evaluation", made=False)
    return check(work, (str(tools / "builder"),), str(tools / "python"), given)


def test_on_a_machine_that_has_all_every_step_is_run(tools: Path, tmp_path: Path) -> None:
    program(tools / "nvidia-smi", f"print({SMI!r}, end='')")
    program(tools / "tritonserver", TRITON)
    outcomes = checked(tools, tmp_path / "work")
    names = ["driver", "doctor", "tests", "build", "captures", "tune", *(f"layers of {each}" for each in PRECISIONS)]
    assert [(each.step.name, each.state) for each in outcomes] == [(name, "as expected") for name in names]
    assert next(each for each in outcomes if each.step.name == "build").words == "check_int8   refused: no faster"


def test_without_a_gpu_the_report_says_what_is_missing(tools: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    outcomes = checked(tools, work)
    states = {each.step.name: (each.state, each.words) for each in outcomes}
    assert states["driver"] == ("otherwise", "the driver shows no GPU")
    assert states["doctor"][0] == "as expected"
    assert states["build"] == ("not run", "it needs the step 'driver' to go well")
    assert states["tune"] == ("not run", "it needs a Triton that reads the repository")
    text = page(outcomes, "a machine")
    assert "nvidia-smi is not installed here" in text
    assert "Not run: it needs the step 'driver' to go well." in text
    path = write(outcomes, "a machine", work, [work / "triton.log", work / "not there"])
    assert sorted(zipfile.ZipFile(path).namelist()) == ["gpu-check.json", "gpu-check.md"]
    assert [each["state"] for each in json.loads((work / "gpu-check.json").read_text())["steps"]][:2] == [
        "otherwise",
        "as expected",
    ]


def test_a_step_that_takes_too_long_ends(tools: Path) -> None:
    program(tools / "nvidia-smi", "import time\nprint('asking', flush=True)\ntime.sleep(60)")
    step = Step("driver", (str(tools / "nvidia-smi"),), "", "", judges.driver, seconds=0.5)
    code, output, _ = run(step)
    assert (code, output) == (124, "asking\n\nit took longer than 0.5 s\n")
