"""A child process of the supervisor: in a session of its own, ends with its parent, and its last lines are kept."""

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LEASH = Path(__file__).with_name("leash.py")
TAIL_LINES = 50
MAX_LINE = 1 << 20


class Child:
    """A command that can be started again and again; one process of it at a time."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], show: Callable[[str], None]
    ) -> None:
        self.name = name
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._command = tuple(command)
        self._environment = dict(environment)
        self._show = show
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    @property
    def ending(self) -> str:
        """How the last process ended, in words."""
        code = self._process.returncode if self._process else None
        if code is None:
            return "has not ended"
        return f"ended with exit code {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}"

    async def start(self) -> None:
        """Start a process; returns before it has done anything."""
        # A pipe of our own: asyncio's would make wait() wait for grandchildren that hold the other end.
        read_end, write_end = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                # -I -S: the leash needs nothing that is installed, and starts in a third of the time.
                *(sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *self._command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                env=self._environment,
                start_new_session=True,
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._reader = asyncio.create_task(self._read(read_end))

    async def ended(self) -> None:
        """Wait until the process and all it started are gone."""
        if self._process is None:
            return
        await self._process.wait()
        self._kill_group()
        if self._reader is not None:
            await self._reader

    async def stop(self, grace_s: float) -> None:
        """Ask the process to end (SIGTERM); kill it and all it started where it has not after `grace_s`."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), grace_s)
        self._kill_group()
        await self.ended()

    def _kill_group(self) -> None:
        """Kill what is left of the process's session; as its leader it gave the group its number."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _read(self, read_end: int) -> None:
        stream = asyncio.StreamReader(limit=MAX_LINE)
        with open(read_end, "rb", buffering=0) as pipe:  # noqa: ASYNC230  (a pipe, read by the event loop)
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(stream), pipe
            )
            try:
                while line := await _line(stream):
                    text = line.decode(errors="replace").rstrip("\n")
                    self.tail.append(text)
                    self._show(text)
            finally:
                transport.close()


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line; one longer than the limit is left out, with its place marked."""
    try:
        return await stream.readline()
    except ValueError:
        return b"(a line too long to show)\n"
