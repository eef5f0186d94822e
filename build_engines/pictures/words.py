"""A set of pictures, in words for a report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PictureWords:
    """Which pictures were used."""

    origin: str
    """How a reader knows the set, without folders of this machine."""
    count: int
    sha256: str
    notes: tuple[str, ...] = ()
    """What else a reader must know of them."""
