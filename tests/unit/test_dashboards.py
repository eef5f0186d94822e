"""The dashboards are whole. tests/integration/test_monitoring.py asks a real Prometheus what they ask."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from service.catalog_collector import CatalogCollector
from service.metrics import Metrics

yaml = pytest.importorskip("yaml", reason="without PyYAML, which reads the rules")

MONITORING = Path(__file__).parents[2] / "monitoring"
FILES = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
UNITS = {"bytes", "Bps", "cps", "none", "ops", "percentunit", "reqps", "s", "watt"}
"""Grafana's names of the units in use; it shows a name that it does not know as text behind the number."""

Panel = dict[str, Any]


def board(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))


def panels(file: Path) -> list[Panel]:
    return [panel for panel in board(file)["panels"] if panel["type"] != "row"]


PANELS = [pytest.param(panel, id=f"{file.stem}-{panel['title']}") for file in FILES for panel in panels(file)]


def test_the_three_are_there() -> None:
    assert [file.stem for file in FILES] == ["models", "service", "triton"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dashboard_opens_on_what_matters_first(file: Path) -> None:
    found = board(file)
    assert found["uid"] == f"vitrine-{file.stem}"
    assert found["description"]
    first, second = found["panels"][:2]
    assert (first["type"], first["collapsed"]) == ("row", False)
    assert second["type"] == "stat"
    assert {variable["name"] for variable in found["templating"]["list"]} >= {"instance", "model"}
    numbers = [panel["id"] for panel in found["panels"]]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_panel_lies_on_another(file: Path) -> None:
    for one, other in combinations((panel["gridPos"] for panel in board(file)["panels"]), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above
        assert one["x"] + one["w"] <= 24


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows(panel: Panel) -> None:
    assert len(panel["description"]) > 20
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == DATASOURCE
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for target in panel["targets"]:
        assert target["datasource"] == DATASOURCE
        # A window that is written down is too short for one zoom and too long for another.
        assert not re.search(r"\[\d", target["expr"])
        assert target["expr"].count("[") == target["expr"].count("[$__rate_interval]")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_variable_is_used_and_there_is_no_other(file: Path) -> None:
    text = " ".join(target["expr"] for panel in panels(file) for target in panel["targets"])
    used = set(re.findall(r"\$(\w+)", text)) - {"__rate_interval"}
    assert used == {variable["name"] for variable in board(file)["templating"]["list"]}


def test_every_metric_of_ours_exists_and_is_shown() -> None:
    described = [*Metrics("0").exposed.collect(), *CatalogCollector.describe()]
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    exist = {metric.name: {metric.name + ending for ending in endings[metric.type]} for metric in described}
    rules = [
        rule["expr"]
        for path in sorted((MONITORING / "prometheus" / "rules").glob("*.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    shown = [target["expr"] for file in FILES for panel in panels(file) for target in panel["targets"]]
    asked = set(re.findall(r"\bvitrine_\w+", " ".join([*rules, *shown])))
    assert asked <= set().union(*exist.values())
    assert [name for name, series in exist.items() if not series & asked] == []


def test_grafana_finds_the_dashboards_and_the_datasource() -> None:
    provisioning = MONITORING / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert [source["uid"] for source in sources] == [DATASOURCE["uid"]]
    scraping = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yml").read_text())["global"]
    assert sources[0]["jsonData"]["timeInterval"] == scraping["scrape_interval"]
    providers = yaml.safe_load((provisioning / "dashboards" / "vitrine.yml").read_text())["providers"]
    compose = yaml.safe_load((MONITORING.parent / "docker-compose.yml").read_text())
    mounts = compose["services"]["grafana"]["volumes"]
    assert f"./monitoring/grafana/dashboards:{providers[0]['options']['path']}:ro" in mounts
