"""The command line: what can be asked, and what the environment says of it."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

PREFIX = "VITRINE_CLIENT_"
"""The gateway's settings start with VITRINE_ too, and it leaves these alone."""
_DEFAULT_URL = "http://127.0.0.1:8080"
_CODES = """
Exit codes:
  0    everything was answered
  1    a fault of vitrine itself, with a traceback
  2    nothing more can be done: the command, its files or the gateway refuse, and the message says why
  3    some pictures have no answer; the others have
  130  interrupted
"""
_ENVIRONMENT = f"""
Environment:
  {PREFIX}URL       the gateway's address
  {PREFIX}KEY       the API key
  {PREFIX}KEY_FILE  the file that holds it
"""


class KeyFileUnusable(Exception):
    """The message says why, and never what is in it."""


def parser() -> argparse.ArgumentParser:
    """Of the whole command."""
    top = argparse.ArgumentParser(
        prog="vitrine",
        description="Ask a gateway of Vitrine's: what is on pictures, and what a model looks at.",
        epilog=_ENVIRONMENT + _CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = _common()
    _classify(commands, common)
    _explain(commands, common)
    commands.add_parser("models", parents=[common], help="what is served, and why the rest is not").add_argument(
        "--json", action="store_true", help="a JSON object a line"
    )
    _evaluate(commands, common)
    return top


def api_key(given: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The key, where there is one: of the file that is given, of the environment, of the file that it names.

    Raises:
        KeyFileUnusable: a file cannot be read, or is empty.
    """
    named = environment.get(f"{PREFIX}KEY_FILE")
    if given is None and (key := environment.get(f"{PREFIX}KEY")):
        return key
    path = given or (Path(named) if named else None)
    if path is None:
        return None
    try:
        key = path.read_text().strip()
    except (OSError, ValueError) as error:
        raise KeyFileUnusable(f"the file of the API key, {path}, cannot be read: {type(error).__name__}") from None
    if not key:
        raise KeyFileUnusable(f"the file of the API key, {path}, is empty")
    return key


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    gateway = common.add_argument_group("the gateway")
    gateway.add_argument(
        "--url",
        default=os.environ.get(f"{PREFIX}URL", _DEFAULT_URL),
        help=f"its address (default: {PREFIX}URL, or {_DEFAULT_URL})",
    )
    gateway.add_argument(
        "--key-file", type=Path, metavar="FILE", help="holds the API key; beside it there is the environment alone"
    )
    gateway.add_argument(
        "--timeout",
        type=_above_zero,
        default=30.0,
        metavar="SECONDS",
        help="that an answer may take (default: %(default)g)",
    )
    return common


def _classify(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser) -> None:
    classify = commands.add_parser("classify", parents=[common], help="the classes of pictures")
    classify.add_argument(
        "paths", nargs="+", metavar="PATH", help="a picture, a folder of them (and of folders), or - for standard input"
    )
    classify.add_argument("--model", metavar="NAME", help="default: the gateway's default")
    classify.add_argument("--top-k", type=_count, default=5, metavar="K", help="classes each (default: %(default)s)")
    form = classify.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="a JSON object a line, in place of a table")
    form.add_argument("--csv", action="store_true", help="CSV, in place of a table")
    _running(
        classify, "a file for the results; what it has already is skipped. CSV where it ends in .csv, else JSON lines"
    )


def _explain(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser) -> None:
    explain = commands.add_parser("explain", parents=[common], help="what a model looks at")
    explain.add_argument("path", metavar="PATH", help="a picture, or - for standard input")
    explain.add_argument("--model", metavar="NAME", help="default: the only one that is served")
    explain.add_argument("--method", choices=("rollout", "occlusion"), help="default: rollout where the model has it")
    explain.add_argument(
        "--layer", type=_index, metavar="N", help="of the attention, from 0 (default: all, rolled out)"
    )
    explain.add_argument("--head", type=_index, metavar="N", help="of the layer, from 0 (default: all, fused)")
    explain.add_argument("--fusion", choices=("mean", "max", "min"), help="of the heads (default: mean)")
    explain.add_argument(
        "--opacity", type=_share, metavar="SHARE", help="of the map over the picture, 0 to 1 (default: 0.6)"
    )
    what = explain.add_mutually_exclusive_group(required=True)
    what.add_argument("-o", "--output", metavar="FILE", help="where the PNG goes; - for standard output")
    what.add_argument("--json", action="store_true", help="the grid as numbers, on standard output")


def _evaluate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser) -> None:
    evaluate = commands.add_parser(
        "evaluate", parents=[common], help="accuracy, confusions and calibration, on pictures whose class is known"
    )
    evaluate.add_argument("folder", metavar="DIR", help="has a folder of pictures for each class, named as its label")
    evaluate.add_argument("--model", metavar="NAME", help="default: the only one that is served")
    evaluate.add_argument(
        "--classes", type=Path, metavar="FILE", help="CSV of folder,label, for folders that are named otherwise"
    )
    evaluate.add_argument("--json", action="store_true", help="one JSON object, in place of tables")
    evaluate.add_argument("--chart", type=Path, metavar="FILE", help="a PNG of reliability and confusion")
    _running(evaluate, "a file for the answer to each picture; what it has already is not asked again")


def _running(command: argparse.ArgumentParser, output: str) -> None:
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help=output)
    command.add_argument(
        "--parallel", type=_count, default=16, metavar="N", help="pictures in flight (default: %(default)s)"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"1 to 1000, not {text}")
    return int(text)


def _index(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a number from 0, not {text}")
    return int(text)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"0 to 1, not {text}")
    return value


def _above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.001 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"a number of seconds, not {text}")
    return value
