"""What one build is asked to do, checked as far as that is possible without torch and timm."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from build_engines.errors import PlanError
from contract.spec import NAME

NOTE_KEY = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")

RESERVED = frozenset(("date", "labels", "onnx_sha256", "opset", "parameters", "parity", "precision")) | frozenset(
    ("timm_name", "timm_tag", "versions", "weights", "weights_sha256")
)
"""First words of the provenance keys that the builder itself writes."""


@dataclass(frozen=True)
class Plan:
    """Every choice of a build.

    Raises:
        PlanError: two choices contradict each other, or one is out of range.
    """

    model: str
    """timm's name, with or without a tag: `vit_tiny_patch16_224.augreg_in21k_ft_in1k`."""
    repository: Path
    name: str = ""
    """The entry's name; timm's name where it is empty."""
    checkpoint: Path | None = None
    pretrained: bool = True
    """Whether timm's weights are taken where there is no checkpoint; random ones otherwise."""
    labels: Path | None = None
    num_classes: int | None = None
    max_batch_size: int = 32
    register: tuple[str, ...] = ()
    """Modules to import first, for the architectures that they register with timm."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Provenance that only the caller knows, such as a measured accuracy."""

    def __post_init__(self) -> None:
        if not self.model:
            raise PlanError("name a timm model, such as vit_tiny_patch16_224")
        if self.name and not NAME.fullmatch(self.name):
            raise PlanError(f"--name must match {NAME.pattern}, is {self.name!r}")
        if self.checkpoint and not self.pretrained:
            raise PlanError("--checkpoint and --no-pretrained exclude each other: the checkpoint brings the weights")
        if self.num_classes is not None and self.num_classes < 1:
            raise PlanError(f"--num-classes must be at least 1, is {self.num_classes}")
        if self.max_batch_size < 1:
            raise PlanError(f"--max-batch-size must be at least 1, is {self.max_batch_size}")
        for key, value in self.notes.items():
            if not NOTE_KEY.fullmatch(key):
                raise PlanError(f"the key of a --note must match {NOTE_KEY.pattern}, is {key!r}")
            if key.partition(".")[0] in RESERVED:
                raise PlanError(f"--note {key}: build.{key} is the builder's own; choose another key")
            if not value.strip() or not value.isprintable():
                raise PlanError(f"the value of --note {key} must be one printable line, is {value!r}")

    @property
    def entry_name(self) -> str:
        """The entry's name in the repository. `contract.spec.NAME` allows the dot before timm's tag."""
        return self.name or self.model
