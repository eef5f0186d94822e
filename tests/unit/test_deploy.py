"""The manifests of deploy/, as kubectl builds them: valid, restricted, of one mind with the rest of the project."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from docs.generate import prometheus_rule
from service.server import GRACE_SECONDS
from service.settings import read_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBECTL = Path(sys.executable).with_name("kubectl")
KUBERNETES = "1.37"
COMPONENTS = [path.parent for path in sorted(DEPLOY.glob("components/*/kustomization.yaml"))] + [ROOT / "monitoring"]
REPOSITORIES = {"pvc", "image-volume", "bucket"}
"""Of which there must be one."""
BUILDS = [
    "cpu",
    "gpu",
    "production",
    *(f"cpu+{each.name}" for each in COMPONENTS if each.name not in REPOSITORIES),
    "bucket",
]
CUSTOM = {"Certificate", "Gateway", "HTTPRoute", "PodMonitor", "PrometheusRule", "InferenceService"}
"""Kinds that others define; there is no schema of them here."""

Manifest = dict[str, Any]


@cache
def built(name: str) -> tuple[Manifest, ...]:
    """What `kubectl kustomize` makes of an overlay, or of the CPU overlay and one component more."""
    overlay, _, component = name.partition("+")
    folder = DEPLOY / "overlays" / overlay
    if component or not folder.is_dir():
        folder = DEPLOY / "overlays" / f".test-{os.getpid()}-{name}"
        more = next(each for each in COMPONENTS if each.name == (component or name))
        base = "../cpu" if component else "../../base"
        folder.mkdir()
        lines = {"resources": [base], "components": [os.path.relpath(more, folder)], "namespace": "vitrine"}
        (folder / "kustomization.yaml").write_text(json.dumps(lines))
    try:
        done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False)
    finally:
        if folder.name.startswith("."):
            shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of(name: str, kind: str, called: str | None = None) -> list[Manifest]:
    return [each for each in built(name) if each["kind"] == kind and called in (None, each["metadata"]["name"])]


def pod_of(name: str, called: str) -> Manifest:
    (deployment,) = of(name, "Deployment", called)
    pod: Manifest = deployment["spec"]["template"]["spec"]
    return pod


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["containers"], *pod.get("initContainers", [])]


@pytest.mark.parametrize("name", BUILDS)
def test_every_build_is_valid(name: str) -> None:
    kinds = {each["kind"] for each in built(name)}
    assert {"Namespace", "Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"} <= kinds
    for each in built(name):
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, KUBERNETES, strict=True)
        assert each["metadata"].get("namespace", "vitrine") == "vitrine"
    called = [(each["kind"], each["metadata"]["name"]) for each in built(name)]
    assert len(called) == len(set(called))


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("called", ["gateway", "triton"])
def test_every_pod_is_of_the_restricted_standard(name: str, called: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    pod = pod_of(name, called)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert pod["automountServiceAccountToken"] is False
    allowed = {"configMap", "emptyDir", "image", "persistentVolumeClaim", "secret"}
    assert {kind for volume in pod["volumes"] for kind in volume if kind != "name"} <= allowed
    for each in containers(pod):
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not any("hostPort" in port for port in each.get("ports", []))
        names = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in each["volumeMounts"]} <= names
    assert of(name, "Namespace")[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("name", ["cpu", "gpu", "production"])
def test_every_container_says_what_it_takes(name: str) -> None:
    for called in ("gateway", "triton"):
        for each in containers(pod_of(name, called)):
            resources = each["resources"]
            assert resources["requests"].keys() >= {"cpu", "memory"}
            assert resources["limits"]["memory"] == resources["requests"]["memory"], "who takes more is ended first"
            assert ":" in each["image"]
            assert not each["image"].endswith(":latest")


def settings_of(name: str) -> dict[str, str]:
    (given,) = (
        each["data"] for each in of(name, "ConfigMap") if each["metadata"]["name"].startswith("gateway-settings")
    )
    (container,) = pod_of(name, "gateway")["containers"]
    return {**given, **{each["name"]: each["value"] for each in container.get("env", [])}}


@pytest.mark.parametrize("name", BUILDS)
def test_the_settings_are_the_gateways(name: str) -> None:
    settings = read_settings(settings_of(name))
    (service,) = of(name, "Service", "triton")
    assert service["spec"]["clusterIP"] == "None"
    assert settings.triton_url == f"triton:{service['spec']['ports'][0]['port']}"
    ports = {each["name"]: each["containerPort"] for each in pod_of(name, "gateway")["containers"][0]["ports"]}
    assert ports == {"http": 8080, "metrics": settings.metrics_port}


@pytest.mark.parametrize("name", BUILDS)
def test_nothing_that_runs_is_cut_off(name: str) -> None:
    """A pod ends later than what it has: the drain, the requests in flight, and a deadline's length."""
    settings, gateway, triton = read_settings(settings_of(name)), pod_of(name, "gateway"), pod_of(name, "triton")
    assert gateway["terminationGracePeriodSeconds"] >= settings.drain_seconds + GRACE_SECONDS
    assert settings.deadline_seconds < GRACE_SECONDS
    ready = gateway["containers"][0]["readinessProbe"]
    assert settings.drain_seconds > ready["periodSeconds"] * ready["failureThreshold"]
    rest = triton["terminationGracePeriodSeconds"] - triton["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert rest > settings.deadline_seconds


@pytest.mark.parametrize("name", BUILDS)
def test_probes_ask_what_they_should(name: str) -> None:
    (gateway,) = pod_of(name, "gateway")["containers"]
    asked = {kind: gateway[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert asked == {"startup": "/livez", "readiness": "/readyz", "liveness": "/livez"}
    (triton,) = pod_of(name, "triton")["containers"]
    assert triton["startupProbe"]["periodSeconds"] * triton["startupProbe"]["failureThreshold"] >= 600
    assert "tcpSocket" in triton["livenessProbe"]


@pytest.mark.parametrize("name", BUILDS)
def test_selectors_find_their_pods(name: str) -> None:
    pods = {each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"] for each in of(name, "Deployment")}
    for called, labels in pods.items():
        for kind in ("Service", "PodDisruptionBudget"):
            (found,) = of(name, kind, called)
            selector = found["spec"]["selector"]
            assert selector.get("matchLabels", selector).items() <= labels.items()
        for spread in pod_of(name, called)["topologySpreadConstraints"]:
            assert spread["labelSelector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("name", BUILDS)
def test_only_gateways_reach_triton(name: str) -> None:
    (deny,) = of(name, "NetworkPolicy", "default-deny")
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (triton,) = of(name, "NetworkPolicy", "triton")
    reaching = [rule for rule in triton["spec"]["ingress"] if {"port": "grpc"} in rule["ports"]]
    (peer,) = chain.from_iterable(rule["from"] for rule in reaching)
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"


def test_the_tritons_of_kubernetes_and_compose_are_started_alike() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["triton-gpu"]
    http = {"--http-address=127.0.0.1", "--allow-http=false"}
    (triton,) = pod_of("gpu", "triton")["containers"]
    assert set(triton["args"]) ^ set(compose["command"]) == http
    assert {each["name"]: each["value"] for each in triton["env"]} == compose["environment"]
    assert triton["image"].rpartition("/")[2] == compose["image"].rpartition("}")[2]


def test_autoscalers_ask_for_what_the_adapter_serves() -> None:
    adapter = yaml.safe_load((DEPLOY / "components/autoscaling/adapter-values.yaml").read_text())["rules"]["custom"]
    served = {rule.get("name", {}).get("as") or rule["seriesQuery"].partition("{")[0] for rule in adapter}
    autoscalers = of("production", "HorizontalPodAutoscaler")
    asked = {
        metric["pods"]["metric"]["name"]
        for each in autoscalers
        for metric in each["spec"]["metrics"]
        if metric["type"] == "Pods"
    }
    assert asked == served
    for each in autoscalers:
        (deployment,) = of("production", "Deployment", each["spec"]["scaleTargetRef"]["name"])
        assert "replicas" not in deployment["spec"]
        assert each["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 300


def test_the_rules_and_dashboards_are_those_of_monitoring() -> None:
    (rule,) = of("production", "PrometheusRule")
    files = sorted((ROOT / "monitoring/prometheus/rules").glob("*.yml"))
    assert rule["spec"]["groups"] == list(chain.from_iterable(yaml.safe_load(f.read_text())["groups"] for f in files))
    assert yaml.safe_load(prometheus_rule())["spec"] == rule["spec"]
    (dashboards,) = of("production", "ConfigMap", "vitrine-dashboards")
    folder = ROOT / "monitoring/grafana/dashboards"
    assert dashboards["data"] == {path.name: path.read_text() for path in folder.glob("*.json")}
    (monitor,) = of("production", "PodMonitor")
    assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/component"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here: apt install prometheus")
def test_prometheus_takes_the_rendered_rules(tmp_path: Path) -> None:
    (rule,) = of("production", "PrometheusRule")
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rule["spec"]))
    done = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_kserves_transformer_is_told_what_it_takes() -> None:
    service = yaml.safe_load((DEPLOY / "kserve/standard.yaml").read_text())
    (container,) = service["spec"]["transformer"]["containers"]
    assert container["command"] == ["python", "-m", "service.kserve"]
    names = {each.partition("=")[0] for each in container["args"]}
    assert names == {"--model_name", "--predictor_host", "--predictor_protocol"}


def test_every_component_and_overlay_is_tried() -> None:
    tried = {part for name in BUILDS for part in name.split("+")}
    overlays = {path.parent.name for path in DEPLOY.glob("overlays/*/kustomization.yaml")}
    in_overlays = {"pvc", "image-volume"}
    assert {each.name for each in COMPONENTS} | overlays == tried | in_overlays
