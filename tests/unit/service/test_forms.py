"""Whatever a form's media type and the heads of its parts say, the answer is no 5xx."""

import encodings.aliases
import random
from collections import Counter

import httpx
import pytest

from tests.fakes import a_picture, encoded

GREEN = encoded(a_picture((0, 200, 0)), "JPEG")
CHARSETS = sorted({*encodings.aliases.aliases.values(), "undefined", "idna", "punycode", "\xff", "x" * 5000, "", ".."})
FILENAMES = ['"a..b.jpg"', '"xn--\xff"', "a", '"', '""', '"\\"', '"\xc3"', "x\\y"]
TYPE = b"multipart/form-data; boundary=x"


def a_form(part: bytes, content: bytes = GREEN) -> bytes:
    return b"--x\r\n" + part + b"\r\n\r\n" + content + b"\r\n--x--\r\n"


async def post(client: httpx.AsyncClient, media_type: bytes, form: bytes) -> httpx.Response:
    return await client.post("/v1/classify", content=form, headers=[(b"content-type", media_type)])


@pytest.mark.parametrize("filename", FILENAMES)
async def test_a_charset_changes_nothing(client: httpx.AsyncClient, filename: str) -> None:
    form = a_form(f'Content-Disposition: form-data; name="file"; filename={filename}'.encode("latin-1"))
    plain = await post(client, TYPE, form)
    for charset in CHARSETS:
        answer = await post(client, TYPE + b"; charset=" + charset.encode("latin-1"), form)
        assert (answer.status_code, answer.json()) == (200, plain.json())


@pytest.mark.parametrize(
    ("part", "status"),
    [
        ('name="file"; filename="a.jpg"; filename*=UTF-8\'\'%e2%82%ac.jpg', 200),
        ('name="file"; filename*=UTF-8\'\'%ff; filename="a.jpg"', 200),
        ('name="file"; filename="a"; filename="b"', 200),
        ('name="file"; filename="a"\r\nContent-Type: image/jpeg; charset=undefined', 200),
        ('name="file"; filename="a"\r\nContent-Transfer-Encoding: base64', 200),
        ('filename="a"', 400),
        (f'name="file"; filename="{"z" * 9000}"', 400),
        ("", 400),
    ],
)
async def test_the_head_of_a_part(client: httpx.AsyncClient, part: str, status: int) -> None:
    answer = await post(client, TYPE, a_form(f"Content-Disposition: form-data; {part}".encode()))
    assert answer.status_code == status


@pytest.mark.parametrize("boundary", [b"", b'""', b'"', b"y" * 5000, b"\xff", b"a b", b'"a\\"b"'])
async def test_a_boundary_that_is_not_there(client: httpx.AsyncClient, boundary: bytes) -> None:
    answer = await post(client, b"multipart/form-data; boundary=" + boundary, a_form(b"X: y"))
    assert answer.status_code == 400


async def test_broken_forms_are_the_callers_fault(client: httpx.AsyncClient) -> None:
    chance = random.Random(7)  # noqa: S311 (nothing is secret here)
    pieces = (b"\0", b"*", b"UTF-8''%ff", b'"', b";", b"\r\n", b"\n", b"filename*=", b"name=", b"\xff", b"--x")
    # No header that came over HTTP has a NUL.
    whole = a_form(b'Content-Disposition: form-data; name="file"; filename="a"\r\nContent-Type: image/jpeg')
    answers: Counter[int] = Counter()
    for _ in range(1000):
        form, media_type = bytearray(whole), bytearray(TYPE + b"; charset=utf-8")
        for _ in range(chance.choice((1, 2, 4))):
            text = chance.choice((form, form, media_type))
            at = chance.randrange(min(len(text), 110))
            match chance.randrange(3):
                case 0:
                    del text[at : at + chance.randrange(1, 9)]
                case 1:
                    text[at:at] = text[at : at + 20]
                case _:
                    text[at:at] = chance.choice(pieces if text is form else pieces[1:])
        answers[(await post(client, bytes(media_type), bytes(form))).status_code] += 1
    assert set(answers) <= {200, 400, 413, 415, 422}
    assert answers[200]
    assert answers[400]
