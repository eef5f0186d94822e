"""Steps of a conversion in processes of their own: quantisers print, patch ONNX Runtime, and leave temporary files."""

import contextlib
import errno
import multiprocessing
import multiprocessing.connection
import os
import signal
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from build_engines.errors import PrecisionError, last_line
from build_engines.values import Precision

_MESSAGE = 1000
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Job:
    """What other processes do with `source.onnx` and `pixels.npy` in the folder `work`."""

    work: Path
    precision: Precision
    method: str
    engine: bool
    attention: bool
    ends: tuple[str, ...]
    heads: tuple[str, ...]
    layers: tuple[str, ...]
    large: bool


Work = Callable[[Job, str], str]
"""Is given the name of the graph in `Job.work` that it starts from, and gives the name of the one that it writes."""


def run_apart(step: Work, job: Job, source: str) -> str:
    """Do one step in a process of its own, which gives its memory back.

    A fork server imports ModelOpt once (8 s) for all steps of a build, and has no threads when it forks.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["modelopt.onnx.autocast", "modelopt.onnx.quantization"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(step, job, source, sender), daemon=True)
    process.start()
    sender.close()
    try:
        process.join()
    finally:
        process.kill()
        process.join()
    number, text = None, f"its process ended with {process.exitcode}"
    if process.exitcode == -signal.SIGKILL:
        text = "its process was killed; there may be too little memory for this model"
    # A process that was killed may leave nothing, which reads as the end.
    with receiver, contextlib.suppress(EOFError):
        number, text = receiver.recv() if receiver.poll() else (number, text)
    if process.exitcode == 0:
        return str(text)
    if number is not None:
        raise OSError(number, os.strerror(number))
    raise PrecisionError(f"the graph cannot be brought to {job.precision.value}: {text}")


def _work(step: Work, job: Job, source: str, sender: Connection) -> None:
    """The other process, which prints nothing, leaves nothing outside `job.work`, and ends with its parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log = os.open(job.work / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    tempfile.tempdir = str(job.work)
    os.chdir(job.work)
    try:
        sender.send((None, step(job, source)))
    except BaseException as error:
        number = error.errno if isinstance(error, OSError) and error.errno in _DISK_FULL else None
        # Short enough for the pipe, which is read when this process has ended.
        sender.send((number, last_line(error)[:_MESSAGE]))
        raise


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)
