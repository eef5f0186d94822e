"""Which compiler can be used where, and what is said of one that cannot."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from build_engines.engine.compilers import (
    ANY_RTX,
    Library,
    Log,
    engines_run_here,
    library_line,
    load_compiler,
    why_not,
)
from build_engines.errors import CompileError, CompilerMissingError
from build_engines.machine import VISIBLE, Gpu
from build_engines.values import Compiler
from tests.unit.build_engines.test_machine import Nvml

H200 = Gpu("NVIDIA H200", (9, 0), 139 << 30, "580.1")


@pytest.fixture(scope="module")
def rtx() -> Library:
    return load_compiler(Compiler.RTX)


def test_tensorrt_for_rtx_is_loaded_once_and_needs_no_gpu(rtx: Library) -> None:
    assert load_compiler(Compiler.RTX) is rtx
    assert rtx.words == f"TensorRT for RTX {rtx.module.__version__}"
    assert rtx.device() == ANY_RTX
    assert rtx.builder() is not None
    assert not rtx.caches_timings


@pytest.mark.parametrize(
    ("shown", "tensorrt", "rtx"),
    [
        ((), False, False),
        (((7, 5),), True, False),
        (((8, 6),), True, True),
        (((9, 0),), True, False),
        (((9, 0), (8, 9)), True, False),
        (((12, 0),), True, True),
    ],
)
def test_engines_run_on_the_gpu_that_cuda_gives_first(
    monkeypatch: pytest.MonkeyPatch, shown: tuple[tuple[int, int], ...], tensorrt: bool, rtx: bool
) -> None:
    monkeypatch.delenv(VISIBLE)
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(*(("a GPU", capability, 1) for capability in shown)))
    assert engines_run_here(Compiler.TENSORRT) is tensorrt
    assert engines_run_here(Compiler.RTX) is rtx


@pytest.mark.parametrize(
    ("compiler", "installed", "found", "words"),
    [
        (Compiler.RTX, True, (), ""),
        (
            Compiler.RTX,
            False,
            (H200,),
            "TensorRT for RTX is not installed here. It belongs to the builder's environment",
        ),
        (Compiler.TENSORRT, True, (H200,), ""),
        (Compiler.TENSORRT, True, (), "TensorRT is installed, but it compiles on the GPU that it compiles for"),
        (Compiler.TENSORRT, False, (H200,), "TensorRT is not installed here. NVIDIA's Triton container 26.08-py3 has"),
        (Compiler.TENSORRT, False, (), "TensorRT is not installed here"),
    ],
)
def test_a_compiler_that_cannot_be_used_says_why(
    compiler: Compiler, installed: bool, found: tuple[Gpu, ...], words: str
) -> None:
    reason = why_not(compiler, installed=installed, gpus=found)
    assert words in reason
    assert bool(reason) == bool(words)


def test_tensorrt_that_is_not_installed_is_named_with_the_versions_that_fit() -> None:
    with pytest.raises(CompilerMissingError) as caught:
        load_compiler(Compiler.TENSORRT)
    for words in ("26.08-py3", "11.2.1.2", "26.05-py3", "10.16.1.11", "pip install tensorrt-cu13==11.2.1.2"):
        assert words in str(caught.value)


def test_a_library_that_does_not_load_says_what_it_lacks(tmp_path: Path) -> None:
    for name in ("tensorrt_rtx_libs", "tensorrt_rtx_bindings"):
        (tmp_path / f"{name}.py").write_text("raise OSError('libnvinfer.so.11: cannot open shared object file')")
    # In a process of its own, because the library keeps to the first logger that it is given.
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from build_engines.engine.compilers import load_compiler\n"
        "from build_engines.values import Compiler\n"
        "load_compiler(Compiler.RTX)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (
        "CompilerMissingError: TensorRT for RTX is installed, but does not load "
        "(OSError: libnvinfer.so.11: cannot open shared object file). It belongs"
    ) in ended.stderr


def test_a_driver_that_is_too_old_is_a_missing_compiler(rtx: Library) -> None:
    def refuse(logger: Any) -> None:
        logger.log(rtx.module.ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    old = replace(rtx, compiler=Compiler.TENSORRT, version="11.2.1.2", module=SimpleNamespace(Builder=refuse))
    with pytest.raises(CompilerMissingError, match=r"TensorRT 11\.2\.1\.2 .* error: 35\. Update the NVIDIA driver"):
        old.builder()


def test_an_error_of_before_is_not_the_reason_that_a_library_does_not_start(rtx: Library) -> None:
    rtx.log.note("ERROR", "of an earlier build")
    old = replace(rtx, module=SimpleNamespace(Runtime=lambda: None))
    with pytest.raises(CompilerMissingError) as caught:
        old.runtime()
    assert "does not start: " in str(caught.value)
    assert "takes 0 positional arguments" in str(caught.value)


@pytest.mark.parametrize(
    ("compiler", "version", "strongly_typed"),
    [(Compiler.TENSORRT, "10.16.1.11", 1 << 1), (Compiler.TENSORRT, "11.2.1.2", 0), (Compiler.RTX, "1.7.1.116", 0)],
)
def test_only_tensorrt_10_is_told_to_be_strongly_typed(
    rtx: Library, compiler: Compiler, version: str, strongly_typed: int
) -> None:
    flags = SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1))
    assert replace(rtx, compiler=compiler, version=version, module=flags).network_flags == strongly_typed


def test_networks_of_tensorrt_for_rtx_are_strongly_typed_without_a_flag(rtx: Library) -> None:
    network = rtx.builder().create_network(rtx.network_flags)
    assert network.get_flag(rtx.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def test_the_first_error_is_told_and_internal_ones_only_where_there_is_no_other() -> None:
    log = Log()
    told = [log.error]
    for severity in ("VERBOSE", "INFO", "WARNING", "INTERNAL_ERROR", "ERROR", "ERROR"):
        log.note(severity, f"{len(told)} {severity}")
        told.append(log.error)
    assert told == ["", "", "", "", "4 INTERNAL_ERROR", "5 ERROR", "5 ERROR"]
    log.clear()
    assert not log.error


def test_foreign_exceptions_become_ours_and_others_pass(rtx: Library) -> None:
    with (
        pytest.raises(CompileError, match=r"TensorRT for RTX .* cannot work: a b\. Repair it$"),
        rtx.errors_as(CompileError, "cannot work", "Repair it"),
    ):
        raise ValueError("a\nb.")
    for ours in (CompilerMissingError("as it is"), OSError(28, "No space left on device")):
        with pytest.raises(type(ours)) as caught, rtx.errors_as(CompileError, "cannot work", "Repair it"):
            raise ours
        assert caught.value is ours


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("a: must be Float, or Bool. In checkType at /_src/optimizer/nodeBase.cpp:456)", "a: must be Float, or Bool)"),
        (
            "Cuda Runtime (In open at /_src/a_b.cpp:25 (cudaError 35: too old))",
            "Cuda Runtime ((cudaError 35: too old))",
        ),
        ("Invalid Node - early\nError Code 4: bad\n[checkMacros.cpp::catchCudaError::250] more", "Error Code 4: bad"),
        ("In node -1: Failed.", "In node -1: Failed"),
    ],
)
def test_a_message_is_one_line_without_places_in_the_librarys_sources(message: str, words: str) -> None:
    assert library_line(message) == words
