"""A set of pictures, in order of their names: chosen from, decoded, and matched with a model's labels."""

import hashlib
import itertools
import random
import re
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeVar, cast

import numpy as np

from build_engines.errors import PicturesUnreadableError
from build_engines.pictures.decoding import decode
from build_engines.pictures.listing import open_listing
from build_engines.pictures.sources import UNREADABLE, Read, Source, open_source
from build_engines.values import Classes, Pixels, Probabilities
from contract.cpus import available_cpus
from contract.spec import Preprocessing

T = TypeVar("T")


@dataclass(frozen=True)
class Targets:
    """Which class each picture shows, where that is known."""

    indices: Classes | None
    """One class index for each picture, int64 `[pictures]`."""
    words: str
    """How the folders were matched with the labels, or why they were not, for the report."""
    otherwise: "Targets | None" = None
    """Another way to match them that is as good as this one, where the names do not tell."""

    def agreeing(self, answers: Probabilities) -> "Targets":
        """The way to match them by which more of `answers`, float32 `[pictures, classes]`, are right."""
        if self.indices is None or self.otherwise is None or self.otherwise.indices is None:
            return self
        chosen, rejected = self, self.otherwise
        rights = [float((answers.argmax(axis=1) == each.indices).mean()) for each in (chosen, rejected)]
        if rights[1] > rights[0]:
            chosen, rejected, rights = rejected, chosen, rights[::-1]
        told = f"so FP32 is right on {rights[0]:.2%}; {rejected.words}, it would be right on {rights[1]:.2%}"
        return Targets(chosen.indices, f"{chosen.words}, {told}")


@dataclass(frozen=True)
class PictureWords:
    """Which pictures were used."""

    origin: str
    """How a reader knows the set, without folders of this machine."""
    count: int
    sha256: str
    notes: tuple[str, ...] = ()
    """What else a reader must know of them."""


