"""A control plane process, and a hand-played kubelet behind its one node: pods run at once, logs and exec are echoes.

The kubelet is a thread with the identity of its node; it uses `RestApi` alone, as the sandbox's kubelets do.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from harness.sandbox.api import ApiStatus, RestApi
from harness.sandbox.controlplane.identity import Tokens
from harness.sandbox.controlplane.kubelet_seam import load_secret

ROOT = Path(__file__).resolve().parents[2]
NODE = "conformance-node"


class Plane:
    """One control plane process over a state directory; can be killed and started again."""

    def __init__(self, state: Path, *options: str) -> None:
        self.state = state
        self.host = f"127.252.{os.getpid() % 250}.1"
        with socket.socket() as probe:
            probe.bind((self.host, 0))
            self.port = probe.getsockname()[1]
        self.options = options
        self.start()

    def start(self) -> None:
        """Start the process and wait until it answers."""
        command = [sys.executable, "-m", "harness.sandbox.controlplane", "--state", str(self.state)]
        command += [
            "--listen",
            f"{self.host}:{self.port}",
            "--world",
            "conformance",
            "--lifeline",
            *self.options,
        ]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready"), line

    def kill(self) -> None:
        """Kill the process as a crash would."""
        self.process.kill()
        self._reap()

    def stop(self) -> None:
        """End the process through its lifeline."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._reap()

    def _reap(self) -> None:
        self.process.wait(timeout=10)
        for end in (self.process.stdin, self.process.stdout):
            if end is not None:
                end.close()

    @property
    def kubeconfig(self) -> Path:
        """The admin's kubeconfig."""
        return self.state / "kubeconfig"

    @property
    def url(self) -> str:
        """Where the API is served."""
        return f"https://{self.host}:{self.port}"


class PlayedKubelet:
    """Runs pods of the node by saying so, lets them go when asked to, and serves logs and exec."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._serve())
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.run_until_complete(asyncio.sleep(0.2))  # connections end their TLS in the background
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        app.router.add_get("/exec/{namespace}/{pod}/{container}", self._exec)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, self._plane.host, 0)
        await site.start()
        port = runner.addresses[0][1]
        token = Tokens.load(self._plane.state).node_token(NODE)
        try:
            async with RestApi(self._plane.url, token, self._plane.state / "ca.pem") as api:
                status = {
                    "addresses": [{"type": "InternalIP", "address": self._plane.host}],
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
                }
                await api.patch("nodes", NODE, {"status": status}, subresource="status")
                self._ready.set()
                async with aclosing(api.watch("pods", fields=f"spec.nodeName={NODE}")) as changes:
                    async for kind, pod in changes:
                        if kind in ("ADDED", "MODIFIED"):
                            await self._play(api, pod)
        finally:
            await runner.cleanup()

    async def _play(self, api: RestApi, pod: dict[str, Any]) -> None:
        meta = pod["metadata"]
        with suppress(ApiStatus):  # gone or changed meanwhile: another event tells
            if meta.get("deletionTimestamp"):
                await api.delete("pods", meta["name"], meta["namespace"], grace_s=0)
            elif pod["status"]["phase"] == "Pending":
                boxes = [
                    {"name": c["name"], "image": c["image"], "ready": True, "state": {"running": {}}}
                    for c in pod["spec"]["containers"]
                ]
                conditions = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]
                status = {
                    "phase": "Running",
                    "podIP": "10.1.2.3",
                    "conditions": conditions,
                    "containerStatuses": boxes,
                }
                await api.patch(
                    "pods", meta["name"], {"status": status}, meta["namespace"], "status", "strategic"
                )

    def _check(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {load_secret(self._plane.state)}":
            raise web.HTTPUnauthorized

    async def _logs(self, request: web.Request) -> web.Response:
        self._check(request)
        said = {**request.match_info, **request.query}
        return web.Response(text="".join(f"{key}={said[key]}\n" for key in sorted(said)))

    async def _exec(self, request: web.Request) -> web.WebSocketResponse:
        """Echo the command and every line of input; the exit code is the first argument after `exit`."""
        self._check(request)
        line = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await line.prepare(request)
        command = request.query.getall("command")
        await line.send_bytes(b"\x01" + " ".join(command).encode() + b"\n")
        if request.query.get("stdin") in ("1", "true", "True"):
            async for message in line:
                if message.type is not WSMsgType.BINARY or message.data[:1] != b"\x00":
                    break
                await line.send_bytes(b"\x01" + message.data[1:])
                if message.data.endswith(b"\n"):
                    break
        code = int(command[1]) if command[0] == "exit" else 0
        status: dict[str, Any] = {"metadata": {}, "status": "Success"}
        if code:
            details = {"causes": [{"reason": "ExitCode", "message": str(code)}]}
            text = f"command terminated with non-zero exit code: exit status {code}"
            status = {
                "status": "Failure",
                "reason": "NonZeroExitCode",
                "message": text,
                "details": details,
                "metadata": {},
            }
        await line.send_bytes(b"\x03" + json.dumps(status).encode())
        await line.close()
        return line
