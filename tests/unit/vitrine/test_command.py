"""The command `vitrine`, run as a person runs it, against the gateway over a fake Triton."""

import asyncio
import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeBackend, a_picture, an_entry, encoded
from tests.processes import free_port
from tests.unit.vitrine.conftest import CLASSES, Ran, Servers, problem, vitrine

COLOURS = {"red": (220, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 210)}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three pictures, a broken one, and what is none."""
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    (folder / "a red.png").write_bytes(encoded(a_picture(COLOURS["red"])))
    (folder / "broken.jpg").write_bytes(b"hello")
    (folder / "deep" / "green.JPG").write_bytes(encoded(a_picture(COLOURS["green"]), "JPEG"))
    (folder / "deep" / "z.webp").write_bytes(encoded(a_picture(COLOURS["blue"]), "WEBP"))
    (folder / "notes.txt").write_text("none")
    (folder / ".hidden.png").write_bytes(b"none")
    return folder


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def tops(records: list[dict[str, Any]]) -> list[str]:
    return [each["predictions"][0]["label"] if "predictions" in each else each["error"]["code"] for each in records]


async def test_one_picture_has_bars(url: str, pictures: Path) -> None:
    ran = await vitrine("classify", pictures / "a red.png", "--url", url)
    assert (ran.code, ran.err) == (0, "")
    assert "a red.png, by colours version 1" in ran.out
    assert ran.out.index("red  ") < ran.out.index("green")
    assert "█" in ran.out
    assert "triton" in ran.out


async def test_many_pictures_are_a_table_and_the_broken_one_is_a_line(url: str, pictures: Path) -> None:
    ran = await vitrine("classify", pictures, "--top-k", "1", VITRINE_CLIENT_URL=url)
    assert ran.code == 3
    rows = ran.out.splitlines()[1:]
    assert [row.split()[-2] for row in rows] == ["red", "green", "blue"]
    assert "broken.jpg: The content is not an accepted picture format" in ran.err
    assert "4 pictures in " in ran.err
    assert "1 failed" in ran.err


async def test_json_lines_are_in_order(url: str, pictures: Path) -> None:
    ran = await vitrine("classify", pictures, "--json", "--top-k", "2", "--url", url, "--parallel", "2")
    records = lines(ran.out)
    assert tops(records) == ["red", "media_type_unsupported", "green", "blue"]
    assert [Path(each["path"]).name for each in records] == ["a red.png", "broken.jpg", "green.JPG", "z.webp"]
    assert records[1]["error"]["status"] == 415


async def test_csv_has_a_row_for_each(url: str, pictures: Path) -> None:
    ran = await vitrine("classify", pictures, "--csv", "--top-k", "2", "--url", url)
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert [row["label_1"] or row["error"] for row in rows] == ["red", "media_type_unsupported", "green", "blue"]
    assert float(rows[0]["score_1"]) > float(rows[0]["score_2"]) > 0


async def test_a_picture_from_standard_input(url: str, pictures: Path) -> None:
    content = (pictures / "a red.png").read_bytes()
    ran = await vitrine("classify", "-", "--json", "--url", url, stdin=content)
    assert (ran.code, tops(lines(ran.out))) == (0, ["red"])


@pytest.mark.parametrize("name", ["results.jsonl", "results.csv"])
async def test_a_run_goes_on_where_it_ended(
    url: str, backend: FakeBackend, pictures: Path, tmp_path: Path, name: str
) -> None:
    output = tmp_path / name
    command = ("classify", pictures, "-o", output, "--url", url)
    assert (await vitrine(*command)).code == 3
    whole = output.read_text()
    asked = len(backend.calls)
    again = await vitrine(*command)
    assert len(backend.calls) == asked
    assert "0 pictures, 4 answered before" in again.err
    assert output.read_text() == whole
    output.write_text(whole[:-20])  # As a run that was killed leaves it.
    again = await vitrine(*command)
    assert "1 pictures in" in again.err
    assert "3 answered before" in again.err
    assert output.read_text() == whole
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


async def test_a_failure_that_may_pass_is_tried_again(servers: Servers, pictures: Path, tmp_path: Path) -> None:
    url, server = await servers.start(problem(502, "triton_failed"), CLASSES)
    output = tmp_path / "results.jsonl"
    picture = pictures / "a red.png"
    ran = await vitrine("classify", picture, "-o", output, "--url", url)
    assert (ran.code, lines(output.read_text())[0]["error"]["final"]) == (3, False)
    assert (await vitrine("classify", picture, "-o", output, "--url", url)).code == 0
    assert [each["model"] for each in lines(output.read_text())] == ["m"]
    assert len(server.heads) == 2


async def test_what_a_file_holds_otherwise_is_never_overwritten(url: str, pictures: Path, tmp_path: Path) -> None:
    for name, text, why in (
        ("notes.jsonl", "my notes\n", "line 1 is none of this command's"),
        ("notes.csv", "a,b\n1,2\n", "other columns"),
    ):
        output = tmp_path / name
        output.write_text(text)
        ran = await vitrine("classify", pictures, "-o", output, "--url", url)
        assert ran.code == 2
        assert why in ran.err
        assert output.read_text() == text
    output = tmp_path / "results.jsonl"
    await vitrine("classify", pictures, "-o", output, "--url", url)
    ran = await vitrine("classify", pictures, "-o", output, "--url", url, "--model", "other")
    assert ran.code == 2


async def test_it_stops_where_the_service_is_gone(servers: Servers, tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number}.png").write_bytes(encoded(a_picture()))
    models = b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\nConnection: close\r\n\r\n{"models": []}'
    url, server = await servers.start(models, problem(502, "triton_failed"))
    output = tmp_path / "results.jsonl"
    ran = await vitrine("classify", tmp_path, "-o", output, "--url", url, "--parallel", "4")
    assert ran.code == 2
    assert "20 of 60 pictures are done" in ran.err
    assert "the same command goes on" in ran.err
    assert len(output.read_text().splitlines()) == 20
    assert len(server.heads) < 60


async def test_nothing_to_be_done_is_said_in_a_line(url: str, tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    (tmp_path / "empty").mkdir()
    picture = tmp_path / "a.png"
    picture.write_bytes(encoded(a_picture()))
    for arguments, why in (
        (("classify", tmp_path / "none.png", "--url", url), "there is no such file"),
        (("classify", tmp_path / "empty", "--url", url), "there are no pictures"),
        (("classify", picture, picture.parent, "--url", nobody, "--model", "m"), ""),
        (("models", "--url", nobody), "cannot be reached"),
        (("models", "--url", "nowhere"), "starts with http://"),
        (("models", "--url", url, "--key-file", tmp_path / "none"), "cannot be read"),
        (("classify", picture, tmp_path, "--url", url, "--model", "none"), ""),
        (("evaluate", tmp_path / "empty", "--url", url), "no folders with pictures"),
        (("explain", picture, "--url", url, "--model", "none", "-o", tmp_path / "x.png"), "model_not_found"),
    ):
        ran = await vitrine(*arguments)
        # Without a word of its own each picture has its reason, and the command goes through all of them.
        assert ran.code == (2 if why else 3), ran
        assert why in ran.err
        assert "Traceback" not in ran.err
        assert ran.err.count("\n") <= 2


async def test_models_are_a_table_with_reasons(url: str, backend: FakeBackend) -> None:
    backend.serve(an_entry("shapes"))
    backend.configs["shapes", "1"].parameters["contract.crop_pct"].string_value = "no number"
    looks = backend.looks
    while backend.looks < looks + 2:  # noqa: ASYNC110 (the fake counts, and tells nobody)
        await asyncio.sleep(0.01)
    ran = await vitrine("models", "--url", url)
    assert ran.code == 0
    assert "50.00 %" in ran.out
    assert "shapes: contract.crop_pct" in ran.out
    found = lines((await vitrine("models", "--json", "--url", url)).out)
    assert [(each["name"], each["state"]) for each in found] == [("colours", "served"), ("shapes", "refused")]


async def test_the_key_is_of_the_environment_or_a_file_and_never_shown(servers: Servers, tmp_path: Path) -> None:
    url, server = await servers.start(problem(401, "unauthorized"))
    file = tmp_path / "key"
    file.write_text("from-file\n")
    runs = [
        await vitrine("models", "--url", url, VITRINE_CLIENT_KEY="from-environment"),
        await vitrine("models", "--url", url, "--key-file", file, VITRINE_CLIENT_KEY="from-environment"),
        await vitrine("models", "--url", url, VITRINE_CLIENT_KEY_FILE=str(file)),
        await vitrine("models", "--url", url, VITRINE_CLIENT_KEY="two words"),
    ]
    sent = [next(line for line in head.splitlines() if "Bearer" in line).split()[-1] for head in server.heads]
    assert sent == ["from-environment", "from-file", "from-file"]
    for ran in runs:
        assert ran.code == 2
        assert not [secret for secret in ("from-file", "from-environment", "two words") if secret in ran.out + ran.err]


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Folders of pictures by class; one red picture lies among the blue ones, and one file is broken."""
    for name, colour in COLOURS.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "set" / name / f"{number}.png").write_bytes(encoded(a_picture(colour)))
    (tmp_path / "set" / "blue" / "4.png").write_bytes(encoded(a_picture(COLOURS["red"])))
    (tmp_path / "set" / "green" / "4.png").write_bytes(b"hello")
    return tmp_path / "set"


