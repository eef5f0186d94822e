"""The whole service beside the server that people write first (`benchmarks.plain`), under the same load, in turn.

    python -m benchmarks.baseline --model vit_tiny_patch16_224 --repository built --repository tuned

Each repository's stack and the plain server, which runs the graph of the first one's entry, are loaded in turn in each
round, closed loop, with one photograph. `ratio` is by the plain server's rate in the same round. The load comes from
this process, on the same CPUs.
"""

import argparse
import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.gateway import PROJECT
from benchmarks.load import Load, Server, closed_loop
from benchmarks.plain import PATH
from embedded.supervisor import Options, Stack

_POLL_SECONDS = 0.1
_WARM_SECONDS = 1.5


@asynccontextmanager
async def plain(folder: Path) -> AsyncIterator[Server]:
    """The plain server with an entry's graph, in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.plain", str(folder), str(port)]
    process = await asyncio.create_subprocess_exec(*command)
    try:
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            writer.close()
            break
        yield Server("plain", f"http://127.0.0.1:{port}", PATH)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def measure(options: argparse.Namespace, console: Console) -> None:
    """Start all servers, load them in turn, print the table."""
    photo = options.photo.read_bytes()
    table = Table(title=f"{options.model}, {options.photo.name}, medians of {options.rounds} rounds")
    for head in ("connections", "server", "requests/s", "p50 ms", "p99 ms", "ratio", "its rounds"):
        table.add_column(head, justify="right")
    async with AsyncExitStack() as servers:
        found = [await servers.enter_async_context(plain(options.repository[0] / options.model))]
        for repository in options.repository:
            stack = await servers.enter_async_context(Stack(Options(repository, show=lambda _: None)))
            await stack.ready()
            found.append(Server(repository.name, stack.gateway_url, f"/v1/models/{options.model}/classify"))
        for connections in options.connections:
            rows: dict[str, list[Load]] = {server.name: [] for server in found}
            for server in found:
                await closed_loop(server, photo, connections, _WARM_SECONDS)
            for _ in range(options.rounds):
                for server in found:
                    rows[server.name].append(await closed_loop(server, photo, connections, options.seconds))
            for name, measured in rows.items():
                rate, p50, p99 = np.median(
                    [(one.rate, one.percentile(50), one.percentile(99)) for one in measured], axis=0
                )
                ratios = [mine.rate / base.rate for mine, base in zip(measured, rows["plain"], strict=True)]
                each = " ".join(f"{ratio:.2f}" for ratio in ratios)
                figures = [f"{rate:.1f}", f"{p50:.1f}", f"{p99:.1f}", f"{np.median(ratios):.2f}", each]
                table.add_row(str(connections), name, *figures)
    console.print(table)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.baseline", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repository", type=Path, action="append", help="default: model_repository")
    parser.add_argument("--model", default="cifar10_vit", help="default: %(default)s")
    parser.add_argument("--photo", type=Path, default=PROJECT / "docs" / "images" / "cat.jpg")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32], help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each row; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    options = parser.parse_args()
    options.repository = options.repository or [PROJECT / "model_repository"]
    asyncio.run(measure(options, Console(width=120)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
