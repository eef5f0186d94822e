"""What the kernel is relied on for."""

import errno
import multiprocessing
import os
from pathlib import Path

import pytest

from build_engines import atomic


def test_two_folders_change_places(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert atomic.exchange(tmp_path / "one", tmp_path / "other")
    assert [file.name for file in (tmp_path / "one").iterdir()] == ["other"]
    assert [file.name for file in (tmp_path / "other").iterdir()] == ["one"]


def test_an_exchange_with_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(OSError, match="No such file") as caught:
        atomic.exchange(tmp_path / "one", tmp_path / "other")
    assert caught.value.errno == errno.ENOENT


def _hold(path: Path, ready: "multiprocessing.synchronize.Event") -> None:
    with atomic.locked(path):
        ready.set()
        os.kill(os.getpid(), 19)  # SIGSTOP: alive, and holding


def test_a_lock_lives_as_long_as_its_holder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "lock", ready))
    holder.start()
    assert ready.wait(60)
    assert atomic.is_locked(tmp_path / "lock")
    holder.kill()
    holder.join()
    assert not atomic.is_locked(tmp_path / "lock")


def test_a_tree_is_linked_and_not_copied(tmp_path: Path) -> None:
    (tmp_path / "tree" / "1").mkdir(parents=True)
    (tmp_path / "tree" / "1" / "model.onnx").write_text("weights")
    (tmp_path / "tree" / "link").symlink_to("1")
    atomic.link_tree(tmp_path / "tree", tmp_path / "again")
    assert (tmp_path / "again" / "1" / "model.onnx").samefile(tmp_path / "tree" / "1" / "model.onnx")
    assert os.readlink(tmp_path / "again" / "link") == "1"
    atomic.sync_tree(tmp_path / "again")
