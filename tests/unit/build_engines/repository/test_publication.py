"""Publishing: whole or not at all, whoever dies and whoever else publishes."""

import multiprocessing
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest

from build_engines import atomic
from build_engines.errors import NotOursError, UnwritableError
from build_engines.repository.layout import check_ours, versions
from build_engines.repository.publication import Publication, publish, replace_piecewise
from build_engines.repository.workspace import workspace
from contract.config import Scheduling, from_pbtxt, read_config
from contract.spec import Entry, Preprocessing

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


def entry(note: str = "x", labels: tuple[str, ...] = ("cat", "dog")) -> Entry:
    return Entry("pets", Preprocessing(32, 48), labels, max_batch_size=4, build={"note": note})


def add(repository: Path, content: str = "weights", die_at: str = "", value: Entry | None = None) -> Publication:
    """Publish a version whose graph is `content`; die at a step by SIGKILL."""

    def reached(step: str) -> None:
        if step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with workspace(repository) as work:
        (work / "model.onnx").write_text(content)
        reached("worked")
        published = publish(repository, value or entry(content), [work / "model.onnx"], Scheduling(), reached=reached)
        reached("returned")
    return published


def tree(folder: Path) -> dict[str, str]:
    """What Triton can see."""
    return {
        str(file.relative_to(folder)): file.read_text() if file.is_file() else "folder"
        for file in folder.rglob("*")
        if file.name != ".lock"
    }


def run(target: object, *arguments: object) -> int | None:
    process = PROCESSES.Process(target=target, args=arguments)  # type: ignore[arg-type]
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_a_new_entry_is_published_whole(repository: Path) -> None:
    published = add(repository)
    assert published == Publication(repository / "pets", 1)
    assert tree(repository).keys() == {
        "pets",
        "pets/1",
        "pets/1/config.pbtxt",
        "pets/1/model.onnx",
        "pets/config.pbtxt",
        "pets/labels.txt",
    }
    assert (repository / "pets" / "labels.txt").read_text() == "cat\ndog\n"
    config = from_pbtxt((repository / "pets" / "config.pbtxt").read_text())
    assert read_config(config) == entry("weights")
    assert [child.name for child in repository.parent.iterdir()] == ["models"]


def test_what_is_written_at_the_end_knows_the_version(repository: Path) -> None:
    def finish(folder: Path, version: int) -> None:
        assert not (repository / "pets" / str(version)).exists()
        (folder / "report.md").write_text(f"version {version}")

    for number in (1, 2):
        with workspace(repository) as work:
            (work / "model.onnx").write_text("weights")
            publish(repository, entry(), [work / "model.onnx"], Scheduling(), finish=finish)
        assert (repository / "pets" / str(number) / "report.md").read_text() == f"version {number}"


def test_the_next_version_leaves_the_others_as_they_are(repository: Path) -> None:
    add(repository, "one")
    first = (repository / "pets" / "1" / "model.onnx").stat()
    (repository / "pets" / "0007").mkdir()
    (repository / "pets" / "9").mkdir()
    (repository / "pets" / "notes.md").write_text("mine")
    assert add(repository, "two", value=entry("two", ("cat", "dog", "cow"))).version == 10
    second = (repository / "pets" / "1" / "model.onnx").stat()
    assert (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)
    assert versions(repository / "pets") == [1, 9, 10]
    assert (repository / "pets" / "labels.txt").read_text() == "cat\ndog\ncow\n"
    assert (repository / "pets" / "notes.md").read_text() == "mine"
    assert "two" in (repository / "pets" / "config.pbtxt").read_text()


def test_several_files_of_a_version_stay_together(repository: Path) -> None:
    with workspace(repository) as work:
        files = [work / name for name in ("model.onnx", "model.onnx.data", "report.json", "report.png")]
        for file in files:
            file.write_text(file.name)
        publish(repository, entry(), files, Scheduling())
    names = sorted(file.name for file in (repository / "pets" / "1").iterdir())
    assert names == ["config.pbtxt", "model.onnx", "model.onnx.data", "report.json", "report.png"]


@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing"])
@pytest.mark.parametrize("step", ["worked", "locked", "staged", "synced", "published", "returned"])
def test_a_builder_killed_at_any_step_leaves_before_or_after(repository: Path, step: str, existing: bool) -> None:
    if existing:
        add(repository, "one")
    repository.mkdir(exist_ok=True)
    before = tree(repository)
    count = len(versions(repository / "pets"))
    assert run(add, repository, "killed", step) == -signal.SIGKILL
    if step in ("published", "returned"):
        assert versions(repository / "pets") == list(range(1, count + 2))
        assert (repository / "pets" / str(count + 1) / "model.onnx").read_text() == "killed"
        assert "killed" in (repository / "pets" / "config.pbtxt").read_text()
        count += 1
    else:
        assert tree(repository) == before
    assert add(repository, "next").version == count + 1
    assert [child.name for child in repository.parent.iterdir()] == ["models"]


def add_several(repository: Path, name: str) -> None:
    for index in range(4):
        add(repository, f"{name} {index}")


