"""The ingress between a client and backends of every kind, in one loop."""

import asyncio
import io
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from harness.sandbox.ingress import Ingress, _ready_addresses
from harness.sandbox.settings import Settings
from harness.sandbox.truth import TruthLog, read

SETTINGS = Settings.make("seed", "fast", ["ingress_read_timeout_s=0.3", "ingress_connect_timeout_s=0.3"])
HOST = "127.251.9.1"


async def backend(request: web.Request) -> web.StreamResponse:
    """Echo what arrived; hang up or hang on request."""
    if request.path == "/hang":
        await asyncio.sleep(5)
    if request.path == "/reset":
        assert request.transport is not None
        request.transport.abort()
    seen = {"path": request.path_qs, "id": request.headers.get("X-Request-ID"), "body": await request.text()}
    return web.json_response(seen, status=201, headers={"X-Own": "kept"})


def through(
    tmp_path: Path, ready: Callable[[str], tuple[str, ...]], client: Callable[..., Awaitable[Any]]
) -> Any:
    async def play() -> Any:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", backend)
        behind = web.AppRunner(app, shutdown_timeout=0.1)
        await behind.setup()
        site = web.TCPSite(behind, HOST, 0)
        await site.start()
        truth = TruthLog(tmp_path, "ingress")
        ingress = Ingress(SETTINGS, truth)
        ingress.backends.ready = ready(site.name.removeprefix("http://"))
        await ingress.open()
        front = web.ServerRunner(ingress.server())
        await front.setup()
        entrance = web.TCPSite(front, HOST, 0)
        await entrance.start()
        try:
            async with aiohttp.ClientSession(entrance.name) as session:
                return await client(session)
        finally:
            await front.cleanup()
            await ingress.close()
            await behind.cleanup()
            truth.close()

    return asyncio.run(play())


async def ask(session: aiohttp.ClientSession, path: str, method: str = "GET", **more: Any) -> tuple[int, str]:
    async with session.request(method, path, **more) as answer:
        return answer.status, await answer.text()


def free_address() -> str:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return f"{HOST}:{sock.getsockname()[1]}"


def test_the_prefix_is_stripped_and_everything_else_is_passed_on(tmp_path: Path) -> None:
    async def client(session: aiohttp.ClientSession) -> None:
        async with session.post(
            "/focus-server/configure?a=1", data="{}", headers={"X-Request-ID": "r1"}
        ) as answer:
            assert answer.status == 201
            assert answer.headers["X-Own"] == "kept"
            assert answer.headers["Server"] == "nginx"
            assert await answer.json() == {"path": "/configure?a=1", "id": "r1", "body": "{}"}
        assert '"path": "/"' in (await ask(session, "/focus-server"))[1]
        _, text = await ask(session, "/focus-server/ack")
        assert '"id": null' not in text

    through(tmp_path, lambda address: (address,), client)
    assert read(tmp_path) == []


def test_other_paths_are_404_and_large_bodies_413(tmp_path: Path) -> None:
    async def client(session: aiohttp.ClientSession) -> None:
        for path in ("/", "/focus-serverx", "/other/focus-server/ack"):
            status, text = await ask(session, path)
            assert status == 404
            assert "<center>nginx</center>" in text
        assert (await ask(session, "/focus-server/x", "POST", data=io.BytesIO(bytes(1 << 21))))[0] == 413

    through(tmp_path, lambda address: (address,), client)


def test_no_endpoint_is_503_refused_and_reset_502_and_silence_504(tmp_path: Path) -> None:
    async def none(session: aiohttp.ClientSession) -> None:
        assert (await ask(session, "/focus-server/ack"))[0] == 503

    async def refused(session: aiohttp.ClientSession) -> None:
        assert (await ask(session, "/focus-server/ack"))[0] == 502

    async def bad(session: aiohttp.ClientSession) -> None:
        assert (await ask(session, "/focus-server/reset", "POST", data=b"{}"))[0] == 502
        assert (await ask(session, "/focus-server/hang"))[0] == 504

    through(tmp_path, lambda _: (), none)
    through(tmp_path, lambda _: (free_address(),), refused)
    through(tmp_path, lambda address: (address,), bad)
    facts = read(tmp_path)
    assert [(fact["status"], fact["reason"]) for fact in facts] == [
        (503, "no_endpoints"),
        (502, "refused"),
        (502, "reset"),
        (504, "timeout"),
    ]


def test_a_refusing_endpoint_is_passed_over_for_one_that_answers(tmp_path: Path) -> None:
    async def client(session: aiohttp.ClientSession) -> None:
        statuses = {(await ask(session, "/focus-server/ack"))[0] for _ in range(4)}
        assert statuses == {201}

    through(tmp_path, lambda address: (free_address(), address), client)


def test_only_ready_endpoints_of_a_slice_count() -> None:
    slice_ = {
        "ports": [{"port": 5000}],
        "endpoints": [
            {"addresses": ["127.9.11.1"], "conditions": {"ready": True}},
            {"addresses": ["127.9.11.2"], "conditions": {"ready": False}},
            {"addresses": ["127.9.11.3"]},
        ],
    }
    assert _ready_addresses(slice_) == ("127.9.11.1:5000", "127.9.11.3:5000")
    assert _ready_addresses({"ports": None, "endpoints": None}) == ()
