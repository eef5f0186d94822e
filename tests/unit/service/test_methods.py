"""HEAD, OPTIONS, other methods and a slash too many, over a real socket and over ASGI."""

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service.keys import digest_of
from tests.fakes import FakeBackend
from tests.serving import a_get, say, serving
from tests.unit.service.test_api import problem_of

GETS = ["/readyz", "/livez", "/metrics", "/docs", "/redoc", "/openapi.json", "/v1/models", "/v1/models/colours", "/"]
SCRIPTS = ["/static-offline-docs/swagger-ui-bundle.js", "/playground/app.js"]
POSTS = ["/v1/classify", "/v1/classify/batch", "/v1/models/colours/classify", "/v1/models/colours/classify/batch"]


@pytest.mark.parametrize("path", [*GETS, *SCRIPTS, "/v1/models/none", "/nothing"])
async def test_head_is_get_without_a_body(backend: FakeBackend, path: str) -> None:
    async with serving(backend) as (_, port):
        (got,) = await say(port, a_get(path, Connection="close"))
        head, after = await say(port, a_get(path, "HEAD") + a_get(path, "HEAD", Connection="close"), method="HEAD")
    assert (head.status, head.body) == (after.status, after.body) == (got.status, b"")
    assert head.headers.get("content-type") == got.headers.get("content-type")
    assert path == "/metrics" or head.headers["content-length"] == got.headers["content-length"]


async def test_head_of_a_probe_says_that_it_is_not_ready(client: httpx.AsyncClient, app: FastAPI) -> None:
    app.state.draining = True
    answer = await client.head("/readyz")
    assert (answer.status_code, answer.content) == (503, b"")
    assert answer.headers["retry-after"] == "1"


async def test_head_is_counted_by_its_route(client: httpx.AsyncClient) -> None:
    await client.head("/readyz")
    assert (
        'vitrine_requests_total{fault="none",route="/readyz",status="2xx"} 1.0' in (await client.get("/metrics")).text
    )


@pytest.mark.parametrize("path", [f"{path}/" for path in [*GETS[:-1], *POSTS]])
async def test_a_slash_too_many_is_another_path(client: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "HEAD", "POST"):
        answer = await client.request(method, path)
        assert answer.status_code == 404
        assert method == "HEAD" or problem_of(answer) == (404, "not_found")


@pytest.mark.parametrize("method", ["OPTIONS", "DELETE", "PUT", "TRACE"])
async def test_another_method_is_405_with_those_that_there_are(client: httpx.AsyncClient, method: str) -> None:
    for paths, allowed in (([*GETS, *SCRIPTS], "GET, HEAD"), (POSTS, "POST")):
        for path in paths:
            answer = await client.request(method, path)
            assert problem_of(answer) == (405, "method_not_allowed")
            assert answer.headers["allow"] == allowed


async def test_options_needs_no_key_and_head_does(backend: FakeBackend, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"shop sha256:{digest_of('secret')}")
    last = {"Connection": "close"}
    async with serving(backend, api_keys_file=tmp_path / "keys") as (_, port):
        for path in ("/v1/classify", "/v1/models"):
            (answer,) = await say(port, a_get(path, "OPTIONS", **last))
            assert answer.outcome == (405, "method_not_allowed")
        (answer,) = await say(port, a_get("/v1/models", "HEAD", **last), method="HEAD")
        assert answer.status == 401
        (answer,) = await say(port, a_get("/v1/models", "HEAD", Authorization="Bearer secret", **last), method="HEAD")
        assert answer.status == 200
