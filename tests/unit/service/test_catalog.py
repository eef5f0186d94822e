"""What Triton serves, as contracts."""

import logging

import pytest

from service.catalog import Catalog
from service.errors import ModelNotNamed, ModelNotReady, TritonUnavailable, UnknownModel
from tests.fakes import FakeBackend, an_entry


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


async def test_a_model_that_triton_cannot_load_is_not_ready(backend: FakeBackend) -> None:
    backend.unready["shapes"] = "corrupt file"
    with pytest.raises(ModelNotReady):
        (await fresh(backend)).resolve("shapes")


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
