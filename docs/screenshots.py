"""Make the pictures of the page that the README shows: `python -m docs.screenshots`. Needs Debian's `chromium`.

Starts the stack over `model_repository/`, drops the project's photograph on the page, and writes
docs/images/page-*.png.
"""

import asyncio
import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, async_playwright

from embedded.supervisor import Options, Stack

FOLDER = Path(__file__).parent / "images"
PHOTOGRAPH = FOLDER / "cat.jpg"
REPOSITORY = FOLDER.parents[1] / "model_repository"
COLOURS = 256
"""Of a PNG, which has a third of the bytes then."""


async def photograph(browser: Browser, url: str, scheme: str, width: int, height: int) -> bytes:
    """The page with an answer and its heat map, as PNG."""
    page = await browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        has_touch=width < 500,
    )
    await page.goto(url)
    await page.set_input_files("#files", PHOTOGRAPH)
    await page.wait_for_selector("canvas.map:visible")
    await page.wait_for_selector(".times:visible")
    return await page.screenshot(full_page=True)


async def take(chromium: str) -> None:
    """Write every picture."""
    options = Options(REPOSITORY, port=0, show=lambda _: None)
    async with Stack(options) as stack, async_playwright() as playwright:
        await stack.ready()
        # Without its sandbox, which the superuser cannot have; nothing but the page is opened.
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, scheme, width, height in (("desktop", "light", 1100, 700), ("phone", "dark", 360, 700)):
            content = await photograph(browser, f"{stack.gateway_url}/", scheme, width, height)
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
