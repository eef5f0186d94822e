"""The states of an entry of Triton's repository: served, loading or refused."""

from dataclasses import dataclass, field

from contract.spec import Entry


@dataclass(frozen=True)
class Loading:
    """No version answers yet, and nobody has to mend anything as far as is known."""

    name: str
    reason: str
    """One line, without paths."""


@dataclass(frozen=True)
class Refused:
    """A version that does not answer until somebody mends it: Triton cannot load it, or its contract is not whole."""

    name: str
    version: str
    reason: str
    """One line, without paths."""


@dataclass(frozen=True)
class Served:
    """An entry and the version of it that answers."""

    entry: Entry
    version: str
    refused: Refused | None = field(default=None, compare=False)
    """A newer version that does not answer, so that this one goes on."""
    at: frozenset[tuple[str, int]] = frozenset()
    """The Tritons that have this version, where there may be several."""
    apart: int = field(default=0, compare=False)
    """How many Tritons have another version only, and so get no requests for this entry."""

    @property
    def name(self) -> str:
        """The entry's name."""
        return self.entry.name

    @property
    def is_companion(self) -> bool:
        """Whether it explains what others answer, and is no classifier of its own."""
        return self.entry.explains is not None


State = Served | Loading | Refused
