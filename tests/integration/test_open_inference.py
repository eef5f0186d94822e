"""NVIDIA's own clients, asking as their `image_client` example does: the gateway over HTTP, the entry over gRPC."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tritonclient import grpc, http
from tritonclient.grpc.model_config_pb2 import ModelInput

from tests.fakes import a_picture, encoded
from tests.integration.conftest import Running

PICTURES = [a_picture((200, 30, 30), (8, 8)), a_picture((20, 30, 200), (8, 8))]


@pytest.fixture
def gateway(stack: Running) -> Iterator[http.InferenceServerClient]:
    with http.InferenceServerClient(stack.stack.gateway_url.removeprefix("http://")) as client:
        yield client


@pytest.fixture
def entry(stack: Running) -> Iterator[grpc.InferenceServerClient]:
    with grpc.InferenceServerClient(stack.stack.grpc_address) as client:
        yield client


def ask(client: Any, module: Any, metadata: Any, config: Any, count: int) -> Any:
    """Metadata, configuration, pixels of the size and layout they say, and classes as text: `image_client.py`."""
    (given,), (wanted,) = metadata["inputs"], metadata["outputs"]
    layout = config["input"][0]["format"]
    assert layout in ("FORMAT_NHWC", ModelInput.FORMAT_NHWC)
    assert (wanted["datatype"], config["max_batch_size"] > 0) == ("FP32", True)
    _, height, width, channels = map(int, given["shape"])
    assert channels == 3
    pixels = [np.asarray(each.resize((width, height), Image.Resampling.BILINEAR), np.uint8) for each in PICTURES]
    tensor = module.InferInput(given["name"], [len(pixels), height, width, channels], given["datatype"])
    tensor.set_data_from_numpy(np.stack(pixels))
    output = module.InferRequestedOutput(wanted["name"], class_count=count)
    answer = client.infer("colours", [tensor], request_id="1", outputs=[output])
    return answer.as_numpy(wanted["name"])


def in_grpc(client: grpc.InferenceServerClient, count: int) -> Any:
    metadata = client.get_model_metadata("colours", as_json=True)
    config = client.get_model_config("colours", as_json=True)["config"]
    return ask(client, grpc, metadata, config, count)


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_the_gateway_and_the_entry_give_the_same_text(
    gateway: http.InferenceServerClient, entry: grpc.InferenceServerClient, count: int
) -> None:
    metadata, config = gateway.get_model_metadata("colours"), gateway.get_model_config("colours")
    found = ask(gateway, http, metadata, config, count)
    assert found.shape == (2, min(count, 3))
    assert found.tolist() == in_grpc(entry, count).tolist()


def test_health_as_the_client_asks(gateway: http.InferenceServerClient) -> None:
    assert gateway.is_server_live()
    assert gateway.is_server_ready()
    assert gateway.is_model_ready("colours")
    assert gateway.is_model_ready("colours", "1")
    assert not gateway.is_model_ready("nobody")
    assert gateway.get_server_metadata()["name"] == "vitrine"


def test_whole_pictures_and_prepared_pixels_give_the_same_rows(gateway: http.InferenceServerClient) -> None:
    files = np.array([encoded(each) for each in PICTURES], np.object_)
    rows = []
    for array, datatype in ((files, "BYTES"), (np.stack([np.asarray(each) for each in PICTURES]), "UINT8")):
        tensor = http.InferInput("image", list(array.shape), datatype)
        tensor.set_data_from_numpy(array)
        rows.append(gateway.infer("colours", [tensor]).as_numpy("probabilities"))
    np.testing.assert_array_equal(*rows)


def test_an_error_as_the_client_reads_it(gateway: http.InferenceServerClient) -> None:
    with pytest.raises(http.InferenceServerException, match="model_not_found") as caught:
        gateway.get_model_metadata("nobody")
    assert caught.value.status() == "404"
    tensor = http.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([b"hello"], np.object_))
    with pytest.raises(http.InferenceServerException, match="media_type_unsupported") as caught:
        gateway.infer("colours", [tensor])
    assert caught.value.status() == "415"
