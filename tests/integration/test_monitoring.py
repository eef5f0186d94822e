"""A real Prometheus with the project's own configuration scrapes the real stack under load."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedded.supervisor import Options
from tests.fakes import a_picture, encoded
from tests.integration.conftest import Running, running
from tests.integration.entries import publish_colours
from tests.processes import free_port
from tests.waiting import until

yaml = pytest.importorskip("yaml", reason="without PyYAML, which reads the rules")

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"
PHOTO = (ROOT / "docs" / "images" / "cat.jpg").read_bytes()
SMALL = encoded(a_picture((0, 200, 0), (8, 8)))

Sample = dict[str, Any]


@dataclass
class Prometheus:
    """One that runs."""

    url: str

    def ask(self, expression: str) -> list[Sample]:
        """The samples of an instant query that are numbers."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=30).json()
        assert answer["status"] == "success", f"{answer.get('error')}: {expression}"
        return [sample for sample in answer["data"]["result"] if sample["value"][1] != "NaN"]

    def rules(self) -> list[dict[str, Any]]:
        groups = httpx.get(f"{self.url}/api/v1/rules", timeout=30).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


def load(url: str, stop: threading.Event) -> None:
    """A little of everything, as long as it is asked for, without keeping the machine busy."""
    with httpx.Client(base_url=url, timeout=30) as client:
        while not stop.wait(0.05):
            client.post("/v1/classify", content=PHOTO)
            client.post("/v1/models/colours/classify", files={"file": SMALL})
            client.post("/v1/classify/batch", files=[("file", SMALL)] * 5)
            client.post("/v1/models/colours/explain", content=SMALL, headers={"accept": "image/png"})
            client.post("/v1/classify", content=b"not a picture")
            client.post("/v1/classify", content=PHOTO[:1000])


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    repository = tmp_path_factory.mktemp("monitored") / "repository"
    repository.mkdir()
    publish_colours(repository)
    with running(repository, Options(repository).gateway, {"VITRINE_WORKERS": "2"}) as started:
        yield started


@pytest.fixture(scope="module")
def prometheus(two_workers: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus after it has scraped for a while, and the load still on."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("Prometheus is not installed (Debian: apt install prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copytree(MONITORING / "prometheus", folder, dirs_exist_ok=True)
    configuration = (folder / "prometheus.yml").read_text()
    for service, url in (
        ("gateway:8080", two_workers.stack.gateway_url),
        ("triton:8002", two_workers.stack.metrics_url),
    ):
        assert service in configuration
        configuration = configuration.replace(service, httpx.URL(url).netloc.decode())
    (folder / "prometheus.yml").write_text(configuration)
    port = free_port()
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    started = Prometheus(f"http://127.0.0.1:{port}")
    stop = threading.Event()
    loads = [threading.Thread(target=load, args=(two_workers.stack.gateway_url, stop)) for _ in range(2)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            for each in loads:
                each.start()
            until(lambda: answers(started) and len(started.ask("vitrine:classify_seconds:p99_5m")) == 1)
            until(lambda: float(started.ask("min(count_over_time(up[5m]))")[0]["value"][1]) >= 6)
            yield started
        finally:
            stop.set()
            for each in loads:
                each.join()
            process.terminate()


def answers(prometheus: Prometheus) -> bool:
    try:
        return httpx.get(f"{prometheus.url}/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def expressions() -> Iterator[Any]:
    for file in sorted((MONITORING / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield pytest.param(target["expr"], id=f"{file.stem}-{panel['title']}-{target['refId']}")


def as_grafana_sends(expression: str) -> str:
    """With `All` chosen everywhere, and the window of a scrape every 5 s."""
    return re.sub(r"\$(instance|model|version)\b", ".*", expression.replace("$__rate_interval", "20s"))


def needs_a_gpu(expression: str) -> bool:
    """The one reason why an expression may have no data."""
    return "gpu" in expression


@pytest.mark.parametrize("expression", list(expressions()))
def test_a_panel_has_data(prometheus: Prometheus, expression: str) -> None:
    assert prometheus.ask(as_grafana_sends(expression)) or needs_a_gpu(expression)


@pytest.mark.parametrize("variable", ["vitrine_workers", "vitrine_images_total", "vitrine_model_info"])
def test_a_variable_has_values(prometheus: Prometheus, variable: str) -> None:
    assert prometheus.ask(variable)


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "prometheus" / "rules" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_what_an_alert_judges_has_data(prometheus: Prometheus, alert: dict[str, Any]) -> None:
    series = set(re.findall(r"[a-z_][a-z0-9_]*(?::[a-z0-9_]+)*(?:\{[^}]*\})?", alert["expr"]))
    words = {"and", "or", "on", "unless", "sum", "max", "by", "model", "increase", "absent", "m"}
    judged = {each for each in series if each not in words and not each.startswith("absent")}
    assert judged
    for each in judged:
        assert prometheus.ask(each) or needs_a_gpu(each), each


def test_every_rule_is_evaluated_and_a_healthy_stack_wakes_nobody(prometheus: Prometheus) -> None:
    found = prometheus.rules()
    written = [
        rule
        for path in (MONITORING / "prometheus" / "rules").glob("*.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    assert len(found) == len(written)
    assert {rule["name"]: rule["health"] for rule in found} == dict.fromkeys((rule["name"] for rule in found), "ok")
    assert [rule["name"] for rule in found if rule.get("state") == "firing"] == []


def test_the_two_workers_are_one_gateway(prometheus: Prometheus) -> None:
    assert [sample["value"][1] for sample in prometheus.ask("vitrine_workers")] == ["2"]
    counted = prometheus.ask('resets(vitrine_requests_total{route="/v1/classify"}[5m])')
    assert counted, "some requests"
    assert {sample["value"][1] for sample in counted} == {"0"}, "whichever worker answers the scrape"
