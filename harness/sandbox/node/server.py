"""What a kubelet serves to the API server: container logs and exec.

The protocol is described in `controlplane/kubelet_seam.py`. Every request must carry the sandbox's shared
secret. Nothing here changes a pod.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from harness.sandbox.api import Obj
from harness.sandbox.controlplane.kubelet_seam import load_secret
from harness.sandbox.node.commands import CannotRun, end_command, start_command
from harness.sandbox.node.nodeobject import KUBELET_PORT
from harness.sandbox.node.podlog import LogLine, read_log
from harness.sandbox.recorder import seconds_of

if TYPE_CHECKING:
    from harness.sandbox.node.kubelet import Kubelet
    from harness.sandbox.node.podworker import PodWorker

FOLLOW_S = 0.2
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def serve(kubelet: Kubelet, host: str) -> None:
    """Listen on the node's address; returns once listening."""
    secret = load_secret(kubelet.sandbox.root)

    @web.middleware
    async def known(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {secret}":
            return web.Response(status=401, text="Unauthorized")
        return await handler(request)

    server = _Server(kubelet)
    app = web.Application(middlewares=[known])
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", server.logs)
    app.router.add_get("/exec/{namespace}/{pod}/{container}", server.exec)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, host, KUBELET_PORT, reuse_address=True).start()


@dataclass(frozen=True)
class LogOptions:
    """What a reader of a log asks for."""

    follow: bool = False
    tail: int | None = None
    since_s: float = 0.0
    """Seconds since the epoch before which lines are left out."""
    timestamps: bool = False
    limit_bytes: int | None = None
    previous: bool = False

    @classmethod
    def of(cls, query: dict[str, str]) -> LogOptions:
        """Read the API server's query parameters; ValueError for what is no number."""
        since_s = seconds_of(query.get("sinceTime"))
        if "sinceSeconds" in query:
            since_s = time.time() - int(query["sinceSeconds"])
        return cls(
            query.get("follow") in ("true", "1"),
            int(query["tailLines"]) if "tailLines" in query else None,
            since_s,
            query.get("timestamps") in ("true", "1"),
            int(query["limitBytes"]) if "limitBytes" in query else None,
            query.get("previous") in ("true", "1"),
        )

    def show(self, line: LogLine) -> bytes:
        """Return a line as it is sent."""
        return (f"{line.at} {line.text}\n" if self.timestamps else f"{line.text}\n").encode()


class _Server:
    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet

    async def logs(self, request: web.Request) -> web.StreamResponse:
        found = _found(self._kubelet, request)
        if isinstance(found, web.Response):
            return found
        worker, container = found
        state = worker.state_of(container)
        assert state is not None
        try:
            options = LogOptions.of(dict(request.query))
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        name = worker.key[1]
        if options.previous and state.last is None:
            text = f'previous terminated container "{container}" in pod "{name}" not found'
            return web.Response(status=400, text=text)
        if not state.container_id:
            why = (
                "trying and failing to pull image"
                if "Image" in state.waiting_reason
                else state.waiting_reason
            )
            text = f'container "{container}" in pod "{name}" is waiting to start: {why}'
            return web.Response(status=400, text=text)
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await answer.prepare(request)
        waits_again = not state.running_since and state.terminated is None
        restart = state.restarts - 1 if options.previous and not waits_again else state.restarts
        path = worker.log_file(container, restart)
        if not path.exists() and not options.previous:
            path = worker.log_file(container, max(restart - 1, 0))  # waiting to be started again
        async for chunk in _chosen(path, options, lambda: container in worker.processes):
            await answer.write(chunk)
        await answer.write_eof()
        return answer

    async def exec(self, request: web.Request) -> web.StreamResponse:
        found = _found(self._kubelet, request)
        if isinstance(found, web.Response):
            return found
        worker, container = found
        argv = request.query.getall("command", [])
        if not argv:
            return web.Response(status=400, text="you must specify at least 1 command for the container")
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",), max_msg_size=0)
        await socket.prepare(request)
        try:
            process = await start_command(self._kubelet, worker, container, argv)
        except CannotRun as error:
            await socket.send_bytes(b"\x03" + json.dumps(_failure(str(error), None)).encode())
            await socket.close()
            return socket
        if request.query.get("stdin") not in ("true", "1") and process.stdin:
            process.stdin.close()
        typing = asyncio.create_task(_type(socket, process))
        try:
            await asyncio.gather(
                _show(socket, process.stdout, b"\x01"), _show(socket, process.stderr, b"\x02")
            )
            code = await process.wait()
            said = {"metadata": {}, "status": "Success"} if code == 0 else _failure("", code)
            await socket.send_bytes(b"\x03" + json.dumps(said).encode())
            await socket.close()
        finally:
            typing.cancel()
            end_command(process)
        return socket


def _found(kubelet: Kubelet, request: web.Request) -> tuple[PodWorker, str] | web.Response:
    info = request.match_info
    worker = kubelet.worker(info["namespace"], info["pod"])
    if worker is None:
        return web.Response(status=404, text=f'pods "{info["pod"]}" not found')
    if worker.state_of(info["container"]) is None:
        return web.Response(
            status=400, text=f"container {info['container']} is not valid for pod {info['pod']}"
        )
    return worker, info["container"]


async def _chosen(path: Path, options: LogOptions, runs: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Give the chosen lines, and, when following, those that come until the container ends."""
    lines = [
        line
        for line in read_log(path)
        if not options.since_s or seconds_of(_micro(line.at)) >= options.since_s
    ]
    seen = sum(1 for _ in read_log(path)) if options.follow else 0
    if options.tail is not None:
        lines = lines[len(lines) - min(options.tail, len(lines)) :]
    left = options.limit_bytes
    for line in lines:
        shown = options.show(line)
        if left is not None:
            shown, left = shown[:left], left - len(shown[:left])
        if shown:
            yield shown
    while options.follow and (left is None or left > 0):
        running = runs()
        fresh = list(read_log(path))[seen:]
        seen += len(fresh)
        for line in fresh:
            yield options.show(line)
        if not running:
            return
        await asyncio.sleep(FOLLOW_S)


def _micro(at: str) -> str:
    return at[:26] + "Z"


async def _type(socket: web.WebSocketResponse, process: asyncio.subprocess.Process) -> None:
    """Pass what the client types to the command."""
    assert process.stdin is not None
    async for message in socket:
        if message.type is not WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        with contextlib.suppress(ConnectionError, RuntimeError):
            if channel == 0:
                process.stdin.write(data)
                await process.stdin.drain()
            elif channel == 255:
                process.stdin.close()


async def _show(socket: web.WebSocketResponse, output: asyncio.StreamReader | None, channel: bytes) -> None:
    assert output is not None
    while data := await output.read(32768):
        await socket.send_bytes(channel + data)


def _failure(message: str, code: int | None) -> Obj:
    if code is None:
        return {
            "metadata": {},
            "status": "Failure",
            "reason": "InternalError",
            "message": message,
            "code": 500,
        }
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
