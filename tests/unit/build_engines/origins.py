"""Checkpoints as other libraries and training scripts write them, with the answers of their own code.

python -m tests.unit.build_engines.origins REPOSITORY    builds and publishes each, with its answers beside it
"""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import timm
import torch
import torchvision
import transformers
from safetensors.torch import load_file
from timm.models import save_for_hf
from torch import nn

from build_engines.build import build
from build_engines.model.transformers_names import FAMILIES, to_timm
from build_engines.plan import Plan
from build_engines.steps import Silent
from tests.unit.build_engines.model.test_efficientnet_layout import in_that_layout
from tests.unit.build_engines.tiny import CLASSES, SIDE, VIT, scrambled

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

State = dict[str, torch.Tensor]
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
"""Of the tiny models, and of every processor here."""
LABELS = ("ash", "birch", "cedar")
REGISTER = "tests.unit.build_engines.tiny"
HF_VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": SIDE,
    "patch_size": 8,
    "id2label": dict(enumerate(LABELS)),
}
HF_SWIN: dict[str, Any] = {
    "image_size": SIDE,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 4,
    "id2label": dict(enumerate(LABELS)),
}
NORM: dict[str, Any] = {"image_mean": list(MEAN), "image_std": list(STD)}


@dataclass(frozen=True)
class Made:
    """A checkpoint on disk, and what computes its answers."""

    checkpoint: Path
    code: nn.Module
    """Normalised pictures in, logits out (or transformers' output with logits)."""
    model: str = ""
    """timm's name, where the checkpoint does not say what it is."""
    levels: tuple[tuple[float, ...], tuple[float, ...]] = (MEAN, STD)
    """Mean and standard deviation of its pictures."""

    def answers(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probabilities of uint8 `[n, height, width, 3]` by the origin's own code."""
        mean, std = (torch.tensor(levels).view(1, 3, 1, 1) for levels in self.levels)
        with torch.inference_mode():
            given = self.code(((torch.from_numpy(images).permute(0, 3, 1, 2) / 255) - mean) / std)
            logits = given.logits if hasattr(given, "logits") else given
            return logits.float().softmax(-1).numpy()  # type: ignore[no-any-return]

    def plan(self, folder: Path, name: str = "made") -> Plan:
        """A build of it."""
        labels = folder / "labels.txt"
        labels.write_text("\n".join(LABELS))
        return Plan(
            model=self.model,
            repository=folder / "models",
            name=name,
            checkpoint=self.checkpoint,
            labels=labels if self.model else None,
            register=(REGISTER,),
            max_batch_size=2,
            cache=folder / "cache",
            reports=folder / "reports",
        )


def saved(folder: Path, content: object, name: str = "w.pth") -> Path:
    """`content` as torch.save writes it."""
    torch.save(content, folder / name)
    return folder / name


def tiny(name: str, **arguments: Any) -> nn.Module:
    return scrambled(timm.create_model(name, num_classes=CLASSES, **arguments))


def timm_bare(folder: Path) -> Made:
    model = tiny("tiny_vit")
    return Made(saved(folder, model.state_dict()), model, "tiny_vit")


def timm_06_swin(folder: Path) -> Made:
    model = tiny("tiny_swin")
    return Made(saved(folder, {"state_dict": older_swin(model.state_dict())}), model, "tiny_swin")


def older_swin(state: Mapping[str, torch.Tensor]) -> State:
    """Swin's tensors as its authors and timm before 0.9 name them: a stage ends with its reduction."""
    old = {}
    for name, tensor in state.items():
        if ".downsample." in name:
            stage = int(name.split(".")[1])
            name = name.replace(f"layers.{stage}.", f"layers.{stage - 1}.", 1)  # noqa: PLW2901
        old[name.replace("head.fc.", "head.")] = tensor
    old["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 16, 16)
    old["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.long)
    return old


def timm_folder(folder: Path) -> Made:
    model = tiny("tiny_vit")
    save_for_hf(model, str(folder / "hub"), model_config={"label_names": list(LABELS)})
    return Made(folder / "hub", model)


def lightning(folder: Path) -> Made:
    """PyTorch Lightning: a prefix, the loss beside the model, and settings of its own kind."""
    model = tiny("tiny_vit")
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    content = {
        "epoch": 3,
        "state_dict": {**state, "criterion.weight": torch.ones(CLASSES)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2, 2)}}, "param_groups": []}],
        "hparams_name": "kwargs",
    }
    return Made(saved(folder, content, "epoch=3.ckpt"), model, "tiny_vit")


def averaged(folder: Path) -> Made:
    model = tiny("tiny_vit")
    average = torch.optim.swa_utils.AveragedModel(model)
    return Made(saved(folder, {"model": average.state_dict()}), model, "tiny_vit")


