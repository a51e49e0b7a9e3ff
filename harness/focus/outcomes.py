"""How calls to Focus Server end: every HTTP status and every foreign exception becomes one `Outcome`, here and only here.

| what happened | outcome | may have opened a window |
|---|---|---|
| 200, readable | (accepted; the stream decides) | yes |
| 200, not readable | `broken_answer` | yes |
| 503 | `unavailable_503` | no |
| 502, 504 | `ingress_502_504` | yes: the ingress lost the answer |
| 500 whose body says "Error parsing configuration" | `parse_500` | no |
| other 5xx | `server_5xx` | no |
| 404 whose body has `error` ("No recording found...") | `no_recording_404` | no |
| other 404 | `not_found_404` | no |
| 422 | `validation_422` | no |
| any other status | `other_status` | no |
| refused, unreachable, unknown name, certificate refused | `connect_failed` | no |
| no connection within `connect_s` | `connect_timeout` | no |
| no answer within `read_s` or `total_s` | `read_timeout` | yes |
| connection lost after the request was sent | `unknown` | yes |
| the run stopped before the answer came | `cancelled` | yes |

A stream's end is judged by `stream_end`: see docs/load.md for its table.
"""

import asyncio

import msgspec

from harness.errors import TargetError
from harness.focus.answers import BrokenAnswer
from harness.focus.http import AnswerTimeout, ConnectTimeout, NotConnected
from harness.history.events import Outcome

POSSIBLY_OPEN: frozenset[Outcome] = frozenset(
    {
        Outcome.BROKEN_ANSWER,
        Outcome.INGRESS_502_504,
        Outcome.READ_TIMEOUT,
        Outcome.UNKNOWN,
        Outcome.CANCELLED,
    }
)
"""Outcomes of a create after which the server may hold a window nobody knows the name of."""

NORMAL_HISTORIC_END = "Cancelling all calls"
"""Text of the UNAVAILABLE with which a finished historic job closes its streams."""


class CallFailed(TargetError):
    """A call to Focus Server did not get what it asked for; `outcome` says how it ended."""

    def __init__(self, outcome: Outcome, text: str, *, status: int = 0, body: str = "") -> None:
        super().__init__(text)
        self.outcome = outcome
        self.status = status
        self.body = body


def of_status(status: int, body: bytes) -> Outcome:
    """Return the outcome of an answer that is not 200."""
    if status == 503:
        return Outcome.UNAVAILABLE_503
    if status in (502, 504):
        return Outcome.INGRESS_502_504
    if status == 500 and b"error parsing configuration" in body.lower():
        return Outcome.PARSE_500
    if 500 <= status < 600:
        return Outcome.SERVER_5XX
    if status == 404:
        return Outcome.NO_RECORDING_404 if _says_error(body) else Outcome.NOT_FOUND_404
    return Outcome.VALIDATION_422 if status == 422 else Outcome.OTHER_STATUS


def of_exception(error: BaseException) -> Outcome:
    """Return the outcome of a call that raised instead of answering."""
    if isinstance(error, BrokenAnswer):
        return Outcome.BROKEN_ANSWER
    if isinstance(error, asyncio.CancelledError):
        return Outcome.CANCELLED
    if isinstance(error, ConnectTimeout):
        return Outcome.CONNECT_TIMEOUT
    if isinstance(error, AnswerTimeout):
        return Outcome.READ_TIMEOUT
    if isinstance(error, NotConnected):
        return Outcome.CONNECT_FAILED
    return Outcome.UNKNOWN


def stream_end(code: str, detail: str, *, live: bool, frames: int) -> Outcome:
    """Return what a stream's end means when the server (or the network) ended it; `code` is gRPC's name for it."""
    if frames == 0:
        return Outcome.STREAM_NO_FRAME if code == "OK" else Outcome.STREAM_BROKEN_BEFORE_DATA
    if live:
        return Outcome.STREAM_BROKEN
    finished = code == "OK" or (code == "UNAVAILABLE" and NORMAL_HISTORIC_END in detail)
    return Outcome.COMPLETE if finished else Outcome.STREAM_BROKEN


def _says_error(body: bytes) -> bool:
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(raw, dict) and "error" in raw
