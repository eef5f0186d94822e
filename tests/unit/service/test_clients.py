"""What real clients send: spellings of base64, forms of their own, compressed bodies, misspelt queries, browsers."""

import base64
import gzip
import io
import zlib
from collections.abc import Callable

import httpx
import pytest
from PIL import Image

from service.api.incoming import FORM
from service.arrivals import what_arrived
from service.settings import Settings


def encoded(kind: str, size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    noise = Image.effect_noise(size, 90).convert("RGB")
    Image.blend(noise, Image.new("RGB", size, (0, 200, 0)), 0.7).save(buffer, kind)
    return buffer.getvalue()


GREEN = encoded("JPEG")
TEXT = base64.b64encode(GREEN).decode()


def label(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["predictions"][0]["label"]
    return found


@pytest.mark.parametrize(
    "spelled",
    [
        TEXT,
        f"data:image/jpeg;base64,{TEXT}",
        f"data:;base64,{TEXT}",
        f"data:image/jpeg;charset=utf-8;BASE64,{TEXT}",
        "\r\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76)),
        f"{TEXT}\n",
        f"  {TEXT}  ",
        base64.urlsafe_b64encode(GREEN).decode(),
        TEXT.rstrip("="),
        base64.urlsafe_b64encode(GREEN).decode().rstrip("="),
    ],
    ids=["plain", "data url", "no type", "charset", "lines", "newline", "spaces", "for urls", "unpadded", "both"],
)
async def test_base64_is_read_in_every_spelling(client: httpx.AsyncClient, spelled: str) -> None:
    assert label(await client.post("/v1/classify", json={"image": spelled})) == "green"
    batch = await client.post("/v1/classify/batch", json={"images": [spelled, TEXT]})
    assert [each["predictions"][0]["label"] for each in batch.json()["results"]] == ["green", "green"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{TEXT[:40]} {TEXT[41:]}", "it has spaces, which a form makes of +"),
        ("data:image/svg+xml,%3Csvg%3E", "not fetched from URLs"),
        ("https://example.com/a.jpg", "not fetched from URLs"),
        (TEXT[:-3] + "é", "image 0 is not base64"),
        ("A", "image 0 is not base64"),
    ],
)
async def test_what_is_no_base64_is_refused(client: httpx.AsyncClient, text: str, words: str) -> None:
    answer = await client.post("/v1/classify", json={"image": text})
    assert (answer.status_code, answer.json()["code"]) == (422, "body_invalid")
    assert words in answer.json()["detail"]


async def test_json_may_begin_with_a_byte_order_mark(client: httpx.AsyncClient) -> None:
    body = b"\xef\xbb\xbf" + f'{{"image": "{TEXT}"}}'.encode()
    assert (
        label(await client.post("/v1/classify", content=body, headers={"Content-Type": "application/json"})) == "green"
    )


def form(*parts: tuple[bytes, bytes]) -> dict[str, object]:
    """A form whose parts have these header lines and contents."""
    body = b"".join(b"--x\r\n%b\r\n\r\n%b\r\n" % part for part in parts) + b"--x--\r\n"
    return {"content": body, "headers": {"Content-Type": f"{FORM}; boundary=x"}}


@pytest.mark.parametrize(
    "parts",
    [
        [(b'Content-Disposition: form-data; name="image"; filename="a.jpg"', GREEN)],
        [(b'Content-Disposition: form-data; name="upload[0]"; filename=""', GREEN)],
        [(b"Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''a%20b.jpg", GREEN)],
        [(b"Content-Disposition: form-data; name=\"photo\"; filename*=UTF-8''a%20b.jpg", GREEN)],
        [(b'Content-Disposition: form-data; name="file"', GREEN)],
        [(b'Content-Disposition: form-data; name="data"\r\nContent-Type: image/jpeg', GREEN)],
        [(b'Content-Disposition: form-data; name="file"; filename="a..b.jpg"', GREEN)],
        [
            *[(b'Content-Disposition: form-data; name="field%d"' % number, b"text") for number in range(17)],
            (b'Content-Disposition: form-data; name="picture"; filename="a.jpg"', GREEN),
        ],
        [
            (b'Content-Disposition: form-data; name="thumbnail"; filename="b.jpg"', b"not looked at"),
            (b'Content-Disposition: form-data; name="file"; filename="a.jpg"', GREEN),
        ],
    ],
    ids=["image", "no filename", "extended", "extended, other name", "bare", "typed", "dots", "fields", "two files"],
)
async def test_the_one_file_of_a_form_is_the_picture(
    client: httpx.AsyncClient, parts: list[tuple[bytes, bytes]]
) -> None:
    assert label(await client.post("/v1/classify", **form(*parts))) == "green"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (
            [(b'Content-Disposition: form-data; name="f%d"' % number, b"") for number in range(65)],
            "number of fields is 64",
        ),
        (
            [(b'Content-Disposition: form-data; name="%c"; filename="x"' % letter, GREEN) for letter in b"ab"],
            "the form's files are named: 'a', 'b'",
        ),
    ],
)
async def test_a_form_that_is_refused_is_told_why(
    client: httpx.AsyncClient, parts: list[tuple[bytes, bytes]], words: str
) -> None:
    answer = await client.post("/v1/classify", **form(*parts))  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (400, "request_malformed")
    assert words in answer.json()["detail"]


