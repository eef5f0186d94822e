"""The epochs of a pre-training, in a folder from which the same command goes on after a kill.

AdamW with betas of 0.9 and 0.95, a cosine schedule with warm-up, random crops and flips, and no other augmentation
(He et al. 2021, table 8). Each step seeds itself by (seed, epoch, step), so that an interrupted run ends in the same
weights as an uninterrupted one, bit for bit.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import timm
import torch
from safetensors.torch import save_file
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import nn
from tqdm import tqdm

import training.networks  # noqa: F401  (registers ours with timm)
from build_engines.errors import PicturesUnreadableError
from build_engines.model import register
from build_engines.pictures import PictureSet, decode, open_pictures
from contract.spec import CropMode, Interpolation, Preprocessing
from training.answering import Normalise
from training.augmentation import Augmentation, seed_all
from training.errors import DataError, RecipeError, ResumeError
from training.masked_autoencoder.figure import draw
from training.masked_autoencoder.model import MaskedAutoencoder
from training.masked_autoencoder.recipe import RATED_BATCH, MaskedRecipe

CHECKPOINT, ENCODER, LOG = "checkpoint.pt", "encoder.safetensors", "log.jsonl"
_SHOWN = 8
_FLOOR = 100
"""The peak learning rate over the one that the warm-up starts and the cosine ends with."""
Images = npt.NDArray[np.uint8]
Say = Callable[[str], None]


def pre_train(recipe: MaskedRecipe, data: Path, folder: Path, say: Say) -> None:
    """Train by `recipe` on the pictures at `data`; `folder` gets the encoder, from which `fit --checkpoint` starts.

    Raises:
        TrainingError: the recipe, the pictures or the folder cannot be used.
        BuildError: there are no pictures, or the module to register cannot be imported.
    """
    for module in recipe.register:
        register(module)
    folder.mkdir(parents=True, exist_ok=True)
    run = MaskedRun(recipe, open_pictures(data), folder, say)
    if run.done:
        say(f"{folder} is gone on with after epoch {run.done}")
    run.train()
    encoder = folder / ENCODER
    say(f"{encoder} holds the encoder; vitrine-train fit DATA --model {recipe.model} --checkpoint {encoder}")


class MaskedRun:
    """A pre-training in a folder."""

    def __init__(self, recipe: MaskedRecipe, pictures: PictureSet, folder: Path, say: Say) -> None:
        self.recipe, self.folder, self._say = recipe, folder, say
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        seed_all(recipe.seed)
        config = timm.get_pretrained_cfg(recipe.model)
        if config is None:
            raise RecipeError(f"timm knows no model named {recipe.model!r}")
        edge = recipe.image_size or int(config.input_size[1])
        sized: dict[str, Any] = {"img_size": edge} if recipe.image_size else {}
        self.model = MaskedAutoencoder(timm.create_model(recipe.model, num_classes=0, **sized), recipe.mask_ratio)
        if edge % self.model.patch:
            raise RecipeError(f"--image-size {edge} is no multiple of the patch's edge, {self.model.patch}")
        self.model.to(self.device)
        self.images, self._sha256 = read(pictures, edge, say), pictures.sha256
        self.normalise = Normalise(tuple(config.mean), tuple(config.std)).to(self.device)
        self._augment = Augmentation((edge, edge), recipe.min_crop, "", tuple(config.mean), "bicubic")
        self.batch = min(recipe.batch_size, len(self.images))
        self.steps = -(-len(self.images) // self.batch)
        rate = recipe.learning_rate * self.batch / RATED_BATCH
        self.optimizer = create_optimizer_v2(
            self.model, opt="adamw", lr=rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.95)
        )
        total = recipe.epochs * self.steps
        self.schedule = CosineLRScheduler(
            self.optimizer,
            t_initial=total,
            lr_min=rate / _FLOOR,
            warmup_t=min(int(recipe.warmup * total), total - 1),
            warmup_lr_init=rate / _FLOOR,
            t_in_epochs=False,
        )
        self.history: list[dict[str, Any]] = []
        self._resume()

    @property
    def done(self) -> int:
        """Whole epochs so far."""
        return len(self.history)

    def train(self) -> None:
        """Train every epoch that is left; the folder is current after each."""
        while self.done < self.recipe.epochs:
            started, epoch = time.monotonic(), self.done
            record = {"epoch": epoch + 1, "loss": round(self._epoch(epoch), 5)}
            record["seconds"] = round(time.monotonic() - started, 1)
            self.history.append(record)
            self._keep()
            if self.done % self.recipe.show_every == 0 or self.done == self.recipe.epochs:
                self._show()
            left = (self.recipe.epochs - self.done) * record["seconds"] / 60
            self._say(
                f"epoch {self.done}/{self.recipe.epochs}: loss {record['loss']:.4f}, {record['seconds']:.0f} s, "
                f"about {left:.0f} min left"
            )

    def _epoch(self, epoch: int) -> float:
        self.model.train()
        seed_all(self.recipe.seed, epoch)
        order = torch.randperm(len(self.images))
        order = torch.cat([order, order[: self.steps * self.batch - len(order)]])  # The last batch is full too.
        images = torch.from_numpy(self.images)
        total = 0.0
        bar = tqdm(range(self.steps), desc=f"epoch {epoch + 1}", mininterval=2, leave=False, disable=None)
        for step in bar:
            seed_all(self.recipe.seed, epoch, step)
            batch = images[order[step * self.batch : (step + 1) * self.batch]]
            x = self.normalise(self._augment(batch).to(self.device))
            noise = torch.rand(len(x), self.model.grid[0] * self.model.grid[1])
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
                loss = self.model(x, noise.to(self.device)).loss
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step_update(epoch * self.steps + step + 1)
            total += float(loss.item())
            bar.set_postfix(loss=f"{total / (step + 1):.4f}")
        return total / self.steps

    @torch.inference_mode()
    def _show(self) -> None:
        """Draw some pictures, each with the same patches masked every time."""
        self.model.eval()
        edge = self.model.grid[0] * self.model.patch
        start = (self.images.shape[1] - edge) // 2
        spread = np.linspace(0, len(self.images) - 1, _SHOWN).astype(int)  # Names in a row often show the same.
        shown = torch.from_numpy(self.images[spread, start : start + edge, start : start + edge])
        seed_all(self.recipe.seed)
        x = self.normalise(shown.to(self.device))
        noise = torch.rand(len(x), self.model.grid[0] * self.model.grid[1]).to(self.device)
        draw(self.model, x, self.model(x, noise), self.normalise, self.folder / f"epoch-{self.done:04}.png")

    def _inputs(self) -> dict[str, Any]:
        recipe = {name: value for name, value in asdict(self.recipe).items() if name != "show_every"}
        return {"recipe": json.loads(json.dumps(recipe)), "pictures": self._sha256}

    def _keep(self) -> None:
        state = {
            "inputs": json.dumps(self._inputs()),
            "history": json.dumps(self.history),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        beside = self.folder / f"{CHECKPOINT}.tmp"
        torch.save(state, beside)
        os.replace(beside, self.folder / CHECKPOINT)
        encoder: nn.Module = self.model.encoder
        weights = {name: value.cpu().contiguous() for name, value in encoder.state_dict().items()}
        beside = self.folder / f"{ENCODER}.tmp"
        save_file(weights, beside, metadata={"format": "pt", "model": self.recipe.model})
        os.replace(beside, self.folder / ENCODER)
        lines = "".join(f"{json.dumps(record)}\n" for record in self.history)
        (self.folder / LOG).write_text(lines, encoding="utf-8")

    def _resume(self) -> None:
        checkpoint = self.folder / CHECKPOINT
        if not checkpoint.exists():
            return
        state = torch.load(checkpoint, map_location=self.device, weights_only=True)
        if "recipe" in state:
            raise ResumeError(f"{self.folder} holds a training with labels; choose another --out")
        if json.loads(state["inputs"]) != self._inputs():
            raise ResumeError(
                f"{self.folder} holds a run of other choices or pictures; choose another --out, or give the same"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = json.loads(state["history"])
        self.schedule.step_update(self.done * self.steps)


def read(pictures: PictureSet, edge: int, say: Say) -> Images:
    """Every picture that can be read, its middle square, uint8 `[pictures, side, side, 3]`; of photographs a little
    larger than the model's input, for crops to choose from.

    Raises:
        DataError: none can be read.
    """
    side = edge if edge <= 64 else edge * 8 // 7
    preprocessing = Preprocessing(side, side, 1.0, CropMode.CENTER, Interpolation.BICUBIC)
    found: list[Images] = []
    lost: list[str] = []
    with pictures.each(lambda content, name: decode(content, name, preprocessing)) as each:
        bar = tqdm(each, total=len(pictures), desc="reading", leave=False, disable=None)
        for name, pixels in zip(pictures.names, bar, strict=True):
            if isinstance(pixels, PicturesUnreadableError):
                lost.append(name)
            else:
                found.append(pixels)
    if lost:
        say(f"{len(lost)} pictures cannot be read and are left out, such as {lost[0]}")
    if not found:
        raise DataError(f"no picture of {pictures.origin} can be read")
    return np.stack(found)
