"""The warm spawner: forks a process per container from one that has imported everything already.

The kubelet forks it before it opens anything and tells it over a socket what to start and whom to signal; it
answers with process ids and exit codes. Output of a container goes through a pipe to here and is written as
log lines with time and stream name, so a frozen kubelet blocks no pod. It decides nothing: no restarts, no
probes, no order. It starts no thread and opens no library, because everything it does is inherited.
"""

from __future__ import annotations

import gc
import logging
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import msgspec

from harness.sandbox.lifeline import Lifeline
from harness.sandbox.node.podlog import PodLog
from harness.sandbox.pods.context import PodContext, Program
from harness.sandbox.pods.source_address import leave_from
from harness.sandbox.processes import MARK, close_files_but, name_process


class Start(msgspec.Struct, tag="start", frozen=True):
    """Start a program as a container; `context` holds the fields of PodContext except settings."""

    id: str
    program: str
    context: dict[str, object]
    log: str


class Signal(msgspec.Struct, tag="signal", frozen=True):
    """Send a signal to a container's process group."""

    id: str
    number: int


class Started(msgspec.Struct, tag="started", frozen=True):
    """A container runs as process `pid`, leader of its own group."""

    id: str
    pid: int


class Ended(msgspec.Struct, tag="ended", frozen=True):
    """A container is gone with everything it started: exit code as a shell would say it (128 + signal)."""

    id: str
    code: int


Order = Start | Signal
Notice = Started | Ended


@dataclass
class _Running:
    id: str
    pid: int
    pipes: dict[int, str]
    log: PodLog


class Spawner:
    """The spawner's loop. `make_context` turns the fields of an order into the program's PodContext."""

    def __init__(self, line: socket.socket, make_context: Callable[[dict[str, object]], PodContext]) -> None:
        self._line = line
        self._make_context = make_context
        self._lifeline = Lifeline()
        self._selector = selectors.DefaultSelector()
        self._by_pid: dict[int, _Running] = {}
        self._decoder = msgspec.json.Decoder(Order)
        self._rest = b""

    def run(self) -> NoReturn:
        """Serve orders until the kubelet's end of the socket closes."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        os.set_blocking(wake_read, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(wake_read, selectors.EVENT_READ, lambda: self._reap(wake_read))
        self._selector.register(self._line, selectors.EVENT_READ, self._orders)
        gc.collect()
        gc.freeze()
        while True:
            dispatch(self._selector)

    def _orders(self) -> None:
        received = self._line.recv(1 << 20)
        if not received:
            os._exit(0)  # the lifeline takes the pods along
        *whole, self._rest = (self._rest + received).split(b"\n")
        for line in whole:
            order = self._decoder.decode(line)
            if isinstance(order, Start):
                self._start(order)
            else:
                self._signal(order)

    def _signal(self, order: Signal) -> None:
        for running in self._by_pid.values():
            if running.id == order.id:
                _signal_container(running.pid, order.number)

    def _tell(self, notice: Notice) -> None:
        self._line.sendall(msgspec.json.encode(notice) + b"\n")

    def _start(self, order: Start) -> None:
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._become(order, out_write, err_write)
        os.close(out_write)
        os.close(err_write)
        pipes = {out_read: "stdout", err_read: "stderr"}
        running = _Running(order.id, pid, pipes, PodLog(Path(order.log)))
        self._by_pid[pid] = running
        for fd in pipes:
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ, partial(self._copy, running, fd))
        self._tell(Started(order.id, pid))

    def _copy(self, running: _Running, fd: int) -> bool:
        """Move what a container printed to its log; say whether there may be more."""
        try:
            received = os.read(fd, 65536)
        except BlockingIOError:
            return False
        if received:
            running.log.write(running.pipes[fd], received)
            return True
        self._close(running, fd)
        return False

    def _close(self, running: _Running, fd: int) -> None:
        self._selector.unregister(fd)
        os.close(fd)
        del running.pipes[fd]

    def _reap(self, wake_read: int) -> None:
        try:
            os.read(wake_read, 4096)
        except BlockingIOError:
            pass
        while self._by_pid:
            pid, status = _reaped()
            if pid == 0:
                return
            running = self._by_pid.pop(pid, None)
            if running is None:
                continue
            try:
                os.killpg(pid, signal.SIGKILL)  # whatever the container's first process left behind
            except ProcessLookupError:
                pass
            # A daemon that left the group may hold the pipes for ever: take what is there and close.
            for fd in tuple(running.pipes):
                while self._copy(running, fd):
                    pass
                if fd in running.pipes:
                    self._close(running, fd)
            running.log.close()
            code = os.waitstatus_to_exitcode(status)
            self._tell(Ended(running.id, code if code >= 0 else 128 - code))

    def _become(self, order: Start, out: int, err: int) -> NoReturn:
        """In the child: become the container and never return."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            keep = self._lifeline.tie()
            _take_over_output(out, err, keep)
            logging.root.handlers.clear()  # a pod's program decides itself what its log looks like
            logging.root.setLevel(logging.WARNING)
            context = self._make_context(order.context)
            name_process(context.name)
            _take_over_environment(context)
            leave_from(context.ip)
            code = run_program(order.program, context)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except (OSError, ValueError):
                    pass
            os._exit(code & 255)


def dispatch(selector: selectors.BaseSelector) -> None:
    """Wait once and call what became ready, unless a callback before it closed it (reaping closes pipes)."""
    for key, _ in selector.select():
        if selector.get_map().get(key.fd) is key:
            key.data()


def _signal_container(pid: int, number: int) -> None:
    """Signal a container's processes; one that was forked just now has no group of its own yet."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        with suppress(ProcessLookupError):  # it has ended and is about to be reaped
            os.kill(pid, number)


def run_program(program: str, context: PodContext) -> int:
    """Run "module:function" with a context and give its exit code."""
    module, _, function = program.partition(":")
    run: Program = getattr(import_module(module), function)
    return run(context)


def _reaped() -> tuple[int, int]:
    try:
        return os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return 0, 0


def _take_over_output(out: int, err: int, keep: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    close_files_but({keep})
    sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="replace")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="replace")  # noqa: SIM115


def _take_over_environment(context: PodContext) -> None:
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", MARK) if key in os.environ}
    os.environ.clear()
    os.environ.update(kept)
    os.environ.update(context.env)
    os.environ["HOSTNAME"] = context.name
    os.chdir(context.volume)
