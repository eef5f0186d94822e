"""What came of each file, as a line of JSON or CSV, and a file of such lines that a run goes on with."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from vitrine.answers import Classification, Prediction
from vitrine.errors import Problem, VitrineError


@dataclass(frozen=True)
class Failure:
    """Why a file has no classes."""

    code: str
    detail: str
    status: int | None = None
    """Of the gateway's answer, where there was one."""
    final: bool = False
    """Whether the same file would fail again: it is the picture that is at fault."""

    @classmethod
    def of(cls, error: VitrineError | OSError) -> "Failure":
        """Shape what was raised."""
        if isinstance(error, Problem):
            return cls(error.code, f"{error.title}: {error.detail}", error.status, error.by_picture)
        if isinstance(error, OSError):
            return cls("file_unreadable", error.strerror or str(error))
        return cls("no_answer", str(error))


@dataclass(frozen=True)
class Record:
    """What came of one file."""

    path: str
    outcome: Classification | Failure

    @property
    def final(self) -> bool:
        """Whether asking again would say nothing new."""
        return isinstance(self.outcome, Classification) or self.outcome.final


class OutputUnusable(Exception):
    """A file of earlier results cannot be gone on with. The message says why."""


class JsonLines:
    """One object a line: `path`, and the gateway's answer or `error`."""

    def __init__(self, top_k: int) -> None:
        self._top_k = top_k

    def head(self) -> str:
        """Nothing."""
        return ""

    def line(self, record: Record) -> str:
        """A record as text."""
        outcome = record.outcome
        if isinstance(outcome, Failure):
            return json.dumps({"path": record.path, "error": vars(outcome)}) + "\n"
        body = {
            "path": record.path,
            "model": outcome.model,
            "version": outcome.version,
            "predictions": [vars(prediction) for prediction in outcome.predictions],
            "warnings": list(outcome.warnings),
        }
        return json.dumps(body) + "\n"

    def read(self, text: Iterable[str]) -> Iterator[Record]:
        """The records of a file. A line that was cut, as the run was, is left out.

        Raises:
            OutputUnusable: another line is no record.
        """
        for number, line in enumerate(text, 1):
            if not line.endswith("\n"):
                return
            try:
                yield _from_json(json.loads(line))
            except (ValueError, KeyError, TypeError):
                raise OutputUnusable(f"line {number} is none of this command's") from None


class Csv:
    """One row a file: `path`, `status`, `model`, `version`, three columns for each of `top_k` classes, `warnings`, and
    the error.
    """

    def __init__(self, top_k: int) -> None:
        ranks = range(1, top_k + 1)
        pairs = [column for rank in ranks for column in (f"label_{rank}", f"index_{rank}", f"score_{rank}")]
        self._top_k = top_k
        self._columns = ["path", "status", "model", "version", *pairs, "warnings", "error", "detail", "final"]

    def head(self) -> str:
        """The names of the columns."""
        return self._text(dict(zip(self._columns, self._columns, strict=True)))

    def line(self, record: Record) -> str:
        """A record as text."""
        outcome = record.outcome
        row: dict[str, object] = {"path": record.path, "final": int(record.final)}
        if isinstance(outcome, Failure):
            return self._text({**row, "status": outcome.status, "error": outcome.code, "detail": outcome.detail})
        for rank, prediction in enumerate(outcome.predictions, 1):
            row |= {f"{name}_{rank}": value for name, value in vars(prediction).items()}
        row |= {"status": 200, "model": outcome.model, "version": outcome.version}
        return self._text({**row, "warnings": "; ".join(outcome.warnings)})

    def read(self, text: Iterable[str]) -> Iterator[Record]:
        """The records of a file. A row that was cut, as the run was, is left out.

        Raises:
            OutputUnusable: it has other columns.
        """
        rows = csv.DictReader(text)
        if rows.fieldnames is None:
            return
        if list(rows.fieldnames) != self._columns:
            raise OutputUnusable("it has other columns than this command writes; is --top-k another?")
        for row in rows:
            if row["final"] in ("0", "1"):  # The last column: a row without it was cut.
                yield self._from_row(row)

    def _from_row(self, row: dict[str, str]) -> Record:
        if row["error"]:
            status = int(row["status"]) if row["status"] else None
            return Record(row["path"], Failure(row["error"], row["detail"], status, row["final"] == "1"))
        predictions = tuple(
            Prediction(row[f"label_{rank}"], int(row[f"index_{rank}"]), float(row[f"score_{rank}"]))
            for rank in range(1, self._top_k + 1)
            if row[f"score_{rank}"]
        )
        warnings = tuple(filter(None, row["warnings"].split("; ")))
        return Record(row["path"], Classification(row["model"], row["version"], predictions, warnings))

    def _text(self, row: dict[str, Any]) -> str:
        buffer = io.StringIO()
        csv.DictWriter(buffer, self._columns, lineterminator="\n").writerow(row)
        return buffer.getvalue()


Form = JsonLines | Csv


def _from_json(body: dict[str, Any]) -> Record:
    if "error" in body:
        return Record(body["path"], Failure(**body["error"]))
    predictions = tuple(Prediction(**each) for each in body["predictions"])
    return Record(body["path"], Classification(body["model"], body["version"], predictions, tuple(body["warnings"])))


class Output:
    """A file of records. What it has is kept, but for failures that may pass; new records come after.

    Raises:
        OutputUnusable: it holds something else.
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path, form: Form, model: str | None) -> None:
        self._path, self._form = path, form
        self.kept = self._earlier(model)
        """What it had, by path."""
        self._rewrite()
        self._file: TextIO = _opened(path, "a")

    def write(self, record: Record) -> None:
        """Add one. It is in the file from now on."""
        self._file.write(self._form.line(record))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _earlier(self, model: str | None) -> dict[str, Record]:
        if not self._path.exists():
            return {}
        try:
            with _opened(self._path, "r") as text:
                kept = {record.path: record for record in self._form.read(text) if record.final}
        except (OutputUnusable, ValueError, csv.Error) as error:
            raise OutputUnusable(f"{self._path} cannot be gone on with: {error}; name another file") from error
        others = {each.outcome.model for each in kept.values() if isinstance(each.outcome, Classification)} - {model}
        if model is not None and others:
            raise OutputUnusable(f"{self._path} holds answers of {', '.join(sorted(others))}; name another file")
        return kept

    def _rewrite(self) -> None:
        """So that a cut line is gone, and a failure that is tried again is there once. A reader sees it whole."""
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            with _opened(beside, "w") as text:
                text.write(self._form.head())
                text.writelines(map(self._form.line, self.kept.values()))
            beside.replace(self._path)
        finally:
            beside.unlink(missing_ok=True)


def _opened(path: Path, mode: str) -> TextIO:
    """Paths may be of bytes that are no UTF-8, and rows hold line ends of their own."""
    opened: Callable[..., TextIO] = path.open
    return opened(mode, encoding="utf-8", errors="surrogateescape", newline="")
