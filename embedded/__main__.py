"""`python -m embedded`: Triton and the gateway on this machine, until Ctrl-C or SIGTERM."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from embedded.errors import Unable
from embedded.supervisor import READY_TIMEOUT_S, Options, Stack

PROJECT = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; 2 where that cannot be."""
    try:
        asyncio.run(_serve(_options(arguments)))
    except asyncio.CancelledError:
        return 0
    except Unable as error:
        print(*error.log, sep="\n", end="\n" if error.log else "", file=sys.stderr)
        print(f"vitrine: {error}", file=sys.stderr)
        return 2
    return 0


async def _serve(options: Options) -> None:
    _cancel_on_signals()
    async with Stack(options) as stack:
        try:
            await stack.ready()
        except asyncio.TimeoutError:
            print(
                f"vitrine: not ready after {READY_TIMEOUT_S:.0f} s, and going on; {stack.gateway_url}/readyz says why",
                file=sys.stderr,
            )
        print(_banner(stack), flush=True)
        await stack.run()


def _cancel_on_signals() -> None:
    """Have the first SIGINT, SIGTERM or SIGHUP cancel this task; later ones change nothing, as stopping is bounded."""
    task = asyncio.current_task()
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if task is not None and not stopping:
            stopping = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)


def _banner(stack: Stack) -> str:
    return f"""
  Vitrine is serving {stack.options.repository}

  gateway            {stack.gateway_url}
  its API            {stack.gateway_url}/docs
  its metrics        {stack.gateway_metrics_url}
  Triton's gRPC      {stack.grpc_address}
  Triton's metrics   {stack.metrics_url}

  This Triton is 2.51, older than fixes that its network interfaces have had since: keep it on loopback, as it is.
  Ctrl-C stops both.
"""


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m embedded", description=__doc__)
    parser.add_argument(
        "--repository", type=Path, default=PROJECT / "model_repository", help="the model repository (%(default)s)"
    )
    parser.add_argument(
        "--host", default=os.environ.get("VITRINE_HOST", "127.0.0.1"), help="the gateway's address (%(default)s)"
    )
    parser.add_argument(
        "--port", type=int, default=os.environ.get("VITRINE_PORT", "8080"), help="the gateway's port (%(default)s)"
    )
    parser.add_argument("--grpc-port", type=int, default=8001, help="Triton's gRPC port, on loopback (%(default)s)")
    parser.add_argument(
        "--metrics-port", type=int, default=8002, help="Triton's metrics port, on loopback (%(default)s)"
    )
    parser.add_argument("--verbose", action="store_true", help="show all of Triton's log")
    given = parser.parse_args(arguments)
    return Options(
        repository=given.repository,
        host=given.host,
        port=given.port,
        grpc_port=given.grpc_port,
        metrics_port=given.metrics_port,
        verbose=given.verbose,
        show=lambda line: print(line, flush=True),
    )


if __name__ == "__main__":
    sys.exit(main())
