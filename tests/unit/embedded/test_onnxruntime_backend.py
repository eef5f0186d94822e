"""The backend as Triton's Python backend drives it, against a stand-in for the module that Triton gives it."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from embedded import openvino_session
from embedded.tritonserver import OUR_BACKENDS

DATA = Path(__file__).parents[2] / "integration" / "data"

Array = npt.NDArray[Any]


class Tensor:
    """pb_utils.Tensor."""

    def __init__(self, name: str, array: Array) -> None:
        self.name = name
        self._array = array

    def as_numpy(self) -> Array:
        return self._array


class TritonError(Exception):
    """pb_utils.TritonError."""


@dataclass
class InferenceResponse:
    """pb_utils.InferenceResponse."""

    output_tensors: list[Tensor]
    error: TritonError | None = None

    def arrays(self) -> dict[str, Array]:
        assert self.error is None, self.error
        return {tensor.name: tensor.as_numpy() for tensor in self.output_tensors}


@dataclass
class Request:
    """pb_utils.InferenceRequest."""

    inputs: dict[str, Array]
    wanted: list[str] = field(default_factory=lambda: ["sum", "difference"])

    def requested_output_names(self) -> list[str]:
        return self.wanted


@pytest.fixture
def backend() -> Iterator[ModuleType]:
    """The backend's module, loaded from its file as Triton does."""
    utils = ModuleType("triton_python_backend_utils")

    def get_input_tensor_by_name(request: Request, name: str) -> Tensor | None:
        return Tensor(name, request.inputs[name]) if name in request.inputs else None

    vars(utils).update(
        Tensor=Tensor,
        InferenceResponse=InferenceResponse,
        TritonError=TritonError,
        TritonModelException=TritonError,
        get_input_tensor_by_name=get_input_tensor_by_name,
    )
    sys.modules[utils.__name__] = utils
    try:
        spec = importlib.util.spec_from_file_location("backend", OUR_BACKENDS / "onnxruntime" / "model.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[utils.__name__]


def tensor(name: str, dims: list[int], data_type: str = "TYPE_FP32") -> dict[str, Any]:
    return {"name": name, "data_type": data_type, "dims": [str(dim) for dim in dims]}


def arithmetic(max_batch_size: int = 8) -> dict[str, Any]:
    dims = [-1] if max_batch_size else [-1, -1]
    return {
        "max_batch_size": max_batch_size,
        "input": [tensor("a", dims), tensor("b", dims)],
        "output": [tensor("sum", dims), tensor("difference", dims)],
        "instance_group": [{"count": 1}],
        "default_model_filename": "arithmetic.onnx",
    }


def load(backend: ModuleType, config: dict[str, Any], tmp_path: Path) -> Any:
    version = tmp_path / "1"
    if not version.exists():
        version.symlink_to(DATA)
    model = backend.TritonPythonModel()
    model.initialize({"model_config": json.dumps(config), "model_repository": str(tmp_path), "model_version": "1"})
    return model


def pair(value: float, rows: int = 1, width: int = 3) -> dict[str, Array]:
    return {"a": np.full((rows, width), value, np.float32), "b": np.ones((rows, width), np.float32)}


class CountingSession:
    """The session it stands in front of, and the batch sizes that it was asked to run."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.batches: list[int] = []

    def run(self, names: list[str], feed: dict[str, Array]) -> list[Array]:
        self.batches.append(len(feed["a"]))
        outputs: list[Array] = self._session.run(names, feed)
        return outputs


@pytest.fixture
def model(backend: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(backend, "available_cpus", lambda: 1)
    loaded = load(backend, arithmetic(), tmp_path)
    loaded._session = loaded._alone = CountingSession(loaded._session)
    return loaded


def test_requests_share_runs_and_get_their_own_rows(model: Any) -> None:
    responses = model.execute([Request(pair(1.0)), Request(pair(5.0, rows=3)), Request(pair(9.0, rows=2))])
    assert model._session.batches == [3, 3]
    for response, value, rows in zip(responses, (1.0, 5.0, 9.0), (1, 3, 2), strict=True):
        np.testing.assert_array_equal(response.arrays()["sum"], np.full((rows, 3), value + 1))
        np.testing.assert_array_equal(response.arrays()["difference"], np.full((rows, 3), value - 1))


def test_requests_of_different_shapes_run_apart_and_are_answered_in_order(model: Any) -> None:
    widths = [3, 4, 3, 5, 4]
    responses = model.execute([Request(pair(float(place), width=width)) for place, width in enumerate(widths)])
    assert sorted(model._session.batches) == [1, 2, 2]
    for place, (response, width) in enumerate(zip(responses, widths, strict=True)):
        np.testing.assert_array_equal(response.arrays()["sum"], np.full((1, width), place + 1))


@pytest.mark.parametrize(
    ("threads", "rows", "own", "shared"),
    [
        (2, 1, [], [1]),
        (2, 2, [1, 1], []),
        (2, 5, [2, 2], [1]),
        (2, 20, [3, 3, 3, 3, 4, 4], []),
        (3, 8, [2, 2, 2], [2]),
        (8, 4, [], [4]),
        (1, 9, [3, 3, 3], []),
    ],
)
def test_each_thread_runs_as_many_rows_of_its_own_and_all_share_the_rest(  # noqa: PLR0917
    backend: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    rows: int,
    own: list[int],
    shared: list[int],
) -> None:
    monkeypatch.setattr(backend, "available_cpus", lambda: threads)
    model = load(backend, arithmetic(max_batch_size=32), tmp_path)
    model._session, model._alone = CountingSession(model._session), CountingSession(model._alone)
    values = np.arange(rows, dtype=np.float32)
    responses = model.execute([Request(pair(value)) for value in values])
    assert (sorted(model._alone.batches), model._session.batches) == (own, shared)
    assert [response.arrays()["sum"][0, 0] for response in responses] == (values + 1).tolist()


def test_a_request_that_cannot_be_run_fails_alone(model: Any) -> None:
    wrong = {"a": np.ones((1, 3), np.float32), "b": np.ones((1, 4), np.float32)}
    first, second, third = model.execute([Request(pair(1.0)), Request(wrong), Request(pair(2.0))])
    assert "ONNXRuntimeError" in str(second.error)
    assert second.output_tensors == []
    np.testing.assert_array_equal(first.arrays()["sum"], np.full((1, 3), 2.0))
    np.testing.assert_array_equal(third.arrays()["sum"], np.full((1, 3), 3.0))


def test_a_request_without_an_input_fails_alone(model: Any) -> None:
    first, second = model.execute([Request({"a": np.ones((1, 3), np.float32)}), Request(pair(1.0))])
    assert "['b']" in str(first.error)
    assert second.arrays().keys() == {"sum", "difference"}


def test_each_request_gets_the_outputs_it_asked_for(model: Any) -> None:
    first, second = model.execute([Request(pair(1.0), wanted=["sum"]), Request(pair(1.0), wanted=["difference"])])
    assert model._session.batches == [2]
    assert list(first.arrays()) == ["sum"]
    assert list(second.arrays()) == ["difference"]


def test_without_batches_each_request_runs_alone(backend: ModuleType, tmp_path: Path) -> None:
    model = load(backend, arithmetic(max_batch_size=0), tmp_path)
    model._session = CountingSession(model._session)
    responses = model.execute([Request(pair(1.0, rows=2)), Request(pair(2.0, rows=2))])
    assert model._session.batches == [2, 2]
    np.testing.assert_array_equal(responses[1].arrays()["sum"], np.full((2, 3), 3.0))


@pytest.mark.parametrize(
    ("side", "declared", "says"),
    [
        (
            "output",
            [tensor("sum", [-1]), tensor("product", [-1])],
            "has output .*product.* has output .*sum",
        ),
        ("input", [tensor("a", [-1])], "config.pbtxt has input a TYPE_FP32 .*; arithmetic.onnx has input a .*, b "),
        ("input", [tensor("a", [-1]), tensor("b", [-1], "TYPE_FP16")], "b TYPE_FP16 .*; .*b TYPE_FP32"),
        ("input", [tensor("a", [-1]), tensor("b", [-1, 2])], r"b TYPE_FP32 \[-1, -1, 2\]; .*b TYPE_FP32 \[-1, -1\]"),
    ],
)
def test_a_graph_that_is_not_what_the_config_says_is_refused(
    backend: ModuleType, tmp_path: Path, side: str, declared: list[dict[str, Any]], says: str
) -> None:
    with pytest.raises(TritonError, match=says):
        load(backend, arithmetic() | {side: declared}, tmp_path)


def test_a_graph_that_takes_fewer_shapes_than_the_config_is_refused(backend: ModuleType, tmp_path: Path) -> None:
    colours = {
        "max_batch_size": 8,
        "input": [tensor("image", [-1, -1, 3], "TYPE_UINT8")],
        "output": [tensor("probabilities", [3])],
        "instance_group": [],
        "default_model_filename": "colours.onnx",
    }
    with pytest.raises(TritonError, match=r"image TYPE_UINT8 \[-1, -1, -1, 3\]; .*image TYPE_UINT8 \[-1, 8, 8, 3\]"):
        load(backend, colours, tmp_path)


def test_weights_in_a_file_beside_the_graph_are_found(backend: ModuleType, tmp_path: Path) -> None:
    config = arithmetic() | {
        "input": [tensor("x", [2])],
        "output": [tensor("y", [2])],
        "default_model_filename": "external.onnx",
    }
    model = load(backend, config, tmp_path)
    (response,) = model.execute([Request({"x": np.array([[1, 2]], np.float32)}, wanted=["y"])])
    np.testing.assert_array_equal(response.arrays()["y"], [[10, 200]])


def test_instances_share_the_cpus(backend: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "available_cpus", lambda: 8)
    for instances, threads in ((1, 8), (3, 2), (20, 1)):
        config = arithmetic() | {"instance_group": [{"count": instances}]}
        options = load(backend, config, tmp_path)._session.get_session_options()
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (threads, 1)


def test_text_reaches_the_graph_as_text(backend: ModuleType) -> None:
    decoded = backend.text_decoded(np.array([[b"vitrine", "Glas-Schränke".encode()]], np.object_))
    assert decoded.tolist() == [["vitrine", "Glas-Schränke"]]


ACCELERATED = {"name": "openvino", "parameters": {"precision": "BF16"}}


def accelerated(*accelerators: dict[str, Any]) -> dict[str, Any]:
    execution = {"cpu_execution_accelerator": list(accelerators)}
    return arithmetic() | {"optimization": {"execution_accelerators": execution}}


def asked(value: float, rows: int) -> Request:
    return Request({"a": np.full((rows, 5), value, np.float32), "b": np.full((rows, 5), 1, np.float32)})


def test_openvino_answers_each_request_with_its_own_rows(backend: ModuleType, tmp_path: Path) -> None:
    model = load(backend, accelerated(ACCELERATED), tmp_path)
    assert type(model._session).__name__ == "OpenVinoSession"
    # Whole numbers of up to 8 bits are exact in BF16, on a CPU that has it and on others.
    responses = model.execute([asked(2, 1), asked(40, 3), asked(100, 2)])
    for value, rows, response in zip((2, 40, 100), (1, 3, 2), responses, strict=True):
        arrays = response.arrays()
        assert arrays["sum"].dtype == np.float32
        assert np.array_equal(arrays["sum"], np.full((rows, 5), value + 1))
        assert np.array_equal(arrays["difference"], np.full((rows, 5), value - 1))
    model.finalize()


@pytest.mark.parametrize(("able", "precision"), [(True, "bf16"), (False, "f32")])
def test_openvino_multiplies_in_bf16_where_the_cpu_does(
    backend: ModuleType, able: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[dict[str, Any]] = []

    class Core:
        def compile_model(self, *given: Any) -> None:
            compiled.append(given[-1])

    monkeypatch.setattr("openvino.Core", Core)
    monkeypatch.setattr(openvino_session, "multiplies_bf16", lambda: able)
    backend.open_session(DATA / "arithmetic.onnx", 2, bf16=True)
    assert [each["INFERENCE_PRECISION_HINT"] for each in compiled] == [precision]


def test_a_graph_that_is_not_what_the_config_says_is_refused_by_openvino_too(
    backend: ModuleType, tmp_path: Path
) -> None:
    config = accelerated(ACCELERATED) | {"output": [tensor("sum", [-1]), tensor("other", [-1])]}
    with pytest.raises(TritonError, match=r"config.pbtxt has output sum TYPE_FP32 \[-1, -1\], other"):
        load(backend, config, tmp_path)


@pytest.mark.parametrize(
    ("accelerator", "words"),
    [
        ({"name": "tensorrt"}, "the accelerator tensorrt with precision None"),
        ({"name": "openvino"}, "openvino with precision None"),
        ({"name": "openvino", "parameters": {"precision": "FP16"}}, "openvino with precision FP16"),
    ],
)
def test_another_accelerator_is_refused_by_name(
    backend: ModuleType, accelerator: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(TritonError, match=f"{words}; known is openvino with precision BF16"):
        load(backend, accelerated(accelerator), tmp_path)


def test_without_openvino_the_fix_is_named(
    backend: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "embedded.openvino_session", None)
    with pytest.raises(TritonError, match=r"pip install 'vitrine\[openvino\]', or serve the FP32 entry"):
        load(backend, accelerated(ACCELERATED), tmp_path)


def test_products_of_eight_bits_do_not_saturate_on_any_cpu(backend: ModuleType) -> None:
    """64 products of 1 by 1: on a CPU without VNNI ONNX Runtime's own choice answers 32.4."""
    session = backend.open_session(DATA / "saturating.onnx", threads=1)
    (found,) = session.run(None, {"x": np.ones((2, 64), np.float32)})
    assert np.allclose(found, 64, atol=0.01)
