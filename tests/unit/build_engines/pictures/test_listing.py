"""Pictures that a CSV lists."""

import zipfile
from pathlib import Path

import pytest

from build_engines.errors import PicturesUnreadableError
from build_engines.pictures import open_pictures
from contract.spec import Preprocessing
from tests.fakes import a_picture, encoded

SIZE = Preprocessing(8, 8)


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").write_bytes(encoded(a_picture((200, 0, 0), (8, 8))))
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("x/b.png", encoded(a_picture((0, 0, 200), (8, 8))))
    (tmp_path / "list.csv").write_text("label,path,note\nred,sub/a.png,1\nblue,more.zip/x/b.png,2\n\n")
    return tmp_path / "list.csv"


def test_pictures_are_read_from_folders_and_zips_with_the_lists_labels(listing: Path) -> None:
    pictures = open_pictures(listing)
    assert pictures.names == ("sub/a.png", "more.zip/x/b.png")
    assert pictures.classes == ("red", "blue")
    assert pictures.pixels(SIZE)[:, 4, 4].tolist() == [[200, 0, 0], [0, 0, 200]]
    targets = pictures.targets(("blue", "red"))
    assert targets.indices is not None
    assert targets.indices.tolist() == [1, 0]
    assert len(pictures.sha256) == 64


def test_the_sum_is_of_the_labels_too(listing: Path) -> None:
    before = open_pictures(listing).sha256
    assert open_pictures(listing).sha256 == before
    listing.write_text(listing.read_text().replace("blue,", "green,"))
    assert open_pictures(listing).sha256 != before


def test_chosen_ones_keep_their_labels(listing: Path) -> None:
    pictures = open_pictures(listing)
    chosen = pictures.choose(1)
    rest = pictures.without(chosen)
    assert {chosen.classes, rest.classes} == {("red",), ("blue",)}
    assert pictures.only([1]).classes == ("blue",)


def test_each_says_which_could_not_be_read(listing: Path) -> None:
    (listing.parent / "sub" / "a.png").unlink()
    with open_pictures(listing).each(lambda content, _: len(content)) as each:
        first, second = each
    assert isinstance(first, PicturesUnreadableError)
    assert isinstance(second, int)
    with pytest.raises(PicturesUnreadableError, match=r"sub/a\.png"):
        open_pictures(listing).pixels(SIZE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path\na.png\n", "it needs path and label"),
        ("path,label\na.png\n", "line 2 has no label"),
        ("path,label\n,cat\n", "line 2 has no path"),
        ("path,label\n", "lists no pictures"),
        ("path,label\na.png,cat\na.png,dog\n", "line 3 gives a.png another label"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(PicturesUnreadableError, match=message):
        open_pictures(tmp_path / "x.csv")
