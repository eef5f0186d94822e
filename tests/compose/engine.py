"""Docker and Compose as commands, where this machine has them."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run(*command: str, environment: Mapping[str, str] | None = None) -> str:
    """What `command` writes to stdout; its stderr is shown where it fails."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def compose_command() -> tuple[str, ...] | None:
    """Compose 2 as a plugin of Docker's, or 1.29 as a command of its own; None where there is neither."""
    if shutil.which("docker"):
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if plugin.returncode == 0:
            return ("docker", "compose")
    return ("docker-compose",) if shutil.which("docker-compose") else None


def missing() -> str:
    """Why nothing can be run here; empty where it can."""
    if not shutil.which("docker") or compose_command() is None:
        return "Docker and Compose are not installed"
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode != 0:
        return "no Docker engine answers (`docker info`)"
    return ""


@dataclass(frozen=True)
class Stack:
    """A Compose project of its own, beside whatever else runs on this engine."""

    project: str
    run_as: str
    """uid:gid of our containers."""
    port: int
    """The gateway's, on this machine's loopback."""

    def compose(self, *arguments: str) -> str:
        command = compose_command()
        assert command is not None
        return run(*command, "--project-name", self.project, *arguments, environment=self.environment)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "COMPOSE_PROFILES": "cpu",
            "IMAGE_TAG": "test",
            "PUBLISH": f"127.0.0.1:{self.port}",
            "RUN_AS": self.run_as,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def container(self, service: str) -> str:
        return self.compose("ps", "--quiet", service).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        [found] = json.loads(run("docker", "inspect", self.container(service)))
        return dict(found)

    def python(self, service: str, program: str) -> str:
        """What `program` prints inside the container of `service`."""
        return run("docker", "exec", self.container(service), "python", "-c", program)
