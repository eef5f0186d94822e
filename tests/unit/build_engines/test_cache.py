"""A step is done once, whole or not at all."""

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from build_engines.cache import Cache
from build_engines.errors import UnwritableError


def writes(text: str, calls: list[str] | None = None) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "result").write_text(text)
        if calls is not None:
            calls.append(text)

    return make


def test_a_step_with_the_same_key_is_done_once(tmp_path: Path) -> None:
    calls: list[str] = []
    first = Cache(tmp_path).make("double", {"a": 1, "b": "x"}, writes("one", calls))
    again = Cache(tmp_path).make("double", {"b": "x", "a": 1}, writes("two", calls))
    assert first == again
    assert (again / "result").read_text() == "one"
    assert calls == ["one"]


@pytest.mark.parametrize(("name", "key"), [("double", {"a": 2}), ("triple", {"a": 1}), ("double", {"a": "1"})])
def test_another_key_is_another_step(tmp_path: Path, name: str, key: dict[str, object]) -> None:
    first = Cache(tmp_path).make("double", {"a": 1}, writes("one"))
    other = Cache(tmp_path).make(name, key, writes("two"))
    assert other.name != first.name
    assert (first / "result").read_text() == "one"
    assert (other / "result").read_text() == "two"


def test_a_step_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Cache(tmp_path).make("double", {}, fail)
    assert Cache(tmp_path).find("double", {}) is None
    assert list((tmp_path / "double").iterdir()) == []


def test_a_killed_step_is_done_again_and_its_remains_go(tmp_path: Path) -> None:
    def die(folder: Path) -> None:
        (folder / "half").write_text("half")
        os._exit(9)

    context = multiprocessing.get_context("fork")
    child = context.Process(target=lambda: Cache(tmp_path).make("double", {}, die))
    child.start()
    child.join()
    assert child.exitcode == 9
    assert [folder.name.startswith(".making-") for folder in (tmp_path / "double").iterdir()] == [True]
    done = Cache(tmp_path).make("double", {}, writes("whole"))
    assert list((tmp_path / "double").iterdir()) == [done]


def test_what_a_killed_build_left_goes_with_what_is_too_much(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    done = cache.make("double", {}, writes("whole"))
    dead = tmp_path / "double" / ".making-0123-abc"
    dead.mkdir()
    (dead / "half").write_text("half")

    def make(folder: Path) -> None:
        cache.shrink()
        (folder / "result").write_text("x")

    alive = cache.make("double", {"n": 1}, make)
    assert sorted((tmp_path / "double").iterdir()) == sorted([done, alive])


def test_two_builds_may_remove_steps_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)
    for number in range(3):
        cache.make("s", {"n": number}, writes("x"))
    unlink = Path.unlink

    def taken(path: Path) -> None:
        if path.parent.exists():
            unlink(path)
            Cache(tmp_path).shrink(limit=0)
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "unlink", taken)
    cache.shrink(limit=0)
    assert [n for n in range(3) if cache.find("s", {"n": n})] == []


def test_two_builds_make_a_step_once(tmp_path: Path) -> None:
    def slow(folder: Path) -> None:
        with (tmp_path / "made").open("a") as made:
            made.write("once\n")
        time.sleep(0.2)
        (folder / "result").write_text("x")

    context = multiprocessing.get_context("fork")
    children = [context.Process(target=lambda: Cache(tmp_path / "cache").make("slow", {}, slow)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert (tmp_path / "made").read_text() == "once\n"


def test_what_was_not_used_for_the_longest_time_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    steps = [cache.make("s", {"n": n}, writes("x" * 1000)) for n in range(4)]
    for age, step in enumerate(steps):
        os.utime(step, (age, age))
    cache.find("s", {"n": 0})
    cache.shrink(limit=2500)
    left = [n for n in range(4) if cache.find("s", {"n": n})]
    assert left == [0, 3]
    assert not steps[1].exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UnwritableError, match="--cache"):
        Cache(tmp_path / "cache").make("s", {}, writes("x"))
