"""What a person does on the page at `/`, in a real Chromium, before the real stack."""

import base64
import io
import re
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import KEY, Visiting
from tests.fakes import turned

ROOT = Path(__file__).parents[2]
CAT = ROOT / "docs" / "images" / "cat.jpg"
BROKEN = ROOT / "README.md"
MODEL = "cifar10_vit"

_TRANSFER = """files => {
    const transfer = new DataTransfer();
    for (const [name, text] of files)
        transfer.items.add(new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], name));
    return transfer;
}"""
_PIXELS = """canvas => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const colours = new Set();
    let drawn = 0;
    for (let at = 0; at < data.length; at += 4) {
        if (!data[at + 3]) continue;
        drawn += 1;
        colours.add(data[at] * 65536 + data[at + 1] * 256 + data[at + 2]);
    }
    return {size: [canvas.width, canvas.height], drawn: 4 * drawn / data.length, colours: colours.size};
}"""


def drop(page: Page, *paths: Path) -> None:
    files = [(path.name, base64.b64encode(path.read_bytes()).decode()) for path in paths]
    transfer = page.evaluate_handle(_TRANSFER, files)
    for kind in ("dragenter", "dragover", "drop"):
        page.dispatch_event("#intake", kind, {"dataTransfer": transfer})


def choose(page: Page, *paths: Path) -> None:
    page.set_input_files("#files", list(paths))


def top(page: Page, panel: int = 0) -> str:
    first = page.locator(".panel").nth(panel).locator(".bars li").first
    expect(first).to_be_visible()
    return first.locator(".label").inner_text()


def heat_map(page: Page, panel: int = 0) -> dict[str, object]:
    canvas = page.locator(".panel").nth(panel).locator("canvas.map")
    expect(canvas).to_be_visible()
    found: dict[str, object] = canvas.evaluate(_PIXELS)
    return found


def test_a_dropped_photograph_has_its_class_on_top_and_a_heat_map(visit: Visiting, url: str) -> None:
    page = visit(f"{url}/").page
    drop(page, CAT)
    assert top(page) == "cat"
    bars = page.locator(".bars li")
    expect(bars).to_have_count(5)
    widths = [float(bars.nth(n).locator("i").evaluate("e => e.style.getPropertyValue('--share')")) for n in range(5)]
    assert widths == sorted(widths, reverse=True)
    answer = httpx.post(f"{url}/v1/models/{MODEL}/classify", content=CAT.read_bytes()).json()
    percent = f"{100 * answer['predictions'][0]['score']:.1f}%"
    expect(bars.first.locator(".score")).to_have_text(percent)
    drawn = heat_map(page)
    # The model sees the middle of a picture that is wider than high: 300 of 451 columns.
    assert drawn["drawn"] == pytest.approx(300 / 451, abs=0.01)
    assert int(str(drawn["colours"])) > 50
    expect(page.locator("canvas.map")).to_have_attribute("aria-label", re.compile(r"attention|rollout.*most is at the"))
    expect(page.locator(".times h4")).to_have_text(re.compile(r"Answered in [\d.]+ ms"))
    assert {"decode", "triton", "gateway"} <= {text.split()[0] for text in page.locator(".times li").all_inner_texts()}
    expect(page.locator("#status")).to_contain_text(f"cat.jpg, cifar10_vit: cat, {percent}")


def test_a_picture_is_pasted(visit: Visiting, url: str) -> None:
    page = visit(f"{url}/").page
    files = [("pasted.jpg", base64.b64encode(CAT.read_bytes()).decode())]
    page.evaluate(
        f"files => document.dispatchEvent(new ClipboardEvent('paste', {{clipboardData: ({_TRANSFER})(files)}}))", files
    )
    assert top(page) == "cat"
    expect(page.locator("#detail-title")).to_have_text("pasted.jpg")


def test_the_slider_layers_heads_and_methods_change_the_map(visit: Visiting, url: str) -> None:
    page = visit(f"{url}/").page
    choose(page, CAT)
    canvas = page.locator("canvas.map")
    expect(canvas).to_be_visible()
    page.locator("#opacity").fill("25")
    assert canvas.evaluate("e => getComputedStyle(e).opacity") == "0.25"

    def asked_with(query: str, select: str, option: str) -> str:
        """The grid that is drawn once `option` is chosen."""
        before = canvas.evaluate("canvas => canvas.drawn")
        with page.expect_response(lambda answer: "/explain?" in answer.url) as got:
            page.select_option(f".panel {select}", label=option)
        assert got.value.url.endswith(f"/explain?{query}")
        assert got.value.status == 200
        expect(canvas).to_be_visible()
        expect(canvas).not_to_have_js_property("drawn", before)
        return str(canvas.evaluate("canvas => JSON.stringify(canvas.drawn.grid)"))

    expect(page.locator(".panel .layer option")).to_have_count(1 + 4)
    maps = {
        asked_with("method=rollout&fusion=max", ".head", "all, their maximum"),
        asked_with("method=rollout&layer=2&fusion=max", ".layer", "3"),
        asked_with("method=rollout&layer=2&head=1", ".head", "2"),
        asked_with("method=occlusion", ".method", "occlusion, slower"),
    }
    assert len(maps) == 4
    expect(page.locator(".panel .layer")).to_be_hidden()
    page.select_option(".panel .method", "")
    expect(canvas).to_be_hidden()
    expect(page.locator("#slider")).to_be_hidden()


