"""A real Chromium before the real stack. Debian's `chromium` package is needed; without it these tests are skipped."""

import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, Route, sync_playwright

from contract.config import to_pbtxt
from embedded.supervisor import Options
from service.keys import digest_of
from tests.integration.conftest import running
from tests.integration.entries import DATA, colours_config, publish, publish_colours

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "model_repository"
AXE = "axe-core@4.14.1"
KEY = "open-sesame"


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """For these tests alone: Playwright keeps an event loop running, with which no test elsewhere could run its own."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no Chromium; Debian's package is `chromium`")
    with sync_playwright() as playwright:
        # Without its sandbox, which the superuser cannot have; nothing but this page is opened.
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="package")
def axe(pytestconfig: pytest.Config) -> str:
    """The source of axe-core, which judges accessibility; fetched once, by npm, which checks its digest."""
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir("axe-core")
    archive = folder / f"{AXE.replace('@', '-')}.tgz"
    if not archive.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("there is no npm to fetch axe-core with")
        got = subprocess.run([npm, "pack", AXE], cwd=folder, capture_output=True, timeout=120, check=False)
        if got.returncode:
            pytest.skip(f"npm cannot fetch {AXE}: {got.stderr.decode(errors='replace')[-200:]}")
    with tarfile.open(archive) as packed:
        source = packed.extractfile("package/axe.min.js")
        assert source is not None
        return source.read().decode()


@pytest.fixture(scope="package")
def repository(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model with its companion, a model of colours, and an entry that is refused."""
    assert browser.is_connected()  # Where there is no browser, nothing is started.
    folder = tmp_path_factory.mktemp("browser") / "repository"
    folder.mkdir()
    for entry in MODELS.glob("cifar10_vit*"):
        shutil.copytree(entry, folder / entry.name)
    publish_colours(folder)
    config = colours_config("broken")
    config.parameters["contract.crop_pct"].string_value = "much"
    publish(folder, "broken", to_pbtxt(config), DATA / "colours.onnx", ("red", "green", "blue"))
    return folder


@pytest.fixture(scope="package")
def url(repository: Path) -> Iterator[str]:
    """The gateway's."""
    with running(repository, gateway=Options(repository).gateway) as started:
        yield started.stack.gateway_url


@pytest.fixture(scope="package")
def guarded_url(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway's that asks for `KEY`."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"visitor sha256:{digest_of(KEY)}\n")
    with running(repository, Options(repository).gateway, {"VITRINE_API_KEYS_FILE": str(keys)}) as started:
        yield started.stack.gateway_url


@dataclass
class Visit:
    """A page, and what a person would see of it in the browser's tools."""

    page: Page
    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    """Requests that left the origin."""


Visiting = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visiting]:
    """Opens pages. None may log an error, but for the statuses that a test expects, nor ask another origin."""
    with _visits(browser) as visiting:
        yield visiting


@contextmanager
def _visits(browser: Browser) -> Iterator[Visiting]:
    visits: list[tuple[Visit, tuple[int, ...]]] = []

    def visiting(
        url: str, expected: tuple[int, ...] = (), route: Callable[[Route], None] | None = None, **context: Any
    ) -> Visit:
        page = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **context}).new_page()
        page.set_default_timeout(30_000)
        seen = Visit(page)
        page.on("console", lambda message: seen.errors.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        origin = "/".join(url.split("/")[:3])
        inside = (f"{origin}/", f"blob:{origin}/")

        def note(request: Request) -> None:
            if not request.url.startswith(inside):
                seen.elsewhere.append(request.url)

        page.on("request", note)
        visits.append((seen, expected))
        if route is not None:
            page.route("**/*", route)
        page.goto(url)
        return seen

    yield visiting
    for seen, expected in visits:
        # Chromium itself logs every answer that is an error.
        allowed = tuple(f"Failed to load resource: the server responded with a status of {code}" for code in expected)
        assert [error for error in seen.errors if not error.startswith(allowed or ("\0",))] == []
        assert seen.elsewhere == []
        seen.page.context.close()
