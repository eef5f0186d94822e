"""The Compose files say what docs/docker.md promises. Needs no Docker; `make test-compose` runs them."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from build_engines.nvidia_releases import TARGET
from embedded import supervisor, tritonserver
from embedded.container import PORTS
from embedded.preflight import Server
from service.settings import PREFIX, Settings
from tests.compose.engine import compose_command

yaml = pytest.importorskip("yaml", reason="without PyYAML, which reads the Compose files")

ROOT = Path(__file__).parents[2]
FILES = ("docker-compose.yml", "docker-compose.public.yml")
LOOPBACK = "127.0.0.1:"
TRITONS = {"triton-cpu", "triton-gpu"}
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")

Service = dict[str, Any]


def dotenv() -> dict[str, str]:
    lines = (ROOT / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def read(file: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """A Compose file as Compose reads it with `environment` alone."""

    def value(found: re.Match[str]) -> str:
        assert found["name"] in environment or found["default"] is not None, f"{found[0]} has no value"
        return environment.get(found["name"]) or found["default"] or ""

    return dict(yaml.safe_load(_VARIABLE.sub(value, (ROOT / file).read_text())))


MAIN, PUBLIC = (read(file, dotenv()) for file in FILES)
SERVICES: dict[str, Service] = MAIN["services"]


def ports() -> Iterator[tuple[str, str]]:
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            yield name, port


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


@pytest.mark.parametrize("file", FILES)
def test_a_file_fits_the_specification(file: str) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="without jsonschema, which checks the Compose files")
    schema = json.loads((ROOT / "tests" / "compose" / "compose-spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(read(file, dotenv()))


@pytest.mark.parametrize("files", [FILES[:1], FILES], ids=["main", "public"])
def test_compose_itself_takes_the_files(files: tuple[str, ...]) -> None:
    command = compose_command()
    if command is None:
        pytest.skip("Compose is not installed")
    for profile in ("cpu", "gpu"):
        done = subprocess.run(
            [*command, *(word for file in files for word in ("--file", file)), "config", "--quiet"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "COMPOSE_PROFILES": profile},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_profiles() -> None:
    profiles = {name: set(service["profiles"]) for name, service in SERVICES.items()}
    watching = {"prometheus": {"cpu", "gpu"}, "grafana": {"cpu", "gpu"}}
    answering = {"gateway": {"cpu"}, "triton-cpu": {"cpu"}, "gateway-gpu": {"gpu"}, "triton-gpu": {"gpu"}}
    assert profiles == {**answering, **watching, "builder": {"builder"}}
    assert dotenv()["COMPOSE_PROFILES"] == "cpu"
    assert "version" not in MAIN


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"] > 0
    assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"}
    assert not any("docker.sock" in volume for volume in service.get("volumes", []))


@pytest.mark.parametrize("name", SERVICES.keys() - {"prometheus", "grafana"})
def test_ours_run_as_nobody_in_particular(name: str) -> None:
    assert SERVICES[name]["user"] == "10001:10001"


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned(name: str) -> None:
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", SERVICES[name]["image"])


def test_only_loopback_is_published_and_no_triton() -> None:
    assert {name for name, _ in ports()} == {"gateway", "gateway-gpu", "prometheus", "grafana"}
    assert [port for _, port in ports() if not port.startswith(LOOPBACK)] == []


def test_only_the_gateway_can_be_opened_to_a_network() -> None:
    opened = read(FILES[0], {**dotenv(), "PUBLISH": "0.0.0.0:80"})["services"]
    beyond = {name for name in opened for port in opened[name].get("ports", []) if not port.startswith(LOOPBACK)}
    assert beyond == {"gateway", "gateway-gpu"}


def test_a_triton_is_on_a_network_without_a_way_out() -> None:
    assert MAIN["networks"]["triton"]["internal"] is True
    for name in TRITONS:
        assert SERVICES[name]["networks"] == {"triton": {"aliases": ["triton"]}}
    members = {name for name, service in SERVICES.items() if "triton" in service.get("networks", {})}
    assert members == TRITONS | {"gateway", "gateway-gpu", "prometheus", "builder"}


@pytest.mark.parametrize(("gateway", "triton"), [("gateway", "triton-cpu"), ("gateway-gpu", "triton-gpu")])
def test_a_gateway_comes_after_its_triton_and_goes_before_it(gateway: str, triton: str) -> None:
    assert SERVICES[gateway]["depends_on"] == {triton: {"condition": "service_healthy"}}
    assert SERVICES[gateway]["environment"]["VITRINE_TRITON_URL"] == f"triton:{PORTS.grpc}"
    assert seconds(SERVICES[gateway]["stop_grace_period"]) >= supervisor.GATEWAY_GRACE_S
    assert seconds(SERVICES[triton]["stop_grace_period"]) >= supervisor.TRITON_GRACE_S


def test_what_grafana_and_the_tritons_wait_for_is_checked() -> None:
    for name in ("triton-gpu", "prometheus", "grafana"):
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES["grafana"]["depends_on"] == {"prometheus": {"condition": "service_healthy"}}


@pytest.mark.parametrize("name", ["gateway", "gateway-gpu"])
def test_every_setting_reaches_the_gateway(name: str) -> None:
    fixed_by_the_image = {"host", "port"}
    given = SERVICES[name]["environment"].keys() | PUBLIC["services"][name]["environment"].keys()
    assert given == {f"{PREFIX}{field}".upper() for field in Settings.model_fields.keys() - fixed_by_the_image}


def test_every_variable_is_explained() -> None:
    page = (ROOT / "docs" / "docker.md").read_text()
    names = {found["name"] for file in FILES for found in _VARIABLE.finditer((ROOT / file).read_text())}
    ours = {name for name in names | dotenv().keys() if not name.startswith(PREFIX)}
    assert [name for name in sorted(ours) if f"| `{name}` |" not in page] == []


def test_nvidias_triton_is_started_as_the_embedded_one() -> None:
    """The flags that both have agree; each of the others is there for a reason."""
    nowhere = Server(*[Path()] * 4)
    ours = flags(tritonserver.command(nowhere, Path("/models"), Path(), PORTS, "")[1:])
    theirs = flags(SERVICES["triton-gpu"]["command"][1:])
    assert {name: theirs[name] for name in theirs.keys() & ours.keys()} == {
        name: ours[name] for name in theirs.keys() & ours.keys()
    }
    assert theirs.keys() - ours.keys() == {"http-address"}  # for its health check
    assert ours.keys() - theirs.keys() == {
        *("allow-http", "allow-gpu-metrics", "pinned-memory-pool-byte-size"),  # without a GPU
        *("backend-directory", "backend-config"),  # the Python backend in ONNX Runtime's place
    }
    assert theirs["http-address"] == "127.0.0.1"


@pytest.mark.parametrize("name", ["triton-gpu", "grafana"])
def test_a_health_check_asks_no_proxy(name: str) -> None:
    test = SERVICES[name]["healthcheck"]["test"]
    assert "urllib" not in " ".join(test)
    assert test[1] != "curl" or test[test.index("--noproxy") + 1] == "*"


def test_nvidias_health_check_goes_by_the_status() -> None:
    class Triton(BaseHTTPRequestHandler):
        statuses: ClassVar[list[int]] = [200, 400]

        def do_GET(self) -> None:
            self.send_response(self.statuses.pop(0) if self.path == "/v2/health/ready" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    *_, program = SERVICES["triton-gpu"]["healthcheck"]["test"]
    with HTTPServer(("127.0.0.1", 0), Triton) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        command = [sys.executable, "-S", "-c", program.replace("8000", str(server.server_port))]
        environment = {"http_proxy": "http://127.0.0.1:1"}
        assert [subprocess.run(command, env=environment, check=False).returncode for _ in range(2)] == [0, 1]
        server.shutdown()
        thread.join()


def flags(words: list[str]) -> dict[str, str]:
    return dict(word.removeprefix("--").partition("=")[::2] for word in words)


def test_the_builder_mounts_the_folder_around_the_repository() -> None:
    """A repository that is a mount point could not be published into by renaming."""
    assert SERVICES["builder"]["volumes"] == [".:/workspace"]
    for name in TRITONS:
        assert SERVICES[name]["volumes"] == ["./model_repository:/models:ro"]
    assert "WORKDIR /workspace" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", ["triton-gpu", "builder"])
def test_a_gpu_is_asked_for(name: str) -> None:
    [device] = SERVICES[name]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_engines_are_built_by_the_triton_that_serves_them() -> None:
    assert SERVICES["triton-gpu"]["image"] == TARGET.image
    assert SERVICES["builder"]["build"]["args"]["TRITON_IMAGE"] == TARGET.image


def test_what_is_mounted_from_the_project_is_there_and_cannot_be_changed() -> None:
    volumes = [volume for name in SERVICES.keys() - {"builder"} for volume in SERVICES[name].get("volumes", [])]
    mounted = [volume.split(":") for volume in volumes if volume.startswith(".")]
    assert {mode for *_, mode in mounted} == {"ro"}
    assert [source for source, *_ in mounted if not (ROOT / source).is_dir()] == []


def test_prometheus_and_grafana_find_what_they_are_told_of() -> None:
    scraped = yaml.safe_load((ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    targets = {target for job in scraped for config in job["static_configs"] for target in config["targets"]}
    assert targets == {"gateway:8080", f"triton:{PORTS.metrics}"}
    folder = ROOT / "monitoring" / "grafana" / "provisioning" / "dashboards"
    providers = [each for file in folder.glob("*.yml") for each in yaml.safe_load(file.read_text())["providers"]]
    assert {each["options"]["path"] for each in providers} == {"/etc/grafana/dashboards"}
    assert "./monitoring/grafana/dashboards:/etc/grafana/dashboards:ro" in SERVICES["grafana"]["volumes"]


def test_opened_to_a_network_it_asks_for_keys_and_passwords_from_files() -> None:
    assert {secret["file"].partition("/")[2] for secret in PUBLIC["secrets"].values()} == {
        "secrets/api_keys",
        "secrets/grafana_admin_password",
    }
    for name in ("gateway", "gateway-gpu"):
        assert PUBLIC["services"][name]["environment"]["VITRINE_API_KEYS_FILE"] == "/run/secrets/api_keys"
        assert PUBLIC["services"][name]["secrets"] == ["api_keys"]
    environment = PUBLIC["services"]["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert {value for name, value in environment.items() if "PASSWORD" in name} == {
        "/run/secrets/grafana_admin_password"
    }
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_grafana_has_no_default_password() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert not any("PASSWORD" in name for name in environment)


def test_no_triton_tells_anybody_of_its_graphs() -> None:
    assert SERVICES["triton-gpu"]["environment"]["ORT_DISABLE_TELEMETRY"] == "1"