def half(folder: Path) -> Made:
    """Weights that a mixed training saved in 16 bits."""
    model = tiny("tiny_vit")
    state = {name: tensor.bfloat16() for name, tensor in model.state_dict().items()}
    model.load_state_dict(state)
    return Made(saved(folder, {"model_state_dict": state}), model, "tiny_vit")


def deit_official(folder: Path) -> Made:
    made, state = by_transformers(folder, "deit-teacher")
    return Made(saved(folder, {"model": state, "epoch": 299}), made.code, "tiny_deit_distilled")


def swin_official(folder: Path) -> Made:
    made, state = by_transformers(folder, "swin")
    return Made(saved(folder, {"model": older_swin(state)}), made.code, "tiny_swin")


def beit_official(folder: Path) -> Made:
    made, state = by_transformers(folder, "beit")
    for layer in range(VIT["depth"]):
        state[f"blocks.{layer}.attn.relative_position_index"] = torch.zeros(17, 17, dtype=torch.long)
    return Made(saved(folder, {"model": state, "optimizer": {}}), made.code, "tiny_beit")


def dino_official(folder: Path) -> Made:
    """A backbone of DINO with the classifier that was trained on it, under the teacher's prefixes."""
    made, state = by_transformers(folder, "vit")
    return Made(
        saved(folder, {"teacher": {f"module.backbone.{key}": each for key, each in state.items()}}),
        made.code,
        "tiny_vit",
    )


def dinov2_official(folder: Path) -> Made:
    """The linear classifier of DINOv2's hub."""
    made, state = by_transformers(folder, "dinov2")
    theirs = {
        key.replace("encoder.", "backbone.", 1).replace("head.", "linear_head.", 1): each for key, each in state.items()
    }
    theirs["backbone.mask_token"] = torch.zeros(1, 32)
    return Made(saved(folder, theirs), made.code, "tiny_dinov2")