def test_builders_at_once_publish_different_whole_versions(repository: Path) -> None:
    names = ("a", "b", "c")
    processes = [PROCESSES.Process(target=add_several, args=(repository, name)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert versions(repository / "pets") == list(range(1, 13))
    contents = {file.read_text() for file in (repository / "pets").glob("*/model.onnx")}
    assert contents == {f"{name} {index}" for name in names for index in range(4)}
    assert [child.name for child in repository.parent.iterdir()] == ["models"]


def test_a_version_keeps_the_configuration_that_it_was_published_with(repository: Path) -> None:
    texts = []
    for value in (entry("one"), entry("two", ("cat", "dog", "cow"))):
        published = add(repository, value=value)
        texts.append((repository / "pets" / "config.pbtxt").read_text())
    assert published == Publication(repository / "pets", 2, previous=1)
    assert [(repository / "pets" / number / "config.pbtxt").read_text() for number in ("1", "2")] == texts
    assert texts[0] != texts[1]


def test_a_living_builders_work_is_left_alone(repository: Path) -> None:
    with workspace(repository) as work:
        (work / "model.onnx").write_text("slow")
        add(repository, "fast")
        assert publish(repository, entry("slow"), [work / "model.onnx"], Scheduling()).version == 2


def test_a_filesystem_without_exchange_gets_its_version_first(repository: Path, tmp_path: Path) -> None:
    add(repository, "one")
    shutil.copytree(repository / "pets", tmp_path / "staged")
    (tmp_path / "staged" / "2").mkdir()
    (tmp_path / "staged" / "labels.txt").write_text("cat\ncow\n")
    steps: list[str] = []
    replace_piecewise(tmp_path / "staged", repository / "pets", steps.append)
    assert steps == ["version moved", "labels.txt moved", "config.pbtxt moved"]
    assert versions(repository / "pets") == [1, 2]
    assert (repository / "pets" / "labels.txt").read_text() == "cat\ncow\n"


def test_a_filesystem_without_exchange_gets_another_scheduling_of_a_version(repository: Path, tmp_path: Path) -> None:
    add(repository, "one")
    shutil.copytree(repository / "pets", tmp_path / "staged")
    (tmp_path / "staged" / "1" / "config.pbtxt").write_text("another")
    replace_piecewise(tmp_path / "staged", repository / "pets", lambda _: None)
    assert (repository / "pets" / "1" / "config.pbtxt").read_text() == "another"


def test_a_filesystem_without_exchange_loses_versions_last(repository: Path, tmp_path: Path) -> None:
    for content in ("one", "two", "three"):
        add(repository, content)
    shutil.copytree(repository / "pets", tmp_path / "staged")
    shutil.rmtree(tmp_path / "staged" / "1")
    (repository / "pets" / "2" / "config.pbtxt").unlink()
    wanted = tree(tmp_path / "staged")
    steps: list[str] = []
    replace_piecewise(tmp_path / "staged", repository / "pets", steps.append)
    assert steps == ["labels.txt moved", "config.pbtxt moved", "version removed"]
    assert tree(repository / "pets") == wanted


@pytest.mark.parametrize("kind", ["foreign", "broken", "bare", "file", "link"])
def test_what_is_not_ours_is_not_touched(repository: Path, kind: str) -> None:
    folder = repository / "pets"
    repository.mkdir()
    match kind:
        case "foreign":
            folder.mkdir()
            (folder / "config.pbtxt").write_text('name: "pets"\nbackend: "python"\n')
        case "broken":
            folder.mkdir()
            (folder / "config.pbtxt").write_text("{{{")
        case "bare":
            folder.mkdir()
        case "file":
            folder.write_text("")
        case "link":
            add(repository.parent / "elsewhere")
            folder.symlink_to(repository.parent / "elsewhere" / "pets")
    before = tree(repository)
    with pytest.raises(NotOursError, match="--name"):
        check_ours(repository, "pets")
    with pytest.raises(NotOursError):
        add(repository)
    assert tree(repository) == before


def add_with_little_room(repository: Path, outcome: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        add(repository, "two")
    except UnwritableError as error:
        outcome.write_text(str(error))


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    add(repository, "one")
    before = tree(repository)
    assert run(add_with_little_room, repository, tmp_path / "outcome") == 0
    message = (tmp_path / "outcome").read_text()
    assert "File too large" in message
    assert "The repository is as it was" in message
    assert tree(repository) == before
    assert sorted(child.name for child in tmp_path.iterdir()) == ["models", "outcome"]


def test_a_repository_that_is_a_file_is_a_clear_error(repository: Path) -> None:
    repository.write_text("")
    with pytest.raises(UnwritableError, match="models"):
        add(repository)


def test_a_mount_point_is_refused_with_the_way_out(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(self: Path, target: Path) -> Path:
        raise OSError(18, "Invalid cross-device link", str(self), None, str(target))

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(UnwritableError, match=r"cross-device.*not the mount point itself"):
        add(repository)


def test_an_unlocked_leftover_is_removed_and_a_locked_one_kept(repository: Path) -> None:
    area = repository.parent / ".models.building"
    for name in ("build-dead", "build-living"):
        (area / name / "work").mkdir(parents=True)
    with atomic.locked(area / "build-living" / ".lock"):
        add(repository)
        assert [child.name for child in area.iterdir()] == ["build-living"]
