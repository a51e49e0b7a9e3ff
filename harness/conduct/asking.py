"""Ask an address or a Prometheus what a stop condition wants to know: once a second, in a thread per condition.

Nothing here waits for longer than `TIMEOUT_S`, follows a redirect, uses a proxy or tries again; whoever reads the last answer
never waits at all. What was answered is compared, not kept: no body, no header and no query reaches the record.
"""

import http.client
import json
import ssl
import threading
import time
from typing import Any
from urllib.parse import quote, urlsplit

from harness.campaign import HttpCondition, PromqlCondition
from harness.clock import Clock, nanoseconds
from harness.conduct.stopping import Reading, promql_reading
from harness.errors import Unreachable
from harness.focus.endpoint import Endpoint, tls_context
from harness.history.events import ConditionState

TIMEOUT_S = 2.0
"""Connecting, sending and reading, all together."""
EVERY_S = 1.0
STALE_NS = nanoseconds(TIMEOUT_S + EVERY_S + 1.0)
"""An answer older than this is none: whoever asks hangs (name lookups know no timeout)."""
READ_AT_MOST = 1 << 20

AskedCondition = HttpCondition | PromqlCondition


def tls_of(condition: AskedCondition) -> ssl.SSLContext | None:
    """Return how the condition's TLS is verified, None without TLS; raise `InputError` when its CA file cannot be used."""
    if not condition.address.startswith("https://"):
        return None
    return tls_context(Endpoint(url=condition.shown, ca_file=condition.ca_file, insecure=condition.insecure))


def get(address: str, headers: dict[str, str], tls: ssl.SSLContext | None) -> tuple[int, bytes]:
    """Return status and the first megabyte of the body; raise `Unreachable` when they do not come in time."""
    parts = urlsplit(address)
    until = time.monotonic() + TIMEOUT_S
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.hostname or ""
    connection = (
        http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
        if tls is None
        else http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=tls)
    )
    try:
        connection.connect()
        sock = connection.sock
        sock.settimeout(_left_s(until))
        connection.request("GET", path, headers={**headers, "Connection": "close"})
        answer = connection.getresponse()
        body = b""
        while len(body) < READ_AT_MOST:
            sock.settimeout(_left_s(until))
            if not (more := answer.read1(65536)):
                break
            body += more
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(_why(error)) from error
    else:
        return answer.status, body
    finally:
        connection.close()


def _left_s(until: float) -> float:
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be verified ({error.verify_message}); name its CA in `ca_file`"
    return f"no answer ({getattr(error, 'strerror', None) or type(error).__name__})"


def ask(condition: AskedCondition, tls: ssl.SSLContext | None) -> Reading:
    """Ask once; whatever happens, a reading comes of it."""
    headers = {name: value.get_secret_value() for name, value in condition.headers.items()}
    if isinstance(condition, HttpCondition):
        return _ask_http(condition, headers, tls)
    return promql_reading(condition, _ask_prometheus(condition, headers, tls))


def _ask_http(condition: HttpCondition, headers: dict[str, str], tls: ssl.SSLContext | None) -> Reading:
    try:
        status, body = get(condition.address, headers, tls)
    except Unreachable as error:
        return Reading(ConditionState.HOLDS, None, f"{condition.shown} gives {error}")
    said = f"{condition.shown} answers {status}"
    if status != condition.status:
        return Reading(ConditionState.HOLDS, float(status), f"{said}, wanted {condition.status}")
    if condition.contains and condition.contains.encode() not in body:
        return Reading(ConditionState.HOLDS, float(status), f"{said} without {condition.contains!r} in it")
    return Reading(ConditionState.CLEAR, float(status), said)


def _ask_prometheus(
    condition: PromqlCondition, headers: dict[str, str], tls: ssl.SSLContext | None
) -> float | str:
    """Return the one number the expression gives, or why there is none."""
    try:
        status, body = get(f"{condition.address}?query={quote(condition.promql)}", headers, tls)
    except Unreachable as error:
        return f"{condition.shown} gives {error}"
    if status != http.client.OK:
        return f"{condition.shown} answers {status}"
    try:
        return one_number(json.loads(body))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        return f"{condition.shown} answers what is no result of a query ({type(error).__name__})"


def one_number(answer: Any) -> float | str:
    """Return the number in Prometheus' answer to an instant query, or why it holds none (or more than one)."""
    if answer["status"] != "success":
        return f"Prometheus refuses the expression ({answer['errorType']})"
    kind, result = answer["data"]["resultType"], answer["data"]["result"]
    if kind == "scalar":
        return float(result[1])
    if kind != "vector":
        return f"the expression gives a {kind}, not a number"
    if len(result) != 1:
        many = "no series" if not result else f"{len(result)} series; make it one, with sum(...) or max(...)"
        return f"the expression gives {many}"
    return float(result[0]["value"][1])


class Asker:
    """Asks for one condition, in a thread of its own, until it is stopped; `read` returns the last answer at once."""

    def __init__(self, condition: AskedCondition, clock: Clock) -> None:
        self.condition = condition
        self._clock = clock
        self._tls = tls_of(condition)
        self._over = threading.Event()
        self._last: tuple[int, Reading] | None = None
        self._begun_ns = 0
        self._thread = threading.Thread(
            target=self._run, name=f"stop condition {condition.name}", daemon=True
        )

    def start(self) -> None:
        """Begin to ask."""
        self._begun_ns = self._clock.now()
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; does not wait for an answer that is on its way."""
        self._over.set()

    def read(self, now_ns: int) -> Reading | None:
        """Return the last answer; None before the first one, and what silence means when it is too old."""
        told_ns = self._last[0] if self._last else self._begun_ns
        if now_ns - told_ns > STALE_NS:
            state = (
                ConditionState.HOLDS if isinstance(self.condition, HttpCondition) else ConditionState.UNKNOWN
            )
            return Reading(state, None, f"{self.condition.shown} gives no answer at all")
        return self._last[1] if self._last else None

    def _run(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                reading = ask(self.condition, self._tls)
            except Exception as error:  # ours, not theirs: nothing was seen, and it is said
                reading = Reading(ConditionState.UNKNOWN, None, f"cannot ask: {type(error).__name__}")
            self._last = (self._clock.now(), reading)
            self._over.wait(max(0.0, EVERY_S - (time.monotonic() - began)))
