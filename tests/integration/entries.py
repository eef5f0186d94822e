"""Small entries for a real Triton, published as the builder publishes: whole, in one rename."""

import shutil
import tempfile
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from contract.config import CONFIG_FILE, LABELS_FILE, MODEL_FILE, Runtime, Scheduling, to_pbtxt, write_config
from contract.spec import CropMode, Entry, Preprocessing

DATA = Path(__file__).with_name("data")
COLOURS = ("red", "green", "blue")


def publish_colours(
    repository: Path,
    name: str = "colours",
    scheduling: Scheduling | None = None,
    runtime: Runtime = Runtime.ONNXRUNTIME,
) -> None:
    """An entry of ours: 8x8 pictures in, the colour they have most of out."""
    publish(repository, name, to_pbtxt(colours_config(name, scheduling, runtime)), DATA / "colours.onnx", COLOURS)


def colours_config(
    name: str, scheduling: Scheduling | None = None, runtime: Runtime = Runtime.ONNXRUNTIME
) -> ModelConfig:
    """The configuration of such an entry."""
    preprocessing = Preprocessing(height=8, width=8, crop_pct=1.0, crop_mode=CropMode.SQUASH)
    return write_config(Entry(name, preprocessing, COLOURS, max_batch_size=8), scheduling or Scheduling(), runtime)


def publish_arithmetic(repository: Path, name: str = "arithmetic", instances: int = 1, max_batch_size: int = 8) -> None:
    """Not an entry of ours, as another team's would be: inputs `a` and `b`, outputs `sum` and `difference`."""
    dims = "[-1]" if max_batch_size else "[-1, -1]"
    tensors = "\n".join(
        f'{side} {{ name: "{tensor}" data_type: TYPE_FP32 dims: {dims} }}'
        for side, tensor in (("input", "a"), ("input", "b"), ("output", "sum"), ("output", "difference"))
    )
    config = f"""
        name: "{name}" backend: "onnxruntime" max_batch_size: {max_batch_size}
        {tensors}
        instance_group {{ count: {instances} kind: KIND_CPU }}
    """
    publish(repository, name, config, DATA / "arithmetic.onnx")


def publish(repository: Path, name: str, config: str, model: Path, labels: tuple[str, ...] = ()) -> None:
    """Lay out an entry beside the repository, which Triton polls, and rename it into it."""
    entry = Path(tempfile.mkdtemp(dir=repository.parent)) / name
    (entry / "1").mkdir(parents=True)
    shutil.copy(model, entry / "1" / MODEL_FILE)
    (entry / CONFIG_FILE).write_text(config)
    (entry / LABELS_FILE).write_text("".join(f"{label}\n" for label in labels))
    entry.rename(repository / name)
