"""What is published: shown, rolled back, pruned, withdrawn; whole or not at all, whoever dies."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from build_engines.errors import NotOursError, PlanError, UnknownEntryError
from build_engines.repository.changes import prune, rollback, withdraw
from build_engines.repository.entries import inspect, published
from build_engines.repository.layout import served, versions
from build_engines.repository.publication import publish
from build_engines.repository.workspace import workspace
from contract.config import CONFIG_FILE, LABELS_FILE, Scheduling, from_pbtxt, read_config, to_pbtxt
from contract.spec import CropMode, Entry, Preprocessing

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])

ONE = Entry(
    "pets",
    Preprocessing(32, 48),
    ("cat", "dog"),
    max_batch_size=4,
    build={"precision": "fp32", "date": "2026-01-01T00:00:00+00:00"},
)
TWO = Entry(
    "pets",
    Preprocessing(64, 64, crop_mode=CropMode.SQUASH),
    ("cat", "dog", "cow"),
    max_batch_size=8,
    build={
        "precision": "int8",
        "compiler": "none",
        "gate": "passed",
        "gate.top1_drop": "0.2",
        "date": "2026-02-02T00:00:00+00:00",
    },
)


def add(repository: Path, entry: Entry = ONE, **files: str) -> int:
    """Publish a version with files of these contents."""
    with workspace(repository) as work:
        paths = []
        for name, content in (files or {"model_onnx": "weights"}).items():
            paths.append(work / name.replace("_", "."))
            paths[-1].write_text(content)
        return publish(repository, entry, paths, Scheduling()).version


def serving(repository: Path) -> tuple[tuple[int, ...], Entry | None, str]:
    """The versions that Triton would serve, by what, and with which labels."""
    folder = repository / "pets"
    config = from_pbtxt((folder / CONFIG_FILE).read_text())
    return served(folder), read_config(config), (folder / LABELS_FILE).read_text()


def tree(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): file.read_text() if file.is_file() else "folder"
        for file in folder.rglob("*")
        if file.name != ".lock"
    }


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """With `ONE` as version 1 of pets and `TWO` as version 2."""
    repository = tmp_path / "models"
    add(repository, ONE)
    add(repository, TWO, model_onnx="weights of two", report_json='{"top1": 0.9, "variant": "int8", "table": [1]}')
    return repository


def test_published_shows_versions_and_what_is_served(repository: Path) -> None:
    (pets,) = published(repository)
    assert (pets.name, pets.served, pets.problem) == ("pets", 2, "")
    assert (pets.precision, pets.compiler, pets.gate) == ("int8", "none", "passed, 0.2")
    one, two = pets.versions
    assert (one.number, one.served, one.returnable, one.report) == (1, False, True, None)
    assert (two.number, two.served, two.returnable) == (2, True, True)
    assert two.report == repository / "pets" / "2" / "report.json"
    assert (one.date, two.date) == ("2026-01-01T00:00:00+00:00", "2026-02-02T00:00:00+00:00")
    assert one.size == len("weights") + (repository / "pets" / "1" / CONFIG_FILE).stat().st_size
    rollback(repository, "pets")
    (pets,) = published(repository)
    assert (pets.served, pets.precision, pets.compiler, pets.gate) == (1, "fp32", "onnxruntime", "")
    assert [version.date for version in pets.versions] == [one.date, two.date]


def test_what_is_broken_or_foreign_is_shown_with_the_reason(repository: Path) -> None:
    for name, config in (("broken", "{{{"), ("foreign", 'name: "foreign"'), ("bare", None)):
        (repository / name / "1").mkdir(parents=True)
        if config is not None:
            (repository / name / CONFIG_FILE).write_text(config)
    config = from_pbtxt((repository / "pets" / CONFIG_FILE).read_text())
    config.name = "unlabelled"
    del config.parameters["contract.labels"]
    (repository / "unlabelled" / "3").mkdir(parents=True)
    (repository / "unlabelled" / CONFIG_FILE).write_text(to_pbtxt(config))
    config = from_pbtxt((repository / "pets" / CONFIG_FILE).read_text())
    config.version_policy.specific.versions.append(9)
    (repository / "pets" / CONFIG_FILE).write_text(to_pbtxt(config))
    problems = {entry.name: entry.problem for entry in published(repository)}
    assert problems.keys() == {"bare", "broken", "foreign", "pets", "unlabelled"}
    assert "is not an entry of Vitrine's" in problems["bare"]
    assert "is no Triton model configuration" in problems["broken"]
    assert "has no contract.schema" in problems["foreign"]
    assert problems["unlabelled"] == "contract.labels: is missing"
    assert problems["pets"] == "no version is served; there are: 1, 2"
    unlabelled = next(entry for entry in published(repository) if entry.name == "unlabelled")
    assert [(version.number, version.served) for version in unlabelled.versions] == [(3, True)]
    assert inspect(repository, "unlabelled").published == unlabelled
    assert inspect(repository, "unlabelled").provenance == ()


def test_inspect_tells_everything(repository: Path) -> None:
    shown = inspect(repository, "pets")
    assert shown.published.entry == TWO
    assert shown.provenance == tuple(sorted(TWO.build.items()))
    assert shown.report == repository / "pets" / "2" / "report.json"
    rollback(repository, "pets")
    shown = inspect(repository, "pets")
    assert (shown.published.entry, shown.report) == (ONE, None)


def test_a_link_that_leads_nowhere_is_no_end_of_the_list(repository: Path) -> None:
    (repository / "pets" / "2" / "model.onnx.data").symlink_to(repository / "nowhere")
    (repository / "gone").symlink_to(repository / "nowhere")
    (repository / "without" / "1").mkdir(parents=True)
    (repository / "without" / CONFIG_FILE).symlink_to(repository / "nowhere")
    without, pets = sorted(published(repository), key=lambda entry: entry.name, reverse=True)
    assert (pets.name, pets.served, pets.problem) == ("pets", 2, "")
    assert "is not an entry of Vitrine's" in without.problem
    (repository / "pets" / "1" / CONFIG_FILE).unlink()
    (repository / "pets" / "1" / CONFIG_FILE).symlink_to(repository / "nowhere")
    assert published(repository)[0].served == 2
    assert [(removal.name, removal.versions) for removal in prune(repository, keep=1)] == [("pets", (1,))]


def test_a_rollback_serves_the_earlier_version_with_all_that_is_its_own(repository: Path) -> None:
    rolled = rollback(repository, "pets")
    assert (rolled.version, rolled.before, rolled.folder) == (1, 2, repository / "pets")
    assert serving(repository) == ((1,), ONE, "cat\ndog\n")
    assert versions(repository / "pets") == [1, 2]
    assert [child.name for child in repository.parent.iterdir()] == ["models"]


def test_the_way_back_from_a_rollback_leaves_no_trace(repository: Path) -> None:
    before = tree(repository)
    rollback(repository, "pets")
    rolled = rollback(repository, "pets", to=2)
    assert (rolled.version, rolled.before) == (2, 1)
    assert tree(repository) == before


def test_after_a_rollback_the_next_build_is_served_again(repository: Path) -> None:
    rollback(repository, "pets")
    assert add(repository, TWO) == 3
    assert serving(repository) == ((3,), TWO, "cat\ndog\ncow\n")
    assert rollback(repository, "pets").version == 2
    assert rollback(repository, "pets").version == 1
    assert rollback(repository, "pets", to=3).version == 3
    assert serving(repository) == ((3,), TWO, "cat\ndog\ncow\n")


def test_a_rollback_to_what_is_served_changes_nothing(repository: Path) -> None:
    before = (repository / "pets").stat().st_ino
    rolled = rollback(repository, "pets", to=2)
    assert (rolled.version, rolled.before) == (2, 2)
    assert (repository / "pets").stat().st_ino == before


def test_a_rollback_that_cannot_be_says_what_there_is(repository: Path) -> None:
    with pytest.raises(UnknownEntryError, match=r"pets has no version 7; there are: 1, 2"):
        rollback(repository, "pets", to=7)
    rollback(repository, "pets")
    with pytest.raises(UnknownEntryError, match=r"pets has no version before 1"):
        rollback(repository, "pets")
    (repository / "pets" / "2" / CONFIG_FILE).write_text("{{{")
    with pytest.raises(UnknownEntryError, match=r"configuration of version 2 of pets is broken.*build it again"):
        rollback(repository, "pets", to=2)
    assert serving(repository) == ((1,), ONE, "cat\ndog\n")


def test_a_renamed_entry_is_rolled_back_under_its_new_name(repository: Path) -> None:
    (repository / "pets").rename(repository / "animals")
    rollback(repository, "animals")
    assert from_pbtxt((repository / "animals" / CONFIG_FILE).read_text()).name == "animals"


def test_versions_from_before_they_kept_their_configuration(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    for _ in range(2):
        add(repository, ONE)
    for number in ("1", "2"):
        (repository / "pets" / number / CONFIG_FILE).unlink()
    with pytest.raises(UnknownEntryError, match=r"published without a configuration of its own.*build it again"):
        rollback(repository, "pets")
    add(repository, TWO)
    assert [version.returnable for version in published(repository)[0].versions] == [False, True, True]
    rollback(repository, "pets")
    assert serving(repository) == ((2,), ONE, "cat\ndog\n")


def test_a_version_that_someone_added_by_hand_is_not_given_what_is_not_its_own(repository: Path) -> None:
    rollback(repository, "pets")
    (repository / "pets" / "5").mkdir()
    assert add(repository, TWO) == 6
    assert not (repository / "pets" / "5" / CONFIG_FILE).exists()


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", (4,)),
        ("version_policy { latest { } }", (4,)),
        ("version_policy { latest { num_versions: 2 } }", (3, 4)),
        ("version_policy { all { } }", (1, 2, 3, 4)),
        ("version_policy { specific { versions: [3, 1, 8] } }", (1, 3)),
    ],
)
def test_what_is_served_is_what_tritons_policy_says(repository: Path, policy: str, expected: tuple[int, ...]) -> None:
    for _ in range(2):
        add(repository, TWO)
    with (repository / "pets" / CONFIG_FILE).open("a") as config:
        config.write(policy)
    assert served(repository / "pets") == expected
    prune(repository, "pets", keep=1)
    assert versions(repository / "pets") == sorted({*expected, 4})
    assert served(repository / "pets") == expected


def test_pruning_keeps_the_newest_and_what_is_served(repository: Path) -> None:
    for _ in range(3):
        add(repository, TWO)
    add(repository, Entry("plants", ONE.preprocessing, ("oak",), max_batch_size=1))
    (repository / "foreign").mkdir()
    rollback(repository, "pets", to=2)
    before = tree(repository)
    model = (repository / "pets" / "2" / "model.onnx").stat()
    planned = prune(repository, keep=2, dry_run=True)
    assert tree(repository) == before
    assert [(pruned.name, pruned.versions) for pruned in planned] == [("pets", (1, 3))]
    assert planned[0].size == sum(len(text) for name, text in before.items() if name.startswith(("pets/1/", "pets/3/")))
    assert prune(repository, keep=2) == planned
    assert versions(repository / "pets") == [2, 4, 5]
    assert serving(repository)[:2] == ((2,), TWO)
    assert (repository / "pets" / "2" / "model.onnx").stat().st_ino == model.st_ino
    assert prune(repository, keep=2) == ()
    assert [child.name for child in repository.parent.iterdir()] == ["models"]
    with pytest.raises(PlanError, match="--keep must be at least 1"):
        prune(repository, keep=0)


def test_withdrawing_serves_what_was_served_before(repository: Path) -> None:
    before = tree(repository)
    third = add(repository, ONE)
    withdraw(repository, "pets", third)
    assert tree(repository) == before
    rollback(repository, "pets")
    rolled = tree(repository)
    third = add(repository, TWO)
    withdraw(repository, "pets", third, previous=1)
    assert tree(repository) == rolled
    assert [child.name for child in repository.parent.iterdir()] == ["models"]


def test_withdrawing_leaves_a_version_that_followed(repository: Path) -> None:
    add(repository, ONE)
    withdraw(repository, "pets", 2, previous=1)
    assert serving(repository) == ((3,), ONE, "cat\ndog\n")
    assert versions(repository / "pets") == [1, 3]
    with pytest.raises(UnknownEntryError, match=r"pets has no version 2; there are: 1, 3"):
        withdraw(repository, "pets", 2)


def test_withdrawing_the_only_version_removes_the_entry(tmp_path: Path) -> None:
    add(tmp_path / "models", ONE)
    withdraw(tmp_path / "models", "pets", 1)
    assert tree(tmp_path / "models") == {}
    assert add(tmp_path / "models", ONE) == 1


CHANGES: dict[str, Callable[[Path, str], object]] = {
    "inspect": inspect,
    "rollback": rollback,
    "prune": prune,
    "withdraw": lambda repository, name: withdraw(repository, name, 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_unknown_or_foreign_entry_is_refused(repository: Path, change: str) -> None:
    (repository / "foreign").mkdir()
    (repository / "foreign" / CONFIG_FILE).write_text('name: "foreign"')
    before = tree(repository)
    with pytest.raises(UnknownEntryError, match=r"there is no entry 'cats' in .*; there are: foreign, pets"):
        CHANGES[change](repository, "cats")
    with pytest.raises(NotOursError, match=r"has no contract.schema.*leaves it alone"):
        CHANGES[change](repository, "foreign")
    with pytest.raises(UnknownEntryError, match=r"there is no repository .*--repository"):
        CHANGES[change](repository.parent / "nowhere", "pets")
    assert tree(repository) == before
    assert not (repository.parent / "nowhere").exists()


def die_at(step: str, change: str, repository: Path) -> None:
    def reached(done: str) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    match change:
        case "rollback":
            rollback(repository, "pets", reached=reached)
        case "prune":
            prune(repository, "pets", keep=1, reached=reached)
        case "withdraw":
            withdraw(repository, "pets", 2, reached=reached)


@pytest.mark.parametrize("change", ["rollback", "prune", "withdraw"])
@pytest.mark.parametrize("step", ["locked", "staged", "synced", "published"])
def test_who_is_killed_at_any_step_leaves_before_or_after(repository: Path, change: str, step: str) -> None:
    before = tree(repository)
    process = PROCESSES.Process(target=die_at, args=(step, change, repository))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    outcomes = {"rollback": ([1, 2], (1,), ONE), "prune": ([2], (2,), TWO), "withdraw": ([1], (1,), ONE)}
    if step == "published":
        assert (versions(repository / "pets"), *serving(repository)[:2]) == outcomes[change]
    else:
        assert tree(repository) == before
        die_at("", change, repository)
        assert (versions(repository / "pets"), *serving(repository)[:2]) == outcomes[change]
    add(repository, ONE)
    assert [child.name for child in repository.parent.iterdir()] == ["models"]


def turn(repository: Path, ended: Path) -> None:
    """Roll back and forth until told to end."""
    while not ended.exists():
        rollback(repository, "pets", to=1)
        rollback(repository, "pets", to=2)


def test_a_reader_beside_changes_sees_one_moment(repository: Path) -> None:
    ended = repository.parent / "ended"
    process = PROCESSES.Process(target=turn, args=(repository, ended))
    process.start()
    try:
        seen = {(pets.served, pets.precision, pets.problem) for _ in range(150) for pets in published(repository)}
    finally:
        ended.touch()
        process.join()
    assert process.exitcode == 0
    assert seen == {(1, "fp32", ""), (2, "int8", "")}
