"""Schedulings tried beside an entry in a real Triton, and one of them kept."""

from pathlib import Path

import pytest

from build_engines.errors import UnknownEntryError
from build_engines.repository import Limits, RunningTriton, Tuned, publish, retune, trial, tunable, workspace
from build_engines.tune import Load, Measurement, keep, tune
from contract.config import CONFIG_FILE, Scheduling, from_pbtxt, read_config
from contract.spec import CropMode, Entry, Preprocessing
from tests.integration.entries import COLOURS, DATA
from tests.integration.modes import in_mode, ready
from tests.waiting import until

LOAD = Load(connections=4, seconds=0.2)


def add(repository: Path, scheduling: Scheduling) -> None:
    entry = Entry("colours", Preprocessing(8, 8, 1.0, CropMode.SQUASH), COLOURS, max_batch_size=8)
    with workspace(repository) as work:
        graph = work / "model.onnx"
        graph.write_bytes((DATA / "colours.onnx").read_bytes())
        publish(repository, entry, [graph], scheduling)


def names(repository: Path) -> list[str]:
    return [child.name for child in repository.iterdir() if not child.name.startswith(".")]


def test_what_is_best_is_kept_and_nothing_else_is_left(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    # A window that one picture alone waits out whole: without it the entry is better by far.
    add(repository, Scheduling(max_queue_delay_us=200_000))
    with in_mode("explicit", repository) as url:
        heard: list[Measurement] = []
        tuning = tune(repository, "colours", url, LOAD, heard.append)
        assert tuple(heard) == tuning.measured
        assert tuning.measured[0].tuned == tuning.found.now == Tuned(Scheduling(200_000), 8)
        assert tuning.measured[0].alone_ms > 200
        assert (tuning.best.scheduling.max_queue_delay_us or 0) < 200_000
        assert names(repository) == ["colours"]
        assert tunable(repository, "colours").now == tuning.found.now

        note = keep(repository, tuning, url)
        assert ready(url, "colours") == ["1"]
        assert tunable(repository, "colours").now == tuning.best
        entry = read_config(from_pbtxt((repository / "colours" / CONFIG_FILE).read_text()))
        assert entry is not None
        assert entry.build["tuned"] == note


def test_a_triton_that_polls_has_the_trial_beside_the_entry_for_as_long_as_it_lasts(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    add(repository, Scheduling())
    with in_mode("poll", repository) as url, RunningTriton(url, Limits()) as triton:
        until(lambda: ready(url, "colours") == ["1"])
        found = tunable(repository, "colours")
        with trial(triton, found, Tuned(Scheduling(instances=2), 4)) as (name, config):
            assert ready(url, name) == ["1"]
            assert (config.max_batch_size, config.instance_group[0].count) == (4, 2)
            assert read_config(config) is None  # So that no gateway offers it.
            assert ready(url, "colours") == ["1"]
        assert ready(url, name) == []
        assert names(repository) == ["colours"]


def test_a_version_that_was_rolled_back_to_stays_the_one_that_is_served(tmp_path: Path) -> None:
    for _ in range(2):
        add(tmp_path, Scheduling())
    found = tunable(tmp_path, "colours")
    assert found.version == 2
    retune(tmp_path, found, Tuned(Scheduling(1_000, instances=2), 4), "by hand")
    again = tunable(tmp_path, "colours")
    assert (again.version, again.now) == (2, Tuned(Scheduling(1_000, instances=2), 4))
    assert (tmp_path / "colours" / "1" / CONFIG_FILE).read_text().count("count: 1") == 1


def test_a_version_that_was_published_meanwhile_goes_on_answering(tmp_path: Path) -> None:
    add(tmp_path, Scheduling())
    found = tunable(tmp_path, "colours")
    add(tmp_path, Scheduling())
    with pytest.raises(UnknownEntryError, match="serves version 2 by now; version 1 was measured"):
        retune(tmp_path, found, Tuned(Scheduling(1_000, instances=2), 4), "by hand")
    assert (tunable(tmp_path, "colours").version, found.now) == (2, tunable(tmp_path, "colours").now)
