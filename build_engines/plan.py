"""What one build is asked to do: each choice declared once, for the command line, for files of plans and for the docs.

Checked as far as that is possible without torch and timm.
"""

import ast
import inspect
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from build_engines.errors import PlanError
from build_engines.values import Compiler, Precision
from contract.config import graph_sizes
from contract.spec import NAME, CropMode, Interpolation

MAX_NAME = 128
"""Characters of an entry's name that `contract.spec.NAME` allows."""
NOTE_KEY = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")
RESERVED = frozenset(
    (
        *("calibration", "compiler", "date", "engine", "explains", "gate", "inputs", "kept", "labels", "layout"),
        *("measured", "onnx_sha256", "opset", "parameters", "parity", "pictures", "precision", "runtime"),
        *(
            "timm_deprecated",
            "timm_name",
            "timm_tag",
            "tuned",
            "versions",
            "weights",
            "weights_sha256",
            "weights_stored",
        ),
    )
)
"""First words of the provenance keys that the builder itself writes."""


@dataclass(frozen=True)
class Option:
    """How people give a field of `Plan`. What it means is the docstring under the field, for people too."""

    metavar: str | None = None
    flag: str = ""
    """On the command line, where it is not the field's name with hyphens; in a file it is always the field's name."""
    exclusive: bool = False
    """Whether it excludes the others that say so."""
    shared: bool = False
    """Whether it is a key of a whole file of plans, and not of one model."""


