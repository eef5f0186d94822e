"""The runtimes: what each needs, and what turns pictures into probabilities in it. Runs in a process of its own."""

# ruff: noqa: PLC0415 (each process imports the libraries of its own runtime, so that its memory is that runtime's)

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.openvino_runs import no_bf16, no_openvino, open_in_openvino
from build_engines.engine import Profile, compile_engine, load_compiler, open_engine
from build_engines.errors import CompilerMissingError
from build_engines.graph import Recipe, convert, export_graph, open_graph
from build_engines.model import TimmModel, load_timm_model
from build_engines.pictures import made_pictures
from build_engines.plan import Plan
from build_engines.values import Classifier, Compiler, Pixels, Precision, Probabilities
from contract.config import graph_sizes

Run = Callable[[Pixels], Probabilities]
"""Uint8 `[n, height, width, 3]` in the host's memory to float32 `[n, classes]` there."""
REFERENCE = "torch eager"


class Runtime(NamedTuple):
    """One way to run a model."""

    prepare: Callable[[TimmModel, Path], Run]
    """Given an empty folder."""
    why_not: Callable[[], str] = lambda: ""
    """Why it cannot run on this machine; empty where it can."""
    fused: bool = True
    """Whether attention is one call (`scaled_dot_product_attention`), or products with a softmax between."""


def load(name: str, *, fused: bool) -> TimmModel:
    """A timm model with seeded random weights: speed and memory do not depend on them."""
    from timm.layers import set_fused_attn

    set_fused_attn(fused)
    return load_timm_model(Plan(name, pretrained=False))


def _torch(classifier: Classifier, dtype: str = "float32", *, compiled: bool = False) -> Run:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    number = getattr(torch, dtype)
    model: Any = classifier.model.to(device, number)
    model = torch.compile(model) if compiled else model
    levels = (classifier.mean, classifier.std)
    mean, std = (torch.tensor(level, device=device).view(1, 3, 1, 1) for level in levels)

    def run(images: Pixels) -> Probabilities:
        with torch.inference_mode():
            scaled = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
            logits = model(((scaled - mean) / std).to(number))
            rows: Probabilities = torch.softmax(logits.float(), dim=-1).cpu().numpy()
            return rows

    return run


def _onnxruntime(model: TimmModel, folder: Path) -> Run:
    return open_graph(export_graph(model.classifier, folder).path).run


def _openvino(model: TimmModel, folder: Path, *, bf16: bool = False) -> Run:
    return open_in_openvino(export_graph(model.classifier, folder).path, bf16=bf16)


def _tensorrt(model: TimmModel, folder: Path) -> Run:
    graph = export_graph(model.classifier, folder)
    pictures = made_pictures(32, model.classifier.preprocessing)
    (folder / "fp16").mkdir()
    half = convert(graph, Recipe(Precision.FP16, for_engine=True), pictures, folder / "fp16")
    library, largest = load_compiler(Compiler.TENSORRT), 64
    engine = compile_engine(half, library, Profile.up_to(largest), folder, workspace_bytes=4 << 30)
    session = open_engine(engine.path, library)
    session.capture(graph_sizes(largest))
    return session.run


def _no_bfloat16() -> str:
    import torch

    return "" if torch.cuda.is_available() else no_bf16()


def _no_gpu() -> str:
    import torch

    return "" if torch.cuda.is_available() else "there is no GPU here"


def _no_tensorrt() -> str:
    try:
        load_compiler(Compiler.TENSORRT)
    except CompilerMissingError as error:
        return str(error).partition(". ")[0]
    return ""


RUNTIMES: Mapping[str, Runtime] = {
    REFERENCE: Runtime(lambda model, _: _torch(model.classifier), fused=False),
    "torch SDPA": Runtime(lambda model, _: _torch(model.classifier)),
    "torch SDPA BF16": Runtime(lambda model, _: _torch(model.classifier, "bfloat16"), _no_bfloat16),
    "torch SDPA FP16": Runtime(lambda model, _: _torch(model.classifier, "float16"), _no_gpu),
    "torch.compile": Runtime(lambda model, _: _torch(model.classifier, compiled=True)),
    "ONNX Runtime": Runtime(_onnxruntime),
    "OpenVINO": Runtime(_openvino, no_openvino),
    "OpenVINO BF16": Runtime(partial(_openvino, bf16=True), lambda: no_openvino() or no_bf16()),
    "TensorRT FP16": Runtime(_tensorrt, _no_tensorrt),
}
"""In the order of the tables. SDPA is torch's fused kernel; on a GPU it is FlashAttention where the type allows it."""
