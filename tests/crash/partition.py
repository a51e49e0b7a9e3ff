"""A way to the API server that can be cut for chosen processes: a TCP relay that knows who connects.

What is cut stands still, as in a network partition: nothing is refused, nothing is answered, and when it is whole again what was
held flows on.
"""

import selectors
import socket
import threading
import time
from collections.abc import Callable

import psutil


class Relay:
    """Listens on loopback and passes connections on; `cut(pid)` says whether a process is cut off now."""

    def __init__(self, upstream: tuple[str, int], cut: Callable[[int], bool]) -> None:
        self._upstream = upstream
        self._cut = cut
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept nothing more; what is open ends with the next byte."""
        self._ended.set()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, peer = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client, peer[1]), daemon=True).start()

    def _carry(self, client: socket.socket, port: int) -> None:
        pid = _owner(port, self.port)
        with client:
            self._hold(pid)
            try:
                back = socket.create_connection(self._upstream, timeout=5)
            except OSError:
                return
            with back, selectors.DefaultSelector() as ready:
                ready.register(client, selectors.EVENT_READ, back)
                ready.register(back, selectors.EVENT_READ, client)
                try:
                    while not self._ended.is_set():
                        for key, _ in ready.select(timeout=0.2):
                            self._hold(pid)
                            data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                            if not data:
                                return
                            key.data.sendall(data)
                except OSError:
                    return

    def _hold(self, pid: int) -> None:
        while self._cut(pid) and not self._ended.is_set():
            time.sleep(0.05)


def _owner(port: int, relay: int) -> int:
    """Return the process that connected from `port`, 0 if it is gone already."""
    for connection in psutil.net_connections("tcp"):
        if (
            connection.laddr
            and connection.laddr[1] == port
            and connection.raddr
            and connection.raddr[1] == relay
        ):
            return connection.pid or 0
    return 0
