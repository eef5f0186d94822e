"""What is said about a machine: this one, and others that are described to it."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from build_engines import doctor
from build_engines.doctor import Finding, container, examine, lines, precision_on_gpu
from build_engines.machine import Gpu
from build_engines.values import Precision
from contract.cpus import available_cpus

H200 = Gpu("NVIDIA H200", (9, 0), 139 << 30, "580.1")
L40S = Gpu("NVIDIA L40S", (8, 9), 48 << 30, "580.1")
A100 = Gpu("NVIDIA A100", (8, 0), 80 << 30, "580.1")
P100 = Gpu("NVIDIA P100", (6, 0), 16 << 30, "580.1")


def found(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    assert len({finding.name for finding in findings}) == len(findings)
    return {finding.name: finding for finding in findings}


def test_this_machine_is_examined(tmp_path: Path) -> None:
    this = found(examine(tmp_path))
    assert this["CPUs"].value == str(available_cpus())
    assert this["Python"].value == ".".join(map(str, sys.version_info[:3]))
    assert this["timm"] == Finding("timm", version("timm"), True)
    assert this["nvidia-modelopt"].value == version("nvidia-modelopt")
    assert this["TensorRT for RTX"] == Finding(
        "TensorRT for RTX", f"{version('tensorrt-rtx-cu13-bindings')} (--compiler rtx)", True
    )
    assert this["free disk"].value.endswith(" GiB")
    assert this["FP16 on the CPU"].ok is False


def test_a_machine_without_a_gpu_builds_no_engine_of_tensorrt() -> None:
    this = found(examine())
    assert this["GPU"] == Finding("GPU", "none that an NVIDIA driver shows", None)
    assert this["TensorRT"].ok is False
    assert this["TensorRT"].value.startswith("--compiler tensorrt: ")
    assert [this[f"{precision} on a GPU"].ok for precision in ("FP16", "INT8", "FP8")] == [False] * 3


def test_torch_is_not_imported() -> None:
    code = "import sys; from build_engines.doctor import examine; examine(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("flags", "words", "ok"),
    [
        ("fpu avx2 avx512_vnni", "may pay: it has avx512_vnni", True),
        ("fpu avx_vnni amx_int8", "may pay: it has amx_int8, avx_vnni", True),
        ("fpu avx2 avx512f", "seldom faster than FP32: it has none of amx_int8, avx512_vnni, avx_vnni", False),
    ],
)
def test_int8_on_the_cpu_is_told_by_its_instructions(tmp_path: Path, flags: str, words: str, ok: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: avx512_vnni_none\n")
    (tmp_path / "meminfo").write_text("MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 4194304 kB\n")
    other = found(examine(proc=tmp_path))
    assert other["INT8 on the CPU"] == Finding("INT8 on the CPU", words, ok)
    assert other["memory"].value == "4.0 GiB available of 8.0 GiB"


@pytest.mark.parametrize(
    ("flags", "library", "words"),
    [
        ("fpu avx512_bf16", "2026.4.1", "OpenVINO 2026.4.1 (--precision fp32,bf16)"),
        ("fpu amx_bf16", None, "this CPU multiplies in it, but OpenVINO is missing: pip install"),
        ("fpu avx2", "2026.4.1", "this CPU does not multiply in it"),
    ],
)
def test_bf16_on_the_cpu_needs_both(
    tmp_path: Path, flags: str, library: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    monkeypatch.setattr(doctor, "installed_version", lambda name: library if name == "openvino" else "1.0")
    this = found(examine(proc=tmp_path))["BF16 on the CPU"]
    assert this.ok is words.startswith("OpenVINO")
    assert this.value.startswith(words)


def test_what_is_not_a_cpus_flag_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu\nbugs\t\t: amx_int8\n")
    assert found(examine(proc=tmp_path))["INT8 on the CPU"].ok is False


def test_what_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    other = found(examine(proc=tmp_path))
    assert other["INT8 on the CPU"].ok is None
    assert other["memory"].value.startswith("unknown: ")


@pytest.mark.parametrize(
    ("there", "tensorrt", "paying"),
    [
        ((H200,), True, {"fp16", "int8", "fp8"}),
        ((L40S,), True, {"fp16", "int8", "fp8"}),
        ((A100,), True, {"fp16", "int8"}),
        ((A100, H200), True, {"fp16", "int8", "fp8"}),
        ((P100,), True, set()),
        ((H200,), False, set()),
        ((), True, set()),
    ],
)
def test_which_precisions_a_gpu_computes(there: tuple[Gpu, ...], tensorrt: bool, paying: set[str]) -> None:
    precisions = (Precision.FP16, Precision.INT8, Precision.FP8)
    assert paying == {each.value for each in precisions if precision_on_gpu(each, there, tensorrt=tensorrt).ok}


def test_why_a_precision_does_not_pay_is_said() -> None:
    assert "8.9 or later" in precision_on_gpu(Precision.FP8, (A100,), tensorrt=True).value
    assert "TensorRT is not usable" in precision_on_gpu(Precision.FP8, (H200,), tensorrt=False).value
    assert precision_on_gpu(Precision.FP8, (A100, H200), tensorrt=True).value == "NVIDIA H200"


@pytest.mark.parametrize(
    ("tensorrt", "words", "ok"),
    [
        ("11.2.1.2", "tritonserver:26.08-py3 (Triton 2.72.0, TensorRT 11.2.1.2) loads", True),
        ("10.16.1.11", "tritonserver:26.05-py3 (Triton 2.69.0, TensorRT 10.16.1.11) loads", True),
        ("10.9.0.34", "none of tritonserver:26.08-py3 (TensorRT 11.2.1.2), tritonserver:26.05-py3", False),
        (None, "engines are meant for tritonserver:26.08-py3", None),
    ],
)
def test_the_container_that_loads_its_engines_is_named(tensorrt: str | None, words: str, ok: bool | None) -> None:
    finding = container(tensorrt)
    assert finding.ok is ok
    assert words in finding.value


def test_lines_are_aligned() -> None:
    findings = (Finding("GPU", "none", None), Finding("TensorRT", "missing", False), Finding("timm", "1.0", True))
    assert lines(findings) == ("     GPU       none", "no   TensorRT  missing", "yes  timm      1.0")
    assert lines(()) == ()