class FineTunedMae(nn.Module):
    """As `models_vit.py` of MAE computes it with `global_pool`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        model = self.model
        x = model.patch_embed(pictures)
        x = torch.cat((model.cls_token.expand(len(x), -1, -1), x), dim=1) + model.pos_embed
        for block in model.blocks:
            x = block(x)
        logits: torch.Tensor = model.head(model.fc_norm(x[:, 1:, :].mean(dim=1)))
        return logits


def mae_official(folder: Path) -> Made:
    model = tiny("tiny_vit", global_pool="avg")
    return Made(saved(folder, {"model": model.state_dict(), "epoch": 99}), FineTunedMae(model), "tiny_vit")


def torchvision_vit(folder: Path) -> Made:
    model = scrambled(torchvision.models.VisionTransformer(SIDE, 8, VIT["depth"], 2, 32, 64, num_classes=CLASSES))
    presets = torchvision.models.ViT_B_16_Weights.IMAGENET1K_V1.transforms()
    return Made(saved(folder, model.state_dict()), model, "tiny_vit", (tuple(presets.mean), tuple(presets.std)))


def torchvision_swin(folder: Path) -> Made:
    model = scrambled(torchvision.models.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=CLASSES))
    return Made(saved(folder, model.state_dict()), model, "tiny_swin")


def torchvision_convnext(folder: Path) -> Made:
    config = torchvision.models.convnext.CNBlockConfig
    stages = [config(8, 16, 1), config(16, 24, 1), config(24, 32, 2), config(32, None, 1)]
    model = scrambled(torchvision.models.ConvNeXt(stages, num_classes=CLASSES))
    return Made(saved(folder, model.state_dict()), model, "tiny_convnext")


def torchvision_resnet(folder: Path) -> Made:
    block = torchvision.models.resnet.BasicBlock
    model = scrambled(torchvision.models.ResNet(block, [1, 1, 1, 1], num_classes=CLASSES))
    return Made(saved(folder, model.state_dict()), model, "tiny_resnet")


def efficientnet_pytorch(folder: Path) -> Made:
    model = tiny("tf_tiny_efficientnet")
    return Made(saved(folder, in_that_layout(model)), model, "tf_tiny_efficientnet")


VIT_PROCESSOR = transformers.ViTImageProcessor(size={"height": SIDE, "width": SIDE}, **NORM)
DEIT_PROCESSOR = transformers.DeiTImageProcessor(
    size={"height": 36, "width": 36}, crop_size={"height": SIDE, "width": SIDE}, **NORM
)
BIT_PROCESSOR = transformers.BitImageProcessor(
    size={"shortest_edge": 36}, crop_size={"height": SIDE, "width": SIDE}, **NORM
)
CONVNEXT_PROCESSOR = transformers.ConvNextImageProcessor(size={"shortest_edge": SIDE}, **NORM)
TRANSFORMERS: Mapping[str, tuple[Callable[[], nn.Module], Any]] = {
    "vit": (
        lambda: transformers.ViTForImageClassification(transformers.ViTConfig(**HF_VIT, layer_norm_eps=1e-6)),
        VIT_PROCESSOR,
    ),
    "deit": (lambda: transformers.DeiTForImageClassification(transformers.DeiTConfig(**HF_VIT)), DEIT_PROCESSOR),
    "deit-teacher": (
        lambda: transformers.DeiTForImageClassificationWithTeacher(
            transformers.DeiTConfig(**HF_VIT, layer_norm_eps=1e-6)
        ),
        DEIT_PROCESSOR,
    ),
    "beit": (
        lambda: transformers.BeitForImageClassification(
            transformers.BeitConfig(**HF_VIT, use_relative_position_bias=True, layer_norm_eps=1e-6)
        ),
        transformers.BeitImageProcessor(size={"height": SIDE, "width": SIDE}, **NORM),
    ),
    "beit-shared": (
        lambda: transformers.BeitForImageClassification(
            transformers.BeitConfig(
                **HF_VIT,
                use_shared_relative_position_bias=True,
                use_absolute_position_embeddings=True,
                use_mean_pooling=False,
                use_mask_token=True,
            )
        ),
        transformers.BeitImageProcessor(size={"height": SIDE, "width": SIDE}, **NORM),
    ),
    "swin": (lambda: transformers.SwinForImageClassification(transformers.SwinConfig(**HF_SWIN)), VIT_PROCESSOR),
    "dinov2": (lambda: transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**HF_VIT)), BIT_PROCESSOR),
    "dinov2-resampled": (
        lambda: transformers.Dinov2ForImageClassification(
            transformers.Dinov2Config(**{**HF_VIT, "image_size": 56}, use_swiglu_ffn=True)
        ),
        BIT_PROCESSOR,
    ),
    "resnet": (
        lambda: transformers.ResNetForImageClassification(
            transformers.ResNetConfig(
                hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 2, 1], id2label=dict(enumerate(LABELS))
            )
        ),
        CONVNEXT_PROCESSOR,
    ),
    "resnet-basic": (
        lambda: transformers.ResNetForImageClassification(
            transformers.ResNetConfig(
                hidden_sizes=[64, 24, 32, 40],
                depths=[1, 1, 2, 1],
                layer_type="basic",
                id2label=dict(enumerate(LABELS)),
            )
        ),
        CONVNEXT_PROCESSOR,
    ),
}


def by_transformers(folder: Path, kind: str, **how: Any) -> tuple[Made, State]:
    """A folder that transformers wrote, and its tensors by timm's names."""
    create, processor = TRANSFORMERS[kind]
    model: Any = scrambled(create())
    model.save_pretrained(folder / kind, **how)
    processor.save_pretrained(folder / kind)
    config = model.config.to_dict()
    tensors = load_file(folder / kind / "model.safetensors") if not how else {}
    return Made(folder / kind, model), to_timm(tensors, FAMILIES[config["model_type"]], config)


def folder_of_transformers(kind: str, folder: Path) -> Made:
    return by_transformers(folder, kind)[0]


ORIGINS: Mapping[str, Callable[[Path], Made]] = {
    "timm": timm_bare,
    "timm-folder": timm_folder,
    "timm-0.6-swin": timm_06_swin,
    "lightning": lightning,
    "averaged-model": averaged,
    "bfloat16": half,
    "deit": deit_official,
    "swin": swin_official,
    "mae": mae_official,
    "beit": beit_official,
    "dino": dino_official,
    "dinov2": dinov2_official,
    "torchvision-vit": torchvision_vit,
    "torchvision-swin": torchvision_swin,
    "torchvision-convnext": torchvision_convnext,
    "torchvision-resnet": torchvision_resnet,
    "efficientnet-pytorch": efficientnet_pytorch,
    **{f"transformers-{kind}": partial(folder_of_transformers, kind) for kind in TRANSFORMERS},
}
"""By the row of the table in docs/builds.md."""


def pictures(side: int) -> npt.NDArray[np.uint8]:
    """Two that differ much."""
    return np.random.default_rng(7).integers(0, 256, (2, side, side, 3), dtype=np.uint8)


def main(repository: Path) -> None:
    """Build and publish each origin as an entry of its name, with its answers in ORIGIN.npy beside the repository."""
    VIT["depth"] = HF_VIT["num_hidden_layers"] = 1  # Half the time to export; the answers of two are tested without.
    for name, make in ORIGINS.items():
        work = repository.parent / "origins" / name
        work.mkdir(parents=True)
        made = make(work)
        build(dataclasses.replace(made.plan(work, name), repository=repository), Silent())
        np.save(repository.parent / "origins" / f"{name}.npy", made.answers(pictures(SIDE)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
