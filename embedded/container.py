"""`python -m embedded.container REPOSITORY`: become the wheel's Triton, the one process of a container.

Nothing supervises it: what starts it again is the container's engine. It listens on all of the container's addresses,
so the container's network must keep strangers out.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from embedded import leftovers, preflight, tritonserver
from embedded.errors import Unable

PORTS = tritonserver.Ports(grpc=8001, metrics=8002, address="0.0.0.0")  # noqa: S104  (see above)
BACKENDS = Path(sys.prefix) / "backends"
"""Laid out when the image is built: Triton loads a library from there, and /tmp may be mounted noexec."""


def main(arguments: Sequence[str] | None = None) -> int:
    """2 where Triton cannot run here; does not return where it can."""
    parser = argparse.ArgumentParser(prog="python -m embedded.container", description=(__doc__ or "").splitlines()[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("repository", type=Path, nargs="?", help="the model repository to serve")
    action.add_argument("--prepare", action="store_true", help="lay out the backends instead, once for the image")
    given = parser.parse_args(arguments)
    try:
        server = preflight.find_server(preflight.Machine.this())
        if not given.prepare:
            _become_triton(server, given.repository)
        tritonserver.make_backends(BACKENDS, server)
    except Unable as error:
        print(f"vitrine: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def _become_triton(server: preflight.Server, repository: Path) -> NoReturn:
    preflight.check_repository(repository)
    command = tritonserver.command(server, repository, BACKENDS, PORTS, leftovers.new_prefix())
    os.execve(command[0], command, tritonserver.environment(server, os.environ))  # noqa: S606  (no shell is wanted)


if __name__ == "__main__":
    sys.exit(main())
