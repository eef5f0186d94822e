"""Run as a script, `leash.py <pid of the parent> <command...>`: become the command, and end when the parent ends.

A step of its own rather than code between fork and exec, which is unsafe beside gRPC's threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Become `command`; the kernel sends it SIGTERM when its parent is gone, even killed without notice."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return  # The parent went before the kernel was asked.
    # Nobody reads the log of an orphan; a write to it must not end Triton before it has removed its shared memory.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.execvp(command[0], command)  # noqa: S606  (no shell is what is wanted)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
