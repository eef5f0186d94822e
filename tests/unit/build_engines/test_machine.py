"""The machine as NVIDIA's driver and the installed packages describe it."""

import sys
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from build_engines.machine import LIBRARIES, Gpu, gpus, library_versions, this_machine


class NvmlError(Exception):
    """What NVML raises."""


class Nvml:
    """A driver that shows these GPUs: name, compute capability, bytes; or fails at one call."""

    NVMLError = NvmlError

    def __init__(self, *shown: tuple[str, tuple[int, int], int], fails: str = "") -> None:
        self._shown, self._fails = shown, fails
        self.open = 0

    def __getattr__(self, name: str) -> object:
        def call(*given: int) -> object:
            if name == self._fails:
                raise NvmlError(name)
            gpu = self._shown[given[0]] if given and name != "nvmlDeviceGetHandleByIndex" else None
            match name:
                case "nvmlInit":
                    self.open += 1
                case "nvmlShutdown":
                    self.open -= 1
                case "nvmlSystemGetDriverVersion":
                    return "580.1"
                case "nvmlDeviceGetCount":
                    return len(self._shown)
                case "nvmlDeviceGetHandleByIndex":
                    return given[0]
            if gpu is None:
                return None
            return {"Name": gpu[0], "CudaComputeCapability": gpu[1], "MemoryInfo": SimpleNamespace(total=gpu[2])}[
                name.removeprefix("nvmlDeviceGet")
            ]

        return call


def test_gpus_are_those_that_the_driver_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml(("NVIDIA H200", (9, 0), 139 << 30), ("NVIDIA L40S", (8, 9), 48 << 30))
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    h200 = Gpu("NVIDIA H200", (9, 0), 139 << 30, "580.1")
    assert gpus() == (h200, Gpu("NVIDIA L40S", (8, 9), 48 << 30, "580.1"))
    assert this_machine().gpu == "NVIDIA H200"
    assert nvml.open == 0


@pytest.mark.parametrize("fails", ["nvmlInit", "nvmlSystemGetDriverVersion", "nvmlDeviceGetMemoryInfo"])
def test_a_driver_that_does_not_answer_shows_none(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    nvml = Nvml(("NVIDIA H200", (9, 0), 139 << 30), fails=fails)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert gpus() == ()
    assert this_machine().gpu == ""
    assert nvml.open == 0


def test_every_library_that_decides_a_result_is_installed_here_and_told() -> None:
    assert library_versions() == {library: version(library) for library in LIBRARIES}
