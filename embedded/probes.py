"""Whether a server answers: Triton over gRPC, the gateway over HTTP. One question, one answer, no waiting."""

import asyncio

import grpc

_LIVE = "/inference.GRPCInferenceService/ServerLive"
_IS_LIVE = b"\x08\x01"  # The response's field 1, `live`, as true: not worth the second that tritonclient takes to load.
_TIMEOUT_S = 2.0
_OPTIONS = [
    # A channel for one question, sharing nothing: gRPC would put off a second attempt for a second.
    ("grpc.use_local_subchannel_pool", 1),
    # It would ask a proxy that the environment names.
    ("grpc.enable_http_proxy", 0),
]


async def triton_is_live(address: str) -> bool:
    """Whether a Triton answers at `address` (host:port) and says that it is live."""
    # In a thread and not with grpc.aio, which serves one event loop of a process well, and that may be another's.
    return await asyncio.to_thread(_ask, address)


def _ask(address: str) -> bool:
    with grpc.insecure_channel(address, options=_OPTIONS) as channel:
        try:
            return bool(channel.unary_unary(_LIVE)(b"", timeout=_TIMEOUT_S) == _IS_LIVE)
        except grpc.RpcError:
            return False


async def http_status(host: str, port: int, path: str) -> int | None:
    """The status of a GET, or None where nobody answers."""
    try:
        return await asyncio.wait_for(_get(host, port, path), _TIMEOUT_S)
    except (OSError, ValueError, IndexError, asyncio.TimeoutError):
        return None


async def _get(host: str, port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
