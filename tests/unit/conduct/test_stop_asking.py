"""Whoever is asked for a stop condition may be slow, wrong or gone: a reading comes of it in time, and nothing else does."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.campaign import HttpCondition, PromqlCondition
from harness.clock import ManualClock, SystemClock, nanoseconds
from harness.conduct.asking import STALE_NS, TIMEOUT_S, Asker, ask, one_number, tls_of
from harness.errors import InputError
from harness.history.events import ConditionState

HOLDS, CLEAR, UNKNOWN = ConditionState.HOLDS, ConditionState.CLEAR, ConditionState.UNKNOWN


class Server(ThreadingHTTPServer):
    """Answers every GET the way a test says, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, status: int, body: bytes, delay_s: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body, self.delay_s = status, body, delay_s
        self.asked: list[tuple[str, dict[str, str]]] = []

    def handle_error(self, *_: object) -> None:
        pass  # a client that gave up


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        for byte in self.server.body:
            time.sleep(self.server.delay_s)
            self.wfile.write(bytes([byte]))

    def log_message(self, *_: object) -> None:
        pass


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:

        def make(
            status: int = 200, body: bytes = b"ok", delay_s: float = 0.0, tls: ssl.SSLContext | None = None
        ) -> Server:
            server = stack.enter_context(Server(status, body, delay_s))
            if tls is not None:
                server.socket = tls.wrap_socket(server.socket, server_side=True)
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server

        yield make


def page(server: Server, scheme: str = "http", **keys: Any) -> HttpCondition:
    address = f"{scheme}://127.0.0.1:{server.server_port}/health?key=secret"
    return HttpCondition.model_validate({"name": "page", "http": address, "for": "5s"} | keys)


def query(port: int, **keys: Any) -> PromqlCondition:
    given = {"name": "cpu", "promql": 'sum(rate(x{a="b"}[1m]))', "url": f"http://127.0.0.1:{port}/prom/"}
    return PromqlCondition.model_validate(given | {"op": ">", "limit": 5, "for": "5s"} | keys)


def vector(*values: str) -> bytes:
    result = [{"metric": {}, "value": [1.0, value]} for value in values]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("status", "body", "keys", "state", "told"),
    [
        (200, b"all ok here", {"contains": "ok"}, CLEAR, "answers 200"),
        (200, b"down", {"contains": "ok"}, HOLDS, "answers 200 without 'ok' in it"),
        (503, b"ok", {}, HOLDS, "answers 503, wanted 200"),
        (302, b"", {}, HOLDS, "answers 302, wanted 200"),
        (404, b"", {"status": 404}, CLEAR, "answers 404"),
    ],
)
def test_a_page_is_as_wanted_or_the_condition_holds(
    serve: Serve, status: int, body: bytes, keys: dict[str, Any], state: ConditionState, told: str
) -> None:
    reading = ask(page(serve(status, body), **keys), None)
    assert (reading.state, reading.value) == (state, status)
    assert reading.detail.endswith(told)


def test_no_answer_is_not_as_wanted() -> None:
    nobody = HttpCondition.model_validate(
        {"name": "page", "http": f"http://127.0.0.1:{free_port()}/x", "for": "5s"}
    )
    reading = ask(nobody, None)
    assert (reading.state, reading.value) == (HOLDS, None)
    assert "Connection refused" in reading.detail


def test_an_answer_that_drips_is_cut_off_in_time(serve: Serve) -> None:
    began = time.monotonic()
    reading = ask(page(serve(body=b"x" * 100, delay_s=0.2)), None)
    assert time.monotonic() - began < TIMEOUT_S + 1
    assert reading.state is HOLDS
    assert "no answer within 2 s" in reading.detail


def test_credentials_are_sent_and_never_said(serve: Serve) -> None:
    server = serve(503)
    condition = page(server, headers={"Authorization": "Bearer very-secret"})
    reading = ask(condition, None)
    assert server.asked[0][0] == "/health?key=secret"
    assert server.asked[0][1]["Authorization"] == "Bearer very-secret"
    assert "secret" not in reading.detail + repr(condition.headers) + condition.shown
    assert "very-secret" not in condition.model_dump_json()


