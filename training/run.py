"""The epochs of a run, in a folder from which the same command goes on after a kill.

AdamW, a cosine schedule with warm-up, label smoothing, MixUp and CutMix, stochastic depth (Touvron et al. 2020) and an
exponential moving average of the weights, which is what is kept. Each step seeds itself by (seed, epoch, step), so an
interrupted run sees what an uninterrupted one would have seen, and ends in the same weights, bit for bit.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.data import Mixup
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import nn
from tqdm import tqdm

from training.answering import Normalise, accuracy, answers
from training.augmentation import Augmentation, seed_all
from training.dataset import Split
from training.distillation import make_task
from training.errors import ResumeError
from training.groups import freeze, hold_still, make_optimizer
from training.run_folder import check_same, inputs, resumable
from training.setup import Setup

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
_FLOOR = 100
"""The peak learning rate over the one that the warm-up starts and the cosine ends with."""
Record = dict[str, Any]


class Run:
    """A training in a folder."""

    def __init__(self, setup: Setup, folder: Path, say: Callable[[str], None] = print) -> None:
        self.setup, self.recipe, self.folder, self._say = setup, setup.recipe, folder, say
        recipe, classifier = setup.recipe, setup.start.classifier
        self.device = setup.device
        self.model = classifier.model.to(self.device).to(memory_format=torch.channels_last)
        self.normalise = Normalise(classifier.mean, classifier.std).to(self.device)
        self._frozen = freeze(self.model, recipe.freeze)
        self.batch = min(recipe.batch_size, len(setup.data.train))
        self.batch -= self.batch % 2 if self.batch > 1 else 0  # timm's Mixup pairs them.
        self.steps = -(-len(setup.data.train) // self.batch)
        self.epochs = _said(recipe.epochs)
        rate = _said(recipe.learning_rate)
        self.optimizer = make_optimizer(self.model, rate, recipe.weight_decay, _said(recipe.layer_decay))
        self.schedule = CosineLRScheduler(
            self.optimizer,
            t_initial=self.epochs * self.steps,
            lr_min=rate / _FLOOR,
            warmup_t=min(int(recipe.warmup_epochs * self.steps), self.epochs * self.steps - 1),
            warmup_lr_init=rate / _FLOOR,
            t_in_epochs=False,
        )
        self._average = ModelEmaV3(self.model, decay=recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None
        teacher = setup.teacher.to(self.device).to(memory_format=torch.channels_last) if setup.teacher else None
        self._task = make_task(self.model, teacher, recipe, classifier.mean, classifier.std)
        size = (classifier.preprocessing.height, classifier.preprocessing.width)
        self._augment = Augmentation(
            size,
            _said(recipe.min_crop),
            recipe.rand_augment,
            classifier.mean,
            classifier.preprocessing.interpolation.value,
        )
        self._dtype = _low_precision(self.device)
        if self._dtype is not None and self.device.type == "cpu":
            _write_attention_out(self.model)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._dtype is torch.float16)
        self.history: list[Record] = []
        self._best: dict[str, torch.Tensor] | None = None
        self._resume()

    @property
    def averaged(self) -> nn.Module:
        """The network that is judged and kept."""
        average: nn.Module | None = self._average.module if self._average else None
        return average or self.model

    @property
    def finished(self) -> bool:
        """Whether no epoch is left, or the last ones brought nothing."""
        return len(self.history) >= self.epochs or self._stale() >= (self.recipe.patience or float("inf"))

    @property
    def result(self) -> dict[str, torch.Tensor]:
        """The weights that are the result: of the best epoch where one is chosen, else of the last."""
        state = self._best if self._best is not None else self.averaged.state_dict()
        return {name: value.cpu().contiguous() for name, value in state.items()}

    def train(self, done: Callable[[Record], None] = lambda _: None) -> None:
        """Train every epoch that is left; the folder is current after each, and `done` is told of it."""
        while not self.finished:
            started, epoch = time.monotonic(), len(self.history)
            record: Record = {"epoch": epoch + 1, "loss": round(self._epoch(epoch), 4), **self._judge()}
            record["learning_rate"] = max(group["lr"] for group in self.optimizer.param_groups)
            record["seconds"] = round(time.monotonic() - started, 1)
            self.history.append(record)
            self._choose(record)
            self._keep()
            done(record)
            self._say(_line(record, self.epochs))

    def _judge(self) -> Record:
        """The accuracy of the average on val, or on test where there is no val; then it chooses nothing."""
        data = self.setup.data
        word, split = ("val", data.judging) if data.judging else (data.reported or ("", None))
        if split is None:
            return {}
        return {f"{word}_top1": round(self.accuracy(split), 3)}

    def accuracy(self, split: Split) -> float:
        """Top-1 of the average on a split, in percent, multiplied in what it is trained in."""
        with self._autocast():
            return accuracy(answers(self.averaged, split.images, self.normalise, self.device), split.targets)

    def _choose(self, record: Record) -> None:
        if self.recipe.patience and "val_top1" in record and self._stale() == 0:
            self._best = {name: value.detach().clone() for name, value in self.averaged.state_dict().items()}

    def _stale(self) -> int:
        """Epochs since the best one by val."""
        rights = [record["val_top1"] for record in self.history if "val_top1" in record]
        return len(rights) - 1 - int(np.argmax(rights)) if rights else 0

    def _batches(self) -> Iterator[torch.Tensor]:
        """The indices of each batch of an epoch, `[batch]`: every picture once, or a share of them `repeats` times; the
        first ones again where the last batch is not full.

        Repeats are those of Hoffer et al. 2020, by which batches vary less in what they show.
        """
        order = torch.randperm(len(self.setup.data.train))
        if self.recipe.repeats > 1:
            order = order[: -(-len(order) // self.recipe.repeats)].repeat_interleave(self.recipe.repeats)
        order = torch.cat([order, order[: self.steps * self.batch - len(order)]])
        for step in range(self.steps):
            yield order[step * self.batch : (step + 1) * self.batch]

    def _epoch(self, epoch: int) -> float:
        recipe, train = self.recipe, self.setup.data.train
        images, targets = torch.from_numpy(train.images), torch.from_numpy(train.targets)
        mixing = _said(recipe.mix_probability) if epoch < recipe.mix_until * self.epochs else 0.0
        mixup = Mixup(
            mixup_alpha=0.2,
            cutmix_alpha=1.0,
            prob=mixing,
            label_smoothing=recipe.label_smoothing,
            num_classes=len(self.setup.data.classes),
        )
        total = 0.0
        self.model.train()
        hold_still(self.model, self._frozen)
        seed_all(recipe.seed, epoch)
        batches = list(self._batches())
        bar = tqdm(batches, desc=f"epoch {epoch + 1}/{self.epochs}", mininterval=2, leave=False, disable=None)
        for step, chosen in enumerate(bar):
            seed_all(recipe.seed, epoch, step)
            x = self.normalise(self._augment(images[chosen]).to(self.device))
            x, y = mixup(x, targets[chosen].to(self.device))
            total += self._step(x, y, epoch * self.steps + step + 1)
            bar.set_postfix(loss=f"{total / (step + 1):.3f}")
        return total / self.steps

    def _step(self, x: torch.Tensor, y: torch.Tensor, update: int) -> float:
        with self._autocast():
            loss = self._task(x, y)["loss"]
        self.optimizer.zero_grad()
        self._scaler.scale(loss).backward()
        if self.recipe.clip_norm:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.schedule.step_update(update)
        if self._average:
            self._average.update(self.model, step=update)
        return float(loss.item())

    def _autocast(self) -> AbstractContextManager[object]:
        if self._dtype is None:
            return nullcontext()
        context: AbstractContextManager[object] = torch.autocast(self.device.type, dtype=self._dtype)
        return context

    def _keep(self) -> None:
        state = {
            "recipe": json.dumps(resumable(self.recipe)),
            "inputs": inputs(self.setup),
            "history": json.dumps(self.history),
            "model": self.model.state_dict(),
            "average": self._average.module.state_dict() if self._average else {},
            "best": self._best or {},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }
        beside = self.folder / f"{CHECKPOINT}.tmp"
        torch.save(state, beside)
        os.replace(beside, self.folder / CHECKPOINT)
        lines = "".join(f"{json.dumps(record)}\n" for record in self.history)
        (self.folder / LOG).write_text(lines, encoding="utf-8")

    def _resume(self) -> None:
        checkpoint = self.folder / CHECKPOINT
        self.folder.mkdir(parents=True, exist_ok=True)
        if not checkpoint.exists():
            return
        state = torch.load(checkpoint, map_location=self.device, weights_only=True)
        if "recipe" not in state:
            raise ResumeError(f"{self.folder} holds a pre-training; choose another --out")
        check_same(self.folder, json.loads(state["recipe"]), state["inputs"], self.setup)
        self.model.load_state_dict(state["model"])
        if self._average:
            self._average.module.load_state_dict(state["average"])
        self._best = state["best"] or None
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
        self.history = json.loads(state["history"])
        self.schedule.step_update(len(self.history) * self.steps)


def _said(value: Any) -> Any:
    """A choice that `Recipe.settled` and `Recipe.for_size` have filled in."""
    assert value is not None  # noqa: S101 (both ran)
    return value


def _low_precision(device: torch.device) -> torch.dtype | None:
    """What to multiply in: 16 bits where the hardware does so, else None for float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    can = torch.cpu.get_capabilities()
    return torch.bfloat16 if can.get("avx512_bf16") or can.get("amx_bf16") else None


def _write_attention_out(model: nn.Module) -> None:
    """Compute attention by two products and a softmax, where the model would ask torch for the fused one.

    On a CPU the fused one's gradient in bfloat16 takes as long as all else in the step: 166 and 292 pictures a second
    for a ViT of 65 tokens on two cores with AMX, 35 and 53 for one of 197 (torch 2.15).
    """
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]


def _line(record: Record, epochs: int) -> str:
    left = (epochs - record["epoch"]) * record["seconds"] / 60
    rights = ", ".join(f"{name.partition('_')[0]} {record[name]:.2f} %" for name in record if name.endswith("_top1"))
    return (
        f"epoch {record['epoch']}/{epochs}: loss {record['loss']:.3f}{', ' if rights else ''}{rights}, "
        f"{record['seconds']:.0f} s, at most {left:.0f} min left"
    )
