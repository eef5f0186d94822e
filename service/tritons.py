"""Many Tritons behind one name: who there is, what each has, and a channel for those that have the version asked for.

Each look asks every Triton. gRPC balances between those that have a version, round robin; one that did not answer the
last look is left out until it answers one. While a roll is under way they disagree, and each request goes to a Triton
that has its version.
"""

import asyncio
import logging
import socket
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from tritonclient.grpc.model_config_pb2 import ModelConfig

from service.errors import ModelNotReady, TritonUnavailable, VitrineError
from service.settings import hosts_and_ports
from service.triton import ModelVersion, TritonBackend

_log = logging.getLogger(__name__)

_LAST_CALLS_SECONDS = 60.0
"""What calls on a channel that is not used any more get to end: more than any deadline is likely to be."""
_RESOLVE_SECONDS = 2.0

Address = tuple[str, int]
"""An IP address, and a port."""
_Key = TypeVar("_Key", bound=Hashable)


class Tritons:
    """`InferenceBackend` over every address that the hosts of `target` have; `target` is `host:port[,host:port...]`."""

    def __init__(self, target: str, metadata: Callable[[], tuple[tuple[str, str], ...]] = tuple) -> None:
        self._hosts = hosts_and_ports(target)
        self._authority = target.partition(",")[0]
        self._metadata = metadata
        self._found: dict[tuple[str, int], set[Address]] = {}
        self._alone: dict[Address, TritonBackend] = {}
        self._groups: dict[frozenset[Address], TritonBackend] = {}
        self._silent: frozenset[Address] = frozenset()
        self._having: dict[tuple[str, str], frozenset[Address]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def index(self) -> list[ModelVersion]:
        """See `InferenceBackend.index`: a version is ready where any Triton has it ready, and `at` says which.

        Raises:
            TritonUnavailable: there is none.
            VitrineError: none of them answered; it is the first one's error.
        """
        addresses = await self._resolve()
        self._renew(self._alone, {each: grpc_target([each]) for each in addresses})
        looks = await asyncio.gather(*(self._alone[each].index() for each in addresses), return_exceptions=True)
        answers: dict[Address, list[ModelVersion]] = {}
        for address, look in zip(addresses, looks, strict=True):
            if not isinstance(look, BaseException):
                answers[address] = look
            elif not isinstance(look, VitrineError):
                raise look
        if not answers:
            raise next(look for look in looks if isinstance(look, VitrineError))
        self._tell(frozenset(addresses) - answers.keys())
        lines = merged(answers)
        self._having = {(line.name, line.version): line.at for line in lines if line.ready}
        self._renew(self._groups, {group: grpc_target(sorted(group)) for group in self._having.values()})
        return lines

    async def config(self, name: str, version: str) -> ModelConfig:
        """See `InferenceBackend.config`."""
        return await self._for(name, version).config(name, version)

    async def infer(
        self, name: str, version: str, pixels: npt.NDArray[np.uint8], timeout: float
    ) -> npt.NDArray[np.float32]:
        """See `InferenceBackend.infer`."""
        return await self._for(name, version).infer(name, version, pixels, timeout)

    async def outputs(
        self, name: str, version: str, pixels: npt.NDArray[np.uint8], wanted: tuple[str, ...], timeout: float
    ) -> list[npt.NDArray[np.float32]]:
        """See `InferenceBackend.outputs`."""
        return await self._for(name, version).outputs(name, version, pixels, wanted, timeout)

    async def close(self) -> None:
        """See `InferenceBackend.close`."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await asyncio.gather(*(each.close() for each in (*self._groups.values(), *self._alone.values())))

    def _for(self, name: str, version: str) -> TritonBackend:
        """The client of those that have a version, as of the last look."""
        found = self._groups.get(self._having.get((name, version), frozenset()))
        if found is None:
            raise ModelNotReady("the model is not ready; try again shortly")
        return found

    async def _resolve(self) -> list[Address]:
        """The addresses of all hosts, now. A host whose name is not answered has those that it had."""
        found = await asyncio.gather(*(_addresses(*each) for each in self._hosts), return_exceptions=True)
        for host, addresses in zip(self._hosts, found, strict=True):
            if isinstance(addresses, set):
                self._found[host] = addresses
        known = sorted(set().union(*self._found.values()))
        if not known:
            cause = next((each for each in found if isinstance(each, BaseException)), None)
            raise TritonUnavailable("the inference server's name has no address; try again shortly") from cause
        return known

    def _renew(self, clients: dict[_Key, TritonBackend], targets: Mapping[_Key, str]) -> None:
        """Have a client for each target, and let the others end their calls."""
        for key in clients.keys() - targets.keys():
            task = asyncio.create_task(clients.pop(key).close(_LAST_CALLS_SECONDS))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        for key in targets.keys() - clients.keys():
            clients[key] = TritonBackend(targets[key], self._metadata, self._authority)

    def _tell(self, silent: frozenset[Address]) -> None:
        for word, addresses in (("does not answer", silent - self._silent), ("is back", self._silent - silent)):
            for host, port in sorted(addresses):
                _log.warning("the Triton at %s port %d %s", host, port, word)
        self._silent = silent


def merged(answers: dict[Address, list[ModelVersion]]) -> list[ModelVersion]:
    """The index of all Tritons together. Where none has a version ready, the reason is the first that one gives."""
    found: dict[tuple[str, str], list[tuple[Address, ModelVersion]]] = defaultdict(list)
    for address, lines in answers.items():
        for line in lines:
            found[line.name, line.version].append((address, line))
    return [
        ModelVersion(
            name,
            version,
            any(line.ready for _, line in lines),
            next((line.reason for _, line in lines if line.reason and not line.ready), ""),
            frozenset(address for address, line in lines if line.ready),
        )
        for (name, version), lines in found.items()
    ]


def grpc_target(addresses: Iterable[Address]) -> str:
    """The target by which gRPC takes addresses as they are (https://github.com/grpc/grpc/blob/master/doc/naming.md)."""
    listed = [(f"[{host}]" if ":" in host else host, port) for host, port in addresses]
    scheme = "ipv6" if listed[0][0].startswith("[") else "ipv4"
    return f"{scheme}:{','.join(f'{host}:{port}' for host, port in listed)}"


async def _addresses(host: str, port: int) -> set[Address]:
    """Those of IPv4, or else of IPv6: a Triton that has one of each is one Triton."""
    asking = asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found = await asyncio.wait_for(asking, _RESOLVE_SECONDS)
    for family in (socket.AF_INET, socket.AF_INET6):
        addresses = {(str(address[0]), int(address[1])) for kind, _, _, _, address in found if kind == family}
        if addresses:
            return addresses
    return set()