async def test_an_evaluation_counts(url: str, labelled: Path, tmp_path: Path) -> None:
    chart = tmp_path / "chart.png"
    ran = await vitrine("evaluate", labelled, "--json", "--chart", chart, "--url", url, HOME=str(tmp_path))
    assert ran.code == 3
    (found,) = lines(ran.out)
    assert (found["pictures"], found["top1"]["count"], found["stated_top1"]) == (14, 12, 0.5)
    assert found["failed"] == {"media_type_unsupported": 1}
    assert {"class": "blue", "answered": "red", "pictures": 1} in found["confusions"]
    assert chart.read_bytes().startswith(b"\x89PNG")
    table = await vitrine("evaluate", labelled, "--url", url)
    assert "85.71%" in table.out
    assert "+35.71 points" in table.out
    assert "1 without an answer, counted as wrong: media_type_unsupported" in table.out


async def test_an_evaluation_goes_on_where_it_ended(url: str, backend: FakeBackend, labelled: Path) -> None:
    command = ("evaluate", labelled, "--json", "-o", labelled.parent / "answers.jsonl", "--url", url)
    first = await vitrine(*command)
    asked = len(backend.calls)
    again = await vitrine(*command)
    assert (again.out, len(backend.calls)) == (first.out, asked)


async def test_folders_may_be_named_otherwise(url: str, labelled: Path, tmp_path: Path) -> None:
    os.rename(labelled / "red", labelled / "n01")
    ran = await vitrine("evaluate", labelled, "--url", url)
    assert ran.code == 2
    assert "no class for 1 of 3 folders, such as 'n01'" in ran.err
    (tmp_path / "classes.csv").write_text("n01,red\n")
    ran = await vitrine("evaluate", labelled, "--classes", tmp_path / "classes.csv", "--url", url)
    assert "85.71%" in ran.out


