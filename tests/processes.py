"""What the kernel says of processes and ports (/proc)."""

import os
import socket
from pathlib import Path


def descendants(pid: int) -> set[int]:
    """The processes that `pid` and its children started."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        state_and_parent = _stat(int(status.parent.name))
        if state_and_parent is not None:
            parents[int(status.parent.name)] = int(state_and_parent[1])
    found: set[int] = set()
    around = {pid}
    while around:
        around = {child for child, parent in parents.items() if parent in around}
        found |= around
    return found


def alive(pid: int) -> bool:
    """Whether `pid` runs; one that has ended and was not yet waited for does not."""
    state_and_parent = _stat(pid)
    return state_and_parent is not None and state_and_parent[0] != "Z"


def command(pid: int) -> str:
    """The command line of `pid`, NUL between the arguments; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listeners(pid: int) -> set[tuple[str, int]]:
    """The addresses (in hexadecimal, as the kernel shows them) and ports on which `pid` listens."""
    open_files = {os.path.realpath(descriptor) for descriptor in Path(f"/proc/{pid}/fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and any(file.endswith(f"/socket:[{columns[9]}]") for file in open_files):
                address, _, port = columns[1].partition(":")
                found.add((address, int(port, 16)))
    return found


def _stat(pid: int) -> tuple[str, str] | None:
    """The state and the parent of `pid`, or None where it is gone."""
    try:
        # "<pid> (<name, may hold anything>) <state> <parent> ..."
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return state, parent
