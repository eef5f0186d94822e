"""The command `build-engines`: the only file that prints or exits."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from build_engines.builder import Built, build
from build_engines.errors import BuildError, PlanError
from build_engines.plan import Plan

REFUSED = 2

_BUILD_HELP = """\
Turn a timm classifier into an entry of a Triton model repository: one ONNX graph with the normalisation and the
softmax inside, proven to answer what the model answers in torch.

  build-engines build vit_tiny_patch16_224
      timm's pretrained weights, ImageNet labels
  build-engines build resnet50.a1_in1k --name resnet50 --checkpoint birds.safetensors --labels birds.txt
      your own weights and classes; the number of classes follows from the labels
  build-engines build vit_tiny_patch16_224 --no-pretrained
      random weights, the same each time: for load tests where no model hub can be reached
  build-engines build vit_nano_convstem_patch4_32 --register training.architecture --checkpoint weights.safetensors \\
      --labels labels.txt --note accuracy.top1=87.10 --note "accuracy.dataset=CIFAR-10 test"
      an architecture of your own, with what you know of it in the entry's provenance
"""

_BUILD_EPILOG = """\
What is published:
  REPOSITORY/NAME/config.pbtxt         what Triton and the gateway need to know (docs/contract.md)
  REPOSITORY/NAME/labels.txt           one label on each line, by class index
  REPOSITORY/NAME/VERSION/model.onnx   uint8 [batch, height, width, 3] in, probabilities out
The version is the highest one there plus 1. It appears whole, in one step, and only after all checks; the versions
before it stay, and so does everything when a build fails or is killed.

Exit codes:
  0    published
  1    a fault of build-engines itself, with a traceback; nothing was published
  2    the command, the model, its files or the repository were refused, and the message says why; nothing was published
  130  interrupted; nothing was published
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()
    try:
        built = build(_plan(options), _Steps(console))
    except BuildError as error:
        errors.print(f"build-engines: error: {error} [{error.code}]", style="red", markup=False)
        return REFUSED
    except KeyboardInterrupt:
        errors.print("build-engines: interrupted; nothing was published")
        return 130
    console.print(_summary(built, time.monotonic() - started), markup=False)
    return 0


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
        self._console.print(f"{name:<8} {time.monotonic() - started:7.1f} s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="build-engines", description="Build entries of a Triton model repository.")
    parser.add_argument("--version", action="version", version=f"build-engines {version('vitrine')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = commands.add_parser(
        "build",
        help="turn a timm classifier into an entry",
        description=_BUILD_HELP,
        epilog=_BUILD_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add.add_argument("model", metavar="MODEL", help="timm's name of the model, with or without a tag")
    add.add_argument(
        "--repository", type=Path, default=Path("model_repository"), help="Triton's folder (default: %(default)s)"
    )
    add.add_argument("--name", default="", help="the entry's name (default: MODEL)")
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
        "--max-batch-size", type=int, default=32, metavar="N", help="most pictures in one batch (default: %(default)s)"
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
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        model=options.model,
        repository=options.repository,
        name=options.name,
        checkpoint=options.checkpoint,
        pretrained=options.pretrained,
        labels=options.labels,
        num_classes=options.num_classes,
        max_batch_size=options.max_batch_size,
        register=tuple(options.register),
        notes=_notes(options.note),
    )


def _notes(texts: Sequence[str]) -> dict[str, str]:
    notes: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key in notes:
            raise PlanError(f"--note takes KEY=VALUE, each key once; got {text!r}")
        notes[key] = value
    return notes


def _summary(built: Built, seconds: float) -> str:
    entry, parity = built.entry, built.parity
    shape = f"uint8 [batch, {entry.preprocessing.height}, {entry.preprocessing.width}, 3]"
    return "\n".join(
        (
            f"\nPublished {entry.name} version {built.published.version} in {seconds:.1f} s",
            f"  folder   {built.published.path}",
            f"  weights  {entry.build['weights']} ({int(entry.build['parameters']):,} parameters)",
            f"  input    {shape}, batches up to {entry.max_batch_size}",
            f"  classes  {entry.classes} ({entry.build['labels']})",
            f"  graph    {built.graph.size / 1e6:.1f} MB, {built.graph.nodes} nodes",
            f"  parity   probabilities within {parity.max_abs_diff:.1e} of torch's, their logarithms within "
            f"{parity.max_log_diff:.1e}; same top-1 on {parity.agreement:.1%}",
            "Once Triton and the gateway run (docs/overview.md):",
            f"  curl -F file=@picture.jpg http://127.0.0.1:8080/v1/models/{entry.name}/classify",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
