"""An ONNX graph on disk."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SINGLE_FILE_LIMIT = 2_000_000_000
"""Bytes of weights above which they go beside the graph: protobuf's limit is 2 GiB, the graph included."""


@dataclass(frozen=True)
class Graph:
    """An ONNX graph on disk: uint8 `[batch, height, width, 3]` in, float32 `[batch, classes]` out."""

    path: Path
    files: tuple[Path, ...]
    """The graph, and the file of its weights where they are beside it."""
    size: int
    """Bytes of all files."""
    sha256: str
    """Over all files."""


def describe(path: Path) -> Graph:
    """The graph at `path`, whose weights may lie beside it under a name that starts with its own."""
    files = tuple(sorted(path.parent.glob(f"{path.name}*")))
    return Graph(path=path, files=files, size=sum(file.stat().st_size for file in files), sha256=sha256(files))


def sha256(files: Sequence[Path]) -> str:
    """The SHA-256 of the bytes of `files`, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
