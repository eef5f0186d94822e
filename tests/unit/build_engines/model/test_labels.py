"""Labels come from a file, or from timm where it is known which set is meant."""

import os
import threading
from pathlib import Path

import pytest

from build_engines.errors import LabelsMissingError
from build_engines.model.labels import known_labels, read_labels


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"cat\ndog\n",
        b"cat\r\ndog",
        b"\xef\xbb\xbfcat\n dog \n\n",
        "cat\ndog\n".encode("utf-16"),
        b"0 cat\n1 dog\n",
        b"1 dog\n0 cat\n",
        b"0,cat\n1,dog",
        b"0: cat\n1: dog\n",
        b"0\tcat\r\n1\tdog\r\n",
        b'0,"cat"\n1,"dog"',
        b'"cat"\n"dog"\n',
        b"index,label\n0,cat\n1,dog\n",
        b"label,index\ndog,1\ncat,0\n",
        b"id;name\n0;cat\n1;dog\n",
        b"\xef\xbb\xbfindex,synset,label\n0,n1,cat\n1,n2,dog\n",
        b"label\ncat\ndog\n",
        b"label,count\ncat,7\ndog,9\n",
        b"names:\n  0: cat\n  1: dog\n",
        b'["cat", "dog"]',
        b'{"0": "cat", "1": "dog"}',
        b'\xef\xbb\xbf{"id2label": {"1": "dog", "0": "cat"}, "hidden_size": 192}',
        b'{"label2id": {"cat": 0, "dog": 1}}',
        b"ClassId,Name\n1,dog\n0,cat\n",
        b"name,ordinal,seen\ndog,1,7\ncat,0,9\n",
        b'{"cat": 0, "dog": 1}',
        b'{"0": ["n02123045", "cat"], "1": ["n02084071", "dog"]}',
    ],
)
def test_labels_are_read_in_every_form_that_people_have(tmp_path: Path, content: bytes) -> None:
    assert read_labels(write(tmp_path / "labels.txt", content)) == ("cat", "dog")


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (b"tench, Tinca tinca\ngoldfish, Carassius auratus\n", ("tench, Tinca tinca", "goldfish, Carassius auratus")),
        (b'0,"tench, Tinca tinca"\n1,goldfish', ("tench, Tinca tinca", "goldfish")),
        (b"7 up\n10 euros\n", ("7 up", "10 euros")),
        (b"10 euros\n1 euro\n20 euros\n", ("10 euros", "1 euro", "20 euros")),
        (b"3\n7\n", ("3", "7")),
        (b"name,seen\ndog,7\ncat,9\n", ("dog", "cat")),
        (b"class\n", ("class",)),
        (b"name\nfirst name\nsurname", ("first name", "surname")),
        (b'"12"" vinyl"\n"7"" single"', ('12" vinyl', '7" single')),
        (b"crane\ncrane\n", ("crane", "crane")),
    ],
)
def test_what_only_looks_like_another_form_is_left_alone(
    tmp_path: Path, content: bytes, labels: tuple[str, ...]
) -> None:
    assert read_labels(write(tmp_path / "labels.txt", content)) == labels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there are none"),
        (b"\n\n", "there are none"),
        (b"cat\n\ndog\n", "line 2 is empty"),
        (b"caf\xe9\n", "cannot be read"),
        (b"0 cat\n1 dog\nbird\n", "line 3 has no index and a label"),
        (b"0 cat\n1 dog\n1 bird\n", "line 3 has the index 1 for a second time"),
        (b"1 cat\n2 dog\n", "begin with 1; classes count from 0"),
        (b"0 cat\n1 dog\n3 bird\n", "class 2 has no label, though the indices go up to 3"),
        (b"index,label\n0,cat\nx,dog\n", "line 3 has the index 'x'"),
        (b"index,label\n0,cat\n1,dog,black\n", "line 3 has 3 columns, the head has 2"),
        (b'{"id2label": {"0": "cat", "2": "dog"}}', "class 1 has no label"),
        (b'{"0": "cat", "1": 5}', "class 1 has 5 where one line of text must be"),
        (b'["cat", ""]', "class 1 has ''"),
        (b'{"cat": 0, "dog": 0}', "2 labels have only 1 indices"),
        (b'{"hidden_size": 192}', "the keys 'hidden_size', none of them id2label"),
        (b'{"cat": 0,\n "dog" 1}', "line 2 is no JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html>", "HTML"),
        (b"item {\n  id: 1\n  name: 'cat'\n}\n", "label map"),
    ],
)
def test_a_file_that_is_no_list_of_labels_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(LabelsMissingError, match=message) as caught:
        read_labels(write(tmp_path / "labels.txt", content))
    assert "write one UTF-8 label on each line" in str(caught.value)


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("cat\ndog\n",), daemon=True)
    writer.start()
    assert [read_labels(pipe) for _ in range(3)] == [("cat", "dog")] * 3
    writer.join()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelsMissingError, match="No such file"):
        read_labels(tmp_path / "labels.txt")


def test_imagenets_labels_are_in_its_order() -> None:
    labels, origin = known_labels(1000, 1000)
    assert origin == "imagenet-1k, from timm"
    assert len(labels) == 1000
    assert [labels[index] for index in (0, 281, 285, 999)] == ["tench", "tabby", "Egyptian cat", "toilet tissue"]
    assert len(set(labels)) == 1000
    told_apart = ("crane (n02012849)", "crane (n03126707)", "maillot", "maillot, tank suit")
    assert tuple(labels[index] for index in (134, 517, 638, 639)) == told_apart


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
