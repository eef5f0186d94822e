"""An entry survives the way through Triton's protobuf, and a broken one is refused by its key."""

from dataclasses import replace
from pathlib import Path

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from contract.config import (
    Runtime,
    Scheduling,
    checked_sizes,
    from_pbtxt,
    graph_sizes,
    read_config,
    runtime_of,
    to_pbtxt,
    write_config,
)
from contract.spec import ContractError, CropMode, Entry, Interpolation, Preprocessing, Rollout

GOLDEN = Path(__file__).parents[2] / "golden"

PLAIN = Entry(
    name="vit_tiny_patch16_224",
    preprocessing=Preprocessing(224, 224, crop_pct=0.9),
    labels=("tench", 'a "quoted", label', "日本"),
    max_batch_size=32,
    build={"precision": "fp32", "timm.name": "vit_tiny_patch16_224"},
)
BORDER = Entry(
    name="border",
    preprocessing=Preprocessing(
        384, 256, 1 / 1.15, CropMode.BORDER, interpolation=Interpolation.LANCZOS, fill=(124, 116, 104)
    ),
    labels=("one",),
    max_batch_size=1,
)


@pytest.mark.parametrize("runtime", Runtime)
@pytest.mark.parametrize("entry", [PLAIN, BORDER], ids=lambda entry: entry.name)
def test_an_entry_survives_text_and_wire(entry: Entry, runtime: Runtime) -> None:
    config = write_config(entry, Scheduling(), runtime)
    assert read_config(from_pbtxt(to_pbtxt(config))) == entry
    assert read_config(ModelConfig.FromString(config.SerializeToString())) == entry


@pytest.mark.parametrize(
    ("file", "runtime"), [("plain.pbtxt", Runtime.ONNXRUNTIME), ("engine.pbtxt", Runtime.TENSORRT)]
)
def test_the_written_file_is_the_golden_one(file: str, runtime: Runtime) -> None:
    assert to_pbtxt(write_config(PLAIN, Scheduling(), runtime)) == (GOLDEN / file).read_text()


def test_scheduling_becomes_tritons_own_fields() -> None:
    scheduling = Scheduling(max_queue_delay_us=10_000, instances=2)
    config = write_config(PLAIN, scheduling)
    assert config.dynamic_batching.max_queue_delay_microseconds == 10_000
    assert not config.dynamic_batching.HasField("default_queue_policy")
    assert config.instance_group[0].count == 2
    assert [warmup.batch_size for warmup in config.model_warmup] == [1, 32]
    assert [warmup.batch_size for warmup in write_config(BORDER, scheduling).model_warmup] == [1]


@pytest.mark.parametrize(
    ("largest", "graphs", "checked"),
    [
        (1, (1,), (1, 1, 1, 1)),
        (2, (1, 2), (1, 2, 2, 1)),
        (3, (1, 2, 3), (1, 2, 3, 1)),
        (4, (1, 2, 4), (1, 3, 4, 1)),
        (32, (1, 2, 4, 8, 16, 32), (1, 3, 32, 1)),
        (48, (1, 2, 4, 8, 16, 32, 48), (1, 3, 48, 1)),
    ],
)
def test_graphs_double_and_what_has_none_is_compared_between(
    largest: int, graphs: tuple[int, ...], checked: tuple[int, ...]
) -> None:
    assert graph_sizes(largest) == graphs
    assert checked_sizes(largest) == checked


def test_an_engine_runs_on_a_gpu_with_a_graph_for_each_size_it_is_warmed_up_for() -> None:
    config = write_config(PLAIN, Scheduling(instances=2), Runtime.TENSORRT)
    assert (config.platform, config.backend) == ("tensorrt_plan", "")
    assert not config.dynamic_batching.preferred_batch_size
    assert [(group.kind, group.count) for group in config.instance_group] == [(config.instance_group[0].KIND_GPU, 2)]
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    assert config.optimization.cuda.graphs
    graphs = [(spec.batch_size, list(spec.input["image"].dim)) for spec in config.optimization.cuda.graph_spec]
    assert graphs == [(warmup.batch_size, [224, 224, 3]) for warmup in config.model_warmup]
    assert [batch for batch, _ in graphs] == [1, 2, 4, 8, 16, 32]
    assert len(write_config(BORDER, Scheduling(), Runtime.TENSORRT).optimization.cuda.graph_spec) == 1


@pytest.mark.parametrize("runtime", Runtime)
def test_a_config_says_what_runs_it(runtime: Runtime) -> None:
    assert runtime_of(from_pbtxt(to_pbtxt(write_config(PLAIN, Scheduling(), runtime)))) is runtime


def test_bf16_is_onnx_runtimes_backend_with_an_accelerator() -> None:
    config = write_config(PLAIN, Scheduling(), Runtime.OPENVINO)
    (accelerator,) = config.optimization.execution_accelerators.cpu_execution_accelerator
    assert (accelerator.name, dict(accelerator.parameters)) == ("openvino", {"precision": "BF16"})
    config.ClearField("optimization")
    assert config == write_config(PLAIN, Scheduling(), Runtime.ONNXRUNTIME)


def test_an_onnx_entry_knows_no_gpu() -> None:
    config = write_config(PLAIN, Scheduling(), Runtime.ONNXRUNTIME)
    assert (config.platform, config.backend) == ("", "onnxruntime")
    assert config.instance_group[0].kind == config.instance_group[0].KIND_CPU
    assert not config.HasField("optimization")


