"""One path is read by all who decide by it: those who ask for keys, those who count bytes, the router."""

from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.keys import digest_of
from service.settings import Settings
from tests.fakes import FakeBackend, a_picture, encoded

GREEN = encoded(a_picture((0, 255, 0)))
SPELLINGS = (
    *("{path}", "/vision{path}", "{root}{path}", "{root}{root}{path}", "/{path}", "{path}/", "/.{path}", "/x/..{path}"),
    *("{root}/{path}", "/%76%31{path}", "{path}%00", "{path};x", "{path}?top_k=1", "{root}{root}{root}{path}"),
)
OPEN = {"/", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json", "/livez", "/readyz", "/metrics"}
OPEN |= {"/v2", "/v2/health/live", "/v2/health/ready"}


@pytest.mark.parametrize("root", ["", "/vision", "/v1", "/v2/models"])
async def test_no_spelling_of_a_path_does_without_a_key(backend: FakeBackend, tmp_path: Path, root: str) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"shop sha256:{digest_of('secret')}\n")
    app = create_app(Settings(root_path=root, api_keys_file=keys), backend)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway") as client,
    ):

        async def status(path: str) -> int:
            url = client.base_url.copy_with(raw_path=path.encode())
            return (await client.request(method, url, content=GREEN if method == "POST" else None)).status_code

        documented = (await client.get("/openapi.json")).json()["paths"]
        assert {"/v1/classify", "/v1/models/{model}", "/v2/models/{model}/infer"} <= documented.keys()
        for template in documented.keys() - OPEN:
            path, method = template.format(model="colours", version="1"), next(iter(documented[template])).upper()
            for spelling in SPELLINGS:
                assert await status(spelling.format(path=path, root=root)) in (401, 404), (spelling, path)
            if root in ("", "/vision"):
                assert await status(path) == await status(root + path) == 401