def default_cache() -> Path:
    """Where finished steps are kept (XDG Base Directory Specification, `XDG_CACHE_HOME`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vitrine"


@dataclass(frozen=True)
class Plan:
    """Every choice of a build of one model.

    Raises:
        PlanError: two choices contradict each other, or one is out of range.
    """

    model: Annotated[str, Option("MODEL")] = ""
    """timm's name of the model, with or without a tag; or the folder that vitrine-train, or save_pretrained, wrote,
    which says the rest; none where --checkpoint is such a folder"""
    repository: Annotated[Path, Option(shared=True)] = Path("model_repository")
    """Triton's folder; engines of TensorRT for RTX have one of their own, by default rtx_engines"""
    name: str = ""
    """the FP32 entry's name; other precisions add theirs, as in NAME_int8 (default: MODEL)"""
    checkpoint: Annotated[Path | None, Option("PATH", exclusive=True)] = None
    """weights: .safetensors, what torch.save wrote (tensors only, nothing in it is run), or a folder that
    transformers' or timm's save_pretrained wrote; docs/builds.md has the layouts that are read"""
    checkpoint_key: Annotated[str, Option("KEY")] = ""
    """which network of the checkpoint, where it holds several: a key such as model_ema, or a prefix of names"""
    pretrained: Annotated[bool, Option(flag="--no-pretrained", exclusive=True)] = True
    """random weights, seeded, instead of timm's"""
    labels: Annotated[Path | None, Option("FILE")] = None
    """one label on each line (default: timm's ImageNet sets)"""
    num_classes: int | None = None
    """number of classes (default: as many as labels, else the checkpoint's, else the model's)"""
    image_size: Annotated[int | None, Option("PIXELS")] = None
    """edge of the square that the model sees; a ViT's position embeddings are resampled to it as timm does (default:
    the size that timm names)"""
    mean: Annotated[tuple[float, ...] | None, Option("R,G,B")] = None
    """mean of each channel of the pictures that the weights were trained on, scaled to 0..1 (default: timm's)"""
    std: Annotated[tuple[float, ...] | None, Option("R,G,B")] = None
    """standard deviation of the same (default: timm's)"""
    crop_pct: Annotated[float | None, Option("SHARE")] = None
    """edge of the crop as a share of the resized picture's (default: timm's)"""
    interpolation: Interpolation | None = None
    """how pictures are resized (default: timm's)"""
    crop_mode: CropMode | None = None
    """center cuts the middle out, squash distorts the picture to fit, border frames all of it (default: timm's)"""
    register: Annotated[tuple[str, ...], Option("MODULE")] = ()
    """import this Python module first, which registers an architecture with timm; repeatable"""
    notes: Annotated[Mapping[str, str], Option("KEY=VALUE", flag="--note")] = field(default_factory=dict)
    """add build.KEY to the provenance; repeatable"""
    precisions: Annotated[tuple[Precision, ...], Option("LIST", flag="--precision")] = (Precision.FP32,)
    """of fp32, fp16, int8, fp8, with commas between them"""
    weights: Literal["fp32", "fp16", "int8"] = "fp32"
    """how the FP32 entry's file holds them, in a half or a quarter of the bytes; it computes in FP32 as fast, and the
    gate judges its accuracy. For a CPU"""
    compiler: Compiler = Compiler.NONE
    """none serves the graph with ONNX Runtime on a CPU; tensorrt makes engines for this machine's GPU; rtx makes
    engines of TensorRT for RTX, without a GPU, which Triton cannot load"""
    calibration: Annotated[Path | None, Option("PICTURES")] = None
    """500 or more pictures like those to be classified: a folder, a zip, or a folder in a zip (p.zip/train)"""
    calibration_pictures: int = 512
    """how many of them are used"""
    calibration_method: Literal["entropy", "max"] = "entropy"
    """how INT8 ranges follow from what is seen; max never cuts outliers"""
    evaluation: Annotated[Path | None, Option("PICTURES")] = None
    """pictures for accuracy, in a folder for each class where it is known (default: calibration's others)"""
    keep_fp16: Literal["none", "auto"] = "none"
    """auto leaves the blocks that INT8 or FP8 hurts most in high precision, until the calibration pictures pass the
    gate's accuracy"""
    force: bool = False
    """publish what the gate refuses, and say so in the provenance"""
    max_batch_size: int = 32
    """most pictures in one batch"""
    opt_batch_size: int | None = None
    """what an engine is tuned for (default: 8, at most the largest)"""
    race_batches: Annotated[tuple[int, ...], Option("LIST")] = ()
    """batch sizes at which a variant must be faster than the next higher precision, with commas between them; one that
    is named twice counts twice (default: 1, 2, 4, ... and the largest, which dynamic batching makes as load grows)"""
    instances: int = 1
    """copies that Triton runs"""
    max_queue_delay_us: int | None = None
    """how long Triton waits for a batch to fill (default: 0)"""
    workspace_mib: int = 4096
    """scratch memory that an engine may use"""
    explain: bool = False
    """publish a second entry beside, NAME_explain, whose graph also says which patches the answer comes from: attention
    rollout, of ViT and DeiT"""
    explain_discard: float = 0.0
    """share of each layer's weakest attention that the rollout leaves out, 0 to below 1"""
    load: Annotated[str, Option("HOST:PORT", shared=True)] = ""
    """a running Triton's gRPC service: it loads each new version, which is compared before the old one goes, and
    withdrawn if its answers differ"""
    cache: Annotated[Path, Option("FOLDER", shared=True)] = field(default_factory=default_cache)
    """where finished steps are kept (default: ~/.cache/vitrine)"""
    reports: Annotated[Path, Option("FOLDER", shared=True)] = Path("build_reports")
    """where reports are written"""

    def __post_init__(self) -> None:
        if not self.model and not (self.checkpoint and self.checkpoint.is_dir()):
            raise PlanError(
                "name a timm model, such as vit_tiny_patch16_224, or a --checkpoint folder whose config.json says it"
            )
        if self.name and not NAME.fullmatch(self.name):
            raise PlanError(f"--name must match {NAME.pattern}, is {self.name!r}")
        if not (self.name or self.model) and not NAME.fullmatch(self.base_name):
            raise PlanError(f"{self.base_name!r} cannot be an entry's name; give one with --name")
        if self.checkpoint_key and not self.checkpoint:
            raise PlanError("--checkpoint-key chooses in a --checkpoint; give one")
        if self.checkpoint and not self.pretrained:
            raise PlanError("--checkpoint and --no-pretrained exclude each other: the checkpoint brings the weights")
        self._check_precisions()
        self._check_words()
        self._check_rounding()
        self._check_numbers()
        self._check_pictures()
        self._check_notes()

    def _check_precisions(self) -> None:
        if not self.precisions or len(set(self.precisions)) != len(self.precisions):
            every = ", ".join(each.value for each in Precision)
            raise PlanError(f"--precision takes each of {every} at most once, and at least one of them")
        if Precision.FP8 in self.precisions and self.compiler is Compiler.NONE:
            raise PlanError("fp8 needs a GPU of compute capability 8.9 or more: choose --compiler tensorrt")
        if Precision.BF16 in self.precisions and self.compiler is not Compiler.NONE:
            raise PlanError("bf16 is for CPUs; engines have fp16: leave bf16 out, or --compiler")
        lower = [precision.value for precision in self.precisions if precision.calibrated]
        if lower and not self.calibration:
            raise PlanError(
                f"{' and '.join(lower)} must see real pictures: --calibration takes a folder or a zip with 500 or "
                "more, like those that will be classified"
            )
        if long := [name for name in self.entry_names if len(name) > MAX_NAME]:
            raise PlanError(
                f"the entry's name {long[0]} has {len(long[0])} characters, at most {MAX_NAME} are allowed; give a "
                "shorter --name"
            )

    def _check_words(self) -> None:
        for option, words, value in (
            ("weights", values_of(kind_of("weights")), self.weights),
            ("calibration-method", values_of(kind_of("calibration_method")), self.calibration_method),
            ("keep-fp16", values_of(kind_of("keep_fp16")), self.keep_fp16),
        ):
            if value not in words:
                raise PlanError(f"--{option} is one of {', '.join(words)}, not {value!r}")

    def _check_rounding(self) -> None:
        """What is less exact than FP32 and calibrated by nothing."""
        if self.weights != "fp32" and self.compiler is not Compiler.NONE:
            raise PlanError("--weights is for entries that ONNX Runtime serves; leave it out, or --compiler")
        if not (self.calibration or self.evaluation):
            for choice, chosen in (("bf16", Precision.BF16 in self.precisions), ("--weights", self.weights != "fp32")):
                if chosen:
                    raise PlanError(f"{choice} must be judged by pictures: give --evaluation")

    def _check_numbers(self) -> None:
        opt = self.opt_batch_size
        for option, value in (
            ("num-classes", self.num_classes),
            ("image-size", self.image_size),
            ("max-batch-size", self.max_batch_size),
            ("opt-batch-size", opt),
            ("instances", self.instances),
            ("workspace-mib", self.workspace_mib),
        ):
            if value is not None and value < 1:
                raise PlanError(f"--{option} must be at least 1, is {value}")
        if opt is not None and opt > self.max_batch_size:
            raise PlanError(f"--opt-batch-size {opt} is larger than --max-batch-size {self.max_batch_size}")
        if wrong := [size for size in self.race_batches if not 1 <= size <= self.max_batch_size]:
            raise PlanError(
                f"--race-batches takes sizes from 1 to --max-batch-size {self.max_batch_size}, not {wrong[0]}"
            )
        if not 0 <= self.explain_discard < 1:
            raise PlanError(f"--explain-discard must be 0 to below 1, is {self.explain_discard}")
        if self.explain_discard and not self.explain:
            raise PlanError("--explain-discard says what --explain leaves out; give both")
        if self.max_queue_delay_us is not None and self.max_queue_delay_us < 0:
            raise PlanError(f"--max-queue-delay-us must be at least 0, is {self.max_queue_delay_us}")

    def _check_pictures(self) -> None:
        for option, values, least, most in (("mean", self.mean, 0.0, 1.0), ("std", self.std, 1e-3, 1.0)):
            if values is None:
                continue
            if len(values) != 3:
                raise PlanError(f"--{option} takes three numbers, for red, green and blue; got {len(values)}")
            if max(values) > most:
                raise PlanError(
                    f"--{option} is for pictures scaled to 0..1, and {max(values):g} is above 1; divide by 255"
                )
            if not min(values) >= least:  # So that NaN is refused as well.
                raise PlanError(f"--{option} takes numbers from {least:g} to {most:g}; got {min(values):g}")
        if self.crop_pct is not None and not 0.1 <= self.crop_pct <= 2:
            raise PlanError(f"--crop-pct is a share from 0.1 to 2, 90 % is 0.9; got {self.crop_pct:g}")

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
        return self.name or self.source

    @property
    def source(self) -> str:
        """What the model is called where it comes from: timm's name, else that of the checkpoint's folder."""
        return self.model or (self.checkpoint.resolve().name if self.checkpoint else "")

    @property
    def raced(self) -> tuple[int, ...]:
        """The batch sizes at which speed is judged."""
        return self.race_batches or graph_sizes(self.max_batch_size)

    def entry_name(self, precision: Precision) -> str:
        """The name of the entry of one precision."""
        return self.base_name if precision is Precision.FP32 else f"{self.base_name}_{precision.value}"

    @property
    def companion_name(self) -> str:
        """The name of the entry that explains the others."""
        return f"{self.base_name}_explain"

    @property
    def entry_names(self) -> tuple[str, ...]:
        """The names of all entries that are built."""
        names = tuple(map(self.entry_name, self.precisions))
        return (*names, self.companion_name) if self.explain else names