async def test_paths_of_any_bytes(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for raw in (b"\xff.png", b"a\nb.png", b'"q", x.png'):
        (folder / os.fsdecode(raw)).write_bytes(encoded(a_picture()))
    for arguments in ((), ("--json",), ("--csv",)):
        assert (await vitrine("classify", folder, *arguments, "--url", url)).code == 0
    for name in ("out.jsonl", "out.csv"):
        for _ in range(2):
            ran = await vitrine("classify", folder, "-o", tmp_path / name, "--url", url)
            assert ran.code == 0
        assert "3 answered before" in ran.err


async def test_a_reader_that_leaves_is_no_fault(url: str, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(encoded(a_picture()))
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m vitrine classify {picture} {tmp_path} --json --url {url} | true",
        stderr=-1,
    )
    _, err = await process.communicate()
    assert b"Traceback" not in err


@pytest.mark.parametrize("command", [(), ("classify",), ("explain",), ("models",), ("evaluate",)])
async def test_help_says_what_there_is(command: tuple[str, ...]) -> None:
    ran: Ran = await vitrine(*command, "--help")
    assert (ran.code, ran.err) == (0, "")
    for word in (
        "usage: vitrine",
        *(("--url", "--key-file", "--timeout") if command else ("VITRINE_CLIENT_KEY", "3 ")),
    ):
        assert word in ran.out


async def test_a_wrong_option_is_2() -> None:
    for arguments in (("classify",), ("classify", "x", "--top-k", "0"), ("explain", "x"), ("models", "--timeout", "x")):
        assert (await vitrine(*arguments)).code == 2
