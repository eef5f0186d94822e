"""Pictures as people have them: folders, zips and lists; splits, and what is wrong with them."""

import csv
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contract.spec import Preprocessing
from tests.fakes import a_picture, encoded
from tests.unit.training.conftest import draw
from training.dataset import Dataset, Holding, look, read
from training.errors import DataError
from training.findings import findings, swapped
from training.splits import held_out

SEEN = Preprocessing(32, 32, crop_pct=1.0)


def opened(path: Path, share: float | None = None, seed: int = 0) -> Dataset:
    return read(look(path), SEEN, SEEN, Holding(share, seed))


def found(path: Path, share: float | None = None) -> str:
    return "\n".join(findings(opened(path, share), 32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """train/ and test/ of two classes, 24 and 6 pictures of each."""
    draw(tmp_path / "set", "train", 24)
    draw(tmp_path / "set", "test", 6, seed=1)
    return tmp_path / "set"


def zipped(folder: Path, archive: Path, under: str = "") -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for each in sorted(folder.rglob("*.png")):
            file.write(each, f"{under}{each.relative_to(folder)}")
    return archive


def listed(folder: Path, file: Path, root: str) -> Path:
    with file.open("w", newline="") as opened_file:
        rows = csv.writer(opened_file)
        rows.writerow(("path", "label"))
        for each in sorted(folder.rglob("*.png")):
            rows.writerow((f"{root}/{each.relative_to(folder)}", each.parent.name))
    return file


def test_a_folder_a_zip_and_a_zip_of_one_folder_are_the_same_set(folder: Path, tmp_path: Path) -> None:
    sets = [folder, zipped(folder, tmp_path / "a.zip"), zipped(folder, tmp_path / "b.zip", "deep/er/")]
    read_sets = [opened(each) for each in sets]
    assert len({each.sha256 for each in read_sets}) == 1
    assert read_sets[0].classes == ("above", "below")
    assert {word: len(split) for word, split in read_sets[0].splits.items()} == {"train": 48, "test": 12}


def test_a_list_names_pictures_in_folders_and_in_zips(folder: Path, tmp_path: Path) -> None:
    archive = zipped(folder / "train", tmp_path / "a.zip")
    one = listed(folder / "train", tmp_path / "one.csv", "set/train")
    two = listed(folder / "train", tmp_path / "two.csv", "a.zip")
    assert archive.exists()
    assert opened(one).sha256 == opened(two).sha256 == opened(folder / "train").sha256
    assert set(opened(one).splits) == {"train", "val"}


@pytest.mark.parametrize(
    "text", ["name,label\na.png,cat\n", "path,label\na.png,\n", "path,label\n", "", "path,label\na.png,x\na.png,y\n"]
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=r"x\.csv"):
        look(tmp_path / "x.csv")


def test_training_words_for_splits_are_known_and_others_are_refused(folder: Path) -> None:
    (folder / "test").rename(folder / "Validation")
    assert set(opened(folder).splits) == {"train", "val"}
    (folder / "train").rename(folder / "other")
    with pytest.raises(DataError, match="is beside train/, val/ or test/"):
        look(folder)


def test_no_train_one_class_or_no_class_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "train")
    with pytest.raises(DataError, match="has test, and no train/"):
        look(folder)
    shutil.rmtree(folder / "test" / "below")
    with pytest.raises(DataError, match="one class, 'above'"):
        look(folder / "test")
    with pytest.raises(DataError, match="in no folder that says what it shows"):
        look(folder / "test" / "above")
    with pytest.raises(DataError, match="there is no"):
        look(tmp_path / "nothing")


def test_a_split_of_ours_is_stratified_seeded_and_whole(folder: Path) -> None:
    one, again, other = (opened(folder / "train", 0.25, seed) for seed in (0, 0, 1))
    assert np.bincount(one.splits["val"].targets).tolist() == [6, 6]
    assert one.sha256 == again.sha256 != other.sha256
    both = {*one.train.names, *one.splits["val"].names}
    assert len(both) == 48 == len(one.train) + len(one.splits["val"])


def test_equal_pictures_are_on_one_side() -> None:
    digests = [bytes([index // 3]) for index in range(60)]
    targets = np.array([index // 30 for index in range(60)])
    out = held_out(targets, digests, 0.2, seed=3)
    for group in range(20):
        assert len(set(out[3 * group : 3 * group + 3].tolist())) == 1
    assert [int(out[targets == each].sum()) for each in (0, 1)] == [6, 6]


def test_what_the_weights_have_learnt_from_is_not_held_out(folder: Path) -> None:
    first = opened(folder / "train", 0.25)
    known = frozenset(first.train.files)
    again = read(look(folder / "train"), SEEN, SEEN, Holding(0.25, seed=7, known=known))
    assert set(again.splits["val"].names) <= set(first.splits["val"].names)
    assert len(again.splits["val"]) > 0
    everything = known | frozenset(first.splits["val"].files)
    none = read(look(folder / "train"), SEEN, SEEN, Holding(0.25, seed=7, known=everything))
    assert none.judging is None
    (line,) = findings(none, 32)
    assert line == "no picture is held out to choose by: the weights to start from have learnt from all of them"


def test_pictures_to_judge_by_that_the_weights_have_learnt_from_are_told(folder: Path) -> None:
    known = frozenset(opened(folder).splits["test"].files[:3])
    (line,) = findings(read(look(folder), SEEN, SEEN, Holding(None, 0, known)), 32)
    assert "have learnt from 3 of 12 pictures of test, such as test/above/0.png" in line


@pytest.mark.parametrize("exif", [b"Exif\0\0garbagegarbage", b"Exif\0\0II*\0"])
def test_damaged_exif_is_no_reason_to_leave_a_picture_out(folder: Path, exif: bytes) -> None:
    path = folder / "train" / "above" / "0.png"
    Image.open(path).save(path, exif=exif)
    assert found(folder) == ""
    assert len(opened(folder).train) == 48


def test_a_split_that_is_a_link_to_another_is_a_split(folder: Path) -> None:
    (folder / "val").symlink_to(folder / "test")
    assert {word: len(split) for word, split in opened(folder).splits.items()} == {"train": 48, "val": 12, "test": 12}


def test_a_class_of_one_picture_is_trained_on() -> None:
    out = held_out(np.array([0, 0, 0, 1]), [b"a", b"b", b"c", b"d"], 0.3, seed=0)
    assert out.tolist()[3] is False
    assert out.sum() == 1


def test_a_file_that_cannot_be_read_is_a_line_and_not_the_end(folder: Path) -> None:
    (folder / "train" / "above" / "broken (1).png").write_bytes(b"no picture")
    assert len(opened(folder).train) == 48
    assert "left out, it cannot be read: train/above/broken (1).png (UnidentifiedImageError)" in found(folder)


def test_a_class_of_which_nothing_can_be_read_is_refused(folder: Path) -> None:
    for each in (folder / "train" / "above").iterdir():
        each.write_bytes(b"no picture")
    with pytest.raises(DataError, match="no picture of 'above' to train on"):
        opened(folder)


def test_leaks_between_splits_are_told_even_where_the_files_differ(folder: Path) -> None:
    picture = Image.open(folder / "train" / "above" / "0.png")
    picture.save(folder / "test" / "above" / "copy.bmp")
    assert "1 of 13 pictures of test are in train as well, such as test/above/copy.bmp = train/above/0.png" in found(
        folder
    )


def test_the_same_picture_with_two_labels_is_told(folder: Path) -> None:
    shutil.copy(folder / "train" / "above" / "0.png", folder / "train" / "below" / "other.png")
    assert "1 pictures are there twice with different labels" in found(folder)


def test_unbalanced_and_small_classes_are_told(folder: Path) -> None:
    for number in range(2, 24):
        (folder / "train" / "below" / f"{number}.png").unlink()
    told = found(folder)
    assert "classes are unbalanced: 24 pictures of 'above', 2 of 'below'" in told
    assert "1 classes have fewer than 20 pictures to train on, such as 'below' with 2" in told


def test_tiny_pictures_and_turned_ones_are_told_and_turned(folder: Path) -> None:
    (folder / "train" / "above" / "tiny.png").write_bytes(encoded(a_picture((9, 9, 9), (8, 8))))
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:16] = 255
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels).save(folder / "train" / "below" / "turned.png", exif=exif)
    told = found(folder)
    assert "1 pictures are smaller than the 32 pixels that the model sees, such as train/above/tiny.png" in told
    assert "1 pictures are turned by their EXIF orientation" in told
    data = opened(folder)
    turned = data.train.images[data.train.names.index("train/below/turned.png")]
    assert turned[:16].max() < 20
    assert turned[16:].min() > 235


def test_a_set_without_trouble_says_nothing(folder: Path) -> None:
    assert found(folder) == ""


def test_two_classes_that_answer_each_other_are_told_as_swapped() -> None:
    confusions = np.array([[1, 9, 0], [8, 2, 0], [0, 4, 6]])
    (line,) = swapped(confusions, ("cat", "dog", "ship"))
    assert "most of 'cat' are answered 'dog', and the other way round" in line
    assert list(swapped(np.diag([5, 5, 5]), ("cat", "dog", "ship"))) == []


def test_pictures_for_crops_are_larger_and_of_the_same_split(folder: Path) -> None:
    larger = Preprocessing(40, 40, crop_pct=1.0)
    data = read(look(folder / "train"), SEEN, larger, Holding(0.25, 0))
    assert data.train.images.shape == (36, 40, 40, 3)
    assert data.splits["val"].images.shape == (12, 32, 32, 3)
    plain = opened(folder / "train", 0.25)
    assert plain.train.names == data.train.names
