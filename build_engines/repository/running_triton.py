"""A running Triton: what it serves, loads and answers, over gRPC. Foreign exceptions stop here, in `_errors`.

Triton 2.51's words and ways are pinned by tests/integration/test_running_triton.py.
"""

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import grpc
import numpy as np
from google.protobuf import json_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.grpc.service_pb2 import (
    ModelConfigRequest,
    ModelInferRequest,
    RepositoryIndexRequest,
    RepositoryModelLoadRequest,
    RepositoryModelUnloadRequest,
    ServerLiveRequest,
)
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from build_engines.errors import LoadError
from build_engines.values import Pixels, Probabilities
from contract.config import INPUT, OUTPUT

POLL_S = 0.2
_LOADS_BY_ITSELF = "explicit model load / unload is not allowed"
"""What Triton says in the modes poll and none alike."""
_NOT_THERE = "failed to poll from model repository"
_UNLOADED = "unloaded"
_ADMIN_TIMEOUT_S = 10.0
_CHANNEL = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@dataclass(frozen=True)
class Limits:
    """What is asked of Triton at most."""

    timeout_s: float = 300.0
    """For loading, with its warm-up, or for a Triton that polls until it has loaded."""
    upload: int = 2_000_000_000
    """Bytes of a version that is compared before it is served: a message of gRPC and protobuf holds 2 GiB."""


