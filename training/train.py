"""Train a timm Vision Transformer from scratch on a folder or zip of pictures.

The recipe is that of the ViT and DeiT papers (Dosovitskiy et al. 2020; Touvron et al. 2020): AdamW, a cosine schedule
with warm-up, label smoothing, MixUp and CutMix, stochastic depth, and an exponential moving average of the weights,
which is what is kept. The last epoch is the result; no epoch is chosen by its test accuracy.

Typical use:

    python -m training.train --data cifar10.zip --out runs/cifar10

Killed at any moment, the same command goes on from the last whole epoch: every epoch seeds itself from
(seed, epoch), so an interrupted run sees the batches an uninterrupted one would have seen.
"""

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import nn
from tqdm import tqdm

import training.architecture  # noqa: F401  (registers the bundled model's architecture with timm)
from training.data import Split, load_split


@dataclass(frozen=True)
class Recipe:
    """Every choice of a run; stored in its checkpoint, which only the same recipe may resume."""

    model: str = field(default="vit_nano_convstem_patch4_32", metadata={"help": "timm model name"})
    epochs: int = field(default=16, metadata={"help": "passes over the training split"})
    batch_size: int = field(default=128, metadata={"help": "pictures per step"})
    learning_rate: float = field(default=2e-3, metadata={"help": "AdamW's peak learning rate"})
    weight_decay: float = field(default=0.05, metadata={"help": "on matrices; never on biases and norms"})
    warmup_epochs: float = field(default=1.0, metadata={"help": "linear warm-up before the cosine"})
    label_smoothing: float = field(default=0.1, metadata={"help": "share of the target spread over all classes"})
    drop_path: float = field(default=0.05, metadata={"help": "stochastic depth of the last block"})
    mix_probability: float = field(default=0.3, metadata={"help": "share of batches given MixUp or CutMix"})
    mix_until: float = field(default=0.75, metadata={"help": "share of the run after which mixing stops"})
    ema_decay: float = field(default=0.998, metadata={"help": "of the averaged weights, per step"})
    seed: int = field(default=0, metadata={"help": "of everything random"})


def augment(images: torch.Tensor, generator: torch.Generator, padding: int = 4) -> torch.Tensor:
    """Crop each of `[N, 3, H, W]` at random out of its reflection-padded self and flip half of them."""
    count, _, height, width = images.shape
    padded = nn.functional.pad(images, (padding,) * 4, mode="reflect")
    top = torch.randint(0, 2 * padding + 1, (count, 1, 1), generator=generator)
    left = torch.randint(0, 2 * padding + 1, (count, 1, 1), generator=generator)
    flip = torch.rand((count, 1, 1), generator=generator) < 0.5
    rows = top + torch.arange(height).view(1, height, 1)
    columns = torch.arange(width).view(1, 1, width).expand(count, 1, width)
    columns = left + torch.where(flip, width - 1 - columns, columns)
    return padded.permute(0, 2, 3, 1)[torch.arange(count).view(count, 1, 1), rows, columns].permute(0, 3, 1, 2)


@torch.inference_mode()
def top1(model: nn.Module, split: Split, normalise: nn.Module, device: torch.device, batch_size: int = 500) -> float:
    """Share of the split's pictures whose largest logit is their class, in percent."""
    model.eval()
    right = 0
    for start in range(0, len(split.targets), batch_size):
        images = torch.from_numpy(split.images[start : start + batch_size]).to(device).permute(0, 3, 1, 2)
        logits = model(normalise(images.float()))
        right += int((logits.argmax(1).cpu().numpy() == split.targets[start : start + batch_size]).sum())
    return 100.0 * right / len(split.targets)


class Normalise(nn.Module):
    """uint8-valued floats `[N, 3, H, W]` to timm's normalised input, by the model's own mean and std."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Subtract the mean, divide by the standard deviation, both in levels of 255."""
        return (x - self.mean) / self.std


