"""Labelled pictures as arrays: read by the builder's own code, so that trained and served pixels are the same.

Class folders, or train/, val/ and test/ of them, or a zip of either, or a CSV with the heads path and label.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from build_engines.errors import PicturesUnreadableError
from build_engines.pictures import PictureSet, decode, open_pictures
from contract.orientation import Upright
from contract.spec import Preprocessing
from training.errors import DataError
from training.splits import held_out

SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Folder names above those of classes, and what they mean."""
HELD_OUT = 0.2


@dataclass(frozen=True)
class Split:
    """Pictures of one split, decoded."""

    images: npt.NDArray[np.uint8]
    """`[pictures, height, width, 3]`, as they are served; those of train larger, where they are cropped at random."""
    targets: npt.NDArray[np.int64]
    """`[pictures]`, class indices."""
    names: tuple[str, ...]
    digests: tuple[bytes, ...] = field(repr=False)
    """Equal for pictures that look the same to the model."""
    files: tuple[str, ...] = field(repr=False)
    """SHA-256 of each file."""
    sizes: npt.NDArray[np.int32]
    """`[pictures, 2]`, width and height in the file."""
    turned: npt.NDArray[np.bool_]
    """`[pictures]`, whether EXIF turned it."""

    def __len__(self) -> int:
        return len(self.targets)

    def where(self, chosen: npt.NDArray[np.bool_]) -> "Split":
        """The pictures for which `chosen`, bool `[pictures]`, is true."""
        (places,) = np.nonzero(chosen)
        return Split(
            self.images[places],
            self.targets[places],
            tuple(self.names[place] for place in places),
            tuple(self.digests[place] for place in places),
            tuple(self.files[place] for place in places),
            self.sizes[places],
            self.turned[places],
        )


