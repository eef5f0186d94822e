"""What Triton serves, as contracts."""

import asyncio
import logging

import pytest

from service.catalog import Catalog
from service.errors import ModelNotNamed, ModelNotReady, ModelRefused, TritonUnavailable, UnknownModel
from service.states import Refused
from service.triton import ModelVersion
from tests.fakes import FakeBackend, an_entry
from tests.waiting import until_true


async def fresh(backend: FakeBackend, default: str | None = None) -> Catalog:
    catalog = Catalog(backend, default)
    await catalog.refresh()
    return catalog


async def test_nothing_is_known_before_triton_answered(backend: FakeBackend) -> None:
    with pytest.raises(TritonUnavailable):
        Catalog(backend, None).resolve("colours")


async def test_the_only_model_needs_no_name(backend: FakeBackend) -> None:
    served = (await fresh(backend)).resolve(None)
    assert (served.entry, served.version) == (an_entry(), "1")


async def test_of_several_models_one_must_be_named_or_the_default(backend: FakeBackend) -> None:
    backend.serve(an_entry("more"))
    with pytest.raises(ModelNotNamed, match="colours, more"):
        (await fresh(backend)).resolve(None)
    assert (await fresh(backend, "more")).resolve(None).entry.name == "more"


async def test_an_unknown_model_is_refused_naming_those_served(backend: FakeBackend) -> None:
    with pytest.raises(UnknownModel, match="served are: colours"):
        (await fresh(backend)).resolve("shapes")


async def test_the_newest_ready_version_answers(backend: FakeBackend) -> None:
    for version in ("2", "10", "9"):
        backend.configs["colours", version] = backend.configs["colours", "1"]
    assert (await fresh(backend)).resolve("colours").version == "10"


async def test_a_model_that_triton_cannot_load_is_refused(backend: FakeBackend) -> None:
    backend.unready = [ModelVersion("shapes", "1", False, "corrupt file")]
    with pytest.raises(ModelRefused, match="model 'shapes' is refused: the inference server cannot load it: corrupt"):
        (await fresh(backend)).resolve("shapes")


@pytest.mark.parametrize("line", [("1", "unloaded"), ("1", ""), ("", "")], ids=["unloaded", "loading", "no config"])
async def test_a_model_that_triton_has_not_loaded_is_not_ready(backend: FakeBackend, line: tuple[str, str]) -> None:
    backend.unready = [ModelVersion("shapes", line[0], False, line[1])]
    with pytest.raises(ModelNotReady, match="model 'shapes' is not ready: the inference server has"):
        (await fresh(backend)).resolve("shapes")


async def test_a_refused_model_stays_so_while_triton_tries_it_again(backend: FakeBackend) -> None:
    catalog = Catalog(backend, None)
    for reason in ("", "corrupt file", "", "corrupt file", ""):
        backend.unready = [ModelVersion("shapes", "1", False, reason)]
        await catalog.refresh()
    assert Refused("shapes", "1", "the inference server cannot load it: corrupt file") in catalog.states()
    backend.unready = []
    backend.serve(an_entry("shapes"))
    await catalog.refresh()
    assert catalog.resolve("shapes").version == "1"


async def test_a_new_entry_appears_and_a_removed_one_goes(backend: FakeBackend) -> None:
    catalog = await fresh(backend)
    backend.serve(an_entry("later"))
    del backend.configs["colours", "1"]
    await catalog.refresh()
    assert [served.entry.name for served in catalog.models()] == ["later"]


async def test_a_changed_contract_of_the_same_version_is_noticed(backend: FakeBackend) -> None:
    catalog = await fresh(backend)
    backend.serve(an_entry(labels=("rouge", "vert", "bleu")))
    await catalog.refresh()
    assert catalog.resolve(None).entry.labels[0] == "rouge"