class RunningTriton:
    """The gRPC service of a running Triton. Every method raises only `LoadError`s."""

    def __init__(self, url: str, limits: Limits) -> None:
        self._url = url
        self._timeout_s = limits.timeout_s
        self._channel = grpc.insecure_channel(url, options=_CHANNEL)
        self._stub = GRPCInferenceServiceStub(self._channel)

    def __enter__(self) -> "RunningTriton":
        try:
            self._stub.ServerLive(ServerLiveRequest(), timeout=min(_ADMIN_TIMEOUT_S, self._timeout_s))
        except grpc.RpcError as error:
            self._channel.close()
            raise LoadError(
                f"no Triton answers at {self._url} ({_first_line(error)}); start it, or name host:port of its gRPC "
                "service, which is 8001 unless it was told another, without http://"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def loads_when_asked(self) -> bool:
        """Whether it is in explicit mode. Asks it to unload what it cannot have, which changes nothing."""
        try:
            self._stub.RepositoryModelUnload(
                RepositoryModelUnloadRequest(model_name=passing_name("nothing")), timeout=_ADMIN_TIMEOUT_S
            )
        except grpc.RpcError as error:
            if _LOADS_BY_ITSELF in error.details():
                return False
            raise self._failed("say how it loads", error) from error
        return True

    def serving(self, name: str) -> dict[int, ModelConfig]:
        """The versions of an entry that are ready, with what they run by."""
        with self._errors(f"say what it serves of {name}"):
            ready = [number for number, (state, _) in self._states(name).items() if state == "READY"]
            return {number: self._config(name, number) for number in ready}

    def load(self, name: str, config: ModelConfig | None = None, files: Mapping[str, Path] | None = None) -> None:
        """Load an entry by its own configuration or by `config`, from the repository or from the bytes of `files`."""
        request = RepositoryModelLoadRequest(model_name=name)
        if config is not None:
            request.parameters["config"].string_param = json_format.MessageToJson(
                config, preserving_proto_field_name=True
            )
        for path, file in (files or {}).items():
            request.parameters[f"file:{path}"].bytes_param = file.read_bytes()
        with self._errors(f"load {name}"):
            self._stub.RepositoryModelLoad(request, timeout=self._timeout_s)

    def unload(self, name: str) -> None:
        """Unload an entry."""
        with self._errors(f"unload {name}"):
            self._stub.RepositoryModelUnload(RepositoryModelUnloadRequest(model_name=name), timeout=self._timeout_s)

    def put_back(self, name: str, before: Mapping[int, ModelConfig]) -> None:
        """Serve what `serving` said."""
        if not before:
            return self.unload(name)
        config = ModelConfig()
        config.CopyFrom(before[max(before)])
        config.version_policy.specific.versions[:] = sorted(before)
        return self.load(name, config)

    def serves(self, name: str, version: int, config: ModelConfig) -> bool:
        """Whether it serves `version` of an entry by `config`."""
        found = self.serving(name).get(version)
        return found is not None and _same(found, config)

    def expect(self, folder: Path, version: int, config: ModelConfig, *, wait: bool) -> None:
        """Return when it serves `version` by `config`; at once or not at all unless it is to be waited for."""
        give_up = time.monotonic() + (self._timeout_s if wait else 0.0)
        at_first = None
        while True:
            with self._errors(f"say what it serves of {folder.name}"):
                state, reason = state_and_reason = self._states(folder.name).get(version, ("", ""))
                # A version number that was withdrawn may be served, or have failed, with other files.
                if state == "READY" and _same(self._config(folder.name, version), config):
                    return
            at_first = at_first or state_and_reason
            failed = state == "UNAVAILABLE" and reason != _UNLOADED and state_and_reason != at_first
            if failed or time.monotonic() >= give_up:
                said = f": {_line(reason)}" if reason else ""
                raise LoadError(
                    f"the Triton at {self._url} does not serve version {version} of {folder}{said}. See that it reads "
                    "this repository, and its log; one in mode none (--model-control-mode) must be started again"
                )
            time.sleep(POLL_S)

    def infer(self, name: str, version: int, config: ModelConfig, images: Pixels) -> Probabilities:
        """Probabilities `[n, classes]` of `images`, in batches of what the entry takes."""
        rows = max(1, config.max_batch_size)
        with self._errors(f"answer by version {version} of {name}"):
            return np.concatenate(
                [self._infer(name, version, images[start : start + rows]) for start in range(0, len(images), rows)]
            )

    def _infer(self, name: str, version: int, images: Pixels) -> Probabilities:
        request = ModelInferRequest(model_name=name, model_version=str(version))
        request.inputs.add(name=INPUT, datatype="UINT8", shape=images.shape)
        request.outputs.add(name=OUTPUT)
        request.raw_input_contents.append(images.tobytes())
        answer = self._stub.ModelInfer(request, timeout=self._timeout_s)
        return np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(tuple(answer.outputs[0].shape))

    def _states(self, name: str) -> dict[int, tuple[str, str]]:
        """The state and the reason of each version of an entry that Triton knows."""
        index = self._stub.RepositoryIndex(RepositoryIndexRequest(), timeout=_ADMIN_TIMEOUT_S)
        return {
            int(model.version): (str(model.state), str(model.reason))
            for model in index.models
            if model.name == name and model.version
        }

    def _config(self, name: str, version: int) -> ModelConfig:
        request = ModelConfigRequest(name=name, version=str(version))
        return self._stub.ModelConfig(request, timeout=_ADMIN_TIMEOUT_S).config

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Turn any gRPC error raised inside into one of ours, which says that Triton did not do this."""
        try:
            yield
        except grpc.RpcError as error:
            raise self._failed(doing, error) from error

    def _failed(self, doing: str, error: grpc.RpcError) -> LoadError:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return LoadError(f"the Triton at {self._url} did not {doing} within {self._timeout_s:.0f} s; see its log")
        said = _first_line(error)
        fix = "see that it reads this repository" if _NOT_THERE in said else "its log says more"
        return LoadError(f"the Triton at {self._url} did not {doing}: {said}; {fix}")


def _same(served: ModelConfig, published: ModelConfig) -> bool:
    """Whether Triton serves what was published, by its provenance: date, hashes."""
    return all(served.parameters[key] == value for key, value in published.parameters.items())


def passing_name(name: str) -> str:
    """A name that is used once: asked to load what it has under a name already, Triton may keep the old bytes."""
    return f"{name}.check-{secrets.token_hex(4)}"


def _first_line(error: grpc.RpcError) -> str:
    return _line(error.details() or error.code().name)


def _line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip(";")
