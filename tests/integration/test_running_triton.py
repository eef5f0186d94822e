"""A new version beside a real Triton that answers meanwhile: loaded, compared, taken back, rolled back, pruned.

Versions are tests/integration/data/colours.onnx with a few bytes changed.
"""

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc as tritonclient

from build_engines.errors import LoadError
from build_engines.repository import load, load_and_check, prune, publish, rollback, withdraw, workspace
from build_engines.repository.layout import versions
from build_engines.repository.loading import Expected
from build_engines.repository.running_triton import Limits
from contract.config import Scheduling
from contract.spec import CropMode, Entry, Preprocessing
from tests.integration.conftest import Running
from tests.integration.entries import COLOURS, DATA
from tests.integration.modes import in_mode, ready
from tests.waiting import until

RIGHT = (DATA / "colours.onnx").read_bytes()
SCALE = struct.pack("<f", 25.5)
"""By which the graph divides the mean of each colour."""
SOFTER = RIGHT.replace(SCALE, struct.pack("<f", 51.0))
WRONG = RIGHT.replace(SCALE, struct.pack("<f", -25.5))
BROKEN = RIGHT[:50]
LARGER = RIGHT.replace(b"\x0a\x02\x08\x08" * 2, b"\x0a\x02\x08\x10" * 2)
"""Takes pictures of 16x16."""
SHORT = Limits(timeout_s=2)


def add(repository: Path, name: str, graph: bytes, labels: tuple[str, ...] = COLOURS, side: int = 8) -> int:
    """Publish `graph` as the builder does, with a report beside it."""
    preprocessing = Preprocessing(side, side, crop_pct=1.0, crop_mode=CropMode.SQUASH)
    with workspace(repository) as work:
        files = [work / "model.onnx", work / "report.json", work / "report.md"]
        for file, content in zip(files, (graph, b"{}", b"# Report"), strict=True):
            file.write_bytes(content)
        note = {"note": str(work)}  # Another one each time, as dates are.
        entry = Entry(name, preprocessing, labels, max_batch_size=8, build=note)
        return publish(repository, entry, files, Scheduling()).version


def expected(scale: float = 25.5, side: int = 8) -> Expected:
    """Ten pictures, more than one batch holds, and what the graph answers when it divides by `scale`."""
    images = np.random.default_rng(7).integers(0, 256, (10, side, side, 3), dtype=np.uint8)
    powers = np.exp(images.astype(np.float32).mean(axis=(1, 2)) / np.float32(scale))
    return Expected(images, powers / powers.sum(axis=1, keepdims=True), tolerance=1e-5)


def red(side: int = 8) -> npt.NDArray[np.uint8]:
    picture = np.zeros((1, side, side, 3), np.uint8)
    picture[..., 0] = 255
    return picture


class Clients:
    """What clients get who name no version: the versions that answered, in turn, and the errors."""

    def __init__(self, url: str, name: str, picture: npt.NDArray[np.uint8]) -> None:
        self.answered: list[str] = []
        self.errors: list[str] = []
        self.count = 0
        self._url, self._name = url, name
        self._input = tritonclient.InferInput("image", list(picture.shape), "UINT8").set_data_from_numpy(picture)
        self._ended = threading.Event()

    def ask(self, client: tritonclient.InferenceServerClient) -> bool:
        """Whether it was answered."""
        try:
            answer = client.infer(self._name, [self._input])
        except tritonclient.InferenceServerException as error:
            self.errors.append(str(error))
            return False
        self.count += 1
        version = answer.get_response().model_version
        if self.answered[-1:] != [version]:
            self.answered.append(version)
        return True

    def run(self) -> None:
        with tritonclient.InferenceServerClient(self._url) as client:
            while not self._ended.is_set():
                self.ask(client)

    def end(self) -> None:
        self._ended.set()

    def until_answered_by(self, version: str) -> None:
        until(lambda: self.answered[-1:] == [version])

    def until_more(self) -> None:
        """Until requests that were not yet sent when this was called are answered."""
        enough = self.count + 20
        until(lambda: self.count >= enough)


@contextmanager
def clients(url: str, name: str, picture: npt.NDArray[np.uint8] | None = None) -> Iterator[Clients]:
    """Ask in a thread, without a pause, until the block ends; it starts when `name` is answered."""
    asking = Clients(url, name, red() if picture is None else picture)
    with tritonclient.InferenceServerClient(url) as client:
        until(lambda: asking.ask(client))
    asking.errors.clear()
    thread = threading.Thread(target=asking.run)
    thread.start()
    try:
        yield asking
        asking.until_more()
    finally:
        asking.end()
        thread.join()
    assert asking.errors == []


def label_of_red(url: str, name: str, side: int = 8) -> str:
    """What Triton calls the class of a red picture.

    Not what `Clients` ask for: where a version goes while it answers such a request, Triton 2.51 fails it, because it
    looks for the labels after the answer.
    """
    picture = tritonclient.InferInput("image", [1, side, side, 3], "UINT8").set_data_from_numpy(red(side))
    wanted = [tritonclient.InferRequestedOutput("probabilities", class_count=1)]
    with tritonclient.InferenceServerClient(url) as client:
        answer = client.infer(name, [picture], outputs=wanted).as_numpy("probabilities")
    return str(answer.item().decode().rpartition(":")[2])


