"""The masked autoencoder against the paper's own code, as transformers has it, and a run that is killed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

import training.networks  # noqa: F401  (registers ours with timm)
from build_engines.pictures import open_pictures
from training.answering import Normalise
from training.cli import main
from training.errors import RecipeError, ResumeError
from training.masked_autoencoder.figure import panels
from training.masked_autoencoder.model import (
    MaskedAutoencoder,
    masking,
    normalised,
    patchified,
    positions,
    unpatchified,
)
from training.masked_autoencoder.recipe import MaskedRecipe
from training.masked_autoencoder.run import ENCODER, MaskedRun

RECIPE = MaskedRecipe(epochs=3, batch_size=8, learning_rate=1e-2)


def made(**changes: Any) -> MaskedAutoencoder:
    torch.manual_seed(0)
    return MaskedAutoencoder(timm.create_model("vit_nano_patch4_32", num_classes=0), **changes).eval()


def noise(count: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 64, generator=torch.Generator().manual_seed(seed))


def pictures_of(count: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("ratio", "kept"), [(0.75, 16), (0.5, 32), (0.9, 6)])
def test_a_share_of_each_pictures_patches_is_masked_at_random(ratio: float, kept: int) -> None:
    mask = masking(noise(5), ratio)
    assert mask.kept.shape == (5, kept)
    assert mask.masked.sum(dim=1).tolist() == [64 - kept] * 5
    for row in range(5):
        assert len(set(mask.kept[row].tolist())) == kept
        assert mask.masked[row][mask.kept[row]].sum() == 0
        # The kept ones come first: `restore` says where each place's token is.
        assert mask.restore[row][mask.kept[row]].tolist() == list(range(kept))
        assert sorted(mask.restore[row].tolist()) == list(range(64))
    assert len({tuple(sorted(row)) for row in mask.kept.tolist()}) == 5


def test_patches_go_back_to_the_picture_they_are_of() -> None:
    images = pictures_of(2)
    patches = patchified(images, 4)
    assert patches.shape == (2, 64, 48)
    assert torch.equal(patches[0, 9].reshape(4, 4, 3), images[0, :, 4:8, 4:8].permute(1, 2, 0))
    assert torch.equal(unpatchified(patches, 4, (8, 8)), images)


def test_seen_patches_count_nothing() -> None:
    model, images = made(), pictures_of(3)
    painted = model(images, noise(3))
    target, _, _ = normalised(patchified(images, 4))
    wrong = painted.patches + 100 * (1 - painted.masked).unsqueeze(-1)
    each = (wrong - target).square().mean(dim=2)
    assert torch.allclose((each * painted.masked).sum() / painted.masked.sum(), painted.loss)
    patches = painted.patches.detach().requires_grad_()
    loss = ((patches - target).square().mean(dim=2) * painted.masked).sum()
    (gradient,) = torch.autograd.grad(loss, patches)
    assert gradient[painted.masked == 0].abs().sum() == 0
    assert (gradient[painted.masked == 1].abs().sum(dim=1) > 0).all()


def test_what_is_masked_is_not_known_to_the_encoder() -> None:
    model, images = made(), pictures_of(2)
    mask = masking(noise(2), 0.75)
    hidden = unpatchified(patchified(images, 4) * (1 - mask.masked).unsqueeze(-1), 4, (8, 8))
    assert torch.allclose(model.encode(images, mask.kept), model.encode(hidden, mask.kept), atol=1e-6)


def test_with_all_patches_seen_the_encoder_is_timms() -> None:
    model, images = made(), pictures_of(2)
    every = torch.arange(64).expand(2, -1)
    with torch.inference_mode():
        assert torch.allclose(model.encode(images, every), model.encoder.forward_features(images), atol=1e-5)


def by_transformers(model: MaskedAutoencoder) -> Any:
    """The same weights in transformers' copy of the paper's code."""
    transformers = pytest.importorskip("transformers")
    width, wide = 192, model.decoder_embed.out_features
    theirs = transformers.ViTMAEForPreTraining(
        transformers.ViTMAEConfig(
            hidden_size=width, num_hidden_layers=6, num_attention_heads=3, intermediate_size=4 * width, image_size=32,
            patch_size=4, decoder_hidden_size=wide, decoder_num_hidden_layers=2, decoder_num_attention_heads=wide // 32,
            decoder_intermediate_size=4 * wide, norm_pix_loss=True, layer_norm_eps=1e-6, mask_ratio=0.75,
        )
    ).eval()  # fmt: skip
    state, ours = theirs.state_dict(), model.state_dict()

    def blocks(prefix: str, mine: str, depth: int) -> None:
        for number in range(depth):
            one, other = f"{prefix}.{number}.", f"{mine}.{number}."
            for kind in ("weight", "bias"):
                each = ours[f"{other}attn.qkv.{kind}"].chunk(3)
                for word, part in zip("qkv", each, strict=True):
                    state[f"{one}attention.{word}_proj.{kind}"] = part
                for name, same in (
                    ("attention.o_proj", "attn.proj"), ("layernorm_before", "norm1"), ("layernorm_after", "norm2"),
                    ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2"),
                ):  # fmt: skip
                    state[f"{one}{name}.{kind}"] = ours[f"{other}{same}.{kind}"]

    blocks("vit.layers", "encoder.blocks", 6)
    blocks("decoder.decoder_layers", "decoder", 2)
    for name, same in (
        ("vit.embeddings.patch_embeddings.projection", "encoder.patch_embed.proj"), ("vit.layernorm", "encoder.norm"),
        ("decoder.decoder_embed", "decoder_embed"), ("decoder.decoder_norm", "decoder_norm"),
        ("decoder.decoder_pred", "paint"),
    ):  # fmt: skip
        for kind in ("weight", "bias"):
            state[f"{name}.{kind}"] = ours[f"{same}.{kind}"]
    state["vit.embeddings.cls_token"] = ours["encoder.cls_token"]
    state["decoder.mask_token"] = ours["mask_token"]
    state["vit.embeddings.position_embeddings"] = ours["encoder.pos_embed"]
    state["decoder.decoder_pos_embed"] = ours["decoder_positions"]
    theirs.load_state_dict(state)
    return theirs


def test_loss_masks_and_painting_are_the_papers() -> None:
    model, images = made(), pictures_of(3)
    theirs = by_transformers(model)
    given = noise(3)
    with torch.inference_mode():
        ours, wanted = model(images, given), theirs(images, noise=given)
    assert torch.equal(ours.masked, wanted.mask)
    assert torch.allclose(ours.patches, wanted.logits, atol=1e-5)
    assert torch.allclose(ours.loss, wanted.loss, atol=1e-5)


def test_positions_are_the_papers() -> None:
    large = positions(96, (8, 8))[0].double().numpy()
    for row, column, place in ((0, 0, 0), (2, 5, 3), (7, 1, 23)):
        there, rate = large[1 + 8 * row + column], 10_000 ** (-place / 24)
        wanted = [np.sin(column * rate), np.cos(column * rate), np.sin(row * rate), np.cos(row * rate)]
        assert np.allclose(there[[place, 24 + place, 48 + place, 72 + place]], wanted, atol=1e-6)
    found = positions(64, (3, 5))
    assert found.shape == (1, 16, 64)
    assert found[0, 0].abs().sum() == 0
    assert len({tuple(row) for row in found[0].tolist()}) == 16


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet18", "ResNet is no ViT"),
        ("vit_nano_convstem_patch4_32", "ConvStem, where each sees its neighbours"),
        ("deit_tiny_distilled_patch16_224", "no distillation or register tokens"),
        ("vit_base_patch16_siglip_224", "only a ViT with one class token"),
    ],
)
def test_models_that_would_see_what_is_masked_are_refused(model: str, message: str) -> None:
    with torch.device("meta"):
        encoder = timm.create_model(model, num_classes=0)
    with pytest.raises(RecipeError, match=message):
        MaskedAutoencoder(encoder)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Sixteen pictures in no class, one that is broken, and a text."""
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(16):
        pixels = np.kron(random.integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((10, 12, 1), np.uint8))
        Image.fromarray(pixels).save((folder / "deeper" if number % 2 else folder) / f"{number}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    return folder


def test_the_loss_falls_and_a_page_of_reconstructions_is_drawn(photos: Path, tmp_path: Path) -> None:
    said: list[str] = []
    out = tmp_path / "run"
    run = MaskedRun(replace(RECIPE, epochs=6, show_every=4), open_pictures(photos), out, said.append)
    (out).mkdir(exist_ok=True)
    run.train()
    assert said[0].startswith("1 pictures cannot be read and are left out, such as broken.png")
    losses = [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    assert sorted(path.name for path in out.glob("*.png")) == ["epoch-0004.png", "epoch-0006.png"]
    with Image.open(out / "epoch-0006.png") as sheet:
        assert sheet.size == (3 * (128 + 4) - 4, 8 * (128 + 4) - 4)


def test_seen_patches_are_drawn_as_they_are_and_masked_ones_grey() -> None:
    model, normalise = made(), Normalise((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    x = normalise(pixels)
    with torch.inference_mode():
        painted = model(x, noise(2))
        found = panels(model, x, painted, normalise)
    seen = unpatchified(((1 - painted.masked).unsqueeze(-1)).expand(-1, -1, 48), 4, (8, 8)).permute(0, 2, 3, 1) > 0
    assert np.array_equal(found[:, 0], pixels.numpy())
    assert np.array_equal(found[:, 1][seen], pixels.numpy()[seen])
    assert set(found[:, 1][~seen].tolist()) == {128}
    assert np.array_equal(found[:, 2][seen], pixels.numpy()[seen])


def test_a_run_that_was_killed_ends_in_the_same_weights(photos: Path, tmp_path: Path) -> None:
    pictures = open_pictures(photos)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    MaskedRun(RECIPE, pictures, tmp_path / "whole", lambda _: None).train()

    class Killed(Exception):
        pass

    def kill(line: str) -> None:
        if line.startswith("epoch 2/3"):
            raise Killed

    with pytest.raises(Killed):
        MaskedRun(RECIPE, pictures, tmp_path / "killed", kill).train()
    again = MaskedRun(RECIPE, pictures, tmp_path / "killed", lambda _: None)
    assert again.done == 2
    again.train()
    one, other = (load_file(tmp_path / name / ENCODER) for name in ("whole", "killed"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ResumeError, match="other choices or pictures"):
        MaskedRun(replace(RECIPE, mask_ratio=0.5), pictures, tmp_path / "killed", lambda _: None)


def test_runs_of_the_other_kind_are_left_as_they_are(
    photos: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mae = ["mae", str(photos), "--epochs", "1", "--batch-size", "8", "--out"]
    fit = ["fit", str(data), "--model", "vit_nano_patch4_32", "--no-pretrained", "--epochs", "1", "--out"]
    assert main([*mae, str(tmp_path / "mae")]) == main([*fit, str(tmp_path / "fit")]) == 0
    assert main([*fit, str(tmp_path / "mae")]) == 2
    assert "holds a pre-training; choose another --out" in capsys.readouterr().err
    assert main([*mae, str(tmp_path / "fit")]) == 2
    assert "holds a training with labels; choose another --out" in capsys.readouterr().err


def test_an_epoch_shows_every_picture(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = MaskedRun(replace(RECIPE, epochs=1, batch_size=5), open_pictures(photos), tmp_path, lambda _: None)
    shown: list[torch.Tensor] = []

    def see(batch: torch.Tensor) -> torch.Tensor:
        shown.append(batch)
        return augment(batch)

    augment = run._augment
    monkeypatch.setattr(run, "_augment", see)
    run.train()
    seen = {picture.numpy().tobytes() for batch in shown for picture in batch}
    assert seen == {picture.tobytes() for picture in run.images}
    assert {len(batch) for batch in shown} == {5}


def test_fit_starts_from_its_encoder(
    photos: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pre, fitted = tmp_path / "mae", tmp_path / "fit"
    assert main(["mae", str(photos), "--epochs", "1", "--batch-size", "8", "--out", str(pre)]) == 0
    encoder = pre / ENCODER
    assert f"--checkpoint {encoder}" in capsys.readouterr().out
    fit = ["fit", str(data), "--model", "vit_nano_patch4_32", "--checkpoint", str(encoder), "--out", str(fitted)]
    assert main([*fit, "--epochs", "1", "--no-head-only"]) == 0
    assert (fitted / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--mask-ratio", "1"], "--mask-ratio is from 0.01 to 0.99; got 1"),
        (["--model", "resnet18"], "is no ViT"),
        (["--image-size", "30"], "--image-size 30 is no multiple of the patch's edge, 4"),
        (["--model", "nothing_of_the_kind"], "timm knows no model named 'nothing_of_the_kind'"),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: list[str], says: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mae", str(photos), "--out", str(tmp_path / "run"), *arguments]) == 2
    assert says in capsys.readouterr().err
