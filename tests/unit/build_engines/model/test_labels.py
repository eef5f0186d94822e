"""Labels come from a file, or from timm where it is known which set is meant."""

from pathlib import Path

import pytest

from build_engines.errors import LabelsMissingError
from build_engines.model.labels import known_labels, read_labels


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [b"cat\ndog\n", b"cat\r\ndog", b"\xef\xbb\xbfcat\n dog \n\n"])
def test_one_label_is_read_from_each_line(tmp_path: Path, content: bytes) -> None:
    assert read_labels(write(tmp_path / "labels.txt", content)) == ("cat", "dog")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"\n\n", "is empty"), (b"cat\n\ndog\n", "line 2 is empty"), (b"caf\xe9\n", "cannot be read")],
)
def test_a_file_that_is_no_list_of_labels_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(LabelsMissingError, match=message):
        read_labels(write(tmp_path / "labels.txt", content))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelsMissingError, match="No such file"):
        read_labels(tmp_path / "labels.txt")


def test_imagenets_labels_are_in_its_order() -> None:
    labels, origin = known_labels(1000, 1000)
    assert origin == "imagenet-1k, from timm"
    assert len(labels) == 1000
    assert [labels[index].split(",")[0] for index in (0, 281, 285, 999)] == [
        "tench",
        "tabby",
        "Egyptian cat",
        "toilet tissue",
    ]


@pytest.mark.parametrize(
    ("classes", "first"), [(11821, "benthos"), (21841, "organism"), (21842, "tench"), (21843, "organism")]
)
def test_the_larger_imagenets_are_known(classes: int, first: str) -> None:
    labels, _ = known_labels(classes, classes)
    assert len(labels) == classes
    assert labels[0].split(",")[0] == first


@pytest.mark.parametrize(("classes", "pretraining"), [(10, 10), (1000, 10), (19168, 19168)])
def test_other_sets_have_to_be_given(classes: int, pretraining: int) -> None:
    with pytest.raises(LabelsMissingError, match="--labels"):
        known_labels(classes, pretraining)
