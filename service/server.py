"""A process that serves: uvicorn, with a way out that loses no request, and its log."""

import asyncio
import contextlib
import ctypes
import errno
import functools
import logging
import os
import resource
import socket
import stat
import sys
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.api.deps import exposition_of, services_in, start_draining
from service.connection import Connection
from service.settings import Settings

_M_ARENA_MAX, _M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -8, -3, -1
"""Their names in malloc.h."""
_LARGE_BYTES = 4_194_304
"""A photograph of a megapixel: smaller ones are decoded into memory that is there already."""
_KEPT_BYTES = 33_554_432
"""Of an arena, for them."""
UNIX = "unix:"
"""Before the path of a UNIX socket, where others have a host."""
_METRICS_HOST = "127.0.0.1"
"""Of the metrics' own port, where the API has a UNIX socket."""
GRACE_SECONDS = 30
"""What requests in flight get at the end."""


_SPARE_CONNECTIONS = 64
"""What the metrics' own port has beside those of the API, so that it answers when they are all taken."""


_OTHER_FILES = 256
"""Libraries, logs, channels, and the connections of the metrics' port."""


def configure(settings: Settings, app: FastAPI, spare: int = 0) -> uvicorn.Config:
    """The configuration of uvicorn."""
    connection = functools.partial(
        Connection,
        most=settings.max_connections + spare,
        head_seconds=settings.head_timeout_seconds,
        refused=lambda error: services_in(app).metrics.rejections.labels(error.code, error.fault.value).inc(),
    )
    return uvicorn.Config(
        app,
        http=connection,  # type: ignore[arg-type] # It makes a protocol, as a class does.
        timeout_keep_alive=settings.keep_alive_seconds,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # Nothing here asks who the client is.
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def listen(settings: Settings) -> tuple[socket.socket, socket.socket | None]:
    """The socket of the API, and that of the metrics where they have a port of their own.

    It ends the process where one cannot be had, with the reason in the log.
    """
    path = settings.host.removeprefix(UNIX)
    at_unix = path != settings.host
    if at_unix:
        _clear(path)
        api = uvicorn.Config("", uds=path, log_config=None).bind_socket()
    else:
        api = _bound(settings.host, settings.port)
    if settings.metrics_port is None:
        return api, None
    return api, _bound(_METRICS_HOST if at_unix else settings.host, settings.metrics_port)


def _clear(path: str) -> None:
    """Remove the socket that a process left which ended. Another file is not ours to remove."""
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking,
    ):
        if stat.S_ISSOCK(os.stat(path).st_mode) and asking.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)


def _bound(host: str, port: int) -> socket.socket:
    return uvicorn.Config("", host=host, port=port, log_config=None).bind_socket()


def share_freed_memory() -> None:
    """Let all threads take from two of glibc's arenas, and give the memory of large pictures back when they are done.

    Pictures are large, of all sizes, and freed by another thread than took them: 10,000 broken ones left 34 MB in the
    arenas of four threads, and more after each 5,000; with two arenas the memory stays where it is after the first.
    glibc raises the size from which it asks the kernel for memory of its own as soon as some is freed: what was freed
    of pictures of 25 megapixels then stayed, in pieces that were of no use to the next, and 300 MB in use took 480.
    Must come before threads are started (mallopt(3); another libc has its own ways).
    """
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)  # Setting the one above makes it 128 KB: a third more CPU a photograph.


def allow_open_files(connections: int) -> None:
    """Let this process have the files that so many connections need, as far as it may decide (setrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + _OTHER_FILES  # Those that are refused are open for a moment too.
    if soft not in (resource.RLIM_INFINITY, hard) and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def log_to_streams() -> None:
    """One JSON line a request on stdout; what else there is to say on stderr."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # It warns of each form that is broken.
    access = logging.StreamHandler(sys.stdout)
    access.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("vitrine.access").addHandler(access)
    logging.getLogger("vitrine.access").propagate = False


class Server(uvicorn.Server):
    """Serves `app` until SIGTERM or SIGINT.

    From the signal on `/readyz` answers 503, so that a load balancer sends nobody new; after `drain_seconds` no
    connection is accepted any more, and what is in flight is finished. A second signal changes nothing.
    """

    def __init__(
        self,
        app: FastAPI,
        settings: Settings,
        metrics: socket.socket | None = None,
        serving: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(configure(settings, app))
        self._app, self._settings, self._metrics = app, settings, metrics
        self._serving = serving
        self._leave_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn. `serving` is called once it accepts connections."""
        allow_open_files(self._settings.max_connections)
        await super().startup(sockets)
        exposition = exposition_of(self._app)
        if self._metrics is not None and exposition is not None:
            # Connections of both are counted together.
            spare = self._settings.max_connections + _SPARE_CONNECTIONS
            config = configure(self._settings, exposition, spare)
            config.load()

            def connection() -> asyncio.Protocol:
                kind: Callable[..., asyncio.Protocol] = config.http_protocol_class
                return kind(config=config, server_state=self.server_state, app_state=self.lifespan.state)

            self.servers.append(await asyncio.get_running_loop().create_server(connection, sock=self._metrics))
        self._serving()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """See uvicorn: a signal came."""
        if self._leave_at is None:
            start_draining(self._app)
            self._leave_at = time.monotonic() + self._settings.drain_seconds

    async def on_tick(self, counter: int) -> bool:
        """See uvicorn: ten times a second; whether to leave."""
        if self._leave_at is not None and time.monotonic() >= self._leave_at:
            self.should_exit = True
        return await super().on_tick(counter)