@pytest.mark.parametrize(
    ("status", "body", "state", "told"),
    [
        (200, vector("5.5"), HOLDS, "the expression is 5.5, stops at > 5"),
        (200, vector("4"), CLEAR, "the expression is 4"),
        (200, vector("NaN"), UNKNOWN, "NaN"),
        (200, vector(), UNKNOWN, "no series"),
        (200, vector("1", "2"), UNKNOWN, "2 series; make it one"),
        (200, b"<html>", UNKNOWN, "no result of a query"),
        (200, b"[]", UNKNOWN, "no result of a query"),
        (503, b"", UNKNOWN, "answers 503"),
    ],
)
def test_an_expression_gives_one_number_or_is_not_known(
    serve: Serve, status: int, body: bytes, state: ConditionState, told: str
) -> None:
    server = serve(status, body)
    reading = ask(query(server.server_port), None)
    assert reading.state is state
    assert told in reading.detail
    assert server.asked[0][0] == "/prom/api/v1/query?query=sum%28rate%28x%7Ba%3D%22b%22%7D%5B1m%5D%29%29"


def test_a_prometheus_that_is_not_there_is_not_known() -> None:
    assert ask(query(free_port()), None).state is UNKNOWN


def test_a_scalar_is_a_number_and_a_matrix_is_none() -> None:
    scalar = {"status": "success", "data": {"resultType": "scalar", "result": [1.0, "2.5"]}}
    assert one_number(scalar) == 2.5
    matrix = {"status": "success", "data": {"resultType": "matrix", "result": []}}
    assert one_number(matrix) == "the expression gives a matrix, not a number"
    assert "bad_data" in str(one_number({"status": "error", "errorType": "bad_data", "error": "x"}))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """A server's TLS and the file of the CA that vouches for it."""
    trustme = pytest.importorskip("trustme")
    later = datetime.now(UTC) + timedelta(days=1)
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1", not_after=later).configure_cert(context)
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    return context, str(file)


def test_certificates_are_verified_unless_somebody_says_otherwise(
    serve: Serve, authority: tuple[ssl.SSLContext, str]
) -> None:
    tls, file = authority
    server = serve(tls=tls)
    for keys, state in (({}, HOLDS), ({"ca_file": file}, CLEAR), ({"insecure": True}, CLEAR)):
        condition = page(server, "https", **keys)
        reading = ask(condition, tls_of(condition))
        assert reading.state is state, reading.detail
        assert ("certificate cannot be verified" in reading.detail) == (state is HOLDS)


def test_a_ca_file_that_cannot_be_used_is_said_before_anything_starts(tmp_path: Path) -> None:
    address = {
        "name": "page",
        "http": "https://127.0.0.1/",
        "for": "5s",
        "ca_file": str(tmp_path / "none.pem"),
    }
    with pytest.raises(InputError, match=r"none\.pem"):
        Asker(HttpCondition.model_validate(address), ManualClock())


def test_answers_come_by_themselves_and_reading_them_never_waits(serve: Serve) -> None:
    server = serve(body=b"x" * 50, delay_s=0.1)
    asker = Asker(page(server), SystemClock.start())
    asker.start()
    began = time.monotonic()
    assert asker.read(nanoseconds(0.001)) is None
    assert time.monotonic() - began < 0.1
    server.delay_s = 0.0
    for _ in range(100):
        if asker.read(0) is not None:
            break
        time.sleep(0.05)
    asker.stop()
    asker._thread.join(5.0)
    assert not asker._thread.is_alive()
    reading = asker.read(0)
    assert reading is not None
    assert reading.state is CLEAR


def test_an_asker_that_hangs_is_no_answer(serve: Serve) -> None:
    silent_page, silent_prometheus = Asker(page(serve()), ManualClock()), Asker(query(1), ManualClock())
    assert silent_page.read(STALE_NS) is None
    for asker, state in ((silent_page, HOLDS), (silent_prometheus, UNKNOWN)):
        reading = asker.read(STALE_NS + 1)
        assert reading is not None
        assert (reading.state, reading.value) == (state, None)