async def test_entries_of_others_are_skipped_and_broken_ones_refused(
    backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.serve(an_entry("others"))
    del backend.configs["others", "1"].parameters["contract.schema"]
    backend.serve(an_entry("broken"))
    backend.configs["broken", "1"].parameters["contract.crop_mode"].string_value = "zoom"
    with caplog.at_level(logging.INFO):
        catalog = await fresh(backend)
    assert [served.entry.name for served in catalog.models()] == ["colours"]
    assert "refusing broken version 1: contract.crop_mode: must be one of center" in caplog.text


async def test_readiness_follows_triton_and_the_default_model(backend: FakeBackend) -> None:
    catalog = await fresh(backend, "colours")
    catalog.check_ready()
    backend.failure = TritonUnavailable("gone")
    await catalog.refresh()
    with pytest.raises(TritonUnavailable):
        catalog.check_ready()
    backend.failure = None
    await catalog.refresh()
    catalog.check_ready()
    with pytest.raises(UnknownModel):
        (await fresh(backend, "shapes")).check_ready()


async def test_no_model_at_all_is_not_ready() -> None:
    catalog = await fresh(FakeBackend())
    with pytest.raises(ModelNotReady):
        catalog.check_ready()
    with pytest.raises(ModelNotReady):
        catalog.resolve(None)


async def test_the_reason_why_the_default_model_is_missing_is_told(backend: FakeBackend) -> None:
    backend.unready = [ModelVersion("shapes", "1", False, "corrupt file")]
    with pytest.raises(ModelRefused, match="corrupt file"):
        (await fresh(backend, "shapes")).check_ready()
    del backend.configs["colours", "1"]
    with pytest.raises(ModelNotReady, match="says why these are not: shapes"):
        (await fresh(backend)).check_ready()


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_readiness_ends_where_the_last_look_is_long_ago(backend: FakeBackend) -> None:
    clock = Clock()
    catalog = Catalog(backend, None, refresh_seconds=2.0, clock=clock)
    await catalog.refresh()
    clock.now = 10.0
    catalog.check_ready()
    clock.now = 10.1
    with pytest.raises(TritonUnavailable, match="last looked at 10 s ago"):
        catalog.check_ready()
    assert catalog.resolve("colours").version == "1", "what is known still answers"
    await catalog.refresh()
    catalog.check_ready()


async def test_what_nobody_foresaw_is_logged_and_counted_and_the_watch_goes_on(
    backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    faults: list[None] = []
    catalog = Catalog(backend, None, refresh_seconds=0.001, count_fault=lambda: faults.append(None))
    watch = asyncio.create_task(catalog.watch())
    await until_true(lambda: backend.looks > 3)
    backend.failure = RuntimeError("nobody foresaw")
    await until_true(lambda: len(faults) > 3)
    assert "Traceback" in caplog.text
    assert "RuntimeError: nobody foresaw" in caplog.text
    assert catalog.resolve("colours").version == "1"
    backend.failure = None
    backend.serve(an_entry("later"))
    await until_true(lambda: len(catalog.models()) == 2)
    watch.cancel()
    assert (await asyncio.gather(watch, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_callers_share_the_next_look_and_there_is_one_at_a_time(backend: FakeBackend) -> None:
    backend.slow = asyncio.Event()
    catalog = Catalog(backend, None)
    first = asyncio.create_task(catalog.refresh())
    await until_true(lambda: backend.looks == 1)
    later = [asyncio.create_task(catalog.refresh()) for _ in range(50)]
    await asyncio.sleep(0.02)
    assert backend.looks == 1
    backend.slow.set()
    await asyncio.gather(first, *later)
    assert backend.looks == 2, "the one under way may have seen what was before they asked"


async def test_a_caller_who_leaves_ends_nobodys_look(backend: FakeBackend) -> None:
    backend.slow = asyncio.Event()
    catalog = Catalog(backend, None)
    leaving, staying = (asyncio.create_task(catalog.refresh()) for _ in range(2))
    await until_true(lambda: backend.looks == 1)
    leaving.cancel()
    backend.slow.set()
    await staying
    assert catalog.resolve("colours").version == "1"
