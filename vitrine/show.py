"""What the command shows a person: tables and bars. Decides nothing."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from vitrine.answers import Classification, Model
from vitrine.evaluation import Evaluation, Share
from vitrine.files import shown
from vitrine.records import Failure, Record

_BAR = 30
_CONFUSIONS = 10
_WIDTH = 160
"""Of a table that is not shown on a terminal."""


def screen(console: Console) -> Console:
    """The console, wide enough for tables where it is a file or a pipe."""
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH)
    return console


def progress(console: Console, visible: bool) -> Progress:
    """A bar that says how many files are done, how fast, and how many failed."""
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}", style="red"),
    )
    return Progress(*columns, console=console, transient=True, disable=not visible)


def results(console: Console, records: Sequence[Record]) -> None:
    """The classes of each file that has some; bars for a single one."""
    answered = [(each.path, each.outcome) for each in records if isinstance(each.outcome, Classification)]
    if len(records) == len(answered) == 1:
        _bars(console, *answered[0])
        return
    ranks = max((len(answer.predictions) for _, answer in answered), default=0)
    table = Table("file", *(["class", ""] * ranks), box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for path, answer in answered:
        pairs = ((Text(each.label), Text(f"{each.score:.1%}", style="dim")) for each in answer.predictions)
        table.add_row(Text(shown(path)), *(cell for pair in pairs for cell in pair))
    if answered:
        console.print(table)


def failure(path: str, why: Failure) -> str:
    """A line for a file without classes."""
    return f"vitrine: {shown(path)}: {why.detail} ({why.code})"


def models(console: Console, entries: Iterable[Model]) -> None:
    """A row for each entry."""
    table = Table(
        "model", "state", "version", "precision", "top-1", "classes", "input", "explain", box=None, pad_edge=False
    )
    reasons = []
    for entry in entries:
        size = f"{entry.height} x {entry.width}" if entry.height else ""
        top1 = f"{entry.top1:.2f} %" if entry.top1 is not None else ""
        style = "" if entry.state == "served" else "red"
        cells = (entry.version, entry.precision, top1, entry.classes, size, ", ".join(entry.methods))
        table.add_row(
            Text(entry.name),
            Text(entry.state, style=style),
            *(Text("" if cell is None else str(cell)) for cell in cells),
        )
        if entry.reason:
            reasons.append(f"{entry.name}: {entry.reason}")
    console.print(table)
    for reason in reasons:
        console.print(Text(f"\n{reason}", style="red"))


def models_as_json(entries: Iterable[Model]) -> str:
    """A line for each entry."""
    return "".join(json.dumps(_plain(entry)) + "\n" for entry in entries)


def evaluation(console: Console, found: Evaluation, model: Model) -> None:
    """Accuracy, calibration and confusions."""
    console.print(Text(f"{model.name} version {model.version}, {found.top1.of} pictures\n", style="bold"))
    table = Table("", "", "95 % interval", box=None, pad_edge=False, show_header=True)
    for name, share in (("top-1", found.top1), ("top-5", found.top5)):
        low, high = share.interval
        table.add_row(name, f"{share.value:.2%}", f"{low:.2%} to {high:.2%}")
    table.add_row("expected calibration error", f"{found.calibration_error:.2%}", f"{len(found.bins)} bins")
    if model.top1 is not None:
        difference = 100 * found.top1.value - model.top1
        table.add_row("top-1 that the entry states", f"{model.top1:.2f}%", f"{difference:+.2f} points")
    console.print(table)
    for code, count in sorted(found.failed.items()):
        console.print(Text(f"{count} without an answer, counted as wrong: {code}", style="red"))
    wrong = found.confusions(_CONFUSIONS)
    if wrong:
        confusions = Table("class", "taken for", "pictures", "of the class", box=None, pad_edge=False)
        for each in wrong:
            confusions.add_row(Text(each.label), Text(each.taken_for), str(each.share.count), f"{each.share.value:.1%}")
        console.print()
        console.print(confusions)


def evaluation_as_json(found: Evaluation, model: Model) -> str:
    """The same as one object."""
    body = {
        "model": model.name,
        "version": model.version,
        "pictures": found.top1.of,
        "top1": _share(found.top1),
        "top5": _share(found.top5),
        "stated_top1": model.top1 / 100 if model.top1 is not None else None,
        "expected_calibration_error": _number(found.calibration_error),
        "failed": dict(found.failed),
        "bins": [vars(each) for each in found.bins],
        "confusions": [
            {"class": label, "answered": answered, "pictures": count}
            for (label, answered), count in sorted(found.matrix.items())
        ],
    }
    return json.dumps(body) + "\n"


def _bars(console: Console, path: str, answer: Classification) -> None:
    widest = max((len(each.label) for each in answer.predictions), default=0)
    console.print(Text(f"{shown(path)}, by {answer.model} version {answer.version}\n"))
    for each in answer.predictions:
        bar = "█" * round(_BAR * each.score)
        console.print(Text.assemble(f"{each.label:<{widest}}  ", (f"{bar:<{_BAR}}", "blue"), f"  {each.score:6.1%}"))
    for warning in answer.warnings:
        console.print(Text(f"\n{warning}", style="yellow"))
    if answer.timing:
        stages = ", ".join(f"{name} {milliseconds:.1f} ms" for name, milliseconds in answer.timing.items())
        console.print(Text(f"\n{stages}", style="dim"))


def _share(share: Share) -> dict[str, Any]:
    return {"count": share.count, "value": _number(share.value), "interval": [_number(end) for end in share.interval]}


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def _plain(entry: Model) -> dict[str, Any]:
    return {**vars(entry), "build": dict(entry.build), "precision": entry.precision, "top1": entry.top1}
