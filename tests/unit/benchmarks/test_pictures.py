"""Labelled pictures from a folder or a zip."""

import zipfile
from pathlib import Path

import pytest

from benchmarks.pictures import picture_files
from tests.fakes import a_picture, encoded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, name, colour in (
        ("train", "red", (200, 0, 0)),
        ("train", "blue", (0, 0, 200)),
        ("test", "red", (90, 0, 0)),
    ):
        place = tmp_path / "set" / split / name
        place.mkdir(parents=True)
        (place / "0.png").write_bytes(encoded(a_picture(colour, (8, 8))))
        (place / "notes.txt").write_text("not a picture")
    return tmp_path / "set"


def test_a_folder_and_its_zip_are_the_same_set(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for file in folder.rglob("*.*"):
            zipped.write(file, file.relative_to(folder))
    assert list(picture_files(folder, "train")) == list(picture_files(archive, "train"))
    assert [name for name, _ in picture_files(folder, "train")] == ["blue", "red"]


def test_a_set_without_the_split_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no picture named valid/"):
        list(picture_files(folder, "valid"))
    (tmp_path / "x").write_text("")
    with pytest.raises(ValueError, match="neither a folder nor a zip"):
        list(picture_files(tmp_path / "x", "train"))
