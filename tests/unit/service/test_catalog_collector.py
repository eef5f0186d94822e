"""What Prometheus is told of the catalog."""

from prometheus_client import CollectorRegistry, generate_latest

from service.catalog import Catalog
from service.catalog_collector import CatalogCollector
from service.errors import TritonUnavailable
from service.triton import ModelVersion
from tests.fakes import FakeBackend, an_entry

BUILT = {"precision": "int8", "measured.top1": "86.05", "measured.agreement": "99.61", "date": "2026-11-23"}


async def shown(backend: FakeBackend, default_model: str | None = None, only: str = "") -> list[str]:
    """The samples that begin so, once the catalog has asked Triton."""
    catalog, registry = Catalog(backend, default_model), CollectorRegistry()
    await catalog.refresh()
    registry.register(CatalogCollector(catalog))
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if not line.startswith("#") and line.startswith(only)]


async def test_a_model_states_its_version_precision_and_accuracy() -> None:
    backend = FakeBackend()
    backend.serve(an_entry(build=BUILT), "3")
    assert await shown(backend, only="vitrine_ready") == ["vitrine_ready 1.0"]
    [model] = await shown(backend, only="vitrine_model_info")
    assert model == (
        'vitrine_model_info{agreement="99.61",built="2026-11-23",compiler="",gate="",model="colours",precision="int8",'
        'top1="86.05",version="3"} 1.0'
    )


async def test_an_accuracy_that_was_noted_is_shown_where_none_was_measured() -> None:
    backend = FakeBackend()
    backend.serve(an_entry("noted", build={"accuracy.top1": "86.06"}))
    backend.serve(an_entry("silent"))
    noted, silent = await shown(backend, only="vitrine_model_info")
    assert 'top1="86.06"' in noted
    assert 'top1=""' in silent


async def test_a_version_that_is_gone_leaves_no_series() -> None:
    backend = FakeBackend()
    catalog, registry = Catalog(backend, None), CollectorRegistry()
    registry.register(CatalogCollector(catalog))
    for version in ("1", "2", "1"):
        backend.serve(an_entry(), version)
        await catalog.refresh()
        served = [line for line in generate_latest(registry).decode().splitlines() if "vitrine_model_info{" in line]
        assert [f'version="{version}"' in line for line in served] == [True]


async def test_the_states_of_entries_are_counted_and_named() -> None:
    backend = FakeBackend()
    backend.serve(an_entry())
    backend.serve(an_entry("rolled"))
    backend.unready = [
        ModelVersion("soon", "1", False, ""),
        ModelVersion("corrupt", "1", False, "not a graph"),
        ModelVersion("rolled", "2", False, "not a graph"),
    ]
    assert await shown(backend, only="vitrine_entries") == [
        'vitrine_entries{state="served"} 2.0',
        'vitrine_entries{state="loading"} 1.0',
        'vitrine_entries{state="refused"} 1.0',
    ]
    ones = [line for line in await shown(backend, only="vitrine_entry_state") if line.endswith(" 1.0")]
    assert ones == [
        'vitrine_entry_state{model="colours",state="served"} 1.0',
        'vitrine_entry_state{model="rolled",state="served"} 1.0',
        'vitrine_entry_state{model="soon",state="loading"} 1.0',
        'vitrine_entry_state{model="corrupt",state="refused"} 1.0',
        'vitrine_entry_state{model="rolled",state="refused"} 1.0',
    ]


async def test_without_triton_or_the_default_model_it_is_not_ready() -> None:
    backend = FakeBackend()
    backend.serve(an_entry())
    assert (await shown(backend, "another"))[0] == "vitrine_ready 0.0"
    backend.failure = TritonUnavailable("away")
    assert await shown(backend) == ["vitrine_ready 0.0"], "and it knows of no entry"
