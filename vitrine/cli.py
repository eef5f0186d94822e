"""The command `vitrine`: the only module that prints or exits."""

import argparse
import asyncio
import csv
import importlib.util
import json
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from rich.console import Console

from vitrine import files, options, show
from vitrine.answers import Model
from vitrine.batch import ServiceGone, classify_all
from vitrine.client import AsyncClient
from vitrine.errors import VitrineError
from vitrine.evaluation import evaluate
from vitrine.exchange import Explaining
from vitrine.records import Csv, Failure, Form, JsonLines, Output, OutputUnusable, Record

_SOME_FAILED = 3


class Unable(Exception):
    """Nothing more can be done. The message says why, and what would help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; `options` has the exit codes."""
    given = options.parser().parse_args(arguments)
    try:
        return asyncio.run(_run(given))
    except (Unable, files.NoPictures, OutputUnusable, options.KeyFileUnusable, VitrineError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # So that Python's own flush is silent.
            return 2
        print(f"vitrine: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


async def _run(given: argparse.Namespace) -> int:
    command = {"classify": _classify, "explain": _explain, "models": _models, "evaluate": _evaluate}[given.command]
    key = options.api_key(given.key_file)
    try:
        client = AsyncClient(given.url, key=key, timeout=given.timeout, connections=getattr(given, "parallel", 1))
    except ValueError as error:
        raise Unable(str(error)) from None
    async with client:
        return await command(client, given)


async def _classify(client: AsyncClient, given: argparse.Namespace) -> int:
    paths = files.pictures(given.paths)
    if len(paths) > 1:  # A mistake is told once, and not for each picture.
        await _known(client, given.model)
    form = _form(given)
    output = Output(given.output, form, given.model) if given.output else None
    as_lines = output is not None or given.json or given.csv
    lines_to_screen = as_lines and output is None
    if lines_to_screen:
        _write(form.head())
    shown: list[Record] = []
    failed = 0
    async with aclosing(_answered(client, paths, given, output, quiet=lines_to_screen)) as records:
        async for record in records:
            failed += isinstance(record.outcome, Failure)
            if lines_to_screen:
                _write(form.line(record))
            elif not as_lines:
                shown.append(record)
            if isinstance(record.outcome, Failure):
                print(show.failure(record.path, record.outcome), file=sys.stderr)
    if not as_lines:
        show.results(show.screen(Console()), shown)
    return _SOME_FAILED if failed else 0


async def _explain(client: AsyncClient, given: argparse.Namespace) -> int:
    content = files.content_of(given.path)
    model = given.model or (await _default_model(client)).name
    how = Explaining(given.method, given.layer, given.head, given.fusion, given.opacity)
    if given.json:
        found = await client.explain(content, model, how)
        _write(json.dumps({**vars(found), "predictions": [vars(each) for each in found.predictions]}) + "\n")
        return 0
    picture = await client.heat_map(content, model, how)
    _save(picture, given.output)
    return 0


async def _models(client: AsyncClient, given: argparse.Namespace) -> int:
    entries = await client.models()
    if given.json:
        _write(show.models_as_json(entries))
    else:
        show.models(show.screen(Console()), entries)
    return 0


async def _evaluate(client: AsyncClient, given: argparse.Namespace) -> int:
    if given.chart and importlib.util.find_spec("matplotlib") is None:
        raise Unable("--chart needs matplotlib: pip install 'vitrine[evaluate]'")
    folders = files.classes(given.folder)
    name = given.model or (await _default_model(client)).name
    model = await client.model(name)
    labels = _labels(list(folders), model, given.classes)
    label_of = {path: labels[folder] for folder, paths in folders.items() for path in paths}
    given.model, given.top_k = model.name, 5
    output = Output(given.output, JsonLines(5), model.name) if given.output else None
    records: list[Record] = []
    async with aclosing(_answered(client, list(label_of), given, output, quiet=False)) as answered:
        records.extend([record async for record in answered])
    if output is not None:
        records += [record for path, record in output.kept.items() if path in label_of]
    found = evaluate((label_of[record.path], record) for record in records)
    if given.json:
        _write(show.evaluation_as_json(found, model))
    else:
        show.evaluation(show.screen(Console()), found, model)
    if given.chart:
        draw: Callable[..., None] = importlib.import_module("vitrine.chart").draw
        draw(found, f"{model.name} version {model.version}", given.chart)
    return _SOME_FAILED if found.failed else 0


async def _answered(
    client: AsyncClient, paths: Sequence[str], given: argparse.Namespace, output: Output | None, *, quiet: bool
) -> AsyncGenerator[Record, None]:
    """What comes of the files that `output` does not have; it has each once it is given here. Says how fast it was."""
    todo = [path for path in paths if output is None or path not in output.kept]
    console = Console(stderr=True)
    visible = console.is_terminal and len(todo) > 1 and not (quiet and sys.stdout.isatty())
    done = failed = 0
    began = time.monotonic()
    try:
        with show.progress(console, visible) as progress:
            task = progress.add_task("", total=len(todo), rate="", failed="")
            async with aclosing(classify_all(client, todo, given.model, given.top_k, given.parallel)) as records:
                async for record in records:
                    if output is not None:
                        output.write(record)
                    done, failed = done + 1, failed + isinstance(record.outcome, Failure)
                    rate = f"{done / max(1e-3, time.monotonic() - began):.0f} a second"
                    progress.update(task, advance=1, rate=rate, failed=f"{failed} failed" if failed else "")
                    yield record
    except ServiceGone as error:
        again = "; the same command goes on where this one ended" if output is not None else ""
        raise Unable(f"{done} of {len(todo)} pictures are done: {error}{again}") from None
    finally:
        if output is not None:
            output.close()
    if len(paths) > 1:
        seconds = time.monotonic() - began
        before = f", {len(paths) - len(todo)} answered before" if len(todo) < len(paths) else ""
        missed = f", {failed} failed" if failed else ""
        rate = f" in {seconds:.1f} s, {done / max(1e-3, seconds):.0f} a second" if done else ""
        print(f"vitrine: {done} pictures{rate}{missed}{before}", file=sys.stderr)


async def _known(client: AsyncClient, name: str | None) -> None:
    """Fail where the gateway does not answer at all, or does not have the model."""
    if name is None:
        await client.models()
    else:
        await client.model(name)


async def _default_model(client: AsyncClient) -> Model:
    served = [model for model in await client.models() if model.state == "served"]
    default = next((model for model in served if model.default), None)
    if default is None:
        names = ", ".join(model.name for model in served)
        raise Unable(f"name one with --model: {names}" if served else "the gateway serves no model")
    return default


def _labels(folders: Sequence[str], model: Model, given: Path | None) -> Mapping[str, str]:
    """The label of each folder."""
    named: dict[str, str] = {}
    if given is not None:
        with given.open(newline="") as text:
            named = {row[0].strip(): row[1].strip() for row in csv.reader(text) if len(row) > 1}
    known = {_plain(label): label for label in model.labels}
    found = {folder: known.get(_plain(named.get(folder, folder))) for folder in folders}
    strange = [folder for folder, label in found.items() if label is None]
    if strange:
        known_ones = ", ".join(model.labels[:5]) + (", ..." if len(model.labels) > 5 else "")
        raise Unable(
            f"{model.name} has no class for {len(strange)} of {len(folders)} folders, such as {strange[0]!r}; its "
            f"classes are {known_ones}; --classes can say which is which"
        )
    return {folder: label for folder, label in found.items() if label is not None}


def _plain(label: str) -> str:
    return label.replace("_", " ").casefold()


def _save(picture: bytes, output: str) -> None:
    if output == files.STDIN:
        sys.stdout.buffer.write(picture)
    else:
        Path(output).write_bytes(picture)


def _form(given: argparse.Namespace) -> Form:
    by_name = given.output is not None and given.output.suffix.lower() == ".csv" and not given.json
    return Csv(given.top_k) if given.csv or by_name else JsonLines(given.top_k)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
