"""What is built stays here: ONNX Runtime tells nobody of a graph."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("inherited", "expected"), [(None, "1"), ("0", "0")])
def test_onnx_runtimes_telemetry_is_off_unless_it_is_asked_for(inherited: str | None, expected: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    if inherited is not None:
        environment["ORT_DISABLE_TELEMETRY"] = inherited
    program = "import os, build_engines; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    told = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == expected