async def test_several_files_of_any_name_are_a_batch(client: httpx.AsyncClient) -> None:
    files = [(f"images[{number}]", ("x.jpg", GREEN)) for number in range(3)]
    answer = await client.post("/v1/classify/batch", files=files)
    assert [each["predictions"][0]["label"] for each in answer.json()["results"]] == ["green"] * 3


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("identity", bytes),
        ("gzip", lambda content: gzip.compress(content[:100]) + gzip.compress(content[100:])),
    ],
    ids=["gzip", "x-gzip", "capitals", "deflate", "identity", "members"],
)
async def test_a_compressed_body_is_unpacked(
    client: httpx.AsyncClient, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    headers = {"Content-Encoding": coding}
    assert label(await client.post("/v1/classify", content=pack(GREEN), headers=headers)) == "green"
    typed = {**headers, "Content-Type": "application/json"}
    body = pack(f'{{"image": "{TEXT}"}}'.encode())
    assert label(await client.post("/v1/classify", content=body, headers=typed)) == "green"


@pytest.mark.parametrize(
    ("coding", "content", "expected", "words"),
    [
        ("br", GREEN, (415, "media_type_unsupported"), "Content-Encoding 'br' is not read here"),
        ("gzip, gzip", GREEN, (415, "media_type_unsupported"), "Content-Encoding 'gzip, gzip'"),
        ("gzip", GREEN, (400, "request_malformed"), "the body is not gzip, although Content-Encoding says so"),
        ("gzip", gzip.compress(GREEN)[:-20], (400, "request_malformed"), "ends in the middle"),
        ("gzip", gzip.compress(bytes(20_000_000)), (413, "body_too_large"), "unpacks to more than"),
        ("deflate", zlib.compress(bytes(20_000_000)), (413, "body_too_large"), "unpacks to more than"),
        ("gzip", b"", (400, "body_empty"), ""),
        ("gzip", gzip.compress(b"") * 2_000, (400, "request_malformed"), "more than 1000 members"),
    ],
    ids=["brotli", "twice", "no gzip", "cut", "bomb", "deflated bomb", "nothing", "empty members"],
)
async def test_a_body_that_cannot_be_unpacked_is_a_problem(
    client: httpx.AsyncClient, coding: str, content: bytes, expected: tuple[int, str], words: str
) -> None:
    answer = await client.post("/v1/classify", content=content, headers={"Content-Encoding": coding})
    assert (answer.status_code, answer.json()["code"]) == expected
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("query", ["topk=1", "top_k=1&Top_K=2", "minscore=0.5&top_k=1", "model=cat"])
async def test_a_misspelt_parameter_is_named(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.post(f"/v1/classify?{query}", content=GREEN)
    assert (answer.status_code, answer.json()["code"]) == (422, "parameter_invalid")
    assert "is no parameter here; known are top_k, min_score" in answer.json()["detail"]


BIG = encoded("JPEG", (400, 300))
PNG = encoded("PNG", (80, 60))


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (BIG.replace(b"\r", b"").replace(b"\n", b""), 422, "`curl -d` sends it; use --data-binary"),
        (PNG.replace(b"\r", b"").replace(b"\n", b""), 415, "use --data-binary"),
        (PNG.replace(b"\r\n", b"\n"), 415, "line ends were changed"),
        (PNG.decode("latin-1").encode(), 415, "went through a text encoding"),
        (BIG.decode("utf-8", "replace").encode(), 415, "went through a text encoding"),
        (BIG.decode("latin-1").encode(), 415, "went through a text encoding"),
        (TEXT.encode(), 415, "a JPEG in base64"),
        (f"data:image/jpeg;base64,{TEXT}".encode(), 415, "a data URL"),
        (gzip.compress(GREEN), 415, "Content-Encoding: gzip"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(300), 415, "HEIC; convert it to JPEG"),
        (b"\x00\x00\x00\x18ftypmif1" + bytes(300), 415, "HEIF"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(300), 415, "an MP4 video"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', 415, "SVG"),
        (b"\xef\xbb\xbf  <svg/>", 415, "SVG"),
        (b"<!DOCTYPE html><html><body>404</body></html>", 415, "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", 415, "git lfs pull"),
        (b"%PDF-1.7\n", 415, "a PDF document"),
        (b"PK\x03\x04" + bytes(40), 415, "a zip archive"),
        (b"8BPS\x00\x01" + bytes(40), 415, "a Photoshop document"),
        (b"\xff\x0a" + bytes(40), 415, "JPEG XL"),
        (b"--boundary\r\nContent-Disposition: form-data", 415, "Content-Type header is missing"),
        (b'{"image": "..."}', 415, "Content-Type: application/json"),
    ],
)
async def test_what_arrived_instead_is_named_with_the_fix(
    client: httpx.AsyncClient, content: bytes, status: int, words: str
) -> None:
    answer = await client.post("/v1/classify", content=content)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_picture_is_nothing_else(kind: str) -> None:
    assert what_arrived(encoded(kind)) == ""


ORIGIN = "https://shop.example"


@pytest.mark.parametrize("settings", [Settings(cors_origins=(ORIGIN,), refresh_seconds=0.01)])
async def test_a_page_of_a_named_origin_may_ask(client: httpx.AsyncClient) -> None:
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    preflight["Access-Control-Request-Headers"] = "authorization,content-type,x-request-timeout"
    answer = await client.options("/v1/classify", headers=preflight)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)
    answer = await client.post("/v1/classify", content=GREEN, headers={"Origin": ORIGIN})
    assert label(answer) == "green"
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
    answer = await client.post("/v1/classify", content=b"x", headers={"Origin": ORIGIN})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (415, ORIGIN)
    other = await client.options("/v1/classify", headers={**preflight, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


async def test_without_the_setting_no_page_of_another_origin_may(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/classify", content=GREEN, headers={"Origin": ORIGIN})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("settings", [Settings(root_path="/vision", refresh_seconds=0.01)])
async def test_behind_a_stripped_path_the_documentation_points_there(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    assert "/vision/openapi.json" in page
    scripts = [line for line in page.splitlines() if "swagger-ui-bundle.js" in line]
    assert scripts
    assert all("/vision/" in line for line in scripts)
    assert (await client.get("/openapi.json")).json()["servers"] == [{"url": "/vision"}]
    assert label(await client.post("/v1/classify", content=GREEN)) == "green"
    assert label(await client.post("/vision/v1/classify", content=GREEN)) == "green", "not stripped"
