"""Children that die with their parent, however the parent dies.

A parent that forks holds the write end of one pipe and shows it to nobody. Each child keeps a reading end of its
own on which the kernel is asked to send SIGKILL to the child's process group once no writer is left. That
works for a child that is stopped, busy, deep inside foreign code or has become another program, and takes what the child
started along; it needs no thread. Where the kernel cannot do it (macOS) a thread reads the pipe instead. The supervisor, the
kubelets and their spawners use it; nothing here ever signals a process outside the caller's own group.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading

_F_SETSIG = 10  # not in the fcntl module of Python 3.11


class Lifeline:
    """The parent's side: make one before forking, keep it as long as the children shall live."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def tie(self) -> int:
        """In a freshly forked child: begin a session, die with the parent; give the fd to keep open.

        The parent may already be dead when this runs: then the child ends here.
        """
        os.close(self._write)
        os.setsid()
        if sys.platform == "linux":
            return self._tie_by_kernel()
        threading.Thread(target=_die_at_end_of, args=(self._read,), daemon=True).start()
        return self._read

    def _tie_by_kernel(self) -> int:
        # An open file has one owner; opening the pipe anew gives this child an open file of its own.
        own = os.open(f"/proc/self/fd/{self._read}", os.O_RDONLY | os.O_NONBLOCK)
        os.close(self._read)
        os.set_inheritable(own, True)  # a child that becomes another program hangs on it as before
        fcntl.fcntl(own, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(own, _F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(own, fcntl.F_SETFL, fcntl.fcntl(own, fcntl.F_GETFL) | os.O_ASYNC)
        try:
            orphaned = os.read(own, 1) == b""
        except BlockingIOError:
            orphaned = False
        if orphaned:
            os.killpg(os.getpgrp(), signal.SIGKILL)
        return own

    def close(self) -> None:
        """Let every child go down."""
        os.close(self._read)
        os.close(self._write)


def _die_at_end_of(fd: int) -> None:
    while os.read(fd, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)
