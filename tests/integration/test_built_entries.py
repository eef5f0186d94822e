"""From timm to an answer over HTTP: what `build-engines` publishes, the running stack serves, and it answers as torch.

Builds in the builder's environment (`make test` sets it up), since that is where torch is.
"""

import json
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.fakes import encoded
from tests.integration.conftest import Running
from tests.waiting import until

ROOT = Path(__file__).parents[2]
BUILDER = ROOT / ".venv" / "build" / "bin"
MODELS = [
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "swin_tiny_patch4_window7_224",
    "resnet50",
]

pytestmark = pytest.mark.skipif(not BUILDER.exists(), reason="needs .venv/build, which `make test` sets up")


@pytest.mark.parametrize("name", MODELS)
def test_a_built_entry_appears_and_answers_as_torch_does(name: str, stack: Running, tmp_path: Path) -> None:
    command = ["build", name, "--no-pretrained", "--max-batch-size", "4", "--repository", str(stack.repository)]
    built = subprocess.run([BUILDER / "build-engines", *command], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr

    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "picture.png")
    reference = subprocess.run(
        [BUILDER / "python", ROOT / "tests" / "integration" / "torch_reference.py", name, tmp_path / "picture.png"],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = json.loads(reference.stdout)

    with httpx.Client(base_url=stack.stack.gateway_url, timeout=60) as client:
        until(lambda: client.get(f"/v1/models/{name}").status_code == 200)
        answer = client.post(f"/v1/models/{name}/classify", params={"top_k": 1000}, content=encoded(picture))
    assert answer.status_code == 200, answer.text
    probabilities = np.zeros(1000)
    for prediction in answer.json()["predictions"]:
        probabilities[prediction["index"]] = prediction["score"]
    assert np.abs(probabilities - np.array(expected)).max() <= 1e-4
    # Random weights answer nearly 1/1000 for every class, so the logarithms say more.
    assert np.abs(np.log(probabilities) - np.log(expected)).max() <= 1e-3
