"""Why an entry is not served, as a line that may be shown to a caller."""

import re

_LENGTH = 300
_LOOKED_AT = 2_000
"""Signs of a text that are looked at: more would take long, and the expression below the square of it."""
_PATH = re.compile(r"""[^\s'"`(),;:=<>\[\]{}]*[/\\](?=[^\s/\\])""")
"""The folders before a file's name."""


def one_line(text: str) -> str:
    """The first line of a foreign text, shortened, without folders.

    The folders say how a machine is laid out, which is nobody's business; the name of a file says what to mend, so it
    stays. What follows the first line is a traceback, where Triton's Python backend speaks.
    """
    first = next(iter(text[:_LOOKED_AT].strip().splitlines()), "")
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in first).split())
    line = _PATH.sub("", line)
    return line if len(line) <= _LENGTH else f"{line[:_LENGTH]}..."
