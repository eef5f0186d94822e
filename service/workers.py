"""Several processes behind one socket: each is a whole gateway, and all count into the same metrics."""

import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from service.app import create_app
from service.keys import KeysError
from service.metrics import forget, share
from service.server import Server, log_to_streams, share_freed_memory
from service.settings import Settings, SettingsError

_PAUSE_SECONDS = 1.0
"""Before one that ended is replaced, so that one that cannot start does not take a core."""
_ATTEMPTS = 5
"""Workers in a row that may end before they serve."""
_log = logging.getLogger(__name__)
_spawn = multiprocessing.get_context("spawn")
"""Not forked: gRPC does not live through a fork."""


@dataclass(frozen=True)
class Place:
    """What a worker has from the one whose slot it takes over."""

    slot: int
    folder: Path
    """What the workers share: metrics, and the rates of keys."""
    listener: socket.socket
    metrics: socket.socket | None
    """One worker has it: any can tell of all."""


@dataclass
class Worker:
    """A process, and what it says: one message once it serves."""

    process: SpawnProcess
    news: Connection
    serves: bool = False

    def __str__(self) -> str:
        code = self.process.exitcode or 0
        return f"worker {self.process.pid} ended ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"

    def came_to_serve(self) -> bool:
        """Whether it serves since the last look."""
        if self.serves or not self.news.poll():
            return False
        with suppress(EOFError):  # It ended.
            self.news.recv_bytes()
            self.serves = True
        return self.serves


class Workers:
    """Serves with `settings.workers` processes until SIGTERM or SIGINT; one that ends is replaced.

    Each drains by itself at the end (`service.server.Server`). Where this process is killed they end as well. The
    sockets are theirs: `listener` of all, `metrics` of one.
    """

    def __init__(self, settings: Settings, listener: socket.socket, metrics: socket.socket | None) -> None:
        self._settings = settings
        self._listener, self._metrics = listener, metrics
        self._workers: dict[int, Worker] = {}
        """By slot: a number that a worker hands on to the one that replaces it."""
        self._due = dict.fromkeys(range(settings.workers), 0.0)
        """When a worker is to be started, by slot."""
        self._failures = 0
        """Workers in a row that ended before they served."""

    def run(self) -> int:
        """Serve; 0 after a signal, 1 where no worker comes to serve."""
        with _signalled() as end, tempfile.TemporaryDirectory(prefix="vitrine-metrics-") as folder:
            try:
                while not self._hopeless():
                    self._start_those_due(Path(folder))
                    if self._wait(end):
                        return 0
                    self._look_after(Path(folder))
                return 1
            finally:
                self._leave()

    def _hopeless(self) -> bool:
        serves = any(worker.serves for worker in self._workers.values())
        if self._failures >= _ATTEMPTS and not serves:
            _log.error("%d workers in a row ended before they served: giving up", self._failures)
            return True
        return False

    def _start_those_due(self, folder: Path) -> None:
        for slot in [slot for slot, at in self._due.items() if at <= time.monotonic()]:
            del self._due[slot]
            news, telling = _spawn.Pipe(duplex=False)
            place = Place(slot, folder, self._listener, self._metrics if slot == 0 else None)
            process = _spawn.Process(target=_work, args=(self._settings, place, telling), name=f"worker {slot}")
            process.start()
            telling.close()
            self._workers[slot] = Worker(process, news)

    def _wait(self, end: Connection) -> bool:
        """Until there is something to do; whether it is to end."""
        news = [worker.news for worker in self._workers.values() if not worker.serves]
        ended = [worker.process.sentinel for worker in self._workers.values()]
        pause = max(0.0, min(self._due.values()) - time.monotonic()) if self._due else None
        return end in wait([end, *news, *ended], pause)

    def _look_after(self, folder: Path) -> None:
        for slot, worker in list(self._workers.items()):
            if worker.came_to_serve():
                self._failures = 0
            if not worker.process.is_alive():
                _log.warning("%s; starting another", worker)
                self._failures += not worker.serves
                del self._workers[slot]
                forget(folder, slot)
                self._due[slot] = time.monotonic() + _PAUSE_SECONDS

    def _leave(self) -> None:
        for each in (self._listener, self._metrics):
            if each is not None:  # No connection may wait on a socket from which nobody takes it.
                each.close()
        for worker in self._workers.values():
            worker.process.terminate()
        for worker in self._workers.values():
            worker.process.join()


@contextmanager
def _signalled() -> Iterator[Connection]:
    """What becomes readable when SIGTERM or SIGINT comes."""
    end, telling = _spawn.Pipe(duplex=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: telling.send_bytes(b"end"))
    yield end


def _work(settings: Settings, place: Place, telling: Connection) -> None:
    """A worker's life."""
    share_freed_memory()
    log_to_streams()
    threading.Thread(target=_leave_with_parent, args=(place.folder,), daemon=True).start()
    share(place.folder, place.slot)
    try:
        app = create_app(settings, shared=place.folder)
    except (SettingsError, KeysError) as error:
        raise SystemExit(f"vitrine: {error}") from None
    server = Server(app, settings, place.metrics, serving=lambda: telling.send_bytes(b"serves"))
    server.run(sockets=[place.listener])


def _leave_with_parent(folder: Path) -> None:
    """End as by a signal where the parent was killed; it cannot remove its folder any more."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 (this is a worker)
    parent.join()
    shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)
