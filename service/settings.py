"""The gateway's settings: the only code of `service` that reads the environment. Nothing about models is set here."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

PREFIX = "VITRINE_"
_CLIENTS = "VITRINE_CLIENT_"
"""What the command `vitrine` reads, which may be set in the same shell."""


_KUBERNETES = re.compile(
    r"VITRINE(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
"""What Kubernetes tells every container of a Service named `vitrine` or `vitrine-...` (its documentation, "Service",
"Environment variables"); it also sets `..._PORT`, to an address."""
_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+")


class SettingsError(ValueError):
    """The environment holds a setting that is unknown or invalid. The message names each."""


def hosts_and_ports(text: str) -> list[tuple[str, int]]:
    """What `host:port[,host:port...]` names. An IPv6 address stands in brackets.

    Raises:
        ValueError: a part is not host:port.
    """
    found = []
    for part in text.split(","):
        if "://" in part:
            raise ValueError(f"{part.strip()!r} has a scheme; write {part.strip().rpartition('/')[2] or 'host:8001'!r}")
        host, _, port = part.strip().rpartition(":")
        if not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"{part.strip()!r} is not host:port")
        found.append((host.removeprefix("[").removesuffix("]"), int(port)))
    return found


def _hosts(text: str) -> str:
    hosts_and_ports(text)
    return text


def _origins(given: object) -> object:
    """Origins as a browser sends them (RFC 6454, 6.1): a scheme and a host, and nothing behind them."""
    if not isinstance(given, str):
        return given
    origins = tuple(each.strip() for each in given.split(",") if each.strip())
    for each in origins:
        if each != "*" and not re.fullmatch(r"https?://[^/\s]+", each):
            raise ValueError(f"{each!r} is no origin; write it as a browser does, such as https://shop.example")
    return origins


def _path(text: str) -> str:
    if text and (not re.fullmatch(r"(/[\w.~-]+)+/?", text, re.ASCII)):
        raise ValueError(f"{text!r} is no path such as /vision")
    return text.rstrip("/")


class Settings(BaseModel):
    """In the environment each name is in capitals, with `VITRINE_` before it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on; `::` is that of IPv6 and IPv4, `unix:/run/vitrine.sock` a UNIX socket, "
        "open to all who may enter its folder.",
    )
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port of `/metrics`, where nothing else is answered. Unset: it is at the API's port.",
    )
    triton_url: Annotated[str, AfterValidator(_hosts)] = Field(
        default="127.0.0.1:8001",
        description="host:port of Triton's gRPC endpoint. Every address of the host is a Triton, and several hosts may "
        "be named, with commas between them.",
    )
    default_model: str | None = Field(
        default=None, description="Entry that answers `/v1/classify`. Unset: the only one served."
    )
    workers: int = Field(
        default=1, ge=1, description="Processes that serve, each with an event loop, decode threads and a gRPC channel."
    )
    max_connections: int = Field(
        default=1000,
        ge=1,
        description="Most connections of a worker at once. One more takes the place of one that is kept idle, or is "
        "answered 503.",
    )
    keep_alive_seconds: int = Field(
        default=75,
        ge=1,
        description="How long a connection is kept between two requests. Keep it above your load balancer's, often 60.",
    )
    max_body_bytes: int = Field(default=20_000_000, ge=1, description="Largest request body, in bytes.")
    max_image_pixels: int = Field(default=50_000_000, ge=1, description="Most pixels a picture may have, undecoded.")
    max_in_flight: int = Field(
        default=64, ge=1, description="Most pictures a worker works on at once; more are refused with 503."
    )
    memory_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Bytes that uploads may take in all workers: a quarter while they arrive, the rest for decoding. "
        "Unset: half of what the container, or else the machine, has.",
    )
    max_batch_pictures: int = Field(default=32, ge=1, description="Most pictures in one batch request.")
    head_timeout_seconds: float = Field(
        default=10.0, gt=0, description="Longest time a request's line and headers may take."
    )
    read_timeout_seconds: float = Field(default=10.0, gt=0, description="Longest time a request's body may take.")
    deadline_seconds: float = Field(
        default=10.0,
        gt=0,
        description="Longest time from a request's headers to its answer; `X-Request-Timeout` may ask for less.",
    )
    decode_threads: int | None = Field(
        default=None,
        ge=1,
        description="Threads of a worker that decode and resize. Unset: twice its share of the CPUs.",
    )
    drain_seconds: float = Field(
        default=0.0,
        ge=0,
        description="How long new requests are still taken after SIGTERM, while `/readyz` answers 503 already. Set it "
        "to a little more than the time between two probes of your load balancer.",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="File of the API keys that are accepted, one a line; `python -m service.keys` makes one. "
        "Unset: nobody is asked for one.",
    )
    tracing_endpoint: str | None = Field(
        default=None,
        description="Where OpenTelemetry's spans go: a collector's OTLP/HTTP address, such as `http://127.0.0.1:4318`. "
        "Needs the extra `tracing`. Unset: nobody makes spans.",
    )
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(_origins)] = Field(
        default=(),
        description="Origins whose pages may ask the API from a browser, such as `https://shop.example`, with commas "
        "between them; `*` for all. Unset: the gateway's own only.",
    )
    root_path: Annotated[str, AfterValidator(_path)] = Field(
        default="",
        description="Path under which a proxy has the gateway, such as `/vision`, which it may strip or not; `/docs` "
        "and the OpenAPI document then point there.",
    )
    playground: bool = Field(
        default=True,
        description="Whether `/` is a page to drop pictures on; else it leads to `/docs`.",
    )
    refresh_seconds: float = Field(
        default=1.0, gt=0, description="How often Triton is asked what it serves, in seconds."
    )


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: a `VITRINE_` variable is unknown or invalid. An empty one is as if it were not there, so that
            a file of variables or a chart may leave it so.
    """
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    ours = {name: value for name, value in environment.items() if _is_ours(name, value)}
    unknown = sorted(ours.keys() - known)
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    values = {name.removeprefix(PREFIX).lower(): value for name, value in ours.items()}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        wrong = (f"{PREFIX}{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors())
        raise SettingsError("; ".join(wrong)) from None


def _is_ours(name: str, value: str) -> bool:
    """Whether a variable is meant for the gateway, and says something."""
    if not name.startswith(PREFIX) or name.startswith(_CLIENTS) or not value.strip():
        return False
    by_kubernetes = _KUBERNETES.fullmatch(name) or (name.endswith("_PORT") and _ADDRESS.fullmatch(value))
    return not by_kubernetes
