"""What one build is asked to do, checked as far as that is possible without torch and timm."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from build_engines.errors import PlanError
from build_engines.values.precision import Compiler, Precision
from contract.spec import NAME

NOTE_KEY = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")

RESERVED = frozenset(
    (
        *(
            "calibration",
            "compiler",
            "date",
            "engine",
            "gate",
            "inputs",
            "kept",
            "labels",
            "measured",
            "onnx_sha256",
            "opset",
        ),
        *("parameters", "parity", "precision", "runtime"),
        *("timm_name", "timm_tag", "versions", "weights", "weights_sha256"),
    )
)
"""First words of the provenance keys that the builder itself writes."""

METHODS = ("entropy", "max")
KEEP = ("none", "auto")


def default_cache() -> Path:
    """Where finished steps are kept (XDG Base Directory Specification, `XDG_CACHE_HOME`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vitrine"


@dataclass(frozen=True)
class Plan:
    """Every choice of a build of one model.

    Raises:
        PlanError: two choices contradict each other, or one is out of range.
    """

    model: str
    """timm's name, with or without a tag: `vit_tiny_patch16_224.augreg_in21k_ft_in1k`."""
    repository: Path
    name: str = ""
    """The FP32 entry's name; timm's name where it is empty. Other precisions add theirs: `<name>_int8`."""
    precisions: tuple[Precision, ...] = (Precision.FP32,)
    compiler: Compiler = Compiler.NONE
    checkpoint: Path | None = None
    pretrained: bool = True
    """Whether timm's weights are taken where there is no checkpoint; random ones otherwise."""
    labels: Path | None = None
    num_classes: int | None = None
    register: tuple[str, ...] = ()
    """Modules to import first, for the architectures that they register with timm."""
    calibration: Path | None = None
    """Pictures like those that will be classified: a folder, a zip, or a folder in a zip (`pictures.zip/train`)."""
    calibration_pictures: int = 512
    """How many of them are used."""
    calibration_method: str = "entropy"
    evaluation: Path | None = None
    """Pictures on which variants are compared with the model; the rest of the calibration's where there are none."""
    keep_fp16: str = "none"
    """`auto` leaves the blocks that INT8 or FP8 hurts most in high precision, until the gate passes."""
    force: bool = False
    """Publish what the gate refuses, with its failures in the provenance."""
    max_batch_size: int = 32
    opt_batch_size: int | None = None
    """The batch size that an engine is tuned for; 8, or the largest where that is smaller."""
    instances: int = 1
    max_queue_delay_us: int | None = None
    """How long Triton waits for a batch to fill; 0 on a CPU and 10,000 for engines where it is not said."""
    workspace_mib: int = 4096
    """Memory that the compiler may plan for an engine's scratch space."""
    load: str = ""
    """host:port of a running Triton's gRPC service that is asked to load what was published."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Provenance that only the caller knows."""
    cache: Path = field(default_factory=default_cache)
    reports: Path = Path("build_reports")

    def __post_init__(self) -> None:
        if not self.model:
            raise PlanError("name a timm model, such as vit_tiny_patch16_224")
        if self.name and not NAME.fullmatch(self.name):
            raise PlanError(f"--name must match {NAME.pattern}, is {self.name!r}")
        if self.checkpoint and not self.pretrained:
            raise PlanError("--checkpoint and --no-pretrained exclude each other: the checkpoint brings the weights")
        self._check_precisions()
        self._check_numbers()
        self._check_notes()

    def _check_precisions(self) -> None:
        if not self.precisions or len(set(self.precisions)) != len(self.precisions):
            raise PlanError("--precision takes each of fp32, fp16, int8, fp8 at most once, and at least one of them")
        if Precision.FP8 in self.precisions and self.compiler is Compiler.NONE:
            raise PlanError("fp8 needs a GPU of compute capability 8.9 or more: choose --compiler tensorrt")
        lower = [precision.value for precision in self.precisions if precision is not Precision.FP32]
        if lower and not self.calibration:
            raise PlanError(
                f"{' and '.join(lower)} must see real pictures: --calibration takes a folder or a zip with 500 or "
                "more, like those that will be classified"
            )
        if self.calibration_method not in METHODS:
            raise PlanError(f"--calibration-method is one of {', '.join(METHODS)}, not {self.calibration_method!r}")
        if self.keep_fp16 not in KEEP:
            raise PlanError(f"--keep-fp16 is one of {', '.join(KEEP)}, not {self.keep_fp16!r}")

    def _check_numbers(self) -> None:
        opt = self.opt_batch_size
        for option, value in (
            ("num-classes", self.num_classes),
            ("max-batch-size", self.max_batch_size),
            ("opt-batch-size", opt),
            ("instances", self.instances),
            ("workspace-mib", self.workspace_mib),
        ):
            if value is not None and value < 1:
                raise PlanError(f"--{option} must be at least 1, is {value}")
        if opt is not None and opt > self.max_batch_size:
            raise PlanError(f"--opt-batch-size {opt} is larger than --max-batch-size {self.max_batch_size}")
        if self.max_queue_delay_us is not None and self.max_queue_delay_us < 0:
            raise PlanError(f"--max-queue-delay-us must be at least 0, is {self.max_queue_delay_us}")

    def _check_notes(self) -> None:
        for key, value in self.notes.items():
            if not NOTE_KEY.fullmatch(key):
                raise PlanError(f"the key of a --note must match {NOTE_KEY.pattern}, is {key!r}")
            if key.partition(".")[0] in RESERVED:
                raise PlanError(f"--note {key}: build.{key} is the builder's own; choose another key")
            if not value.strip() or not value.isprintable():
                raise PlanError(f"the value of --note {key} must be one printable line, is {value!r}")

    @property
    def base_name(self) -> str:
        """The name that the entries of all precisions start with. `contract.spec.NAME` allows the dot before a tag."""
        return self.name or self.model

    def entry_name(self, precision: Precision) -> str:
        """The name of the entry of one precision."""
        return self.base_name if precision is Precision.FP32 else f"{self.base_name}_{precision.value}"
