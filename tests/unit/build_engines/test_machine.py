"""The machine as NVIDIA's driver and the installed packages describe it."""

import sys
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from build_engines.machine import LIBRARIES, VISIBLE, Gpu, gpus, library_versions, this_machine


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
            if name in (self._fails, "nvmlDeviceGetHandleByUUID"):
                raise NvmlError(name)
            return self._answer(name, *given)

        return call

    def _answer(self, name: str, *given: int) -> object:
        if name in ("nvmlInit", "nvmlShutdown"):
            self.open += 1 if name == "nvmlInit" else -1
            return None
        if name == "nvmlDeviceGetHandleByIndex":
            return given[0]
        if not given:
            return {"SystemGetDriverVersion": "580.1", "DeviceGetCount": len(self._shown)}[name.removeprefix("nvml")]
        shown, capability, memory = self._shown[given[0]]
        return {
            "Name": shown,
            "UUID": f"GPU-{given[0]}f00-1",
            "CudaComputeCapability": capability,
            "MemoryInfo": SimpleNamespace(total=memory),
        }[name.removeprefix("nvmlDeviceGet")]


def test_gpus_are_those_that_the_driver_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VISIBLE)
    nvml = Nvml(("NVIDIA H200", (9, 0), 139 << 30), ("NVIDIA L40S", (8, 9), 48 << 30))
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    h200 = Gpu("NVIDIA H200", (9, 0), 139 << 30, "580.1")
    assert gpus() == (h200, Gpu("NVIDIA L40S", (8, 9), 48 << 30, "580.1"))
    assert this_machine().gpu == "NVIDIA H200"
    assert nvml.open == 0


@pytest.mark.parametrize(
    ("shown", "names"),
    [
        (None, ["a", "b", "c"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1", ["b"]),
        ("2, 0", ["c", "a"]),
        ("1,7,0", ["b"]),
        ("GPU-2f00-1", ["c"]),
        ("GPU-1,GPU-0f", ["b", "a"]),
        ("GPU-", []),
        ("0,MIG-1", []),
    ],
)
def test_gpus_are_those_that_cuda_is_shown_in_its_order(
    monkeypatch: pytest.MonkeyPatch, shown: str | None, names: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(*((name, (9, 0), 1 << 30) for name in "abc")))
    monkeypatch.delenv(VISIBLE) if shown is None else monkeypatch.setenv(VISIBLE, shown)
    assert [gpu.name for gpu in gpus()] == names
    assert this_machine().gpu == (names[0] if names else "")


@pytest.mark.parametrize("fails", ["nvmlInit", "nvmlSystemGetDriverVersion", "nvmlDeviceGetMemoryInfo"])
def test_a_driver_that_does_not_answer_shows_none(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    monkeypatch.delenv(VISIBLE)
    nvml = Nvml(("NVIDIA H200", (9, 0), 139 << 30), fails=fails)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert gpus() == ()
    assert this_machine().gpu == ""
    assert nvml.open == 0


def test_every_library_that_decides_a_result_is_installed_here_and_told() -> None:
    assert library_versions() == {library: version(library) for library in LIBRARIES}
