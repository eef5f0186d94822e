"""Sets of pictures: the same from a folder and a zip, split fairly, and refused where they are of no use."""

import io
import os
import threading
import zipfile
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from build_engines.errors import PicturesUnreadableError, TooFewPicturesError, UselessPicturesError
from build_engines.pictures.choice import MINIMUM, check_calibration
from build_engines.pictures.picture_set import PictureSet, open_pictures
from build_engines.pictures.sources import Read
from build_engines.values import Pixels
from contract.pixels import to_pixels
from contract.spec import Preprocessing

SMALL = Preprocessing(8, 8, 1.0)


def picture(seed: int, kind: str = "PNG", size: tuple[int, int] = (12, 10)) -> bytes:
    """The bytes of a picture of noise."""
    random = np.random.default_rng(seed)
    content = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(content, kind)
    return content.getvalue()


def fill(root: Path, names: list[str]) -> Path:
    """A folder with a picture of noise for each name."""
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = {"jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF"}.get(path.suffix[1:].lower(), path.suffix[1:].upper())
        path.write_bytes(picture(seed, kind))
    return root


def zipped(root: Path, archive: Path, inside: str = "") -> Path:
    """The folder as a zip, its names written backwards, so that order is not the zip's."""
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(root.rglob("*"), reverse=True):
            opened.write(path, inside + path.relative_to(root).as_posix())
    return archive


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Three classes of 6, 3 and 1 pictures."""
    counts = {"cat": 6, "fire_engine": 3, "Dog": 1}
    return fill(
        tmp_path / "pets", [f"{folder}/{index}.png" for folder, count in counts.items() for index in range(count)]
    )


def test_threads_end_with_the_first_picture_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "000.png").write_bytes(b"no picture")
    for number in range(1, 200):
        (tmp_path / f"{number:03}.png").write_bytes(b"another")
    before = set(threading.enumerate())
    with pytest.raises(PicturesUnreadableError, match=r"000\.png") as kept:
        open_pictures(tmp_path).pixels(SMALL)
    # While the error, and with it the frames that it passed, is still there.
    assert kept.value is not None
    assert set(threading.enumerate()) == before


def test_a_folder_and_a_zip_of_it_are_the_same_set(classes: Path, tmp_path: Path) -> None:
    folder = open_pictures(classes)
    whole = open_pictures(zipped(classes, tmp_path / "pets.zip"))
    part = open_pictures(zipped(classes, tmp_path / "all.zip", inside="some/test/") / "some" / "test")
    assert [each.origin for each in (folder, whole, part)] == ["pets", "pets.zip", "all.zip/some/test"]
    assert str(tmp_path) not in repr((folder.origin, whole.origin, part.origin, folder.names))
    for other in (whole, part):
        assert other.names == folder.names == tuple(sorted(folder.names))
        assert other.classes == folder.classes
        assert other.sha256 == folder.sha256
        assert np.array_equal(other.pixels(SMALL), folder.pixels(SMALL))


def test_the_sum_is_over_names_and_bytes(classes: Path) -> None:
    before = open_pictures(classes).sha256
    (classes / "cat" / "0.png").rename(classes / "cat" / "9.png")
    renamed = open_pictures(classes).sha256
    (classes / "cat" / "9.png").write_bytes(picture(99))
    assert len({before, renamed, open_pictures(classes).sha256}) == 3


def test_suffixes_of_any_case_are_found_and_other_files_are_not(tmp_path: Path) -> None:
    names = ["a.JPG", "b.jpeg", "c.PNG", "d.webp", "e.bmp", "f.gif", "g.tif", "h.TIFF"]
    fill(tmp_path, names)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._a.jpg").write_bytes(b"what macOS leaves")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "b.jpg").write_bytes(b"what macOS leaves")
    found = open_pictures(tmp_path)
    assert found.names == tuple(names)
    assert set(found.classes) == {None}
    assert found.pixels(SMALL).shape == (8, 8, 8, 3)


def test_a_link_to_a_class_is_followed_and_one_that_has_no_end_is_left(classes: Path, tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", ["0.png"])
    os.symlink(tmp_path / "elsewhere", classes / "parrot")
    os.symlink(classes, classes / "cat" / "again")
    assert len(open_pictures(classes)) == 11
    assert "parrot/0.png" in open_pictures(classes).names


def test_the_class_is_the_nearest_folder_below_the_root(tmp_path: Path) -> None:
    fill(tmp_path, ["a.png", "x/b.png", "x/y/c.png"])
    assert dict(zip(open_pictures(tmp_path).names, open_pictures(tmp_path).classes, strict=True)) == {
        "a.png": None,
        "x/b.png": "x",
        "x/y/c.png": "y",
    }
    assert set(open_pictures(tmp_path / "x" / "y").classes) == {None}


def test_pixels_are_those_that_are_served_and_in_order(tmp_path: Path) -> None:
    fill(tmp_path, [f"{index}.png" for index in range(9)])
    turned = Image.open(io.BytesIO(picture(50)))
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned by a quarter.
    turned.save(tmp_path / "0.png", exif=exif)
    pixels = open_pictures(tmp_path).pixels(SMALL)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels[0], to_pixels(turned.transpose(Image.Transpose.ROTATE_270), SMALL))
    for index in range(1, 9):
        assert np.array_equal(pixels[index], to_pixels(Image.open(io.BytesIO(picture(index))), SMALL))


def test_a_choice_is_even_over_classes_and_repeats(classes: Path) -> None:
    pictures = open_pictures(classes)
    cats: set[str] = set()
    for seed in range(8):
        chosen = pictures.choose(6, seed)
        counts = Counter(chosen.classes)
        assert counts["Dog"] == 1
        assert sorted((counts["cat"], counts["fire_engine"])) == [2, 3]
        assert chosen.names == tuple(sorted(chosen.names))
        cats.update(name for name in chosen.names if name.startswith("cat/"))
    assert len(cats) == 6
    chosen = pictures.choose(6)
    assert chosen == pictures.choose(6)
    assert pictures.choose(100) == pictures


def test_the_rest_is_held_out_even_from_another_root(classes: Path) -> None:
    pictures = open_pictures(classes)
    chosen = pictures.choose(4)
    rest = pictures.without(chosen)
    assert len(rest) == 6
    assert sorted(chosen.names + rest.names) == list(pictures.names)
    assert len(pictures.without(open_pictures(classes / "cat"))) == 4


def test_equal_names_elsewhere_are_other_pictures(classes: Path, tmp_path: Path) -> None:
    archive = zipped(classes, tmp_path / "pets.zip")
    assert len(open_pictures(classes).without(open_pictures(archive))) == 10
    assert len(open_pictures(archive).without(open_pictures(archive / "cat"))) == 4


def test_folders_are_labels_by_name_whatever_their_order(classes: Path) -> None:
    pictures = open_pictures(classes)
    targets = pictures.targets(["dog", "Fire Engine", "mouse", "cat"])
    assert targets.indices is not None
    assert targets.indices.dtype == np.int64
    wanted = {"Dog": 0, "fire_engine": 1, "cat": 3}
    assert [wanted[str(folder)] for folder in pictures.classes] == targets.indices.tolist()
    assert targets.words == "3 folders have the names of labels"


def test_folders_of_other_names_are_labels_in_sorted_order(classes: Path) -> None:
    pictures = open_pictures(classes)
    targets = pictures.targets(["x", "y", "z"])
    assert targets.indices is not None
    assert [["Dog", "cat", "fire_engine"].index(str(folder)) for folder in pictures.classes] == targets.indices.tolist()
    assert "sorted order" in targets.words


def test_numbered_folders_are_labels_in_the_order_that_the_model_agrees_with(tmp_path: Path) -> None:
    """Sorted as text, class_10 comes before class_2; a model may have been trained with either order."""
    folder = fill(tmp_path / "numbered", [f"class_{number}/a.png" for number in range(11)])
    targets = open_pictures(folder).targets([f"label {number}" for number in range(11)])
    assert targets.otherwise is not None
    names = [int(str(name).removeprefix("class_")) for name in open_pictures(folder).classes]
    natural = targets.agreeing(np.eye(11, dtype=np.float32)[names])
    assert natural.indices is not None
    assert natural.indices.tolist() == names
    assert "in the order of their numbers" in natural.words
    assert "so FP32 is right on 100.00%" in natural.words
    assert "in sorted order they stand for as many, it would be right on 18.18%" in natural.words
    as_text = targets.agreeing(np.eye(11, dtype=np.float32)[targets.indices])
    assert as_text.indices is targets.indices
    assert "in the order of their numbers they stand for as many, it would be right on 18.18%" in as_text.words


def test_folders_of_one_order_only_are_not_tried_in_two(classes: Path) -> None:
    targets = open_pictures(classes).targets(["x", "y", "z"])
    assert targets.otherwise is None
    assert targets.agreeing(np.eye(3, dtype=np.float32)[targets.indices]) is targets


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["x", "y"], "3 of their 3 folders do not have the name of one label, such as 'Dog'"),
        (["x", "y", "z", "w"], "3 of their 3 folders do not have the name of one label, such as 'Dog'"),
        (["cat", "dog", "horse"], "1 of their 3 folders do not have the name of one label, such as 'fire_engine'"),
        (["cat", "dog", "fire engine", "fire_engine"], "1 of their 3 folders do not have the name of one label"),
    ],
)
def test_folders_that_could_be_anything_are_no_targets(classes: Path, labels: list[str], words: str) -> None:
    targets = open_pictures(classes).targets(labels)
    assert targets.indices is None
    assert words in targets.words


def test_pictures_beside_the_folders_are_no_targets(classes: Path, tmp_path: Path) -> None:
    fill(classes, ["stray.png"])
    some = open_pictures(classes).targets(["cat", "dog", "fire engine"])
    none = open_pictures(fill(tmp_path / "flat", ["a.png"])).targets(["flat"])
    assert (some.indices, none.indices) == (None, None)
    assert "some are not in a folder" in some.words
    assert "they are not in folders" in none.words


def test_what_is_not_there_is_refused_with_the_fix(tmp_path: Path, classes: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"PK no zip")
    (tmp_path / "empty").mkdir()
    archive = zipped(classes, tmp_path / "pets.zip")
    for path, message in (
        (tmp_path / "nowhere", "there is no .*nowhere; name a folder"),
        (tmp_path / "broken.zip", "cannot be read .*BadZipFile"),
        (tmp_path / "empty", "holds no pictures; they end in bmp, gif"),
        (archive / "horse", "holds no pictures"),
    ):
        with pytest.raises(PicturesUnreadableError, match=message):
            open_pictures(path)


@pytest.mark.parametrize("content", [b"", b"no picture", picture(0)[:200], picture(0, "TIFF")[:60]])
def test_a_broken_picture_is_named(tmp_path: Path, content: bytes) -> None:
    fill(tmp_path, ["cat/0.png", "cat/1.png"])
    (tmp_path / "cat" / "1.png").write_bytes(content)
    with pytest.raises(PicturesUnreadableError, match=r"cat/1\.png is no picture"):
        open_pictures(tmp_path).pixels(SMALL)


def test_a_picture_that_went_away_is_named(tmp_path: Path) -> None:
    pictures = open_pictures(fill(tmp_path, ["0.png", "1.png"]))
    (tmp_path / "1.png").unlink()
    with pytest.raises(PicturesUnreadableError, match=r"1\.png .*cannot be read \(FileNotFoundError\)"):
        pictures.pixels(SMALL)
    with pytest.raises(PicturesUnreadableError, match=r"1\.png"):
        _ = pictures.sha256


class Nothing:
    """A `Source` of which only the number of pictures matters."""

    def identity(self, name: str) -> str:
        return name

    def reading(self) -> AbstractContextManager[Read]:
        raise AssertionError("calibration is judged by pixels alone")


def of(count: int) -> PictureSet:
    return PictureSet("set.zip", tuple(f"{index}.png" for index in range(count)), Nothing())


def noise(count: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def test_a_calibration_needs_enough_pictures() -> None:
    check_calibration(of(MINIMUM), noise(MINIMUM))
    with pytest.raises(TooFewPicturesError, match=r"500 pictures are needed, 499 are in set\.zip; add pictures like"):
        check_calibration(of(MINIMUM - 1), noise(MINIMUM - 1))


def test_pictures_of_one_colour_are_noticed() -> None:
    pixels = noise(MINIMUM)
    pixels[:440] = 0
    pixels[440:455, :, :, 1] = 0  # One flat channel is no flat picture.
    with pytest.raises(UselessPicturesError, match="there more than once"):
        check_calibration(of(MINIMUM), pixels)
    pixels[440:460] = 200
    with pytest.raises(UselessPicturesError, match=r"460 of 500 pictures in set\.zip are of one flat colour"):
        check_calibration(of(MINIMUM), pixels)


def test_copies_are_noticed() -> None:
    pixels = noise(MINIMUM)
    pixels[250:] = pixels[249]
    with pytest.raises(
        UselessPicturesError, match=r"251 of 500 pictures in set\.zip are there more than once, .* 250 differ"
    ):
        check_calibration(of(MINIMUM), pixels)
    pixels[249] = 0
    pixels[249, 0] = 255
    check_calibration(of(MINIMUM), pixels)
