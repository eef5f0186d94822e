"""The command `build-engines`: the only file that prints or exits."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from build_engines import doctor
from build_engines.build import build, foresee
from build_engines.errors import BuildError
from build_engines.machine import number_as_driver
from build_engines.options import add_options, add_repository, plan_of
from build_engines.plan import Plan
from build_engines.planfile import read_plans
from build_engines.publish import foresee_companion, go_back
from build_engines.repository import inspect, prune, published
from build_engines.results import Outcome
from build_engines.summary import description, summary
from build_engines.tune import Load, keep, tune

REFUSED = 2
GATE_REFUSED = 3

_BUILD_HELP = """\
Turn a timm classifier into entries of a Triton model repository, one for each precision: a graph with the
normalisation and the softmax inside, compared with the model in torch. A lower precision is published only if it is
as accurate on real pictures, and faster than the next higher one.

  build-engines build vit_tiny_patch16_224
      timm's pretrained weights, ImageNet labels
  build-engines build resnet50.a1_in1k --name resnet50 --checkpoint birds.safetensors --labels birds.txt
      your own weights and classes; the number of classes follows from the labels
  build-engines build runs/flowers
      what vitrine-train fit ended in: architecture, labels, preprocessing, pictures to judge by, accuracy
  build-engines build vit_tiny_patch16_224 --no-pretrained
      random weights, the same each time: for load tests where no model hub can be reached
  build-engines build vit_small_patch16_224 --precision fp32,fp16,int8 --calibration pictures.zip/train \\
      --evaluation pictures.zip/test
      three variants; ranges from the first set, accuracy and speed from the second
  build-engines build vit_nano_convstem_patch4_32 --register training.architecture --checkpoint weights.safetensors \\
      --labels labels.txt --note accuracy.top1=87.10 --note "accuracy.dataset=CIFAR-10 test"
      an architecture of your own, with what you know of it in the entry's provenance
  build-engines build vit_tiny_patch16_224 --explain
      a second entry beside, from which the gateway shows which patches an answer comes from (docs/explain.md)
"""

_BUILD_EPILOG = """\
What is published:
  REPOSITORY/NAME/config.pbtxt         what Triton and the gateway need to know (docs/contract.md)
  REPOSITORY/NAME/labels.txt           one label on each line, by class index
  REPOSITORY/NAME/VERSION/model.onnx   uint8 [batch, height, width, 3] in, probabilities out (an engine: model.plan)
  REPOSITORY/NAME/VERSION/report.*     what was measured, as a page, a chart and JSON
Lower precisions are entries of their own: NAME_fp16, NAME_int8, NAME_fp8. With --explain there is NAME_explain, which
explains all of them and is FP32 on a CPU, whatever they are.
The version is the highest one there plus 1. It appears whole, in one step, and only after all checks; the versions
before it stay, and so does everything when a build fails or is killed.

Exit codes:
  0    published, or published before from the same inputs
  1    a fault of build-engines itself, with a traceback
  2    the command, a model, its files, the repository or a running Triton refused, and the message says why
  3    a variant was refused by the gate, or could not be made; the others were published
  130  interrupted
Whatever the code, what was published before the end stays, and nothing is half published.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    console = Console(highlight=False, soft_wrap=True)
    number_as_driver()
    try:
        options = _parser().parse_args(arguments)
        code: int = options.run(options, console)
    except BuildError as error:
        return _complain(error)
    except KeyboardInterrupt:
        _errors().print("build-engines: interrupted; what was published stays, nothing is half published")
        return 130
    return code


def _complain(error: BuildError) -> int:
    _errors().print(f"build-engines: error: {error} [{error.code}]", style="red", markup=False)
    return REFUSED


def _errors() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


