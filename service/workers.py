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
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType

from service.app import create_app
from service.metrics import forget, share
from service.server import Server, configure, log_to_streams, share_freed_memory
from service.settings import Settings

_PAUSE_SECONDS = 1.0
"""Before one that ended is replaced, so that one that cannot start does not take a core."""
_log = logging.getLogger(__name__)
_spawn = multiprocessing.get_context("spawn")
"""Not forked: gRPC does not live through a fork."""


class Workers:
    """Serves with `settings.workers` processes until SIGTERM or SIGINT; one that ends is replaced.

    Each drains by itself at the end (`service.server.Server`). Where this process is killed they end as well.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._processes: dict[int, SpawnProcess] = {}
        """By slot: a number that a worker hands on to the one that replaces it."""
        self._leaving = threading.Event()

    def run(self) -> None:
        """Serve."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._leave)
        with (
            configure(self._settings).bind_socket() as listener,
            tempfile.TemporaryDirectory(prefix="vitrine-metrics-") as folder,
        ):
            for slot in range(self._settings.workers):
                self._start(slot, Path(folder), listener)
            while self._processes:
                wait([process.sentinel for process in self._processes.values()])
                for slot, process in list(self._processes.items()):
                    if not process.is_alive():
                        del self._processes[slot]
                        self._replace(slot, process, Path(folder), listener)

    def _replace(self, slot: int, process: SpawnProcess, folder: Path, listener: socket.socket) -> None:
        forget(folder, slot)
        if not self._leaving.is_set():
            _log.warning("worker %d ended (%s); starting another", process.pid, process.exitcode)
            time.sleep(_PAUSE_SECONDS)
            self._start(slot, folder, listener)

    def _start(self, slot: int, folder: Path, listener: socket.socket) -> None:
        if self._leaving.is_set():
            return
        process = _spawn.Process(target=_work, args=(self._settings, slot, folder, listener), name=f"worker {slot}")
        process.start()
        self._processes[slot] = process
        if self._leaving.is_set():  # A signal came in between, and did not see it.
            process.terminate()

    def _leave(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if not self._leaving.is_set():
            self._leaving.set()
            for process in self._processes.values():
                process.terminate()


def _work(settings: Settings, slot: int, folder: Path, listener: socket.socket) -> None:
    """A worker's life."""
    share_freed_memory()
    log_to_streams()
    threading.Thread(target=_leave_with_parent, args=(folder,), daemon=True).start()
    share(folder, slot)
    Server(create_app(settings, shared=folder), settings).run(sockets=[listener])


def _leave_with_parent(folder: Path) -> None:
    """End as by a signal where the parent was killed; it cannot remove its folder any more."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 (this is a worker)
    parent.join()
    shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)
