"""One entry's trouble is that entry's alone."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.grpc.service_pb2 import (
    ModelConfigRequest,
    ModelConfigResponse,
    RepositoryIndexResponse,
    ServerReadyResponse,
)

from service.errors import ModelNotReady, TritonUnavailable, UnknownModel
from service.states import Loading, Refused, Served, State
from service.survey import Survey
from service.triton import ModelVersion, TritonBackend
from tests.fakes import FakeBackend, an_entry

ENTRIES = 50


def many() -> FakeBackend:
    backend = FakeBackend()
    for number in range(ENTRIES):
        backend.serve(an_entry(f"entry{number:02d}"))
    return backend


async def looked(backend: FakeBackend) -> dict[str, State]:
    return await Survey(backend, lambda: None).look()


def others_served(states: dict[str, State], but: str = "entry07") -> bool:
    return [name for name, state in states.items() if not isinstance(state, Served)] == [but] and len(states) == ENTRIES


def with_parameter(name: str, value: str) -> Callable[[ModelConfig], None]:
    def change(config: ModelConfig) -> None:
        config.parameters[name].string_value = value

    return change


def with_unknown_type(config: ModelConfig) -> None:
    config.input[0].data_type = 99


def with_endless_dims(config: ModelConfig) -> None:
    config.output[0].dims[:] = [2**62]


def with_another_name(config: ModelConfig) -> None:
    config.name = "another"


def without_tensors(config: ModelConfig) -> None:
    config.ClearField("input")


DAMAGE: dict[str, tuple[Callable[[ModelConfig], None], str]] = {
    "too few labels": (with_parameter("contract.labels", '["red"]'), "contract.labels: names 1 classes"),
    "thousands of labels": (with_parameter("contract.labels", json.dumps(["x"] * 5_000)), "names 5000 classes"),
    "labels nested 1,000 deep": (with_parameter("contract.labels", "[" * 1_000 + "]" * 1_000), "contract.labels: must"),
    "labels nested 5,000 deep": (with_parameter("contract.labels", "[" * 5_000 + "]" * 5_000), "contract.labels: must"),
    "labels nested 100,000 deep": (with_parameter("contract.labels", "[" * 100_000), "contract.labels: must be a JSON"),
    "a number of 10,000 digits": (with_parameter("contract.labels", "[" + "9" * 10_000 + "]"), "contract.labels: must"),
    "half a surrogate pair": (
        with_parameter("contract.labels", '["a", "b", "\\ud800"]'),
        "class 2 must be valid Unicode",
    ),
    "crop_pct nan": (with_parameter("contract.crop_pct", "nan"), "contract.crop_pct: must be 0.1 to 10, is nan"),
    "crop_pct inf": (with_parameter("contract.crop_pct", "-inf"), "contract.crop_pct: must be 0.1 to 10"),
    "crop_pct 1e999": (with_parameter("contract.crop_pct", "1e999"), "contract.crop_pct: must be 0.1 to 10"),
    "crop_pct of megabytes": (with_parameter("contract.crop_pct", "9" * 3_000_000), "contract.crop_pct: must be"),
    "fill of 10,000 digits": (with_parameter("contract.fill", f"1,2,{'9' * 10_000}"), 'contract.fill: must be "r,g,b"'),
    "another schema": (with_parameter("contract.schema", "2\n/etc/passwd"), "contract.schema: this Vitrine reads '1'"),
    "an unknown key": (with_parameter("contract.\x00\nkey", ""), "contract."),
    "a type without a name": (with_unknown_type, "input: must be one tensor 'image' of TYPE_UINT8"),
    "endless dims": (with_endless_dims, "contract.labels: names 3 classes"),
    "another name": (with_another_name, "name: must be 'entry07', is 'another'"),
    "no input": (without_tensors, "input: must be one tensor"),
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_contract_that_is_not_whole_refuses_its_entry_alone(damage: str) -> None:
    backend = many()
    change, reason = DAMAGE[damage]
    change(backend.configs["entry07", "1"])
    states = await looked(backend)
    assert others_served(states)
    found = states["entry07"]
    assert isinstance(found, Refused)
    assert found.reason.startswith(reason) or reason in found.reason
    assert len(found.reason) < 400
    assert found.reason.isprintable()


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (TritonUnavailable("the inference server is not reachable"), "the inference server is not reachable"),
        (UnknownModel("the inference server does not serve this model"), "does not serve this model"),
        (ModelNotReady("the model is not ready"), "the model is not ready"),
        (KeyError("nobody foresaw"), "the gateway failed to read it; its log has the error"),
    ],
)
async def test_a_configuration_that_cannot_be_had_keeps_its_entry_alone_from_serving(
    failure: Exception, reason: str
) -> None:
    backend = many()
    backend.config_failures["entry07"] = failure
    states = await looked(backend)
    assert others_served(states)
    assert isinstance(states["entry07"], Loading)
    assert reason in states["entry07"].reason


async def test_a_configuration_that_never_comes_is_not_waited_for() -> None:
    backend = many()
    backend.hung.add("entry07")
    states = await looked(backend)
    assert others_served(states)
    assert isinstance(states["entry07"], Loading)
    assert "did not answer within 1 s" in states["entry07"].reason


@pytest.mark.parametrize("failure", [TritonUnavailable("away"), KeyError("nobody foresaw")])
async def test_what_is_served_goes_on_by_what_is_known_of_it(failure: Exception) -> None:
    backend = many()
    survey = Survey(backend, lambda: None)
    before = await survey.look()
    backend.config_failures["entry07"] = failure
    assert await survey.look() == before
    del backend.config_failures["entry07"], backend.configs["entry07", "1"]
    assert len(await survey.look()) == ENTRIES - 1


async def test_what_nobody_foresaw_is_counted_and_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    backend, faults = many(), [0]
    backend.config_failures["entry07"] = KeyError("nobody foresaw")

    def count() -> None:
        faults[0] += 1

    await Survey(backend, count).look()
    assert faults == [1]
    assert "reading entry07 version 1 failed" in caplog.text
    assert "KeyError: 'nobody foresaw'" in caplog.text


async def test_a_refused_contract_is_read_once_and_again_when_it_changes() -> None:
    backend = FakeBackend()
    backend.serve(an_entry())
    backend.configs["colours", "1"].parameters["contract.crop_mode"].string_value = "zoom"
    survey = Survey(backend, lambda: None)
    first, second = (await survey.look())["colours"], (await survey.look())["colours"]
    assert first is second
    backend.serve(an_entry())
    assert isinstance((await survey.look())["colours"], Served)


async def test_a_version_that_is_refused_leaves_the_one_before_serving_and_is_shown() -> None:
    backend = FakeBackend()
    backend.serve(an_entry())
    newer = ModelConfig()
    newer.CopyFrom(backend.configs["colours", "1"])
    newer.parameters["contract.labels"].string_value = "[]"
    backend.configs["colours", "2"] = newer
    backend.unready = [ModelVersion("colours", "3", False, "corrupt"), ModelVersion("colours", "0", False, "corrupt")]
    state = (await looked(backend))["colours"]
    assert isinstance(state, Served)
    assert (state.version, state.refused) == (
        "1",
        Refused("colours", "3", "the inference server cannot load it: corrupt"),
    )
    backend.unready = []
    state = (await looked(backend))["colours"]
    assert isinstance(state, Served)
    assert state.refused is not None
    assert (state.version, state.refused.version) == ("1", "2")


@pytest.mark.parametrize("version", ["", "one", "-1", "9" * 5_000, "1.0", "٣"])
async def test_a_version_that_is_no_number_is_refused(version: str) -> None:
    backend = many()
    backend.configs["entry07", version] = backend.configs.pop(("entry07", "1"))
    states = await looked(backend)
    assert others_served(states)
    assert isinstance(states["entry07"], Refused)
    assert "its version must be a number" in states["entry07"].reason
    assert len(states["entry07"].reason) < 100


async def test_a_version_that_was_taken_back_is_not_a_failure() -> None:
    backend = FakeBackend()
    backend.serve(an_entry())
    backend.unready = [ModelVersion("colours", "2", False, "unloaded")]
    state = (await looked(backend))["colours"]
    assert isinstance(state, Served)
    assert state == replace(state, refused=None)
    assert state.refused is None


async def test_over_grpc_the_one_that_fails_hangs_or_went_is_the_only_one_not_served() -> None:
    backend = many()
    troubles = {"entry03": StatusCode.INTERNAL, "entry05": StatusCode.NOT_FOUND, "entry07": StatusCode.UNAVAILABLE}

    async def ready(_: bytes, __: Any) -> bytes:
        return bytes(ServerReadyResponse(ready=True).SerializeToString())

    async def index(_: bytes, __: Any) -> bytes:
        answer = RepositoryIndexResponse()
        for name, version in backend.configs:
            answer.models.add(name=name, version=version, state="READY")
        return bytes(answer.SerializeToString())

    async def configuration(content: bytes, context: Any) -> bytes:
        request = ModelConfigRequest.FromString(content)
        if request.name == "entry09":
            await asyncio.Event().wait()
        if request.name in troubles:
            await context.abort(troubles[request.name], f"no {request.name} in /srv/models")
        config = backend.configs[request.name, request.version]
        return bytes(ModelConfigResponse(config=config).SerializeToString())

    calls = {"ServerReady": ready, "RepositoryIndex": index, "ModelConfig": configuration}
    methods = {name: grpc.unary_unary_rpc_method_handler(call) for name, call in calls.items()}
    server = grpc.aio.server(handlers=[grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    triton = TritonBackend(f"127.0.0.1:{port}")
    try:
        states = await Survey(triton, lambda: None).look()
    finally:
        await triton.close()
        await server.stop(None)
    assert len(states) == ENTRIES
    missing = {name: state for name, state in states.items() if not isinstance(state, Served)}
    assert missing.keys() == {*troubles, "entry09"}
    for state in missing.values():
        assert isinstance(state, Loading)
        assert state.reason.startswith("its configuration cannot be had: ")
        assert "/srv" not in state.reason


async def test_no_index_is_no_look() -> None:
    backend = FakeBackend(failure=TritonUnavailable("away"))
    with pytest.raises(TritonUnavailable):
        await looked(backend)
