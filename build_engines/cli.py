"""The command `build-engines`: the only file that prints or exits."""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from build_engines import doctor
from build_engines.build import build, foresee
from build_engines.errors import BuildError, PlanError
from build_engines.plan import KEEP, METHODS, Plan, default_cache
from build_engines.planfile import read_plans
from build_engines.report.page import MARKDOWN_FILE, Outcome, Report, VariantReport
from build_engines.repository import entries
from build_engines.values.precision import Compiler, Precision

REFUSED = 2
GATE_REFUSED = 3
_NOT_PUBLISHED = (Outcome.REFUSED, Outcome.FAILED)

_BUILD_HELP = """\
Turn a timm classifier into entries of a Triton model repository, one for each precision: a graph with the
normalisation and the softmax inside, compared with the model in torch. A lower precision is published only if it is
as accurate on real pictures, and faster than the next higher one.

  build-engines build vit_tiny_patch16_224
      timm's pretrained weights, ImageNet labels
  build-engines build resnet50.a1_in1k --name resnet50 --checkpoint birds.safetensors --labels birds.txt
      your own weights and classes; the number of classes follows from the labels
  build-engines build vit_tiny_patch16_224 --no-pretrained
      random weights, the same each time: for load tests where no model hub can be reached
  build-engines build vit_small_patch16_224 --precision fp32,fp16,int8 --calibration pictures.zip/train \\
      --evaluation pictures.zip/test
      three variants; ranges from the first set, accuracy and speed from the second
  build-engines build vit_nano_convstem_patch4_32 --register training.architecture --checkpoint weights.safetensors \\
      --labels labels.txt --note accuracy.top1=87.10 --note "accuracy.dataset=CIFAR-10 test"
      an architecture of your own, with what you know of it in the entry's provenance
"""

