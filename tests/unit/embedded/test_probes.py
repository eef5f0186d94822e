"""Probes ask who is there, whatever proxy the environment names."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import pytest

from embedded.probes import http_status, triton_is_live

NOBODY = "http://127.0.0.1:1"
PROXIES = {name: NOBODY for lower in ("http_proxy", "https_proxy", "grpc_proxy") for name in (lower, lower.upper())}


class Ready(BaseHTTPRequestHandler):
    """A gateway that is ready."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def triton() -> Iterator[str]:
    """The address of one that is live."""
    live = grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"\x08\x01")
    handlers = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ServerLive": live})
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, handlers=[handlers])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


@pytest.mark.parametrize("no_proxy", [None, "", "*", "example.com"])
async def test_proxies_are_not_asked(
    port: int, triton: str, no_proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, proxy in PROXIES.items():
        monkeypatch.setenv(variable, proxy)
    for variable in ("no_proxy", "NO_PROXY"):
        if no_proxy is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, no_proxy)
    assert await http_status("127.0.0.1", port, "/readyz") == 200
    assert await http_status("127.0.0.1", port, "/elsewhere") == 404
    assert await triton_is_live(triton)


async def test_nobody_is_not_live(unused_tcp_port: int) -> None:
    assert not await triton_is_live(f"127.0.0.1:{unused_tcp_port}")
    assert await http_status("127.0.0.1", unused_tcp_port, "/readyz") is None