def test_a_broken_file_shows_what_the_server_says(visit: Visiting, url: str) -> None:
    page = visit(f"{url}/", expected=(415,)).page
    drop(page, BROKEN)
    problem = page.locator(".answer > .problem")
    expect(problem).to_contain_text("The content is not an accepted picture format")
    expect(problem).to_contain_text("the content is none of JPEG, PNG")
    expect(problem).to_contain_text(re.compile(r"media_type_unsupported · request [0-9a-f]{32}"))
    expect(page.locator(".bars li")).to_have_count(0)
    expect(page.locator(".again")).to_be_hidden()


def test_several_pictures_are_a_grid_and_each_can_be_seen(visit: Visiting, url: str, tmp_path: Path) -> None:
    page = visit(f"{url}/", expected=(415,)).page
    green = tmp_path / "green.png"
    Image.new("RGB", (40, 30), (0, 180, 0)).save(green)
    page.select_option("#model-a", "colours")
    drop(page, CAT, green, BROKEN)
    thumbnails = page.locator("#shelf button")
    expect(thumbnails).to_have_count(3)
    expect(thumbnails.nth(1)).to_contain_text(re.compile(r"green \d"))
    expect(thumbnails.nth(2)).to_contain_text("The content is not an accepted picture format")
    expect(thumbnails.nth(0)).to_have_attribute("aria-current", "true")
    thumbnails.nth(1).click()
    expect(page.locator("#detail-title")).to_have_text("green.png")
    assert top(page) == "green"
    page.click("#clear")
    expect(page.locator("#detail")).to_be_hidden()
    expect(page.locator("#files")).to_be_focused()


def test_the_page_says_how_many_pictures_it_left_out(visit: Visiting, url: str, tmp_path: Path) -> None:
    page = visit(f"{url}/").page
    paths = [tmp_path / f"{number}.png" for number in range(102)]
    for number, path in enumerate(paths):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
    page.select_option("#model-a", "colours")
    choose(page, *paths)
    expect(page.locator("#shelf button")).to_have_count(100)
    expect(page.locator("#note")).to_contain_text("2 are left out")
    expect(page.locator("#shelf button").last).to_contain_text(re.compile(r"(red|green|blue) \d"), timeout=60_000)