@pytest.mark.parametrize("runtime", Runtime)
def test_a_window_that_is_asked_for_is_the_one(runtime: Runtime) -> None:
    for delay in (0, 700):
        config = write_config(PLAIN, Scheduling(max_queue_delay_us=delay), runtime)
        assert config.dynamic_batching.max_queue_delay_microseconds == delay


@pytest.mark.parametrize("runtime", Runtime)
def test_there_is_a_queue_policy_only_where_one_is_asked_for(runtime: Runtime) -> None:
    assert not write_config(PLAIN, Scheduling(), runtime).dynamic_batching.HasField("default_queue_policy")
    policy = write_config(PLAIN, Scheduling(max_queue_size=64), runtime).dynamic_batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (64, 0)
    assert policy.timeout_action == policy.REJECT
    policy = write_config(PLAIN, Scheduling(queue_timeout_us=5_000), runtime).dynamic_batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (0, 5_000)


def test_a_configuration_without_our_schema_is_not_ours() -> None:
    assert read_config(ModelConfig(name="resnet", backend="onnxruntime")) is None


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("contract.schema", "2", "rebuild the entry"),
        ("contract.crop_pct", "wide", "must be a decimal"),
        ("contract.crop_pct", "-1", "must be 0.1 to 10"),
        ("contract.crop_mode", "zoom", "one of center, squash, border"),
        ("contract.interpolation", "cubic", "bicubic"),
        ("contract.labels", "cat,dog", "is not JSON"),
        ("contract.labels", "[1, 2, 3]", "list of strings"),
        ("contract.labels", '["only one"]', "names 1 classes, but the output"),
        ("contract.fill", "1,2", "r,g,b"),
        ("contract.fill", "1,2,3", "only crop mode border"),
        ("contract.zoom", "1", "not a key of schema 1"),
    ],
)
def test_a_wrong_parameter_is_refused_by_its_key(key: str, value: str, problem: str) -> None:
    config = write_config(PLAIN, Scheduling())
    config.parameters[key].string_value = value
    with pytest.raises(ContractError, match=problem) as caught:
        read_config(config)
    assert caught.value.key == key
    assert str(caught.value).startswith(f"{key}: ")


@pytest.mark.parametrize("key", ["crop_pct", "crop_mode", "interpolation", "labels"])
def test_a_missing_parameter_is_named(key: str) -> None:
    config = write_config(PLAIN, Scheduling())
    del config.parameters[f"contract.{key}"]
    with pytest.raises(ContractError, match=f"^contract.{key}: is missing$"):
        read_config(config)


def test_tensors_unlike_the_contract_are_refused() -> None:
    config = write_config(PLAIN, Scheduling())
    config.input[0].name = "pixels"
    with pytest.raises(ContractError, match=r"input: must be one tensor 'image' of TYPE_UINT8; .*pixels"):
        read_config(config)
    config = write_config(PLAIN, Scheduling())
    config.input[0].dims[:] = [3, 224, 224]
    with pytest.raises(ContractError, match=r"must be \[height, width, 3\]"):
        read_config(config)
    config = write_config(PLAIN, Scheduling())
    config.output.add(name="features")
    with pytest.raises(ContractError, match=r"output: must be one tensor"):
        read_config(config)


def test_an_invalid_file_says_where() -> None:
    with pytest.raises(ContractError, match=r"config.pbtxt: is not a Triton model configuration: 3:"):
        from_pbtxt((GOLDEN / "invalid.pbtxt").read_text())


COMPANION = replace(
    PLAIN, name="vit_explain", explains=Rollout(("vit", "vit_int8"), "0a" * 32, layers=4, heads=3, rows=14, columns=7)
)


@pytest.mark.parametrize("discard", [0.0, 0.9])
def test_a_companion_reads_back_as_it_was_written(discard: float) -> None:
    assert COMPANION.explains is not None
    entry = replace(COMPANION, explains=replace(COMPANION.explains, discard=discard))
    config = write_config(entry, Scheduling())
    assert read_config(from_pbtxt(to_pbtxt(config))) == entry
    assert [(output.name, list(output.dims)) for output in config.output][1:] == [
        ("rollout", [3, 14, 7]),
        ("attention", [4, 3, 14, 7]),
    ]


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("contract.explains", "vit", "is not JSON"),
        ("contract.explains", "[]", "must name entries"),
        ("contract.explains", '["../vit"]', "must name entries"),
        ("contract.explains_weights", "0A" * 32, "SHA-256"),
        ("contract.explains_weights", None, "is missing"),
        ("contract.explains_discard", "1", "0 to below 1"),
        ("contract.explains_discard", "some", "must be a decimal"),
    ],
)
def test_a_wrong_parameter_of_a_companion_is_refused_by_its_key(key: str, value: str | None, problem: str) -> None:
    config = write_config(COMPANION, Scheduling())
    if value is None:
        del config.parameters[key]
    else:
        config.parameters[key].string_value = value
    with pytest.raises(ContractError, match=problem) as caught:
        read_config(config)
    assert caught.value.key == key


def test_a_companion_has_the_maps_that_it_says_it_has() -> None:
    config = write_config(COMPANION, Scheduling())
    config.output[1].dims[:] = [3, 7, 7]
    with pytest.raises(ContractError, match=r"output.dims: 'rollout' must be \[3, rows, columns\]"):
        read_config(config)
    del config.output[1]
    with pytest.raises(ContractError, match="output: must be the tensors 'probabilities', 'rollout', 'attention'"):
        read_config(config)
    config = write_config(PLAIN, Scheduling())
    config.parameters["contract.explains_weights"].string_value = "0a" * 32
    with pytest.raises(ContractError, match=r"contract.explains_weights: needs contract.explains"):
        read_config(config)
