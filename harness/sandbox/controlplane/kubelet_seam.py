"""The seam between the API server and the kubelets: container logs and exec.

How a kubelet joins: it reads the shared secret from `<state>/kubelet-secret`, listens with plain HTTP on its node's
address, and registers that as `status.addresses[type=InternalIP]` and
`status.daemonEndpoints.kubeletEndpoint.Port` of its Node. Every request carries `Authorization: Bearer <secret>`;
a kubelet answers anything else with 401.

Logs: `GET /containerLogs/{namespace}/{pod}/{container}` with the query parameters of the API server passed on as they
came: follow, tailLines, sinceSeconds, sinceTime, timestamps, limitBytes, previous. The answer is text/plain,
streamed and flushed line by line while `follow=true`; 404 or 400 with a sentence as text is shown to the caller as a
Status with that message.

Exec and attach: `GET /exec/{namespace}/{pod}/{container}` with command (repeated), stdin, stdout, stderr, tty. The
kubelet upgrades to a WebSocket and speaks v4.channel.k8s.io: binary messages whose first byte is the channel
(0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize). At the end it sends on channel 3 one Status object as JSON:
`{"metadata":{},"status":"Success"}`, or for an exit code other than 0
`{"metadata":{},"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with non-zero exit code:
exit status 3","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}`, and closes. A message `[255, n]` (from
clients of v5.channel.k8s.io) says that the client has closed channel n, so stdin is at its end.

Called by the HTTP layer. It refuses SPDY, and to reach anything but the address a Node registered.
"""

import asyncio
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.controlplane import statuses

CHANNEL_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
LOG_PARAMETERS = (
    "follow",
    "tailLines",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "limitBytes",
    "previous",
)
CONNECT_TIMEOUT_S = 5.0


def load_secret(state: Path) -> str:
    """The secret shared with the kubelets of this sandbox; made on first use, readable by the owner only."""
    file = state / "kubelet-secret"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(24))
    return file.read_text().strip()


@dataclass(frozen=True)
class Kubelet:
    """Where a node's kubelet listens."""

    node: str
    host: str
    port: int
    secret: str

    def url(self, path: str, query: list[tuple[str, str]]) -> str:
        """The address of one request."""
        return f"http://{self.host}:{self.port}{path}?{urlencode(query)}"

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self.secret}"}


def kubelet_of(node: Obj, secret: str) -> Kubelet:
    """Find the kubelet a Node registered; raise ApiStatus 500 where there is none."""
    status = node.get("status", {})
    port = status.get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port")
    hosts = [a["address"] for a in status.get("addresses", []) if a.get("type") == "InternalIP"]
    name = node["metadata"]["name"]
    if not port or not hosts:
        raise statuses.internal(f"no preferred addresses found for node {name}; known addresses: {hosts}")
    return Kubelet(name, hosts[0], port, secret)


async def copy_logs(
    kubelet: Kubelet, path: str, query: list[tuple[str, str]], request: web.Request
) -> web.StreamResponse:
    """Stream a container's log from its kubelet to the client; raise ApiStatus where the kubelet refuses."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
    url = kubelet.url("/containerLogs" + path, query)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(url, headers=kubelet.headers) as answer,
        ):
            if answer.status != 200:
                _refuse(answer.status, (await answer.text()).strip())
            response = web.StreamResponse(headers={"Content-Type": "text/plain"})
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _unreachable(kubelet, "containerLogs" + path, error) from error


def _refuse(code: int, text: str) -> None:
    if code == 404:
        raise statuses.refusal(404, "NotFound", text)
    if code == 400:
        raise statuses.bad_request(text)
    raise statuses.internal(text or f"kubelet answered {code}")


def _unreachable(kubelet: Kubelet, path: str, error: BaseException) -> ApiStatus:
    where = f"http://{kubelet.host}:{kubelet.port}/{path}"
    return statuses.internal(f'Get "{where}": dial tcp {kubelet.host}:{kubelet.port}: {error}')


async def bridge_exec(
    kubelet: Kubelet, path: str, query: list[tuple[str, str]], request: web.Request
) -> web.StreamResponse:
    """Join the client's WebSocket to the kubelet's, message by message, until one of them closes."""
    offered = [p.strip() for p in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    if not any(p in CHANNEL_PROTOCOLS for p in offered):
        raise statuses.bad_request(
            f"unable to upgrade: no common protocol of {offered} and {CHANNEL_PROTOCOLS}"
        )
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        try:
            far = await session.ws_connect(
                kubelet.url("/exec" + path, query),
                headers=kubelet.headers,
                protocols=CHANNEL_PROTOCOLS[1:],
                max_msg_size=0,
            )
        except aiohttp.WSServerHandshakeError as error:
            _refuse(error.status, error.message)
            raise
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(kubelet, "exec" + path, error) from error
        near = web.WebSocketResponse(protocols=CHANNEL_PROTOCOLS, max_msg_size=0)
        await near.prepare(request)
        tasks = [asyncio.create_task(_pump(near, far)), asyncio.create_task(_pump(far, near))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await far.close()
            await near.close()
        return near


Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _pump(source: Socket, sink: Socket) -> None:
    """Pass messages on until the source closes; a sink that is gone ends it too."""
    async for message in source:
        if message.type is aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)
        elif message.type is aiohttp.WSMsgType.TEXT:  # the Python client types in texts; kubelets get bytes
            await sink.send_bytes(message.data.encode())
