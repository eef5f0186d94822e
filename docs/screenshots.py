"""Make the pictures of the page that the README shows: `python -m docs.screenshots`. Needs Debian's `chromium`.

Starts the stack over `model_repository/`, drops the project's photograph on the page, and writes
docs/images/page-*.png.
"""

import asyncio
import io
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.async_api import Browser, async_playwright

from embedded.supervisor import Options, Stack

FOLDER = Path(__file__).parent / "images"
PHOTOGRAPH = FOLDER / "cat.jpg"
REPOSITORY = FOLDER.parents[1] / "model_repository"
COLOURS = 256
"""Of a PNG, which has a third of the bytes then."""


@dataclass(frozen=True)
class View:
    """How the page is looked at."""

    scheme: Literal["light", "dark"]
    width: int
    beside: str = ""
    """The model beside the first one; none where it is empty."""


VIEWS = {"desktop": View("light", 1100, beside="imagenet_efficientnet_lite0"), "phone": View("dark", 360)}


async def photograph(browser: Browser, url: str, view: View) -> bytes:
    """The page with its answers and heat maps, as PNG."""
    page = await browser.new_page(
        viewport={"width": view.width, "height": 700}, color_scheme=view.scheme, has_touch=view.width < 500
    )
    await page.goto(url)
    if view.beside:
        await page.select_option("#model-b", view.beside)
    await page.set_input_files("#files", PHOTOGRAPH)
    await page.wait_for_selector("canvas.map:visible")
    await page.locator(".times:visible").nth(1 if view.beside else 0).wait_for()
    return await page.screenshot(full_page=True)


async def take(chromium: str) -> None:
    """Write every picture."""
    options = Options(REPOSITORY, port=0, show=lambda _: None)
    async with Stack(options) as stack, async_playwright() as playwright:
        await stack.ready()
        # Without its sandbox, which the superuser cannot have; nothing but the page is opened.
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, view in VIEWS.items():
            content = await photograph(browser, f"{stack.gateway_url}/", view)
            picture = (
                Image.open(io.BytesIO(content)).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=2)
            )
            await asyncio.to_thread(picture.save, FOLDER / f"page-{name}.png", optimize=True)
        await browser.close()


def main() -> int:
    """Run from the command line."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.stderr.write("there is no Chromium; Debian's package is `chromium`\n")
        return 2
    asyncio.run(take(chromium))
    return 0


if __name__ == "__main__":
    sys.exit(main())
