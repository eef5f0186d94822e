"""The provenance tells what built an entry, and no note can stand in for it."""

from datetime import datetime, timedelta, timezone
from importlib.metadata import version

from build_engines.model import TimmModel
from build_engines.plan import RESERVED
from build_engines.provenance import provenance


def test_it_tells_versions_and_date() -> None:
    said = provenance({"accuracy.top1": "87.10"}, {"weights": "w.pth"})
    assert said["versions.torch"] == version("torch")
    assert said["accuracy.top1"] == "87.10"
    assert datetime.now(timezone.utc) - datetime.fromisoformat(said["date"]) < timedelta(minutes=1)


def test_every_key_of_the_builder_is_reserved(source: TimmModel) -> None:
    assert {key.partition(".")[0] for key in provenance(source.provenance)} <= RESERVED