@pytest.fixture(scope="module")
def explicit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A Triton in explicit mode, and its repository."""
    repository = tmp_path_factory.mktemp("explicit") / "repository"
    repository.mkdir()
    with in_mode("explicit", repository) as url:
        yield url, repository


def test_the_first_version_is_loaded_and_compared(explicit: tuple[str, Path]) -> None:
    url, repository = explicit
    version = add(repository, "first", RIGHT)
    assert load_and_check(url, repository / "first", version, expected()) == ""
    assert ready(url, "first") == ["1"]


def test_the_next_version_follows_and_no_request_fails(explicit: tuple[str, Path]) -> None:
    url, repository = explicit
    folder = repository / "followed"
    load_and_check(url, folder, add(repository, "followed", RIGHT), expected())
    version = add(repository, "followed", SOFTER, ("rot", "gruen", "blau"))
    with clients(url, "followed") as asking:
        assert load_and_check(url, folder, version, expected(51.0)) == ""
        asking.until_answered_by("2")
    assert asking.answered == ["1", "2"]
    assert label_of_red(url, "followed") == "rot"
    assert ready(url, "followed") == ["2"]


def test_a_version_that_answers_otherwise_never_answers_a_client(explicit: tuple[str, Path]) -> None:
    url, repository = explicit
    folder = repository / "wrong"
    load_and_check(url, folder, add(repository, "wrong", RIGHT), expected())
    with clients(url, "wrong") as asking:
        version = add(repository, "wrong", WRONG)
        words = r"version 2 in Triton does not answer as .*top-1 agrees on [0-5] of \d+ in one batch; its runtime"
        with pytest.raises(LoadError, match=words):
            load_and_check(url, folder, version, expected())
        withdraw(repository, "wrong", version, previous=1)
        load(url, folder, 1)
        asking.until_more()
        assert asking.answered == ["1"]
        # The number is used again, for other files.
        assert add(repository, "wrong", SOFTER) == version
        load_and_check(url, folder, version, expected(51.0))
        asking.until_answered_by("2")
    assert asking.answered == ["1", "2"]


def test_a_version_that_does_not_load_leaves_the_old_one(explicit: tuple[str, Path]) -> None:
    url, repository = explicit
    folder = repository / "broken"
    load_and_check(url, folder, add(repository, "broken", RIGHT), expected())
    with clients(url, "broken") as asking:
        version = add(repository, "broken", BROKEN)
        with pytest.raises(LoadError, match=r"did not load broken\.check-.*InvalidProtobuf.*its log says more"):
            load_and_check(url, folder, version, expected())
        # Without the comparison beforehand too.
        with pytest.raises(LoadError, match=r"did not load broken: .*version 2 is at UNAVAILABLE"):
            load_and_check(url, folder, version, expected(), Limits(upload=0))
    assert asking.answered == ["1"]


def test_a_version_of_other_pictures_takes_over(explicit: tuple[str, Path]) -> None:
    url, repository = explicit
    folder = repository / "grown"
    load_and_check(url, folder, add(repository, "grown", RIGHT), expected())
    assert load_and_check(url, folder, add(repository, "grown", LARGER, side=16), expected(side=16)) == ""
    with clients(url, "grown", red(16)) as asking:
        asking.until_more()
    assert asking.answered == ["2"]


def test_a_version_too_large_to_be_tried_out_is_taken_back_when_it_is_wrong(explicit: tuple[str, Path]) -> None:
    url, repository = explicit
    folder = repository / "large"
    load_and_check(url, folder, add(repository, "large", RIGHT), expected())
    version = add(repository, "large", WRONG)
    with clients(url, "large") as asking:
        with pytest.raises(LoadError, match="version 2 in Triton does not answer as"):
            load_and_check(url, folder, version, expected(), Limits(upload=0))
        asking.until_answered_by("1")
        withdraw(repository, "large", version)
        load(url, folder, 1)
        warning = load_and_check(url, folder, add(repository, "large", SOFTER), expected(51.0), Limits(upload=0))
        asking.until_answered_by("2")
    assert "more than a request to Triton can carry" in warning
    assert ready(url, "large") == ["2"]


def test_a_wrong_first_version_too_large_to_be_tried_out_is_unloaded(explicit: tuple[str, Path]) -> None:
    url, repository = explicit
    version = add(repository, "alone", WRONG)
    with pytest.raises(LoadError, match="version 1 in Triton does not answer as"):
        load_and_check(url, repository / "alone", version, expected(), Limits(upload=0))
    until(lambda: ready(url, "alone") == [])


def test_a_rollback_is_loaded_when_triton_is_asked(explicit: tuple[str, Path]) -> None:
    url, repository = explicit
    folder = repository / "back"
    add(repository, "back", RIGHT)
    load_and_check(url, folder, add(repository, "back", LARGER, ("rot", "gruen", "blau"), side=16), expected(side=16))
    load(url, folder, rollback(repository, "back").version)
    with clients(url, "back") as asking:
        asking.until_more()
    assert asking.answered == ["1"]
    assert label_of_red(url, "back") == "red"
    assert ready(url, "back") == ["1"]


def test_a_triton_of_another_repository_is_noticed(explicit: tuple[str, Path], tmp_path: Path) -> None:
    url, repository = explicit
    elsewhere = tmp_path / "models"
    version = add(elsewhere, "elsewhere", RIGHT)
    with pytest.raises(LoadError, match="failed to poll from model repository; see that it reads this repository"):
        load_and_check(url, elsewhere / "elsewhere", version, expected())
    add(repository, "elsewhere", RIGHT)
    with pytest.raises(LoadError, match=r"does not serve version 1 of .*See that it reads this repository"):
        load_and_check(url, elsewhere / "elsewhere", version, expected())


@pytest.mark.parametrize("url", ["127.0.0.1:1", "http://127.0.0.1:8001", "nobody.invalid:8001", "nonsense"])
def test_where_no_triton_answers_the_message_says_what_to_name(url: str, tmp_path: Path) -> None:
    version = add(tmp_path / "models", "nobody", RIGHT)
    with pytest.raises(LoadError, match=f"no Triton answers at {url} .*name host:port of its gRPC service"):
        load_and_check(url, tmp_path / "models" / "nobody", version, expected(), SHORT)


def test_another_service_of_tritons_is_not_taken_for_it(triton: Running, tmp_path: Path) -> None:
    metrics = triton.stack.metrics_url.removeprefix("http://").removesuffix("/metrics")
    version = add(tmp_path / "models", "nobody", RIGHT)
    with pytest.raises(LoadError, match=f"no Triton answers at {metrics}"):
        load_and_check(metrics, tmp_path / "models" / "nobody", version, expected(), SHORT)


def test_a_triton_that_polls_is_waited_for_and_compared_then(triton: Running) -> None:
    url, folder = triton.stack.grpc_address, triton.repository / "polled"
    version = add(triton.repository, "polled", RIGHT)
    assert "loads by itself" in load_and_check(url, folder, version, expected())
    with clients(url, "polled") as asking:
        version = add(triton.repository, "polled", WRONG)
        with pytest.raises(LoadError, match="version 2 in Triton does not answer as"):
            load_and_check(url, folder, version, expected())
        withdraw(triton.repository, "polled", version, previous=1)
        load(url, folder, 1)
        asking.until_answered_by("1")
        # The number is used again: what Triton has under it still is not taken for it.
        version = add(triton.repository, "polled", SOFTER)
        assert load_and_check(url, folder, version, expected(51.0))
        asking.until_answered_by("2")
    assert asking.answered == ["1", "2", "1", "2"]


def test_what_a_triton_that_polls_cannot_load_is_said_before_time_is_up(triton: Running) -> None:
    url, folder = triton.stack.grpc_address, triton.repository / "unpolled"
    load_and_check(url, folder, add(triton.repository, "unpolled", RIGHT), expected())
    with clients(url, "unpolled") as asking:
        version = add(triton.repository, "unpolled", BROKEN)
        with pytest.raises(LoadError, match=r"does not serve version 2 of .*: .*InvalidProtobuf"):
            load_and_check(url, folder, version, expected(), Limits(timeout_s=10_000))
    assert asking.answered == ["1"]


def test_a_triton_that_never_loads_is_given_up(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    add(repository, "fixed", RIGHT)
    with in_mode("none", repository) as url:
        until(lambda: ready(url, "fixed") == ["1"])
        version = add(repository, "fixed", SOFTER)
        with pytest.raises(LoadError, match=r"does not serve version 2 of .*one in mode none .* must be started again"):
            load_and_check(url, repository / "fixed", version, expected(51.0), SHORT)


def test_publishing_rolling_back_and_pruning_beside_a_triton_that_polls_fail_no_request(triton: Running) -> None:
    repository, url, name = triton.repository, triton.stack.grpc_address, "beside_polls"
    german = ("rot", "gruen", "blau")
    add(repository, name, RIGHT)
    with clients(url, name) as asking:
        add(repository, name, SOFTER, german)
        asking.until_answered_by("2")
        assert label_of_red(url, name) == "rot"
        assert rollback(repository, name).version == 1
        asking.until_answered_by("1")
        assert label_of_red(url, name) == "red"
        assert rollback(repository, name, to=2).version == 2
        asking.until_answered_by("2")
        assert label_of_red(url, name) == "rot"
        assert rollback(repository, name, to=1).version == 1
        asking.until_answered_by("1")
        assert add(repository, name, RIGHT) == 3
        asking.until_answered_by("3")
        assert prune(repository, name, keep=1)[0].versions == (1, 2)
        # A new entry is there, so Triton has looked at the pruned one.
        add(repository, f"{name}_after", RIGHT)
        until(lambda: ready(url, f"{name}_after") == ["1"])
    assert asking.answered == ["1", "2", "1", "2", "1", "3"]
    assert versions(repository / name) == [3]