def test_models_are_picked_told_of_and_compared(visit: Visiting, url: str) -> None:
    page = visit(f"{url}/").page
    expect(page.locator("#model-a option")).to_have_text([MODEL, "colours"])
    stated = float(httpx.get(f"{url}/v1/models/{MODEL}").json()["build"]["accuracy.top1"])
    expect(page.locator("#facts-a")).to_have_text(
        f"version 1 · fp32 · {stated:.1f}% top-1 · 10 classes · 32\u00a0\u00d7\u00a032"
    )
    page.click("#unserved summary")
    expect(page.locator("#unserved")).to_contain_text("broken version 1, refused")
    expect(page.locator("#unserved dd")).to_contain_text("contract.crop_pct")
    choose(page, CAT)
    page.select_option("#model-b", "colours")
    expect(page.locator(".panel")).to_have_count(2)
    assert (top(page), top(page, 1)) == ("cat", "red")
    boxes = [page.locator(".panel").nth(number).bounding_box() for number in range(2)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["y"] == boxes[1]["y"]
    page.locator(".panel").nth(1).locator(".method").select_option("occlusion")
    heat_map(page, 0)
    heat_map(page, 1)
    page.select_option("#model-a", "colours")
    expect(page.locator(".panel")).to_have_count(1)
    assert top(page) == "red"


def test_the_map_lies_on_a_picture_that_its_exif_turns(visit: Visiting, url: str, tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    path.write_bytes(turned(Image.open(io.BytesIO(CAT.read_bytes())), 6, "JPEG"))
    page = visit(f"{url}/").page
    choose(page, path)
    assert heat_map(page)["drawn"] == pytest.approx(300 / 451, abs=0.01)
    canvas, image = (page.locator(part).bounding_box() for part in ("canvas.map", ".stage img"))
    assert canvas == image
    assert image is not None
    assert image["width"] / image["height"] == pytest.approx(451 / 300, abs=0.01)


def test_the_command_is_copied_without_the_key(visit: Visiting, guarded_url: str, tmp_path: Path) -> None:
    path = tmp_path / "it's a cat.jpg"
    path.write_bytes(CAT.read_bytes())
    page = visit(f"{guarded_url}/", expected=(401,), permissions=["clipboard-read", "clipboard-write"]).page
    expect(page.locator("#models-problem")).to_contain_text("An API key is needed")
    page.click("#models-problem button")
    page.fill("#key", KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#models-problem")).to_be_hidden()
    choose(page, path)
    assert top(page) == "cat"
    page.click(".curl")
    expect(page.locator(".curl")).to_have_text("Copied")
    command = page.evaluate("navigator.clipboard.readText()")
    assert command == (
        "curl --data-binary @'it'\\''s a cat.jpg' -H \"Authorization: Bearer $VITRINE_CLIENT_KEY\" "
        f"'{guarded_url}/v1/models/{MODEL}/classify?top_k=5'"
    )
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    page.reload()
    expect(page.locator("#model-a")).to_have_value(MODEL)
    page.click("#key-button")
    page.click("button[value=forget]")
    expect(page.locator("#models-problem")).to_contain_text("An API key is needed")


def test_without_a_clipboard_the_command_is_selected(visit: Visiting, url: str) -> None:
    page = visit(f"{url}/").page
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    choose(page, CAT)
    top(page)
    page.click(".curl")
    expect(page.locator(".curl")).to_have_text("Selected below")
    assert page.evaluate("getSelection().toString()").startswith("curl --data-binary @'cat.jpg'")


def test_it_works_behind_a_root_path(visit: Visiting, url: str) -> None:
    def strip(route: Route) -> None:
        assert "/below/" in route.request.url, "a request left the root path"
        route.fulfill(response=route.fetch(url=route.request.url.replace("/below/", "/")))

    page = visit(f"{url}/below/", route=strip).page
    choose(page, CAT)
    assert top(page) == "cat"
    heat_map(page)
    assert page.locator("nav a").evaluate("link => link.href") == f"{url}/below/docs"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_it_is_accessible_and_fits(visit: Visiting, url: str, axe: str, scheme: str, width: int) -> None:
    size = {"width": width, "height": 800}
    page = visit(f"{url}/", expected=(415,), color_scheme=scheme, viewport=size, has_touch=width < 400).page

    def judge() -> None:
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]] == []
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width

    expect(page.locator("#model-a")).to_have_value(MODEL)
    expect(page.locator("label[for=camera]")).to_be_visible(visible=width < 400)
    judge()
    choose(page, CAT, BROKEN)
    page.select_option("#model-b", "colours")
    heat_map(page)
    top(page, 1)
    page.locator(".curl").first.click()
    page.click("#unserved summary")
    judge()
    page.locator("#shelf button").nth(1).click()
    expect(page.locator(".answer > .problem").first).to_be_visible()
    judge()
    page.click("#key-button")
    judge()
    red, green, blue = (
        int(c) for c in re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))
    )
    assert (red + green + blue > 600) == (scheme == "light")


def test_the_keyboard_alone_will_do(visit: Visiting, url: str) -> None:
    page = visit(f"{url}/").page
    # Playwright takes choosers over from the first listener on, a moment after it is there: on a busy machine later
    # than the key that opens one.
    page.on("filechooser", lambda _: None)
    expect(page.locator("#model-a")).to_have_value(MODEL)

    def tab_to(selector: str) -> None:
        for _ in range(30):
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
            page.keyboard.press("Tab")
        pytest.fail(f"{selector} is not reached by Tab")

    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#intake")).to_be_focused()
    tab_to("#files")
    expect(page.locator("#files")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(CAT)
    assert top(page) == "cat"
    expect(page.locator("canvas.map")).to_be_visible()
    tab_to("#opacity")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#opacity")).to_have_value("59")
    tab_to(".layer")
    with page.expect_response(lambda answer: "layer=0" in answer.url):
        page.keyboard.press("ArrowDown")
    tab_to(".curl")
    page.keyboard.press("Enter")
    expect(page.locator(".command")).to_be_visible()


def test_what_the_browser_cannot_show_is_classified_all_the_same(visit: Visiting, url: str, tmp_path: Path) -> None:
    path = tmp_path / "cat.tiff"
    Image.open(CAT).save(path)
    page = visit(f"{url}/").page
    choose(page, path)
    assert top(page) == "cat"
    expect(page.locator(".unshown")).to_be_visible()
