"""From timm to an answer over HTTP: what `build-engines` publishes, the running stack serves, and it answers as torch.

Builds in the builder's environment (`make test` sets it up), since that is where torch is.
"""

import json
import socket
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.fakes import encoded
from tests.integration.conftest import Running
from tests.integration.modes import in_mode, ready
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
    command += ["--cache", str(tmp_path / "cache"), "--reports", str(tmp_path / "reports")]
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


SMALL = ["build", "linear_8", "--register", "tests.unit.build_engines.architectures", "--no-pretrained"]


@pytest.fixture
def small(tmp_path: Path) -> list[str]:
    """The command that builds one linear layer."""
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    return [*SMALL, "--labels", str(tmp_path / "labels.txt"), "--cache", str(tmp_path), "--reports", str(tmp_path)]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BUILDER / "build-engines", *command], capture_output=True, text=True, check=False, cwd=ROOT)


def test_a_running_triton_loads_what_was_built(small: list[str], triton: Running) -> None:
    stack = triton.stack
    built = run([*small, "--repository", str(triton.repository), "--load", stack.grpc_address])
    assert built.returncode == 0, built.stdout + built.stderr
    assert "fp32 load" in built.stdout
    assert "this Triton loads by itself" in built.stdout


def test_a_triton_in_explicit_mode_follows_when_it_is_asked(small: list[str], tmp_path: Path) -> None:
    repository = tmp_path / "models"
    repository.mkdir()
    here = ["--repository", str(repository)]
    with in_mode("explicit", repository) as url:
        for instances in ("1", "2"):
            built = run([*small, *here, "--instances", instances, "--load", url])
            assert built.returncode == 0, built.stdout + built.stderr
            assert "before they were compared" not in built.stdout
            assert ready(url, "linear_8") == [instances]
        assert run([*small, *here, "--instances", "3"]).returncode == 0
        assert ready(url, "linear_8") == ["2"]
        alone = run(["rollback", "linear_8", "--to", "2", *here])
        assert "one in explicit mode must be asked" in alone.stdout
        back = run(["rollback", "linear_8", "--to", "1", *here, "--load", url])
        assert f"the Triton at {url} serves it now" in back.stdout, back.stderr
        assert ready(url, "linear_8") == ["1"]
    gone = run(["rollback", "linear_8", "--to", "3", *here, "--load", url])
    assert (gone.returncode, "[load_failed]" in gone.stderr) == (2, True)
    assert "version 1 of 1, 2, 3" in run(["list", *here]).stdout


def test_a_version_that_no_triton_loads_is_withdrawn(small: list[str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
        built = run([*small, "--repository", str(tmp_path / "models"), "--load", nobody])
    assert built.returncode == 2
    assert "[load_failed]" in built.stderr
    assert not (tmp_path / "models" / "linear_8").exists()


def test_a_companion_explains_the_entry_that_was_built_with_it(stack: Running, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("".join(f"class {number}\n" for number in range(10)))
    command = ["build", "vit_nano_convstem_patch4_32", "--register", "training.architecture", "--no-pretrained"]
    command += ["--name", "nano", "--explain", "--max-batch-size", "2", "--labels", str(tmp_path / "labels.txt")]
    command += ["--repository", str(stack.repository), "--load", stack.stack.grpc_address]
    built = run([*command, "--cache", str(tmp_path / "cache"), "--reports", str(tmp_path / "reports")])
    assert built.returncode == 0, built.stdout + built.stderr
    assert "nano_explain" in built.stdout

    picture = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 32, 3), dtype=np.uint8)))
    with httpx.Client(base_url=stack.stack.gateway_url, timeout=60) as client:
        until(
            lambda: client.get("/v1/models/nano").json().get("explain", {}).get("methods") == ["rollout", "occlusion"]
        )
        answer = client.post("/v1/models/nano/explain", content=picture, params={"layer": 3, "head": 3}).json()
        classified = client.post("/v1/models/nano/classify", content=picture).json()
    assert (answer["method"], answer["layers"], answer["heads"], answer["warnings"]) == ("rollout", 4, 4, [])
    assert answer["predictions"] == classified["predictions"]
    assert answer["geometry"] == {"width": 32, "height": 48, "box": [0, 8, 32, 40]}