@dataclass(frozen=True)
class PictureSet:
    """Pictures in order of their names."""

    origin: str
    """How the user named them, without the folders above."""
    names: tuple[str, ...]
    """Paths below the root, with slashes."""
    source: Source = field(repr=False)
    labels: tuple[str, ...] | None = field(default=None, repr=False)
    """What each shows, where a CSV says it and not its folder."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def classes(self) -> tuple[str | None, ...]:
        """For each picture what a CSV says it shows, else the folder that it is in, or None where that is the root."""
        if self.labels is not None:
            return self.labels
        return tuple(PurePosixPath(name).parent.name or None for name in self.names)

    @cached_property
    def sha256(self) -> str:
        """Over names and bytes of the pictures and the labels of a CSV: equal sets have equal sums wherever they are.

        Raises:
            PicturesUnreadableError: a picture cannot be read.
        """
        digest = hashlib.sha256()
        with self.source.reading() as read:
            for place, name in enumerate(self.names):
                content = self._bytes(read, name)
                digest.update(f"{len(name.encode())} {name} {len(content)}\n".encode())
                digest.update(content)
                if self.labels is not None:  # Those of folders are in the names.
                    digest.update(f"{self.labels[place]}\n".encode())
        return digest.hexdigest()

    def words(self, *notes: str) -> PictureWords:
        """The set in words for a report."""
        return PictureWords(self.origin, len(self), self.sha256, notes)

    def choose(self, count: int, seed: int = 0) -> "PictureSet":
        """`count` pictures by chance, as many of each class as there are; all where there are no more than `count`."""
        chance = random.Random(seed)  # noqa: S311 (nothing is secret here)
        by_class: dict[str | None, list[str]] = {}
        for name, folder in zip(self.names, self.classes, strict=True):
            by_class.setdefault(folder, []).append(name)
        for names in by_class.values():
            chance.shuffle(names)
        folders = list(by_class.values())
        chance.shuffle(folders)
        turns = itertools.chain.from_iterable(itertools.zip_longest(*folders))
        chosen = set(itertools.islice((name for name in turns if name is not None), count))
        return self._named(lambda name: name in chosen)

    def without(self, other: "PictureSet") -> "PictureSet":
        """The pictures that are not in `other`: those held out when `other` was chosen."""
        known = {other.source.identity(name) for name in other.names}
        return self._named(lambda name: self.source.identity(name) not in known)

    def only(self, places: Sequence[int]) -> "PictureSet":
        """The pictures at these places, in their order."""
        labels = self.labels and tuple(self.labels[place] for place in places)
        return PictureSet(self.origin, tuple(self.names[place] for place in places), self.source, labels)

    @contextmanager
    def each(self, see: Callable[[bytes, str], T]) -> Iterator[Iterator[T | PicturesUnreadableError]]:
        """What `see` makes of the bytes and name of each picture, in order; or why it could not, where it could not.

        A context and no generator, whose threads would end wherever the collector of garbage finds it: where that is
        while another thread starts, both wait for each other for ever.
        """

        def seen(name: str) -> T | PicturesUnreadableError:
            try:
                return see(self._bytes(read, name), name)
            except PicturesUnreadableError as error:
                return error

        with self.source.reading() as read, warnings.catch_warnings(), ThreadPoolExecutor(available_cpus()) as pool:
            # Of odd metadata and large pictures, which are no reason to stop. The filter holds for all threads.
            warnings.simplefilter("ignore")
            found = cast("Generator[T | PicturesUnreadableError, None, None]", pool.map(seen, self.names))
            try:
                yield found
            finally:
                found.close()  # Takes back what no thread has begun.

    def pixels(self, preprocessing: Preprocessing) -> Pixels:
        """The pictures as they are served: uint8 `[pictures, height, width, 3]`.

        Raises:
            PicturesUnreadableError: a picture is broken; the message names it.
        """
        rows: Pixels = np.empty((len(self), preprocessing.height, preprocessing.width, 3), np.uint8)
        with self.each(lambda content, name: decode(content, name, preprocessing)) as decoded:
            for row, picture in zip(rows, decoded, strict=True):
                if isinstance(picture, PicturesUnreadableError):
                    raise picture
                row[:] = picture
        return rows

    def targets(self, labels: Sequence[str]) -> Targets:
        """The classes that the folders stand for, unless they do not stand for those of `labels`.

        A folder stands for the label of its name, whatever the case and with _ for spaces. Where no folder does, and
        there are as many folders as labels, they stand for them in sorted order (torchvision.datasets.ImageFolder), or
        in that of the numbers in their names, in which 10 comes after 9 (`Targets.otherwise`).
        """
        folders = sorted({folder for folder in self.classes if folder is not None})
        if not folders:
            return Targets(None, "they are not in folders, so what they show is not known")
        if None in self.classes:
            return Targets(None, "some are not in a folder, so what they show is not known")
        often = Counter(_plain(label) for label in labels)
        by_name = {_plain(label): index for index, label in enumerate(labels) if often[_plain(label)] == 1}
        unnamed = [folder for folder in folders if _plain(folder) not in by_name]
        if not unnamed:
            index_of = {folder: by_name[_plain(folder)] for folder in folders}
            return Targets(self._indices(index_of), f"{len(folders)} folders have the names of labels")
        if not len(unnamed) == len(folders) == len(labels):
            return Targets(
                None,
                f"{len(unnamed)} of their {len(folders)} folders do not have the name of one label, such as "
                f"{unnamed[0]!r}, so what they show is not known",
            )
        unknown = f"none of the {len(folders)} folders has the name of a label"
        ways = [
            Targets(self._indices({folder: index for index, folder in enumerate(order)}), f"{unknown}; {words}")
            for words, order in (
                ("in sorted order they stand for as many", folders),
                ("in the order of their numbers they stand for as many", sorted(folders, key=_natural)),
            )
        ]
        same = sorted(folders, key=_natural) == folders
        return ways[0] if same else replace(ways[0], otherwise=ways[1])

    def _indices(self, index_of: Mapping[str, int]) -> Classes:
        return np.array([index_of[folder] for folder in self.classes if folder is not None], dtype=np.int64)

    def _named(self, wanted: Callable[[str], bool]) -> "PictureSet":
        return self.only([place for place, name in enumerate(self.names) if wanted(name)])

    def _bytes(self, read: Read, name: str) -> bytes:
        try:
            return read(name)
        except (*UNREADABLE, KeyError) as error:
            raise PicturesUnreadableError(
                f"{name} of {self.origin} cannot be read ({type(error).__name__}); replace or remove it"
            ) from error


def open_pictures(path: Path) -> PictureSet:
    """The pictures in a folder, in a zip, or in a folder within a zip (`pictures.zip/train`), flat or in class folders.

    Or those that a CSV with the heads `path` and `label` lists: paths like the above, relative to the CSV.

    Raises:
        PicturesUnreadableError: there is no such thing, it is no zip, or it holds no pictures.
    """
    if path.suffix.lower() == ".csv":
        listing = open_listing(path)
        return PictureSet(path.name, listing.names, listing, listing.labels)
    return PictureSet(*open_source(path))


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sorts as people count: class_9 before class_10."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)]


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name).strip().casefold()
