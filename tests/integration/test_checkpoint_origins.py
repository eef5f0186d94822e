"""Checkpoints of many origins, built, published and served: Triton answers as each origin's own code does.

Built in the builder's environment (`make test` sets it up), since that is where torch, timm and transformers are.
"""

import os
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput

from contract.config import INPUT, OUTPUT
from tests.integration.conftest import Running
from tests.waiting import until

ORIGINS = 27
"""Rows of docs/builds.md, each with its variations."""
ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv" / "build" / "bin" / "python"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="needs .venv/build, which `make test` sets up")


def test_each_origin_is_served_and_answers_as_its_own_code_does(triton: Running) -> None:
    command = [str(PYTHON), "-m", "tests.unit.build_engines.origins", str(triton.repository)]
    # Models this small are slower with more threads, as they wait for each other.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    answers = sorted((triton.repository.parent / "origins").glob("*.npy"))
    assert len(answers) == ORIGINS
    pictures = np.random.default_rng(7).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)  # origins.pictures(32)
    client = InferenceServerClient(triton.stack.grpc_address)
    try:
        for file in answers:
            name = file.stem
            until(partial(client.is_model_ready, name))
            given = InferInput(INPUT, list(pictures.shape), "UINT8")
            given.set_data_from_numpy(pictures)
            served = client.infer(name, [given]).as_numpy(OUTPUT)
            assert np.abs(served - np.load(file)).max() <= 1e-4, name
    finally:
        client.close()
