"""Which entry explains which is what the companions say, and what they say must hold."""

from dataclasses import replace

import pytest

from contract.spec import Entry
from service.catalog import Catalog
from service.companions import explanations_of
from service.errors import ExplanationUnavailable, ModelNotNamed, UnknownModel
from service.states import Served
from tests.fakes import WEIGHTS, FakeBackend, a_companion, an_entry

MODEL = an_entry(build={"weights_sha256": WEIGHTS})


def found(model: Entry, *others: Entry) -> str | None:
    served = [Served(each, "3") for each in (model, *others)]
    companion = explanations_of(served[0], served).companion
    return companion.name if companion else None


def test_a_companion_is_found_by_what_it_says_whatever_its_name() -> None:
    assert found(MODEL, a_companion(name="zebra"), an_entry("colours_explain")) == "zebra"
    assert found(replace(MODEL, name="colours_int8"), a_companion("colours", "colours_int8")) == "watcher"
    assert found(MODEL, a_companion("shapes")) is None


@pytest.mark.parametrize(
    "other",
    [
        a_companion(weights="cd" * 32),
        replace(a_companion(), labels=("red", "blue", "green")),
        replace(a_companion(), preprocessing=replace(MODEL.preprocessing, crop_pct=0.9)),
    ],
    ids=["weights", "labels", "preprocessing"],
)
def test_a_companion_of_another_version_explains_nothing(other: Entry) -> None:
    explanations = explanations_of(Served(MODEL, "3"), [Served(other, "2")])
    assert explanations.companion is None
    assert explanations.reason is not None
    assert "watcher version 2 explains other weights than those of colours version 3" in explanations.reason
    with pytest.raises(ExplanationUnavailable, match="build one with: build-engines build"):
        explanations.required()


def test_of_several_the_one_that_fits_is_taken() -> None:
    assert found(MODEL, a_companion(name="a", weights="cd" * 32), a_companion(name="b")) == "b"


def test_an_entry_that_does_not_say_its_weights_is_not_explained() -> None:
    assert found(an_entry(), a_companion()) is None


async def test_a_companion_is_no_classifier_of_its_own() -> None:
    backend = FakeBackend()
    backend.serve(MODEL)
    backend.serve(a_companion())
    catalog = Catalog(backend, None)
    await catalog.refresh()
    assert catalog.resolve(None).name == "colours", "it is the only one"
    assert [each.name for each in catalog.models()] == ["colours"]
    assert [state.name for state in catalog.states()] == ["colours", "watcher"]
    with pytest.raises(UnknownModel, match="'watcher' is no classifier; it explains colours"):
        catalog.resolve("watcher")
    backend.serve(an_entry("shapes"))
    await catalog.refresh()
    with pytest.raises(ModelNotNamed, match=r"\(colours, shapes\)"):
        catalog.resolve(None)
