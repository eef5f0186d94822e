"""One label for each class: from a file in one of the forms that people have, or from the sets that timm carries."""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from build_engines.errors import LabelsMissingError

_FORMS = (
    "write one UTF-8 label on each line, lines like `0 cat` or `0,cat`, a CSV with the heads index and label, a JSON "
    "list, or JSON with id2label"
)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_INDEX_HEADS = ("index", "idx", "id", "class_id", "class_index", "class_idx", "label_id", "number")
_LABEL_HEADS = ("label", "labels", "name", "names", "class", "classes", "class_name", "label_name", "category")
_NUMBERED = re.compile(r"""(?x) \s* (\d+) (?: \s* [,;:\t] \s* | \s+ ) (?P<label> \S .*)""")
_OTHER_FILES = {
    "version https://git-lfs": "a Git LFS pointer; run `git lfs pull` first",
    "<": "HTML or XML, not a list of labels",
    "item {": "a TensorFlow label map; write its names in the order of their ids",
}


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels in `path`, by class index. What can be read only once, such as a pipe, is read once.

    Raises:
        LabelsMissingError: the file cannot be read, or does not give each class from 0 on one label; the message names
            the line or key.
    """
    try:
        content = path.read_bytes() if path.is_file() else _piped(path, path.stat().st_ino)
        text = content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelsMissingError(f"the labels {path} cannot be read ({error}); {_FORMS}") from None
    try:
        return _labels(text.strip("\ufeff"))
    except _NotLabelsError as error:
        raise LabelsMissingError(f"the labels {path.name}: {error}; {_FORMS}") from None


@lru_cache(maxsize=8)
def _piped(path: Path, inode: int) -> bytes:  # noqa: ARG001 (a later pipe may have the same name)
    return path.read_bytes()


class _NotLabelsError(ValueError):
    """What is wrong, without the file and the fix."""


def _labels(text: str) -> tuple[str, ...]:
    begins = text.lstrip()
    if not begins:
        raise _NotLabelsError("there are none")
    for beginning, what in _OTHER_FILES.items():
        if begins.startswith(beginning):
            raise _NotLabelsError(f"this is {what}")
    if begins.startswith(("{", "[")):
        try:
            return _checked(_of_json(json.loads(text)))
        except json.JSONDecodeError as error:
            raise _NotLabelsError(f"line {error.lineno} is no JSON ({error.msg})") from None
    return _checked(_of_lines(text.rstrip().splitlines()))


def _checked(labels: Sequence[Any]) -> tuple[str, ...]:
    for index, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip() or "\n" in label.strip():
            raise _NotLabelsError(f"class {index} has {label!r} where one line of text must be")
    return tuple(label.strip() for label in labels)


def _of_json(content: Any) -> Sequence[Any]:
    """A list, or a mapping between indices and labels in either direction, or a file that holds one."""
    if isinstance(content, list):
        return content
    for key in ("id2label", "idx_to_class", "label2id", "class_to_idx", "names", "labels", "classes"):
        if isinstance(content.get(key), dict | list) and content[key]:
            return _of_json(content[key])
    if 0 in content.values() and all(type(index) is int for index in content.values()):
        return _in_order({index: label for label, index in content.items()}, len(content))
    if content and all(key.isdecimal() for key in content):
        # Keras' file has the synset and the name of each class.
        names = {int(key): value[-1] if isinstance(value, list) and value else value for key, value in content.items()}
        return _in_order(names, len(content))
    raise _NotLabelsError(f"the JSON has the keys {', '.join(map(repr, list(content)[:3]))}, none of them id2label")


def _in_order(labels: Mapping[int, Any], count: int) -> Sequence[Any]:
    if len(labels) != count:
        raise _NotLabelsError(f"{count} labels have only {len(labels)} indices")
    missing = next((index for index in range(count) if index not in labels), None)
    if missing is not None:
        raise _NotLabelsError(f"class {missing} has no label, though the indices go up to {max(labels)}")
    return [labels[index] for index in range(count)]


def _of_lines(lines: Sequence[str]) -> Sequence[str]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise _NotLabelsError(f"line {number} is empty")
    first = next(csv.reader(lines[:1], delimiter=_delimiter(lines[0])))
    heads = [cell.strip().rstrip(":").casefold() for cell in first]
    if len(lines) > 1 and any(head in _LABEL_HEADS for head in heads):
        return _of_table(heads, lines)
    if _mean_numbers(lines):
        return _numbered(lines)
    if all(line.strip().startswith('"') and line.strip().endswith('"') and len(line.strip()) > 1 for line in lines):
        return [",".join(next(csv.reader([line.strip()]))) for line in lines]
    return lines


def _delimiter(line: str) -> str:
    return next((each for each in ("\t", ";") if each in line), ",")


def _of_table(heads: Sequence[str], lines: Sequence[str]) -> Sequence[str]:
    """The rows under heads that name a column of labels, and perhaps one of indices."""
    label = next(place for place, head in enumerate(heads) if head in _LABEL_HEADS)
    if len(heads) == 1:
        return _of_lines(lines[1:])
    labels: dict[int, str] = {}
    rows = list(csv.reader(lines[1:], delimiter=_delimiter(lines[0]), skipinitialspace=True))
    for number, row in enumerate(rows, start=2):
        if len(row) != len(heads):
            raise _NotLabelsError(f"line {number} has {len(row)} columns, the head has {len(heads)}")
    index = next((place for place, head in enumerate(heads) if head in _INDEX_HEADS), None)
    if index is None:
        others = (place for place in range(len(heads)) if place != label)
        index = next((place for place in others if _counts(row[place] for row in rows)), None)
    for number, row in enumerate(rows, start=2):
        place = row[index].strip() if index is not None else str(number - 2)
        if not place.isdecimal():
            raise _NotLabelsError(f"line {number} has the index {place!r}")
        if int(place) in labels:
            raise _NotLabelsError(f"line {number} has the index {place} for a second time")
        labels[int(place)] = row[label]
    return _in_order(labels, len(labels))


def _counts(cells: Iterable[str]) -> bool:
    """Whether they are 0, 1, 2, ... in any order, which under any head are indices."""
    numbers = [cell.strip() for cell in cells]
    return all(map(str.isdecimal, numbers)) and sorted(map(int, numbers)) == list(range(len(numbers)))


def _mean_numbers(lines: Sequence[str]) -> bool:
    """Whether the numbers at the beginning of the lines are indices: most lines begin with their own.

    Labels may begin with numbers, too: `7 up`, `10 euros`.
    """
    found = [_NUMBERED.fullmatch(line) for line in lines]
    counted = sorted(int(each[1]) for each in found if each)
    if len(counted) == len(lines) and counted in (list(range(len(lines))), list(range(1, len(lines) + 1))):
        return True
    own = sum(each is not None and int(each[1]) == place for place, each in enumerate(found))
    return own > 1 and own > len(lines) / 2


def _numbered(lines: Sequence[str]) -> Sequence[str]:
    labels: dict[int, str] = {}
    for number, line in enumerate(lines, start=1):
        match = _NUMBERED.fullmatch(line)
        if match is None:
            raise _NotLabelsError(f"line {number} has no index and a label, and the others have: {line.strip()!r}")
        if int(match[1]) in labels:
            raise _NotLabelsError(f"line {number} has the index {match[1]} for a second time")
        label = match["label"].strip()
        quoted = len(label) > 1 and label[0] == label[-1] and label[0] in "\"'"
        labels[int(match[1])] = label[1:-1].replace('""', '"') if quoted else label
    if 0 not in labels and min(labels) == 1:
        raise _NotLabelsError("the indices begin with 1; classes count from 0")
    return _in_order(labels, len(labels))


def known_labels(classes: int, pretraining_classes: int) -> tuple[tuple[str, ...], str]:
    """The labels of the ImageNet subset that has `classes` classes, and the subset's name.

    A model's own number of classes is all that timm records of the labels it was trained with (see
    `timm.data.infer_imagenet_subset`), so a number of the caller's choice says nothing.

    Raises:
        LabelsMissingError: no subset is known to be meant.
    """
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": classes}) if classes == pretraining_classes else None
    if subset is None:
        raise LabelsMissingError(f"timm carries no labels for these {classes} classes; give --labels FILE")
    info = ImageNetInfo(subset)
    return readable(list(info.label_descriptions()), list(info.label_names())), f"{subset}, from timm"


def readable(synonyms: Sequence[str], synsets: Sequence[str]) -> tuple[str, ...]:
    """Of each class as many of its `synonyms` ("tabby, tabby cat") as tell it from the others, at least the first.

    Where all of them do not, WordNet's number of the class is added: ImageNet has two cranes.
    """
    parts = [text.split(", ") for text in synonyms]
    shown = [1] * len(parts)
    while True:
        labels = [", ".join(names[:count]) for names, count in zip(parts, shown, strict=True)]
        often = Counter(labels)
        alike = [place for place, label in enumerate(labels) if often[label] > 1 and shown[place] < len(parts[place])]
        if not alike:
            break
        for place in alike:
            shown[place] += 1
    return tuple(
        f"{label} ({synset})" if often[label] > 1 else label for label, synset in zip(labels, synsets, strict=True)
    )
