"""Every alert has a runbook and was seen to fire and to be silent; Prometheus' own tool runs the rules' tests."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="without PyYAML, which reads the rules")

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "monitoring" / "prometheus"
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))


def rules(kind: str) -> list[dict[str, Any]]:
    """All of that kind: `alert` or `record`."""
    files = sorted((PROMETHEUS / "rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def cases(kind: str) -> list[dict[str, Any]]:
    """All cases of that kind in the rules' tests."""
    return [case for file in TESTS for test in yaml.safe_load(file.read_text())["tests"] for case in test.get(kind, [])]


@pytest.mark.parametrize("alert", rules("alert"), ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("page", "warn")
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert anchor == alert["alert"].lower()
    story = re.search(rf"^## {alert['alert']}$(.*?)(?=^## |\Z)", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    assert story, "it has a heading in the runbook"
    assert "\n1. " in story[1], "with something to do"


def test_the_runbook_has_no_alert_that_is_gone() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert headings == [alert["alert"] for alert in rules("alert")]


@pytest.mark.parametrize("name", [alert["alert"] for alert in rules("alert")])
def test_an_alert_is_tried_where_it_fires_and_where_it_is_silent(name: str) -> None:
    fires = [bool(case.get("exp_alerts")) for case in cases("alert_rule_test") if case["alertname"] == name]
    assert set(fires) == {True, False}


@pytest.mark.parametrize("name", [rule["record"] for rule in rules("record")])
def test_a_recorded_number_is_computed_in_a_test(name: str) -> None:
    assert any(case["expr"] == name and case.get("exp_samples") for case in cases("promql_expr_test"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", str(PROMETHEUS / "prometheus.yml")),
        *(("test", "rules", str(file)) for file in TESTS),
    ],
    ids=["config and rules", *(file.stem for file in TESTS)],
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
