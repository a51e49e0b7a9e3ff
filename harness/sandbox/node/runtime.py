"""The kubelet's hold on its spawner: start a container, signal it, await its end.

Forks the spawner first thing (before any loop, thread or connection exists) and then talks to it from the
kubelet's event loop. When the spawner is gone every container counts as killed, because it is.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import signal
import socket
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.sandbox.lifeline import Lifeline
from harness.sandbox.node.spawner import Ended, Notice, Order, Signal, Spawner, Start, Started
from harness.sandbox.pods.context import PodContext
from harness.sandbox.processes import close_files_but, name_process, started_at
from harness.sandbox.settings import Settings


def fork_spawner(settings: Settings, name: str) -> tuple[socket.socket, Lifeline]:
    """Fork the spawner off this process; give the kubelet's end of the line and what keeps it alive."""
    ours, theirs = socket.socketpair()
    lifeline = Lifeline()
    if os.fork() == 0:
        try:
            keep = lifeline.tie()
            ours.close()
            close_files_but({keep, theirs.fileno()})
            name_process(name)
            Spawner(theirs, lambda said: make_context(said, settings)).run()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    theirs.close()
    return ours, lifeline


def make_context(said: Mapping[str, object], settings: Settings) -> PodContext:
    """Build a program's context from the plain data of an order."""
    fields = dict(said)
    for path in ("volume", "ca_file", "truth_dir"):
        fields[path] = Path(str(fields[path]))
    fields["args"] = tuple(fields["args"])  # type: ignore[arg-type]
    return PodContext(settings=settings, **fields)  # type: ignore[arg-type]


def plain_context(context: PodContext) -> dict[str, object]:
    """Return a context as plain data, without the settings, which the spawner has."""
    plain = {f.name: getattr(context, f.name) for f in dataclasses.fields(context) if f.name != "settings"}
    return {key: str(value) if isinstance(value, Path) else value for key, value in plain.items()}


@dataclass
class Process:
    """A started container; `ended` gives its exit code once it is gone."""

    id: str
    pid: int
    ended: asyncio.Future[int]
    started: float | None = None


class Runtime:
    """Starts containers through the spawner. Use inside one event loop; `run` must be running."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._ids = itertools.count(1)
        self._starting: dict[str, asyncio.Future[int]] = {}
        self._running: dict[str, Process] = {}
        self.on_change: Callable[[], None] = lambda: None

    @property
    def running(self) -> Mapping[str, Process]:
        """The containers that run now, by id."""
        return self._running

    async def run(self) -> None:
        """Take the spawner's notices until it is gone."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._line, limit=1 << 20)
        self._connected.set()
        decoder = msgspec.json.Decoder(Notice)
        try:
            while line := await reader.readline():
                notice = decoder.decode(line)
                if isinstance(notice, Started):
                    self._started(notice)
                else:
                    self._ended(notice)
        finally:
            self._writer.close()
        for id_ in list(self._running):
            self._ended(Ended(id_, 128 + signal.SIGKILL))
        raise RuntimeError("the spawner is gone, and with it every pod of this node")

    def _started(self, notice: Started) -> None:
        waiting = self._starting.pop(notice.id)
        if waiting.done():  # who wanted it has been cancelled: nobody would ever end it
            self._send(Signal(notice.id, signal.SIGKILL))
        else:
            waiting.set_result(notice.pid)

    def _ended(self, notice: Ended) -> None:
        process = self._running.pop(notice.id, None)
        if process is not None and not process.ended.done():
            process.ended.set_result(notice.code)
        self.on_change()

    async def start(self, program: str, context: PodContext, log: Path) -> Process:
        """Start a program as a container and give its process."""
        await self._connected.wait()
        id_ = f"{os.getpid():x}{next(self._ids):08x}"
        loop = asyncio.get_running_loop()
        pid: asyncio.Future[int] = loop.create_future()
        process = Process(id_, 0, loop.create_future())
        self._starting[id_] = pid
        self._running[id_] = process
        self._send(Start(id_, program, plain_context(context), str(log)))
        process.pid = await pid
        process.started = started_at(process.pid)
        return process

    def signal(self, process: Process, number: int) -> None:
        """Signal a container's process group; does nothing if it is gone."""
        if process.id in self._running:
            self._send(Signal(process.id, number))

    def _send(self, order: Order) -> None:
        if self._writer is None:
            raise RuntimeError("the runtime is not running")
        self._writer.write(msgspec.json.encode(order) + b"\n")
