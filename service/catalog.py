"""What Triton serves, as contracts: asked from Triton, refreshed, never configured."""

import asyncio
import logging
from dataclasses import dataclass

from tritonclient.grpc.model_config_pb2 import ModelConfig

from contract.config import read_config
from contract.spec import ContractError, Entry
from service.errors import ModelNotNamed, ModelNotReady, TritonUnavailable, UnknownModel, VitrineError
from service.triton import InferenceBackend, ModelVersion

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """An entry and the version of it that answers."""

    entry: Entry
    version: str


class Catalog:
    """Name to `Served`, as of the last refresh.

    An entry without `contract.schema` is not ours and is skipped; a broken one is refused with the reason in the log,
    and the others go on.
    """

    def __init__(self, backend: InferenceBackend, default_model: str | None) -> None:
        self._backend = backend
        self._default = default_model
        self._served: dict[str, Served] = {}
        self._loading: frozenset[str] = frozenset()
        self._configs: dict[tuple[str, str], tuple[ModelConfig, Entry | None]] = {}
        self._reachable = False

    def models(self) -> list[Served]:
        """Everything served, by name.

        Raises:
            TritonUnavailable: Triton did not answer the last refresh.
        """
        self._require_triton()
        return [self._served[name] for name in sorted(self._served)]

    def resolve(self, name: str | None) -> Served:
        """The model of that name, or the default one.

        Raises:
            TritonUnavailable: Triton did not answer the last refresh.
            ModelNotNamed: no name, no default, and several models.
            ModelNotReady: Triton knows the model, but no version of it is ready.
            UnknownModel: Triton does not know it, or it is not an entry of ours.
        """
        self._require_triton()
        if name is None:
            name = self._default or self._only()
        if name in self._served:
            return self._served[name]
        if name in self._loading:
            raise ModelNotReady(f"model {name!r} is not ready; try again shortly")
        known = ", ".join(sorted(self._served)) or "none"
        raise UnknownModel(f"model {name[:128]!r} is not served; served are: {known}")

    def check_ready(self) -> None:
        """Return when requests can be answered: Triton is there and the default model (or any) is ready.

        Raises:
            VitrineError: they cannot; the message says why.
        """
        self._require_triton()
        if self._default is not None:
            self.resolve(self._default)
        elif not self._served:
            raise ModelNotReady("no model is ready; publish one with build-engines")

    async def refresh(self) -> None:
        """Ask Triton what it serves. Raises nothing: while Triton is away, `resolve` does."""
        try:
            index = await self._backend.index()
            newest = _newest_ready(index)
            served = {}
            for name, version in newest.items():
                entry = await self._entry(name, version)
                if entry is not None:
                    served[name] = Served(entry, version)
        except VitrineError as error:
            if self._reachable:
                _log.warning("Triton does not answer: %s (%s)", error, error.__cause__)
            self._reachable = False
            return
        for name in served.keys() - self._served.keys():
            _log.info("serving %s version %s", name, served[name].version)
        self._served = served
        self._loading = frozenset(model.name for model in index) - newest.keys()
        self._configs = {key: value for key, value in self._configs.items() if newest.get(key[0]) == key[1]}
        self._reachable = True

    async def watch(self, seconds: float) -> None:
        """Refresh for ever, every so many seconds."""
        while True:
            await self.refresh()
            await asyncio.sleep(seconds)

    async def _entry(self, name: str, version: str) -> Entry | None:
        config = await self._backend.config(name, version)
        cached = self._configs.get((name, version))
        if cached is not None and cached[0] == config:
            return cached[1]
        try:
            entry = read_config(config)
            if entry is None:
                _log.info("skipping %s: it has no contract.schema, so it is not an entry of ours", name)
        except ContractError as error:
            entry = None
            _log.error("refusing %s version %s: %s", name, version, error)
        self._configs[name, version] = (config, entry)
        return entry

    def _only(self) -> str:
        if len(self._served) == 1:
            return next(iter(self._served))
        if not self._served:
            raise ModelNotReady("no model is ready; publish one with build-engines")
        names = ", ".join(sorted(self._served))
        raise ModelNotNamed(
            f"several models are served ({names}); post to /v1/models/<name>/classify or set VITRINE_DEFAULT_MODEL"
        )

    def _require_triton(self) -> None:
        if not self._reachable:
            raise TritonUnavailable("the inference server is not reachable; try again shortly")


def _newest_ready(index: list[ModelVersion]) -> dict[str, str]:
    newest: dict[str, str] = {}
    for model in index:
        if model.ready and int(model.version) > int(newest.get(model.name, "0")):
            newest[model.name] = model.version
    return newest
