"""A network between a client and a server that can go dark: what is sent arrives nowhere, and nobody is told."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 65_536


class Relay:
    """Forwards connections to `port` on loopback while it is lit. In the dark, connections stay open and silent."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._lit = threading.Event()
        self._lit.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def go_dark(self) -> None:
        """Forward nothing, either way, and accept nobody."""
        self._lit.clear()

    def light_up(self) -> None:
        """Forward again, also what waited, and accept new connections."""
        self._lit.set()

    def close(self) -> None:
        """End every connection."""
        self._lit.set()
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._lit.wait()
                client, _ = self._listener.accept()
                self._lit.wait()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(_CHUNK):
                self._lit.wait()
                sink.sendall(content)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextmanager
def relaying(port: int) -> Iterator[Relay]:
    relay = Relay(port)
    try:
        yield relay
    finally:
        relay.close()
