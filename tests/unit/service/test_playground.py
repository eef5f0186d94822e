"""The page at `/`: what is sent for it. What it does is tested in a browser (tests/browser)."""

import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.keys import digest_of
from service.settings import Settings
from tests.fakes import FakeBackend

FOLDER = Path(__file__).parents[3] / "service" / "playground"
NAMES = sorted(path.name for path in FOLDER.iterdir())
PATHS = ["/", *(f"/playground/{name}" for name in NAMES if name != "index.html")]


class Tags(HTMLParser):
    """Every tag of a document, with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags() -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed((FOLDER / "index.html").read_text())
    return parser.found


@pytest.mark.parametrize("path", PATHS)
async def test_a_file_comes_with_its_type_and_a_strict_policy(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200
    kinds = {"": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    assert answer.headers["content-type"].partition(";")[0] == kinds[Path(path).suffix]
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {policy["script-src"], policy["style-src"], policy["connect-src"]} == {"'self'"}
    assert answer.content == (FOLDER / (Path(path).name or "index.html")).read_bytes()


@pytest.mark.parametrize("path", PATHS)
async def test_what_a_browser_has_is_not_sent_again(client: httpx.AsyncClient, path: str) -> None:
    tag = (await client.get(path)).headers["etag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        answer = await client.get(path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
    assert (await client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200
    assert len({(await client.get(each)).headers["etag"] for each in PATHS}) == len(PATHS)


async def test_the_page_needs_no_key_and_keeps_none_from_asking(backend: FakeBackend, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"shop sha256:{digest_of('secret')}")
    app = create_app(Settings(api_keys_file=tmp_path / "keys"), backend)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            assert {(await client.get(path)).status_code for path in PATHS} == {200}
            assert (await client.get("/v1/models")).status_code == 401


async def test_switched_off_the_root_leads_to_the_documentation(backend: FakeBackend) -> None:
    app = create_app(Settings(playground=False), backend)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            answer = await client.get("/")
            assert (answer.status_code, answer.headers["location"]) == (307, "docs")
            assert {(await client.get(path)).status_code for path in PATHS[1:]} == {404}
            assert (await client.get("/docs")).status_code == 200


async def test_everything_the_page_names_is_relative_and_there(client: httpx.AsyncClient) -> None:
    named = [value for _, attributes in tags() for name in ("src", "href") if (value := attributes.get(name))]
    assert "playground/app.js" in named
    for target in named:
        assert not target.startswith(("/", "http"))
        if not target.startswith("#"):
            assert (await client.get(f"/{target}")).status_code == 200
    for script in FOLDER.glob("*.js"):
        for target in re.findall(r'^import .* from "(.+)";$', script.read_text(), re.MULTILINE):
            assert (FOLDER / target).is_file()


def test_the_page_has_nothing_that_the_policy_forbids() -> None:
    for tag, attributes in tags():
        assert tag != "style"
        assert tag != "script" or "src" in attributes
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
    for script in FOLDER.glob("*.js"):
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|Function\(", script.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_no_file_names_another_place(name: str) -> None:
    text = (FOLDER / name).read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?://|url\(|@import", text)


def test_controls_have_names() -> None:
    labelled = {attributes.get("for") for tag, attributes in tags() if tag == "label"}
    inside = {"method", "layer", "head"}
    for tag, attributes in tags():
        if tag in ("input", "select"):
            assert attributes.get("id") in labelled or attributes.get("class") in inside
