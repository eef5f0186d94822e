"""API keys: who may ask, and how often.

    python -m service.keys NAME --rate 10

prints a new key, which is shown this once, and the line to put into the file that `VITRINE_API_KEYS_FILE` names.
"""

import argparse
import hashlib
import hmac
import math
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.errors import QuotaExceeded, Unauthorized
from service.rates import Cells, Rate

_PREFIX = "vitrine_"
"""Lets a scanner for leaked secrets recognise one."""
_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,64})\s+sha256:(?P<digest>[0-9a-f]{64})(\s+rate=(?P<rate>\d+(\.\d+)?))?")


class KeysError(ValueError):
    """The file of keys cannot be read. The message names the line."""


@dataclass(frozen=True)
class Key:
    """One line of the file."""

    name: str
    digest: str
    rate: Rate | None
    """None: as often as it likes."""


class Keys:
    """The keys that are accepted."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = tuple(keys)

    @classmethod
    def read(cls, path: Path, shared: Path | None = None, clock: Callable[[], float] = time.monotonic) -> "Keys":
        """The keys in the file at `path`. Processes with the same folder `shared` grant their rates together.

        Raises:
            KeysError: the file cannot be read, or a line is not `NAME sha256:DIGEST [rate=N]`.
        """
        try:
            # Windows' editors begin a file with a byte order mark.
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise KeysError(f"the API keys {path} cannot be read: {error}") from None
        lines = _lines(text, path)
        if not lines:
            raise KeysError(f"{path} has no keys; make one with `python -m service.keys NAME`")
        # Another file has other keys in other places.
        cells = Cells(len(lines), shared and shared / f"rates-{digest_of(text)}")
        return cls(
            Key(name, digest, None if rate is None else Rate(rate, cells, number, clock))
            for number, (name, digest, rate) in enumerate(lines)
        )

    def admit(self, key: str | None) -> str:
        """The name of the one who asks with `key`.

        Raises:
            Unauthorized: there is no key, or it is not in the file.
            QuotaExceeded: it is used more often than it may be.
        """
        if key is None:
            raise Unauthorized("send an API key: Authorization: Bearer KEY")
        digest = digest_of(key)
        # Every digest is compared, each in constant time, so that the time tells nothing.
        known = [each for each in self._keys if hmac.compare_digest(each.digest, digest)]
        if not known:
            raise Unauthorized("this API key is not known")
        wait = known[0].rate.take() if known[0].rate else 0.0
        if wait:
            raise QuotaExceeded("this API key is used more often than it may be; slow down", math.ceil(wait))
        return known[0].name


def _lines(text: str, path: Path) -> list[tuple[str, str, float | None]]:
    """Name, digest and rate of each key."""
    keys: list[tuple[str, str, float | None]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None or (found["rate"] is not None and float(found["rate"]) == 0):
            raise KeysError(f"{path} line {number} is not `NAME sha256:DIGEST [rate=N]`, with N above 0")
        if any(name == found["name"] for name, *_ in keys):
            raise KeysError(f"{path} line {number} names {found['name']!r} again")
        keys.append((found["name"], found["digest"], float(found["rate"]) if found["rate"] else None))
    return keys


def digest_of(key: str) -> str:
    """What is kept of a key. It is 256 random bits, so there is nothing to guess and no need for a slow hash."""
    return hashlib.sha256(key.encode()).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a key."""
    parser = argparse.ArgumentParser(prog="python -m service.keys", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="whose it is: letters, digits, `.`, `_` and `-`; it is in the log")
    parser.add_argument("--rate", type=float, help="requests a second at most; without, as many as it likes")
    options = parser.parse_args(arguments)
    key = _PREFIX + secrets.token_urlsafe(32)
    line = f"{options.name} sha256:{digest_of(key)}" + ("" if options.rate is None else f" rate={options.rate:g}")
    if not _LINE.fullmatch(line) or options.rate == 0:
        parser.error("a name has 1 to 64 letters, digits, `.`, `_` and `-`, and a rate is above 0")
    print(f"The key, shown this once:\n  {key}\nThe line for VITRINE_API_KEYS_FILE:\n  {line}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
