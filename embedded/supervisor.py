"""Triton and the gateway as one thing that starts, is kept running, and stops in order.

    async with Stack(Options(Path("model_repository"))) as stack:
        await stack.ready()
        ... stack.gateway_url

Leaving the block leaves no process, no port and no file behind; nor does a supervisor that is killed.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from embedded import leftovers, preflight, tritonserver
from embedded.child import Child
from embedded.errors import Unable
from embedded.janitor import Janitor
from embedded.probes import http_status, triton_is_live
from embedded.restarts import Restarts
from embedded.triton_log import TritonLog

POLL_S = 0.05
START_TIMEOUT_S = 120.0
READY_TIMEOUT_S = 60.0
GATEWAY_GRACE_S = 35.0
"""The gateway gives requests in flight 30 s, after VITRINE_DRAIN_SECONDS."""
TRITON_GRACE_S = tritonserver.EXIT_TIMEOUT_S + 5.0
GATEWAY = (sys.executable, "-m", "service")


@dataclass(frozen=True)
class Options:
    """What to run, and where. A port of 0 is any free one."""

    repository: Path
    host: str = "127.0.0.1"
    """Where the gateway listens. Triton listens on loopback, whatever this is."""
    port: int = 0
    grpc_port: int = 0
    metrics_port: int = 0
    gateway: tuple[str, ...] | None = GATEWAY
    """The gateway's command; None runs Triton alone."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Added to the gateway's environment."""
    verbose: bool = False
    """Show all of Triton's log."""
    show: Callable[[str], None] = lambda _: None
    """Is given each line worth showing: the gateway's own, and Triton's and the supervisor's for people."""


