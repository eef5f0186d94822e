"""The provenance tells what built an entry, and no note can stand in for it."""

from datetime import datetime, timedelta, timezone
from importlib.metadata import version

from build_engines.graph import Graph
from build_engines.plan import RESERVED
from build_engines.provenance import provenance
from build_engines.source import Source
from build_engines.verify import Parity


def test_it_tells_versions_precision_and_date() -> None:
    said = provenance({"accuracy.top1": "87.10"}, {"weights": "w.pth"})
    assert said["versions.torch"] == version("torch")
    assert said["precision"] == "fp32"
    assert said["accuracy.top1"] == "87.10"
    assert datetime.now(timezone.utc) - datetime.fromisoformat(said["date"]) < timedelta(minutes=1)


def test_every_key_of_the_builder_is_reserved(source: Source, graph: Graph) -> None:
    parity = Parity((1, 2), 0.0, 0.0, 1.0)
    said = provenance(source.provenance, {"opset": "20", "onnx_sha256": graph.sha256}, parity.provenance)
    assert {key.partition(".")[0] for key in said} == RESERVED
