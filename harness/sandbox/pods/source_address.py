"""A pod's connections leave from the pod's address, as they do where every pod has a network of its own.

Called once in a container's process, before its program. Only so can a proxy tell which pod a client is. It reaches whatever
connects through Python's sockets, which is all that the sandbox's own programs do; foreign programs come from outside.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import Any

_IP_BIND_ADDRESS_NO_PORT = 24  # not in the socket module of Python 3.11


def leave_from(ip: str) -> None:
    """Bind every TCP socket of this process that connects without an address of its own to `ip`."""
    plain = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_INET and self.type & socket.SOCK_STREAM and self.getsockname()[1] == 0:
            with contextlib.suppress(OSError):  # an address that is not this host's: leave from any
                if sys.platform == "linux":
                    # The port is chosen when it connects, so that many connections can share one.
                    self.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                self.bind((ip, 0))
        plain(self, address)

    socket.socket.connect = connect  # type: ignore[assignment]