@dataclass(frozen=True)
class Dataset:
    """All splits."""

    path: Path
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    """By train, val and test, as far as there are any."""
    unreadable: tuple[tuple[str, str], ...]
    """Names of files that were left out, and why."""
    known: frozenset[str] = frozenset()
    """SHA-256 of the files that the weights to start from have learnt from."""

    @property
    def train(self) -> Split:
        """What is learnt from."""
        return self.splits["train"]

    @property
    def judging(self) -> Split | None:
        """What an epoch is chosen by: val."""
        return self.splits.get("val")

    @property
    def reported(self) -> tuple[str, Split] | None:
        """What the result's accuracy is told of: test, else val; None where all pictures are trained on."""
        return next(((word, self.splits[word]) for word in ("test", "val") if word in self.splits), None)

    @property
    def sha256(self) -> str:
        """Over what is learnt from and judged by: pixels, targets and splits."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for word, split in self.splits.items():
            digest.update(f"{word} {split.images.shape}".encode())
            digest.update(split.images.tobytes())
            digest.update(split.targets.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Shelf:
    """Where the pictures are and what they show, before any is decoded."""

    path: Path
    pictures: PictureSet
    classes: tuple[str, ...]
    members: Mapping[str, tuple[int, ...]]
    """By split, indices of its pictures; `all` where the folder has no splits."""

    @property
    def training_pictures(self) -> int:
        """How many there are to train on, before any are held out."""
        return len(self.members.get("train", self.members.get("all", ())))


def look(path: Path) -> Shelf:
    """What is at `path`, decoded not at all.

    Raises:
        DataError: there are no labelled pictures, or some are in splits and some are not.
    """
    try:
        pictures = open_pictures(path)
    except PicturesUnreadableError as error:
        raise DataError(str(error)) from None
    if None in pictures.classes:
        raise DataError(
            f"{path}: {pictures.names[pictures.classes.index(None)]} is in no folder that says what it shows; put the "
            "pictures of each class in a folder of its name, or give a CSV with the heads path and label"
        )
    found: dict[str, list[int]] = {}
    for index, name in enumerate(pictures.names):
        parts = PurePosixPath(name).parts
        word = SPLITS.get(parts[-3].casefold()) if pictures.labels is None and len(parts) > 2 else None
        found.setdefault(word or "all", []).append(index)
    if "all" in found and len(found) > 1:
        raise DataError(
            f"{path}: {pictures.names[found['all'][0]]} is beside train/, val/ or test/, not in one of them; move it"
        )
    if "all" not in found and "train" not in found:
        raise DataError(f"{path} has {' and '.join(found)}, and no train/")
    classes = tuple(sorted({name for name in pictures.classes if name}))
    if len(classes) < 2:
        raise DataError(f"{path} has one class, {classes[0]!r}; a classifier needs two or more")
    return Shelf(path, pictures, classes, {word: tuple(places) for word, places in found.items()})


@dataclass(frozen=True)
class Holding:
    """What is held out of the training pictures, where there is no val."""

    share: float | None
    """None holds out a fifth where nothing else judges."""
    seed: int
    known: frozenset[str] = frozenset()
    """SHA-256 of files that are not, as the weights to start from have learnt from them."""


def read(shelf: Shelf, served: Preprocessing, training: Preprocessing, holding: Holding) -> Dataset:
    """Decode everything on the `shelf` once: as it is `served`, and what is trained on as `training` says.

    Args:
        shelf: what `look` found.
        served: how the model takes its pictures.
        training: the same, or larger for crops.
        holding: what is held out.

    Raises:
        DataError: a class has no picture that can be read, or nothing is left to train on.
    """
    unreadable: list[tuple[str, str]] = []
    splits = {}
    index_of = {name: index for index, name in enumerate(shelf.classes)}
    for word, places in shelf.members.items():
        every = shelf.pictures.only(places)
        splits[word] = _decoded(every, index_of, served, unreadable, word)
    if "all" in splits:
        splits["train"] = splits.pop("all")
    share = holding.share
    if share is None:
        share = 0.0 if "test" in splits else HELD_OUT
    if "val" not in splits and share:
        whole = splits["train"]
        known = np.array([file in holding.known for file in whole.files], bool)
        out = held_out(whole.targets, whole.digests, share, holding.seed, known)
        splits["val"] = splits["train"].where(out)
        splits["train"] = splits["train"].where(~out)
    splits = {word: splits[word] for word in ("train", "val", "test") if word in splits and len(splits[word])}
    if "train" not in splits:
        raise DataError("nothing is left to train on; give more pictures, or a smaller --hold-out")
    missing = sorted(set(shelf.classes) - {shelf.classes[index] for index in set(splits["train"].targets.tolist())})
    if missing:
        raise DataError(f"there is no picture of {missing[0]!r} to train on; add some, or remove the class")
    if training != served:
        splits["train"] = _larger(shelf, splits["train"], training)
    return Dataset(shelf.path, shelf.classes, splits, tuple(unreadable), holding.known)


@dataclass(frozen=True)
class _Seen:
    pixels: npt.NDArray[np.uint8]
    size: tuple[int, int]
    turned: bool
    file: str


def _see(content: bytes, name: str, preprocessing: Preprocessing) -> _Seen:
    pixels = decode(content, name, preprocessing)
    with Image.open(io.BytesIO(content)) as picture:
        turned = Upright.of(picture).orientation != 1
        return _Seen(pixels, picture.size, turned, hashlib.sha256(content).hexdigest())


def _decoded(
    pictures: PictureSet,
    index_of: Mapping[str, int],
    preprocessing: Preprocessing,
    unreadable: list[tuple[str, str]],
    word: str,
) -> Split:
    count = len(pictures)
    images = np.empty((count, preprocessing.height, preprocessing.width, 3), np.uint8)
    kept: list[int] = []
    sizes, turned, digests, files = [], [], [], []
    with pictures.each(lambda content, name: _see(content, name, preprocessing)) as each:
        bar = tqdm(each, total=count, desc=f"reading {word}", leave=False, mininterval=1, disable=None)
        for place, seen in enumerate(bar):
            if isinstance(seen, PicturesUnreadableError):
                unreadable.append((pictures.names[place], type(seen.__cause__ or seen).__name__))
                continue
            images[len(kept)] = seen.pixels
            kept.append(place)
            sizes.append(seen.size)
            turned.append(seen.turned)
            files.append(seen.file)
            digests.append(hashlib.sha256(seen.pixels.tobytes()).digest())
    classes: Sequence[str | None] = pictures.classes
    return Split(
        images[: len(kept)],
        np.array([index_of[str(classes[place])] for place in kept], dtype=np.int64),
        tuple(pictures.names[place] for place in kept),
        tuple(digests),
        tuple(files),
        np.array(sizes, dtype=np.int32).reshape(-1, 2),
        np.array(turned, dtype=bool),
    )


def _larger(shelf: Shelf, split: Split, preprocessing: Preprocessing) -> Split:
    """The same pictures with more around what is served, for crops to choose from."""
    place_of = {name: place for place, name in enumerate(shelf.pictures.names)}
    pictures = shelf.pictures.only([place_of[name] for name in split.names])
    images = pictures.pixels(preprocessing)
    return Split(images, split.targets, split.names, split.digests, split.files, split.sizes, split.turned)