class _StepLines:
    """A line for each step with its time; on a terminal, a spinner while it runs."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """See `Progress.step`."""
        started = time.monotonic()
        with self._console.status(name) if self._console.is_terminal else nullcontext():
            yield
        self._console.print(f"{name:<14} {time.monotonic() - started:7.1f} s")

    def kept(self, name: str) -> None:
        """See `Progress.kept`."""
        self._console.print(f"{name:<14}   as before")


def _build(options: argparse.Namespace, console: Console) -> int:
    return _carry_out([plan_of(options)], console)


def _apply(options: argparse.Namespace, console: Console) -> int:
    plans = read_plans(options.file)
    if not options.dry_run:
        return _carry_out(plans, console)
    for plan in plans:
        for precision, state in foresee(plan):
            name = plan.entry_name(precision)
            console.print(f"{name:<40} {precision.value:<5} {plan.compiler.value:<9} {state}", markup=False)
        if plan.explain:
            console.print(f"{plan.companion_name:<40} fp32  none      {foresee_companion(plan)}", markup=False)
    return 0


def _carry_out(plans: Sequence[Plan], console: Console) -> int:
    """Build one after the other; one that cannot be built does not keep the others from it."""
    code = 0
    for plan in plans:
        started = time.monotonic()
        console.print(f"{plan.base_name}", style="bold", markup=False)
        try:
            report = build(plan, _StepLines(console))
        except BuildError as error:
            code = _complain(error)
            continue
        console.print(summary(plan, report, time.monotonic() - started), markup=False)
        if code == 0 and any(each.outcome in (Outcome.REFUSED, Outcome.FAILED) for each in report.variants):
            code = GATE_REFUSED
    return code


def _list(options: argparse.Namespace, console: Console) -> int:
    for entry in published(options.repository):
        if entry.problem:
            console.print(f"{entry.name:<40} {entry.problem}", markup=False)
            continue
        numbers = ", ".join(str(each.number) for each in entry.versions)
        console.print(
            f"{entry.name:<40} {entry.precision:<5} version {entry.served or '-'} of {numbers}; "
            f"gate {entry.gate or '-'}",
            markup=False,
        )
    return 0


def _inspect(options: argparse.Namespace, console: Console) -> int:
    console.print("\n".join(description(inspect(options.repository, options.name))), markup=False)
    return 0


def _rollback(options: argparse.Namespace, console: Console) -> int:
    done = go_back(options.repository, options.name, options.to, options.load)
    console.print(f"{done.folder.name}: the entry serves version {done.version}, before it was {done.before}")
    if options.load:
        console.print(f"the Triton at {options.load} serves it now")
    else:
        console.print(
            "a Triton that polls follows by itself; one in explicit mode must be asked, with --load HOST:PORT"
        )
    return 0


def _prune(options: argparse.Namespace, console: Console) -> int:
    removals = prune(options.repository, options.name, options.keep, dry_run=options.dry_run)
    for each in removals:
        done = "would go" if options.dry_run else "gone"
        numbers = ", ".join(str(number) for number in each.versions)
        console.print(f"{each.name}: versions {done}: {numbers} ({each.size / 1e6:.1f} MB)", markup=False)
    if not removals:
        console.print("no version is old enough to go")
    return 0


def _tune(options: argparse.Namespace, console: Console) -> int:
    table = Table(title=f"{options.name}, alone and with {options.connections} in flight")
    for head in ("instances", "window ms", "largest batch", "alone p50 ms", "pictures/s", "p99 ms"):
        table.add_column(head, justify="right")
    with console.status("measuring") if console.is_terminal else nullcontext():
        tuning = tune(options.repository, options.name, options.triton, Load(options.connections, options.seconds))
    for each in tuning.measured:
        scheduling, figures = each.tuned.scheduling, (each.alone_ms, each.rate, each.p99_ms)
        window = f"{(scheduling.max_queue_delay_us or 0) / 1000:g}"
        choices = (str(scheduling.instances), window, str(each.tuned.max_batch_size))
        table.add_row(*choices, *(f"{figure:.1f}" for figure in figures))
    console.print(table)
    if tuning.best == tuning.found.now:
        console.print(f"{options.name} stays as it is: nothing is better beyond the noise")
        return 0
    plan = tuning.best.scheduling
    choice = (
        f"instances = {plan.instances}, max_queue_delay_us = {plan.max_queue_delay_us or 0}, "
        f"max_batch_size = {tuning.best.max_batch_size}"
    )
    if options.dry_run:
        console.print(f"{options.name} would get {choice}", markup=False)
    else:
        note = keep(options.repository, tuning, options.triton)
        console.print(f"{options.name} has {choice} from now on: {note}", markup=False)
        console.print("the next build needs them too, on the command line or in its file of plans")
    return 0


def _doctor(_: argparse.Namespace, console: Console) -> int:
    console.print("\n".join(doctor.lines(doctor.examine())), markup=False)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="build-engines", description="Build entries of a Triton model repository.")
    parser.add_argument("--version", action="version", version=f"build-engines {version('vitrine')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = commands.add_parser(
        "build",
        help="turn a timm classifier into entries",
        description=_BUILD_HELP,
        epilog=_BUILD_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add.set_defaults(run=_build)
    add_options(add)
    add = commands.add_parser("apply", help="carry out a file of plans; what is built already is left as it is")
    add.set_defaults(run=_apply)
    add.add_argument("file", type=Path, metavar="FILE", help="TOML; docs/builds.md has an example")
    add.add_argument("--dry-run", action="store_true", help="only say what would be built")
    add = commands.add_parser("list", help="what is published")
    add.set_defaults(run=_list)
    add_repository(add)
    add = commands.add_parser("inspect", help="all that an entry says of itself")
    add.set_defaults(run=_inspect)
    add.add_argument("name", metavar="NAME")
    add_repository(add)
    _add_rollback(commands.add_parser("rollback", help="serve an earlier version again; nothing is removed"))
    _add_tune(commands.add_parser("tune", help="measure instances, batches and windows on this machine; keep the best"))
    _add_prune(commands.add_parser("prune", help="remove old versions, never one that is served"))
    add = commands.add_parser("doctor", help="what this machine can build")
    add.set_defaults(run=_doctor)
    return parser


def _add_rollback(add: argparse.ArgumentParser) -> None:
    add.set_defaults(run=_rollback)
    add.add_argument("name", metavar="NAME")
    add.add_argument("--to", type=int, metavar="VERSION", help="default: the one before what is served")
    add.add_argument(
        "--load", default="", metavar="HOST:PORT", help="a running Triton's gRPC service, which is asked to follow"
    )
    add_repository(add)


def _add_tune(add: argparse.ArgumentParser) -> None:
    add.set_defaults(run=_tune)
    add.add_argument("name", metavar="NAME")
    add.add_argument(
        "--triton",
        required=True,
        metavar="HOST:PORT",
        help="a running Triton's gRPC service, which reads this repository and serves nobody meanwhile",
    )
    add.add_argument(
        "--connections", type=int, default=32, metavar="N", help="pictures in flight at load (default: %(default)s)"
    )
    add.add_argument(
        "--seconds", type=float, default=4.0, metavar="S", help="of load for each scheduling (default: %(default)s)"
    )
    add.add_argument("--dry-run", action="store_true", help="only say what would be kept")
    add_repository(add)


def _add_prune(add: argparse.ArgumentParser) -> None:
    add.set_defaults(run=_prune)
    add.add_argument("name", metavar="NAME", nargs="?", help="default: every entry")
    add.add_argument(
        "--keep", type=int, default=2, metavar="N", help="newest versions that stay (default: %(default)s)"
    )
    add.add_argument("--dry-run", action="store_true", help="only say what would go")
    add_repository(add)


if __name__ == "__main__":
    sys.exit(main())
