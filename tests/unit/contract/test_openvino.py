"""Where BF16 is computed, and as what OpenVINO is asked to compute it."""

from pathlib import Path

import pytest

from contract.openvino import multiplies_bf16, openvino_properties


@pytest.mark.parametrize(
    ("text", "able"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 sse\n", True),
        ("processor: 0\nflags\t\t: fpu avx2 amx_bf16\nbugs\t\t:\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni amx_int8\n", False),
        ("flags\t\t: fpu\nbugs\t\t: amx_bf16\n", False),
        ("flags\t\t: fpu not_amx_bf16\n", False),
        ("", False),
    ],
)
def test_a_cpu_is_told_by_its_instructions(tmp_path: Path, text: str, able: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert multiplies_bf16(tmp_path / "cpuinfo") is able


def test_a_machine_that_says_nothing_has_none(tmp_path: Path) -> None:
    assert not multiplies_bf16(tmp_path / "missing")


def test_a_cpu_without_it_is_asked_for_fp32() -> None:
    wide, half = (openvino_properties(3, bf16=bf16) for bf16 in (False, True))
    assert wide["INFERENCE_PRECISION_HINT"] == "f32"
    assert half == wide | {"INFERENCE_PRECISION_HINT": "bf16"}
    assert wide["INFERENCE_NUM_THREADS"] == 3
