"""Fifty entries of a real Triton: each that is broken says why, and the others answer all the while."""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contract.config import to_pbtxt
from embedded.supervisor import Options
from tests.fakes import a_picture, encoded
from tests.integration.conftest import Running, running
from tests.integration.entries import COLOURS, DATA, colours_config, publish, publish_colours
from tests.waiting import until

PICTURE = encoded(a_picture((0, 200, 0), (8, 8)))
WHOLE = [f"colours{number:02d}" for number in range(46)]
BROKEN = {
    "labels_short": ("refused", "contract.labels: names 1 classes, but the output 'probabilities' has dims [3]"),
    "labels_deep": ("refused", "contract.labels: must be a JSON list of strings; is not JSON"),
    "no_graph": ("refused", "the inference server cannot load it: Internal: InvalidProtobuf"),
    "no_config": ("loading", "the inference server has not loaded it; its log may say why"),
}

STATES = Counter(state for state, _ in BROKEN.values()) + Counter(served=len(WHOLE))


def publish_with_labels(repository: Path, name: str, labels: str) -> None:
    config = colours_config(name)
    config.parameters["contract.labels"].string_value = labels
    publish(repository, name, to_pbtxt(config), DATA / "colours.onnx", COLOURS)


def publish_broken(repository: Path) -> None:
    publish_with_labels(repository, "labels_short", '["red"]')
    publish_with_labels(repository, "labels_deep", "[" * 1_000 + "]" * 1_000)
    nonsense = repository.parent / "nonsense.onnx"
    nonsense.write_bytes(b"not a graph")
    publish(repository, "no_graph", to_pbtxt(colours_config("no_graph")), nonsense, COLOURS)
    publish(repository, "no_config", 'name: "no_config" {', DATA / "colours.onnx", COLOURS)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    repository = tmp_path_factory.mktemp("many") / "repository"
    repository.mkdir()
    for name in WHOLE:
        publish_colours(repository, name)
    publish_broken(repository)
    with running(repository, Options(repository).gateway) as started:
        yield started


@pytest.fixture
def client(many: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=many.stack.gateway_url, timeout=30) as client:
        until(lambda: Counter(state for state, _ in states(client).values()) == STATES)
        yield client


def states(client: httpx.Client) -> dict[str, tuple[str, str]]:
    """State and reason of each model, by name."""
    models = client.get("/v1/models").json()["models"]
    return {model["name"]: (model["state"], model.get("reason", "")) for model in models}


def test_what_is_broken_says_why_and_stays_so_and_the_others_answer(client: httpx.Client) -> None:
    for _ in range(3):  # Triton tries a broken file again every second.
        for name in WHOLE:
            answer = client.post(f"/v1/models/{name}/classify", content=PICTURE)
            assert (answer.status_code, answer.json()["model"]) == (200, name)
        found = states(client)
        assert found.keys() == {*WHOLE, *BROKEN}
        for name, (state, reason) in BROKEN.items():
            assert found[name][0] == state
            assert found[name][1].startswith(reason)
            assert "/" not in found[name][1]
    codes = {name: client.post(f"/v1/models/{name}/classify", content=PICTURE).json()["code"] for name in BROKEN}
    assert codes == {
        name: "model_refused" if state == "refused" else "model_not_ready" for name, (state, _) in BROKEN.items()
    }
    lines = client.get("/metrics").text.splitlines()
    assert f'vitrine_entries{{state="served"}} {len(WHOLE)}.0' in lines
    assert 'vitrine_entries{state="refused"} 3.0' in lines
    assert "vitrine_catalog_faults_total 0.0" in lines


def test_one_that_is_unloaded_takes_none_with_it(many: Running, client: httpx.Client) -> None:
    answers: Counter[int] = Counter()
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=many.stack.gateway_url, timeout=30) as mine:
            while not stop.is_set():
                for name in WHOLE[1:]:
                    answers[mine.post(f"/v1/models/{name}/classify", content=PICTURE).status_code] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        away = many.repository.parent / WHOLE[0]
        (many.repository / WHOLE[0]).rename(away)
        until(lambda: client.get(f"/v1/models/{WHOLE[0]}").status_code == 404)
        away.rename(many.repository / WHOLE[0])
        until(lambda: client.post(f"/v1/models/{WHOLE[0]}/classify", content=PICTURE).status_code == 200)
    finally:
        stop.set()
        thread.join()
    assert set(answers) == {200}
