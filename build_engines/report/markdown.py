"""Numbers, lists and tables as Markdown."""

from collections.abc import Iterable

from build_engines.results import Table

NOTHING = "-"
"""The cell of what was not measured."""


def table(content: Table) -> str:
    """As Markdown, without the columns that say nothing in any row; nothing of a table without rows."""
    if not content.rows:
        return ""
    kept = [index for index in range(len(content.columns)) if {row[index] for row in content.rows} - {NOTHING}]
    rows = [content.columns, ("---",) * len(content.columns), *content.rows]
    return "\n".join(
        f"| {' | '.join(one_line(row[index]).replace('|', chr(92) + '|') for index in kept)} |" for row in rows
    )


def bullets(lines: Iterable[str]) -> str:
    """A list of sentences."""
    return "\n".join(f"- {line[0].upper()}{line[1:]}" for line in map(one_line, lines))


def one_line(text: str) -> str:
    """The text without line breaks."""
    return " ".join(text.split())


def count(number: int, what: str) -> str:
    """A number of things."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def megabytes(size: int | None) -> str:
    """A size in bytes."""
    return NOTHING if size is None else f"{size / 1e6:,.1f} MB"


def digits(value: float) -> str:
    """Three digits that count; all of those before the point."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