def default_repository(compiler: Compiler) -> Path:
    """Where entries go that name no repository: Triton's own folder, or one beside it for what Triton does not load."""
    return Path("rtx_engines") if compiler is Compiler.RTX else Plan.repository


def help_of(name: str) -> str:
    """What the field `name` of `Plan` means: the docstring under it."""
    return _HELP[name]


def option_of(name: str) -> Option:
    """How people give the field `name` of `Plan`."""
    return next(iter(getattr(_HINTS[name], "__metadata__", ())), Option())


def kind_of(name: str) -> Any:
    """The type of the field `name` of `Plan`, without None."""
    kind = getattr(_HINTS[name], "__origin__", None) if hasattr(_HINTS[name], "__metadata__") else _HINTS[name]
    return next(one for one in get_args(kind) if one is not NoneType) if isinstance(kind, UnionType) else kind


def values_of(kind: Any) -> tuple[str, ...]:
    """The words that a choice of type `kind` takes; empty where it takes any."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(each.value for each in kind) if isinstance(kind, type) and issubclass(kind, Enum) else ()


def _docstrings(cls: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, which Python itself does not keep."""
    (tree,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101 (it is one)
    return {
        field.target.id: " ".join(ast.literal_eval(text.value).split())
        for field, text in pairwise(tree.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


_HINTS = get_type_hints(Plan, include_extras=True)
_HELP = _docstrings(Plan)