class Stack:
    """Triton, and the gateway in front of it.

    Raises, on entering:
        Unable: this machine or the repository does not do, or a process ended before it served.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self._prefix = leftovers.new_prefix()
        self._log = TritonLog()
        self._janitor = Janitor(self._prefix)
        self._triton: Child | None = None
        self._gateway: Child | None = None
        self._keepers: list[asyncio.Task[None]] = []
        self._ports = tritonserver.Ports(grpc=0, metrics=0)
        self._port = 0

    async def __aenter__(self) -> "Stack":
        server = preflight.find_server(preflight.Machine.this())
        preflight.check_repository(self.options.repository)
        leftovers.sweep(leftovers.folders())
        self._take_ports()
        try:
            await self._start(server)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    @property
    def gateway_url(self) -> str:
        """Where the gateway answers, seen from this machine."""
        return f"http://{f'[{self._local_host}]' if ':' in self._local_host else self._local_host}:{self._port}"

    @property
    def grpc_address(self) -> str:
        """Where Triton's gRPC answers, as host:port."""
        return f"{tritonserver.LOOPBACK}:{self._ports.grpc}"

    @property
    def metrics_url(self) -> str:
        """Triton's own metrics."""
        return f"http://{tritonserver.LOOPBACK}:{self._ports.metrics}/metrics"

    @property
    def gateway_metrics_url(self) -> str:
        """The gateway's metrics, which may have a port of their own."""
        own = self._environment.get("VITRINE_METRICS_PORT", "").strip()
        return f"{self.gateway_url.removesuffix(f':{self._port}')}:{own or self._port}/metrics"

    @property
    def triton_pid(self) -> int | None:
        """None while Triton is being restarted."""
        return self._triton.pid if self._triton else None

    @property
    def gateway_pid(self) -> int | None:
        """None while the gateway is being restarted, or where there is none."""
        return self._gateway.pid if self._gateway else None

    @property
    def shared_memory_prefix(self) -> str:
        """How the names of Triton's shared memory start."""
        return self._prefix

    async def ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until the gateway can answer (/readyz).

        Raises:
            asyncio.TimeoutError: it could not within `timeout_s`.
            Unable: a process ended too often meanwhile.
        """
        if self._gateway is not None:
            await asyncio.wait_for(self._unless_failed(self._until(self._gateway_is_ready)), timeout_s)

    async def run(self) -> None:
        """Keep both running until cancelled.

        Raises:
            Unable: a process ended too often.
        """
        await self._unless_failed(asyncio.Event().wait())

    @property
    def _environment(self) -> dict[str, str]:
        """What the gateway inherits."""
        return {**os.environ, **self.options.settings}

    @property
    def _drain_s(self) -> float:
        """How long the gateway takes new requests after its signal; one that cannot read it has not started."""
        with suppress(ValueError):
            return float(self._environment.get("VITRINE_DRAIN_SECONDS") or 0)
        return 0.0

    @property
    def _local_host(self) -> str:
        return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.options.host, self.options.host)  # noqa: S104

    def _take_ports(self) -> None:
        options = self.options
        self._ports = tritonserver.Ports(
            grpc=preflight.port_for(options.grpc_port, tritonserver.LOOPBACK, "Triton's gRPC", "--grpc-port"),
            metrics=preflight.port_for(
                options.metrics_port, tritonserver.LOOPBACK, "Triton's metrics", "--metrics-port"
            ),
        )
        if options.gateway is not None:
            self._port = preflight.port_for(options.port, options.host, "the gateway", "--port")

    async def _start(self, server: preflight.Server) -> None:
        """Start both at once (the gateway waits for Triton by itself) and wait until both answer."""
        options = self.options
        await self._janitor.start()
        backends = Path(tempfile.mkdtemp(prefix=self._prefix)) / "backends"
        tritonserver.make_backends(backends, server)
        command = tritonserver.command(server, options.repository.resolve(), backends, self._ports, self._prefix)
        self._triton = Child("Triton", command, tritonserver.environment(server, os.environ), self._show_triton)
        children = [self._triton]
        if options.gateway is not None:
            address = {"VITRINE_HOST": options.host, "VITRINE_PORT": str(self._port)}
            environment = {**self._environment, **address, "VITRINE_TRITON_URL": self.grpc_address}
            self._gateway = Child("the gateway", options.gateway, environment, options.show)
            children.append(self._gateway)
        for child in children:
            await self._start_child(child)
        await self._until(self._answers, children)
        self._keepers = [asyncio.create_task(self._keep(child)) for child in children]

    async def _stop(self) -> None:
        """The gateway first, which finishes what it has taken on, then Triton; then what they leave behind."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        if self._gateway is not None:
            await self._gateway.stop(self._drain_s + GATEWAY_GRACE_S)
        if self._triton is not None:
            await self._triton.stop(TRITON_GRACE_S)
        leftovers.remove(self._prefix, leftovers.folders())
        await self._janitor.dismiss()

    async def _keep(self, child: Child) -> None:
        """Start `child` again whenever it has ended."""
        restarts = Restarts()
        while True:
            await child.ended()
            if child is self._triton:
                leftovers.remove(self._prefix, [leftovers.SHARED_MEMORY])
            pause = restarts.pause(time.monotonic())
            if pause is None:
                raise Unable(f"{child.name} ended again and again; the last process {child.ending}", child.tail)
            self.options.show(f"vitrine: {child.name} {child.ending}; starting it again in {pause:.1f} s")
            await asyncio.sleep(pause)
            await self._start_child(child)

    async def _start_child(self, child: Child) -> None:
        await child.start()
        self._janitor.watch(each.pid for each in (self._gateway, self._triton) if each is not None and each.pid)

    async def _until(self, condition: Callable[[], Awaitable[bool]], starting: "list[Child] | None" = None) -> None:
        """Wait for `condition`, unless a child that is starting ends or takes too long."""
        started = time.monotonic()
        while not await condition():
            for child in starting or []:
                if child.pid is None:
                    await child.ended()
                    raise Unable(f"{child.name} {child.ending} before it served", child.tail)
            if starting and time.monotonic() - started > START_TIMEOUT_S:
                raise Unable(f"no answer within {START_TIMEOUT_S:.0f} s of the start", starting[0].tail)
            await asyncio.sleep(POLL_S)

    async def _unless_failed(self, wanted: Awaitable[object]) -> None:
        """Wait for `wanted`, unless a child ends too often."""
        task = asyncio.ensure_future(wanted)
        try:
            await asyncio.wait([task, *self._keepers], return_when=asyncio.FIRST_COMPLETED)
            for done in (*self._keepers, task):
                if done.done():
                    await done
        finally:
            task.cancel()

    async def _answers(self) -> bool:
        """Whether Triton is live and the gateway, where there is one, alive."""
        if self._gateway is not None and await http_status(self._local_host, self._port, "/livez") != 200:
            return False
        return await triton_is_live(self.grpc_address)

    async def _gateway_is_ready(self) -> bool:
        return await http_status(self._local_host, self._port, "/readyz") == 200

    def _show_triton(self, line: str) -> None:
        shown = line if self.options.verbose else self._log.readable(line)
        if shown is not None:
            self.options.show(shown)
