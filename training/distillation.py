"""Learning from a teacher: timm's tasks, and the one that it lacks.

Soft: KL divergence at a temperature (Hinton et al. 2015). Hard: the teacher's first class as a second label (Touvron
et al. 2020, section 4). A distilled DeiT learns the teacher's part with its distillation token.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from timm.loss import SoftTargetCrossEntropy
from timm.task import ClassificationTask, LogitDistillationTask, TokenDistillationTask
from timm.task.distillation import DistillationTeacher
from torch import nn
from torchvision import transforms

from build_engines.model import load_timm_model, weights_sha256
from build_engines.plan import Plan
from build_engines.trained_folder import completed
from training.errors import RecipeError
from training.recipe import Recipe


class Teacher(nn.Module):
    """A trained model that sees the student's pictures as its own, and answers in the student's order."""

    def __init__(self, folder: Path, classes: tuple[str, ...], register: tuple[str, ...]) -> None:
        super().__init__()
        if not folder.is_dir():
            raise RecipeError(f"--distill {folder}: give the folder of a run, or one that save_pretrained wrote")
        loaded = load_timm_model(Plan(**completed({"model": str(folder), "register": register}, folder)))
        if sorted(loaded.labels) != sorted(classes):
            raise RecipeError(
                f"--distill {folder}: it knows {len(loaded.labels)} classes such as {loaded.labels[0]!r}, the pictures "
                f"show {len(classes)} such as {classes[0]!r}; a teacher must know the same"
            )
        self.model = loaded.classifier.model
        self.sha256 = weights_sha256(self.model)
        self.order: torch.Tensor
        self.register_buffer("order", torch.tensor([loaded.labels.index(name) for name in classes]))
        preprocessing = loaded.classifier.preprocessing
        self.size = preprocessing.height, preprocessing.width
        self.normalise = transforms.Normalize(loaded.classifier.mean, loaded.classifier.std)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures from 0 to 1 `[N, 3, H, W]` to logits `[N, classes]` in the student's order."""
        if tuple(x.shape[2:]) != self.size:
            x = nn.functional.interpolate(x, self.size, mode="bicubic", antialias=True)
        logits: torch.Tensor = self.model(self.normalise(x))[:, self.order]
        return logits


class Teachers(nn.Module):
    """One teacher or several, with what timm's tasks ask of one."""

    def __init__(self, teachers: Sequence[Teacher], classes: int) -> None:
        super().__init__()
        self.teachers = nn.ModuleList(teachers)
        self.sha256 = " ".join(teacher.sha256 for teacher in teachers)
        self.num_classes = classes
        self.pretrained_cfg = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures from 0 to 1 `[N, 3, H, W]` to the mean of the teachers' log-probabilities `[N, classes]`."""
        return torch.stack([teacher(x).log_softmax(1) for teacher in self.teachers]).mean(0)


class HardDistillation(nn.Module):
    """The teacher's first class as a second label for the same logits, with timm's tasks' interface."""

    def __init__(self, task: LogitDistillationTask) -> None:
        super().__init__()
        self._task = task

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        """Normalised pictures and soft targets to `loss`."""
        task: Any = self._task
        logits = task.trainable_module(x)
        with torch.no_grad():
            first = task.teacher(task.teacher.normalize_input(x, task.student_mean, task.student_std)).argmax(1)
        loss = task.task_loss_weight * task.criterion(logits, y)
        return {"loss": loss + task.distill_loss_weight * nn.functional.cross_entropy(logits, first)}


def make_task(
    model: nn.Module, teacher: Teachers | None, recipe: Recipe, mean: tuple[float, ...], std: tuple[float, ...]
) -> nn.Module:
    """What takes normalised pictures and soft targets `[N, classes]` and gives a dict with `loss`."""
    device, criterion = next(model.parameters()).device, SoftTargetCrossEntropy()
    if teacher is None:
        plain: nn.Module = ClassificationTask(model, criterion=criterion, device=device, verbose=False)
        return plain
    model.pretrained_cfg = {**dict(model.pretrained_cfg), "mean": mean, "std": std}  # type: ignore[assignment, arg-type]
    shared: dict[str, Any] = {
        "student_model": model,
        "teacher_model": DistillationTeacher(teacher, device=device),
        "criterion": criterion,
        "task_loss_weight": 1 - recipe.distill_weight,
        "distill_loss_weight": recipe.distill_weight,
        "temperature": recipe.distill_temperature,
        "device": device,
        "verbose": False,
    }
    task: nn.Module
    if hasattr(model, "set_distilled_training"):
        task = TokenDistillationTask(**shared, distill_type=recipe.distill_kind)
    else:
        task = LogitDistillationTask(**shared)
        if recipe.distill_kind == "hard":
            task = HardDistillation(task)
    return task
