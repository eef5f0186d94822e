"""Tidies up after a supervisor that was killed without notice: waits for its end in a process of its own.

The kernel tells the supervisor's children (`embedded.leash`), but not what those have started: a Triton that is told
while it loads a model leaves that model's process behind.

Run as `python -m embedded.janitor <prefix>`; every line on stdin names the process groups that are alive by now.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

from embedded import leftovers

GRACE_S = 40.0
"""More than the gateway and Triton give the requests in flight."""


class Janitor:
    """The supervisor's side."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Have it wait."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "embedded.janitor", self._prefix),
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
        )

    def watch(self, groups: Iterable[int]) -> None:
        """Say which process groups are the supervisor's now."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(f"{' '.join(map(str, groups))}\n".encode())

    async def dismiss(self) -> None:
        """The supervisor has tidied up by itself."""
        if self._process is not None and self._process.stdin is not None:
            self.watch([])
            self._process.stdin.close()
            await self._process.wait()


def main(prefix: str) -> None:
    """Wait for the end of the supervisor, then of its children; end what is left, and remove the files of `prefix`."""
    groups: list[int] = []
    for line in sys.stdin:
        groups = [int(group) for group in line.split()]
    give_up = time.monotonic() + GRACE_S
    for group in groups:
        while _runs(group) and time.monotonic() < give_up:
            time.sleep(0.1)
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    leftovers.remove(prefix, leftovers.folders())


def _runs(leader: int) -> bool:
    """Whether the process that leads a group runs still."""
    try:
        os.kill(leader, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1])
