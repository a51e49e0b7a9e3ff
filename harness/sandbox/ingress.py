"""The ingress: the public address of Focus Server, answering as nginx does when there is nobody behind it.

A process of its own, forked by the supervisor (`main`) or started as `python -m harness.sandbox.ingress NAME`. It
strips the prefix, follows the service's EndpointSlices and passes requests on over pooled connections: 503 without
a ready endpoint, 502 when an endpoint refuses or hangs up, 504 when it does not answer in time, 404 for other
paths, 413 above one megabyte. It never retries a request that may have been received, and changes no body.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import sys
import time

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict

from harness.sandbox.api import Api, load_rest_api
from harness.sandbox.settings import Settings
from harness.sandbox.state import INGRESS_PORT, Sandbox, read_sandbox
from harness.sandbox.truth import Cause, TruthLog

log = logging.getLogger("ingress")

MAX_BODY = 1 << 20
TITLES = {
    404: "404 Not Found",
    413: "413 Request Entity Too Large",
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
}
HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host")
)
CLIENT_GONE = 499


def page(status: int, dialect: str = "nginx") -> web.Response:
    """Return the error page of an ingress of that make."""
    text, kind = PAGES[dialect](status)
    server = {"Server": dialect} if dialect != "haproxy" else {}
    return web.Response(status=status, text=text, content_type=kind, headers=server)


def _nginx(status: int) -> tuple[str, str]:
    title = TITLES[status]
    head = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
    return f"{head}<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n", "text/html"


def _haproxy(status: int) -> tuple[str, str]:
    said = {
        502: "The server returned an invalid or incomplete response.",
        503: "No server is available to handle this request.",
        504: "The server didn't respond in time.",
    }.get(status, "")
    title = f"{status} {TITLES[status].partition(' ')[2]}"
    return f"<html><body><h1>{title}</h1>\n{said}\n</body></html>\n", "text/html"


def _envoy(status: int) -> tuple[str, str]:
    said = {
        502: "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
        503: "no healthy upstream",
        504: "upstream request timeout",
    }.get(status, "")
    return said, "text/plain"


PAGES = {"nginx": _nginx, "haproxy": _haproxy, "envoy": _envoy}


class Backends:
    """The ready endpoints of one service, as the API says; run `follow` as a task."""

    def __init__(self) -> None:
        self._slices: dict[str, tuple[str, ...]] = {}
        self._turn = itertools.count()
        self.ready: tuple[str, ...] = ()

    async def follow(self, api: Api, settings: Settings) -> None:
        """Watch the slices for ever; while the API is away the last state holds, as in nginx."""
        labels = f"kubernetes.io/service-name={settings.focus_name}"
        async for kind, obj in api.watch("endpointslices.discovery.k8s.io", settings.namespace, labels):
            if kind == "SYNCED":
                continue
            name = obj["metadata"]["name"]
            if kind == "DELETED":
                self._slices.pop(name, None)
            else:
                self._slices[name] = _ready_addresses(obj)
            self.ready = tuple(address for slice_ in self._slices.values() for address in slice_)

    def in_turn(self) -> list[str]:
        """Return the ready endpoints, beginning with the next in turn."""
        if not self.ready:
            return []
        first = next(self._turn) % len(self.ready)
        return [*self.ready[first:], *self.ready[:first]]


class Ingress:
    """Passes requests on; one instance per process."""

    def __init__(self, settings: Settings, truth: TruthLog) -> None:
        self._settings = settings
        self._truth = truth
        self.backends = Backends()
        self._client: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Open the pool of connections to the endpoints."""
        timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=self._settings.ingress_connect_timeout_s,
            sock_read=self._settings.ingress_read_timeout_s,
        )
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
            timeout=timeout,
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close the pool."""
        if self._client is not None:
            await self._client.close()

    def server(self) -> web.Server:
        """Return what speaks HTTP to clients, not yet listening."""
        # A refused upload is read for a second more at most, so that the client hears the refusal.
        return web.Server(self.handle, access_log=None, keepalive_timeout=75, lingering_time=1)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        began_s = time.monotonic()
        request_id = request.headers.get("X-Request-ID") or secrets.token_hex(16)
        try:
            answer = await self._answer(request, request_id)
        except asyncio.CancelledError:
            self._log(request, CLIENT_GONE, began_s, request_id)
            raise
        self._log(request, answer.status, began_s, request_id)
        return answer

    async def _answer(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        path = self._stripped(request.raw_path)
        if path is None:
            return page(404, self._settings.ingress_dialect)
        if (request.content_length or 0) > MAX_BODY:
            return page(413, self._settings.ingress_dialect)
        body = await request.read() if request.can_read_body else b""
        headers = CIMultiDict(
            (key, value) for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP
        )
        headers["X-Request-ID"] = request_id
        headers["X-Real-IP"] = headers["X-Forwarded-For"] = request.remote or ""
        headers["X-Forwarded-Prefix"] = self._settings.ingress_prefix
        endpoints = self.backends.in_turn()
        if not endpoints:
            return self._failed(503, request_id, "no_endpoints")
        for endpoint in endpoints:
            try:
                return await self._pass_on(request.method, f"http://{endpoint}{path}", headers, body)
            except aiohttp.ClientConnectorError:
                continue  # refused: nothing was sent, the next endpoint may have it
            except (aiohttp.ServerTimeoutError, TimeoutError):
                return self._failed(504, request_id, "timeout")
            except (aiohttp.ClientError, OSError):
                return self._failed(502, request_id, "reset")
        return self._failed(502, request_id, "refused")

    async def _pass_on(
        self, method: str, url: str, headers: CIMultiDict[str], body: bytes
    ) -> web.StreamResponse:
        assert self._client is not None
        async with self._client.request(
            method, url, headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            content = await answer.read()
            kept = CIMultiDict(
                (key, value)
                for key, value in answer.headers.items()
                if key.lower() not in HOP_BY_HOP and key.lower() not in ("content-length", "date", "server")
            )
            kept["Server"] = "nginx"
            return web.Response(status=answer.status, body=content, headers=kept)

    def _stripped(self, raw_path: str) -> str | None:
        """Return the path behind the prefix (regex `prefix(/|$)(.*)` rewritten to `/$2`), None for another path."""
        path, question, query = raw_path.partition("?")
        prefix = self._settings.ingress_prefix
        if path == prefix:
            return f"/{question}{query}"
        if path.startswith(prefix + "/"):
            return path[len(prefix) :] + question + query
        return None

    def _failed(self, status: int, request_id: str, reason: str) -> web.Response:
        self._truth.write(
            "ingress_error", status=status, causes=[Cause.FOCUS_SERVER], reason=reason, request_id=request_id
        )
        return page(status, self._settings.ingress_dialect)

    @staticmethod
    def _log(request: web.BaseRequest, status: int, began_s: float, request_id: str) -> None:
        took_s = time.monotonic() - began_s
        log.info(
            '%s "%s %s" %s %.3f %s',
            request.remote,
            request.method,
            request.raw_path,
            status,
            took_s,
            request_id,
        )


async def serve(sandbox: Sandbox) -> None:
    """Serve until cancelled."""
    truth = TruthLog(sandbox.truth_dir, "ingress")
    ingress = Ingress(sandbox.settings, truth)
    await ingress.open()
    async with load_rest_api(sandbox.root) as api:
        following = asyncio.create_task(ingress.backends.follow(api, sandbox.settings))
        runner = web.ServerRunner(ingress.server())
        await runner.setup()
        await web.TCPSite(runner, sandbox.addresses.ingress_host, INGRESS_PORT).start()
        truth.write("ingress_started")
        try:
            # Ends only with an error of the watch itself, which is a defect and must be seen.
            await following
        finally:
            following.cancel()
            await runner.cleanup()
            await ingress.close()


def _ready_addresses(slice_: dict[str, object]) -> tuple[str, ...]:
    ports = slice_.get("ports") or []
    endpoints = slice_.get("endpoints") or []
    assert isinstance(ports, list)
    assert isinstance(endpoints, list)
    if not ports:
        return ()
    return tuple(
        f"{address}:{ports[0]['port']}"
        for endpoint in endpoints
        if (endpoint.get("conditions") or {}).get("ready", True)
        for address in endpoint["addresses"]
    )


def main(sandbox: Sandbox) -> None:
    """Run the ingress of a sandbox in this process."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    uvloop.run(serve(sandbox))


if __name__ == "__main__":
    main(read_sandbox(sys.argv[1] if len(sys.argv) > 1 else "default"))
