"""The REST client: one request per call, named timeouts, TLS verified unless loudly told otherwise."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from fake_focus import FakeFocus, Script

from harness.errors import InputError
from harness.focus import AsyncFocusServerAPI, ConfigureRequest, Endpoint, FocusServerAPI
from harness.focus.api import Attempt
from harness.focus.outcomes import CallFailed, stream_end
from harness.focus.request import InvalidRequest
from harness.history.events import Outcome

REQUEST = ConfigureRequest(channel_min=1, channel_max=9)


@contextmanager
def served(script: Script | None = None, **site: Any) -> Iterator[FakeFocus]:
    """A fake in a thread with a loop of its own, for the synchronous front."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    fake = FakeFocus(script)
    try:
        asyncio.run_coroutine_threadsafe(fake.__aenter__(), loop).result(10)
        yield fake
        asyncio.run_coroutine_threadsafe(fake.__aexit__(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_people_ask_for_a_window_and_every_other_endpoint_with_plain_calls() -> None:
    seen: list[Attempt] = []
    with served(Script(stream="never")) as fake, FocusServerAPI(Endpoint(url=fake.url), seen.append) as api:
        api.ack()
        assert api.channels().highest == 2337
        assert not api.live_metadata().waiting_for_fiber
        assert len(api.recordings_in_time_range(0, 5000).spans) == 2
        assert "<html>" in api.recordings_timeline()
        answer = api.configure_streaming_job(REQUEST)
        assert (answer.job_id, answer.streams, answer.host) == ("1-1701", 3, "127.0.0.1")
        with pytest.raises(CallFailed) as caught:
            api.metadata(answer.job_id)
        assert caught.value.outcome is Outcome.NOT_FOUND_404
        ids = [headers["X-Request-ID"] for _, _, headers, _ in fake.requests]
    assert [one.operation for one in seen] == [
        "ack",
        "channels",
        "live_metadata",
        "recordings_in_time_range",
        "recordings_timeline",
        "configure",
        "metadata",
    ]
    assert ids == [one.request_id for one in seen]
    assert len(set(ids)) == len(ids)
    assert all(one.sent_ns <= one.done_ns for one in seen)


def test_what_is_not_a_request_is_refused_and_nothing_is_sent() -> None:
    with served() as fake, FocusServerAPI.at(fake.url) as api:
        for wrong in ({"channels": {"min": 1, "max": 5}}, None, "configure"):
            with pytest.raises(InvalidRequest, match="is not a ConfigureRequest"):
                api.configure_streaming_job(wrong)  # type: ignore[arg-type]
        assert fake.requests == []


def test_a_request_on_a_connection_the_server_had_closed_is_not_repeated() -> None:
    async def run() -> tuple[int, list[str]]:
        connections = 0

        async def one_answer_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}")
            await reader.read(1)  # the next request on this connection is taken, and never answered
            writer.close()

        server = await asyncio.start_server(one_answer_each, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        seen: list[Attempt] = []
        async with AsyncFocusServerAPI(Endpoint(url=url), seen.append) as api:
            await api.ack()
            with pytest.raises(CallFailed) as caught:
                await api.ack()
        assert caught.value.outcome is Outcome.UNKNOWN
        server.close()
        return connections, [one.outcome.value if one.outcome else "ok" for one in seen]

    assert asyncio.run(run()) == (1, ["ok", "unknown"])


def test_tls_is_verified_and_insecure_is_loud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)

    async def outcome(**how: Any) -> Outcome | None:
        async def ack(_: web.Request) -> web.Response:
            return web.json_response({})

        app = web.Application()
        app.router.add_get("/ack", ack)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        try:
            async with AsyncFocusServerAPI(Endpoint(url=url, **how)) as api:
                await api.ack()
        except CallFailed as error:
            return error.outcome
        finally:
            await runner.cleanup()
        return None

    assert asyncio.run(outcome()) is Outcome.CONNECT_FAILED
    assert asyncio.run(outcome(ca_file=str(tmp_path / "ca.pem"))) is None
    assert capsys.readouterr().err == ""
    assert asyncio.run(outcome(insecure=True)) is None
    assert "NOT verified" in capsys.readouterr().err


def test_an_endpoint_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exclude each other"):
        Endpoint(url="https://x", insecure=True, ca_file="ca.pem")
    with pytest.raises(InputError, match="write http://"):
        Endpoint(url="x")
    missing = str(tmp_path / "missing.pem")
    with (
        FocusServerAPI.at("https://x", ca_file=missing) as api,
        pytest.raises(InputError, match=r"ca_file .* cannot be used"),
    ):
        api.ack()


@pytest.mark.parametrize(
    ("code", "detail", "live", "frames", "outcome"),
    [
        ("OK", "", False, 8, Outcome.COMPLETE),
        ("UNAVAILABLE", "Cancelling all calls", False, 8, Outcome.COMPLETE),
        ("UNAVAILABLE", "Socket closed", False, 8, Outcome.STREAM_BROKEN),
        ("UNAVAILABLE", "Cancelling all calls", False, 0, Outcome.STREAM_BROKEN_BEFORE_DATA),
        ("OK", "", False, 0, Outcome.STREAM_NO_FRAME),
        ("OK", "", True, 8, Outcome.STREAM_BROKEN),
        ("UNAVAILABLE", "Cancelling all calls", True, 8, Outcome.STREAM_BROKEN),
        ("DEADLINE_EXCEEDED", "", True, 0, Outcome.STREAM_BROKEN_BEFORE_DATA),
        ("UNIMPLEMENTED", "", True, 0, Outcome.STREAM_BROKEN_BEFORE_DATA),
    ],
)
def test_a_streams_end_means_what_the_field_taught(
    code: str, detail: str, live: bool, frames: int, outcome: Outcome
) -> None:
    assert stream_end(code, detail, live=live, frames=frames) is outcome
