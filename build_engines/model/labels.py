"""One label for each class: from a file, or from the label sets that timm carries."""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

from pathlib import Path

from build_engines.errors import LabelsMissingError


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels in `path`, one on each line, by class index.

    Raises:
        LabelsMissingError: the file cannot be read, is empty, or has an empty line.
    """
    try:
        labels = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise LabelsMissingError(
            f"the labels {path} cannot be read ({error}); write one UTF-8 label on each line"
        ) from None
    if not labels:
        raise LabelsMissingError(f"{path} is empty; write one label on each line")
    for number, label in enumerate(labels, start=1):
        if not label:
            raise LabelsMissingError(f"{path} line {number} is empty; write one label on each line")
    return labels


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
        raise LabelsMissingError(
            f"timm carries no labels for these {classes} classes; give --labels FILE, one on a line"
        )
    return tuple(str(label) for label in ImageNetInfo(subset).label_descriptions()), f"{subset}, from timm"