_BUILD_EPILOG = """\
What is published:
  REPOSITORY/NAME/config.pbtxt         what Triton and the gateway need to know (docs/contract.md)
  REPOSITORY/NAME/labels.txt           one label on each line, by class index
  REPOSITORY/NAME/VERSION/model.onnx   uint8 [batch, height, width, 3] in, probabilities out (an engine: model.plan)
  REPOSITORY/NAME/VERSION/report.*     what was measured, as a page, a chart and JSON
Lower precisions are entries of their own: NAME_fp16, NAME_int8, NAME_fp8.
The version is the highest one there plus 1. It appears whole, in one step, and only after all checks; the versions
before it stay, and so does everything when a build fails or is killed.

Exit codes:
  0    published, or published before from the same inputs
  1    a fault of build-engines itself, with a traceback; nothing was published
  2    the command, a model, its files or the repository were refused, and the message says why; nothing of it was
       published
  3    a variant was refused by the gate, or could not be made; the others were published
  130  interrupted; nothing was published
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    try:
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


class _Steps:
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
    return _carry_out([_plan(options)], console)


def _apply(options: argparse.Namespace, console: Console) -> int:
    plans = read_plans(options.file)
    if options.dry_run:
        for plan in plans:
            for precision, state in foresee(plan):
                name = plan.entry_name(precision)
                console.print(f"{name:<40} {precision.value:<5} {plan.compiler.value:<9} {state}", markup=False)
        return 0
    return _carry_out(plans, console)


def _carry_out(plans: Sequence[Plan], console: Console) -> int:
    """Build one after the other; one that cannot be built does not keep the others from it."""
    code = 0
    for plan in plans:
        started = time.monotonic()
        console.print(f"{plan.base_name}", style="bold", markup=False)
        try:
            report = build(plan, _Steps(console))
        except BuildError as error:
            code = _complain(error)
            continue
        console.print(_summary(plan, report, time.monotonic() - started), markup=False)
        if code == 0 and any(variant.outcome in _NOT_PUBLISHED for variant in report.variants):
            code = GATE_REFUSED
    return code


def _list(options: argparse.Namespace, console: Console) -> int:
    for entry in entries.published(options.repository):
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
    found = entries.inspect(options.repository, options.name)
    console.print("\n".join(_description(found)), markup=False)
    return 0


def _rollback(options: argparse.Namespace, console: Console) -> int:
    rolled = entries.rollback(options.repository, options.name, options.to)
    console.print(
        f"{rolled.folder.name}: version {rolled.version} is served now, before it was {rolled.before}", markup=False
    )
    return 0


def _prune(options: argparse.Namespace, console: Console) -> int:
    pruned = entries.prune(options.repository, options.name, options.keep, dry_run=options.dry_run)
    for each in pruned:
        done = "would go" if options.dry_run else "gone"
        numbers = ", ".join(str(number) for number in each.versions)
        console.print(f"{each.name}: versions {done}: {numbers} ({each.size / 1e6:.1f} MB)", markup=False)
    if not pruned:
        console.print("no version is old enough to go")
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
    _add_model(add)
    _add_precision(add)
    _add_serving(add)
    _add_apply(commands.add_parser("apply", help="carry out a file of plans; what is built already is left as it is"))
    add = commands.add_parser("list", help="what is published")
    add.set_defaults(run=_list)
    _add_repository(add)
    add = commands.add_parser("inspect", help="all that an entry says of itself")
    add.set_defaults(run=_inspect)
    add.add_argument("name", metavar="NAME")
    _add_repository(add)
    add = commands.add_parser("rollback", help="serve an earlier version again; nothing is removed")
    add.set_defaults(run=_rollback)
    add.add_argument("name", metavar="NAME")
    add.add_argument("--to", type=int, metavar="VERSION", help="default: the one before what is served")
    _add_repository(add)
    add = commands.add_parser("prune", help="remove old versions, never one that is served")
    add.set_defaults(run=_prune)
    add.add_argument("name", metavar="NAME", nargs="?", help="default: every entry")
    add.add_argument(
        "--keep", type=int, default=2, metavar="N", help="newest versions that stay (default: %(default)s)"
    )
    add.add_argument("--dry-run", action="store_true", help="only say what would go")
    _add_repository(add)
    add = commands.add_parser("doctor", help="what this machine can build")
    add.set_defaults(run=_doctor)
    return parser


def _add_repository(add: argparse.ArgumentParser) -> None:
    add.add_argument(
        "--repository", type=Path, default=Path("model_repository"), help="Triton's folder (default: %(default)s)"
    )


def _add_apply(add: argparse.ArgumentParser) -> None:
    add.set_defaults(run=_apply)
    add.add_argument("file", type=Path, metavar="FILE", help="TOML; docs/builds.md has an example")
    add.add_argument("--dry-run", action="store_true", help="only say what would be built")


def _add_model(add: argparse.ArgumentParser) -> None:
    add.add_argument("model", metavar="MODEL", help="timm's name of the model, with or without a tag")
    _add_repository(add)
    add.add_argument("--name", default="", help="the FP32 entry's name (default: MODEL)")
    weights = add.add_mutually_exclusive_group()
    weights.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="weights by timm's names: .safetensors, or what torch.save wrote (tensors only, nothing in it is run)",
    )
    weights.add_argument(
        "--no-pretrained", dest="pretrained", action="store_false", help="random weights, seeded, instead of timm's"
    )
    add.add_argument(
        "--labels", type=Path, metavar="FILE", help="one label on each line (default: timm's ImageNet sets)"
    )
    add.add_argument(
        "--num-classes",
        type=int,
        metavar="N",
        help="default: as many as labels, else the checkpoint's, else the model's",
    )
    add.add_argument(
        "--register",
        action="append",
        default=[],
        metavar="MODULE",
        help="import this Python module first, which registers an architecture with timm; repeatable",
    )
    add.add_argument(
        "--note", action="append", default=[], metavar="KEY=VALUE", help="add build.KEY to the provenance; repeatable"
    )


def _add_precision(add: argparse.ArgumentParser) -> None:
    add.add_argument(
        "--precision",
        default="fp32",
        metavar="LIST",
        help="of fp32, fp16, int8, fp8, with commas between them (default: %(default)s)",
    )
    add.add_argument(
        "--compiler",
        default="none",
        choices=[compiler.value for compiler in Compiler],
        help="none serves the graph with ONNX Runtime on a CPU; tensorrt makes engines for this machine's GPU; rtx "
        "makes engines of TensorRT for RTX, without a GPU, which Triton cannot load (default: %(default)s)",
    )
    add.add_argument(
        "--calibration",
        type=Path,
        metavar="PICTURES",
        help="500 or more pictures like those to be classified: a folder, a zip, or a folder in a zip (p.zip/train)",
    )
    add.add_argument(
        "--calibration-pictures",
        type=int,
        default=512,
        metavar="N",
        help="how many of them are used (default: %(default)s)",
    )
    add.add_argument(
        "--calibration-method",
        default="entropy",
        choices=METHODS,
        help="how INT8 ranges follow from what is seen; max never cuts outliers (default: %(default)s)",
    )
    add.add_argument(
        "--evaluation",
        type=Path,
        metavar="PICTURES",
        help="pictures for accuracy, in a folder for each class where it is known (default: calibration's others)",
    )
    add.add_argument(
        "--keep-fp16",
        default="none",
        choices=KEEP,
        help="auto leaves the blocks that INT8 hurts most in high precision until the gate passes "
        "(default: %(default)s)",
    )
    add.add_argument("--force", action="store_true", help="publish what the gate refuses, and say so in the provenance")


def _add_serving(add: argparse.ArgumentParser) -> None:
    add.add_argument(
        "--max-batch-size", type=int, default=32, metavar="N", help="most pictures in one batch (default: %(default)s)"
    )
    add.add_argument(
        "--opt-batch-size", type=int, metavar="N", help="what an engine is tuned for (default: 8, at most the largest)"
    )
    add.add_argument(
        "--instances", type=int, default=1, metavar="N", help="copies that Triton runs (default: %(default)s)"
    )
    add.add_argument(
        "--max-queue-delay-us",
        type=int,
        metavar="N",
        help="how long Triton waits for a batch to fill (default: 0 on a CPU, 10000 for engines)",
    )
    add.add_argument(
        "--workspace-mib",
        type=int,
        default=4096,
        metavar="N",
        help="scratch memory that an engine may use (default: %(default)s)",
    )
    add.add_argument(
        "--load",
        default="",
        metavar="HOST:PORT",
        help="a running Triton's gRPC service: it loads each new version, which is compared before the old one goes, "
        "and withdrawn if it answers otherwise",
    )
    add.add_argument(
        "--cache",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="where finished steps are kept (default: ~/.cache/vitrine)",
    )
    add.add_argument(
        "--reports", type=Path, default=Path("build_reports"), metavar="FOLDER", help="default: %(default)s"
    )


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        model=options.model,
        repository=options.repository,
        name=options.name,
        precisions=_precisions(options.precision),
        compiler=Compiler(options.compiler),
        checkpoint=options.checkpoint,
        pretrained=options.pretrained,
        labels=options.labels,
        num_classes=options.num_classes,
        register=tuple(options.register),
        calibration=options.calibration,
        calibration_pictures=options.calibration_pictures,
        calibration_method=options.calibration_method,
        evaluation=options.evaluation,
        keep_fp16=options.keep_fp16,
        force=options.force,
        max_batch_size=options.max_batch_size,
        opt_batch_size=options.opt_batch_size,
        instances=options.instances,
        max_queue_delay_us=options.max_queue_delay_us,
        workspace_mib=options.workspace_mib,
        load=options.load,
        notes=_notes(options.note),
        cache=options.cache or default_cache(),
        reports=options.reports,
    )


def _precisions(text: str) -> tuple[Precision, ...]:
    known = {precision.value: precision for precision in Precision}
    words = [word.strip() for word in text.split(",")]
    if unknown := [word for word in words if word not in known]:
        raise PlanError(f"--precision takes {', '.join(known)}, with commas between them; got {unknown[0]!r}")
    return tuple(known[word] for word in words)


def _notes(texts: Sequence[str]) -> dict[str, str]:
    notes: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key in notes:
            raise PlanError(f"--note takes KEY=VALUE, each key once; got {text!r}")
        notes[key] = value
    return notes


def _summary(plan: Plan, report: Report, seconds: float) -> str:
    lines = [f"\n{report.model} in {seconds:.1f} s; the report is {plan.reports / plan.base_name / MARKDOWN_FILE}"]
    for variant in report.variants:
        lines.append(f"  {variant.entry:<32} {_outcome(variant)}")
        failures = variant.verdict.failures if variant.verdict else ()
        if variant.outcome is Outcome.FAILED:
            failures = (variant.reason,)
        lines += [f"      {failure}" for failure in failures]
    if plan.compiler is Compiler.RTX:
        lines.append("Triton has no backend for TensorRT for RTX; its engines are for programs that call it.")
    elif any(variant.outcome not in _NOT_PUBLISHED for variant in report.variants):
        lines.append("Once Triton and the gateway run (docs/overview.md):")
        lines.append(f"  curl -F file=@picture.jpg http://127.0.0.1:8080/v1/models/{plan.base_name}/classify")
    return "\n".join(lines)


def _outcome(variant: VariantReport) -> str:
    match variant.outcome:
        case Outcome.PUBLISHED:
            words = f"published as version {variant.version}"
        case Outcome.UNCHANGED:
            words = f"as before, version {variant.version}"
        case _:
            words = f"{variant.outcome.value}, not published"
    accuracy = variant.accuracy
    if accuracy and accuracy.labelled:
        words += f"; top-1 {100 * accuracy.labelled.top1:.2f} % (FP32 {100 * accuracy.labelled.reference_top1:.2f} %)"
    elif accuracy:
        words += f"; agrees with FP32 on {100 * accuracy.agreement:.2f} %"
    if variant.race:
        words += f"; {variant.race.speedup:.2f} times the speed of {variant.race.against.value.upper()}"
    return f"{words}; forced" if variant.forced else words


def _description(found: entries.Inspected) -> Iterable[str]:
    shown, entry = found.published, found.published.entry
    yield f"{shown.name}: {shown.problem or 'served by ' + shown.backend}"
    if entry:
        size = entry.preprocessing
        yield f"  input     uint8 [batch, {size.height}, {size.width}, 3], batches up to {entry.max_batch_size}"
        yield f"  pictures  {size.crop_mode.value}, {size.interpolation.value}, crop_pct {size.crop_pct}"
        yield f"  classes   {entry.classes}: {', '.join(entry.labels[:5])}{', ...' if entry.classes > 5 else ''}"
    for each in shown.versions:
        served = ", served" if each.served else ""
        yield f"  version   {each.number}, {each.size / 1e6:.1f} MB, {each.date}{served}"
    if found.report:
        yield f"  report    {found.report.with_name(MARKDOWN_FILE)}"
    for key, value in found.provenance:
        yield f"  {key:<28} {value}"


if __name__ == "__main__":
    sys.exit(main())