class Run:
    """One training run in a folder: `checkpoint.pt` to resume, `log.jsonl` to read, `weights.safetensors` to build."""

    def __init__(self, recipe: Recipe, data: Path, folder: Path) -> None:
        self.recipe = recipe
        self.folder = folder
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(recipe.seed)
        config = timm.get_pretrained_cfg(recipe.model)
        if config is None:
            raise ValueError(f"timm knows no model named {recipe.model!r}")
        size = (config.input_size[1], config.input_size[2])
        self.train_split = load_split(data, "train", size)
        self.test_split = load_split(data, "test", size)
        self.model = timm.create_model(
            recipe.model, num_classes=len(self.train_split.classes), drop_path_rate=recipe.drop_path
        ).to(memory_format=torch.channels_last)
        self.model.to(self.device)
        self.normalise = Normalise(config.mean, config.std).to(self.device)
        self.steps = len(self.train_split.targets) // recipe.batch_size
        self.optimizer = create_optimizer_v2(
            self.model, opt="adamw", lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.schedule = CosineLRScheduler(
            self.optimizer,
            t_initial=recipe.epochs * self.steps,
            lr_min=recipe.learning_rate / 100,
            warmup_t=int(recipe.warmup_epochs * self.steps),
            warmup_lr_init=recipe.learning_rate / 100,
            t_in_epochs=False,
        )
        self.ema = ModelEmaV3(self.model, decay=recipe.ema_decay, use_warmup=True)
        self.loss = SoftTargetCrossEntropy()
        self.done = self._resume()

    def train(self) -> None:
        """Train every epoch that is left, keeping checkpoint, log and weights current after each."""
        for epoch in range(self.done, self.recipe.epochs):
            started = time.monotonic()
            loss = self._epoch(epoch)
            record = {
                "epoch": epoch + 1,
                "loss": round(loss, 4),
                "test_top1": round(top1(self.ema.module, self.test_split, self.normalise, self.device), 2),
                "seconds": round(time.monotonic() - started, 1),
            }
            self._keep(epoch + 1, record)
            print(json.dumps(record), flush=True)

    def _epoch(self, epoch: int) -> float:
        recipe = self.recipe
        seed = recipe.seed * 100_003 + epoch
        torch.manual_seed(seed)
        np.random.seed(seed)  # timm's Mixup draws from numpy's global state
        generator = torch.Generator().manual_seed(seed)
        mixing = recipe.mix_probability if epoch < recipe.mix_until * recipe.epochs else 0.0
        mixup = Mixup(
            mixup_alpha=0.2,
            cutmix_alpha=1.0,
            prob=mixing,
            label_smoothing=recipe.label_smoothing,
            num_classes=len(self.train_split.classes),
        )
        order = torch.randperm(len(self.train_split.targets), generator=generator)
        images, targets = torch.from_numpy(self.train_split.images), torch.from_numpy(self.train_split.targets)
        total = 0.0
        self.model.train()
        bar = tqdm(range(self.steps), desc=f"epoch {epoch + 1}/{recipe.epochs}", mininterval=2, leave=False)
        for step in bar:
            chosen = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            batch = augment(images[chosen].permute(0, 3, 1, 2).float(), generator)
            x = self.normalise(batch.to(self.device)).contiguous(memory_format=torch.channels_last)
            x, y = mixup(x, targets[chosen].to(self.device))
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
                logits = self.model(x)
            loss = self.loss(logits.float(), y)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            update = epoch * self.steps + step + 1
            self.schedule.step_update(update)
            self.ema.update(self.model, step=update)
            total += loss.item()
            bar.set_postfix(loss=f"{total / (step + 1):.3f}")
        return total / self.steps

    def _keep(self, done: int, record: dict[str, float]) -> None:
        state = {
            "recipe": asdict(self.recipe),
            "done": done,
            "model": self.model.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        checkpoint = self.folder / "checkpoint.pt"
        torch.save(state, checkpoint.with_suffix(".tmp"))
        os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
        weights = {name: value.cpu().contiguous() for name, value in self.ema.module.state_dict().items()}
        save_file(weights, self.folder / "weights.safetensors", metadata={"recipe": json.dumps(asdict(self.recipe))})
        (self.folder / "labels.txt").write_text("\n".join(self.train_split.classes) + "\n")
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")

    def _resume(self) -> int:
        checkpoint = self.folder / "checkpoint.pt"
        if not checkpoint.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            return 0
        state = torch.load(checkpoint, map_location=self.device, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise ValueError(f"{checkpoint} was made by another recipe: {state['recipe']}; choose another --out")
        self.model.load_state_dict(state["model"])
        self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        done = int(state["done"])
        self.schedule.step_update(done * self.steps)
        return done


def main() -> None:
    """Read the command line, train."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder or zip of train/<class>/ and test/<class>/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an unfinished one is resumed")
    for name, choice in Recipe.__dataclass_fields__.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(choice.default),
            default=choice.default,
            help=f"{choice.metadata['help']} (default: %(default)s)",
        )
    arguments = vars(parser.parse_args())
    data, folder = arguments.pop("data"), arguments.pop("out")
    Run(Recipe(**arguments), data, folder).train()


if __name__ == "__main__":
    main()
