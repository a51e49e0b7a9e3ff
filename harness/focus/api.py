"""The REST client: one asynchronous client, and a thin synchronous front over the very same code.

`AsyncFocusServerAPI` is what the engine uses; `FocusServerAPI` is for people, the doctor and watcher threads (each call runs
the asynchronous one to its end; no event loop may be running in the calling thread). Each call is one HTTP request: nothing is
retried, redirects are not followed, a connection idle for long is not trusted. Every request carries a fresh X-Request-ID.
"""

import asyncio
import sys
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from functools import lru_cache
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from harness import __version__
from harness.focus.answers import (
    Channels,
    ConfigureResponse,
    LiveMetadata,
    Recordings,
    parse_channels,
    parse_configure,
    parse_live_metadata,
    parse_recordings,
)
from harness.focus.endpoint import INSECURE_WARNING, Endpoint
from harness.focus.http import AnswerFailed, HttpClient
from harness.focus.outcomes import CallFailed, of_exception, of_status
from harness.focus.request import ConfigureRequest, InvalidRequest
from harness.history.events import Outcome
from harness.history.writer import redacted

BODY_CAP = 200
T = TypeVar("T")


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request as it went: when (`time.monotonic_ns`), how it ended, what came back."""

    operation: str
    request_id: str
    sent_ns: int
    done_ns: int
    outcome: Outcome | None
    """None for an answer that could be used."""
    status: int
    bytes: int
    body: str
    """Start of an error's body, without credentials."""
    about: int = 0
    """The caller's own number for what the request was about."""


class AsyncFocusServerAPI:
    """Focus Server's endpoints; use as an asynchronous context manager, within one event loop.

    `seen` is called with the `Attempt` of every request, whatever became of it.
    """

    def __init__(self, endpoint: Endpoint, seen: Callable[[Attempt], None] | None = None) -> None:
        self.endpoint = endpoint
        self._seen = seen or _unseen
        self._http: HttpClient | None = None

    async def __aenter__(self) -> Self:
        if self.endpoint.unverified:
            sys.stderr.write(INSECURE_WARNING.format(url=self.endpoint.url) + "\n")
        self._http = HttpClient(
            self.endpoint,
            {
                "Accept": "application/json",
                "Accept-Encoding": "gzip, deflate",
                "User-Agent": f"focus-harness/{__version__}",
                **self.endpoint.headers,
            },
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def configure_streaming_job(
        self, request: ConfigureRequest, request_id: str | None = None, about: int = 0
    ) -> ConfigureResponse:
        """Ask for a window; raise `InvalidRequest` for anything but a request, `CallFailed` for any other ending."""
        if not isinstance(request, ConfigureRequest):
            raise InvalidRequest(f"{type(request).__name__} is not a ConfigureRequest; nothing was sent")
        body = request.body()
        return await self._call("configure", "POST", "/configure", parse_configure, body, request_id, about)

    async def configure_invalid(self, body: bytes) -> None:
        """Send a create that no server may accept; return if it was answered with 4xx, raise `CallFailed` for anything else, a 200 included."""
        try:
            await self._call("configure_invalid", "POST", "/configure", _any, body)
        except CallFailed as error:
            if 400 <= error.status < 500:
                return
            raise
        raise CallFailed(
            Outcome.BROKEN_ANSWER, "POST /configure: an invalid request was accepted", status=200
        )

    async def ack(self) -> None:
        """Return if the server is there; raise `CallFailed` if it is not."""
        await self._call("ack", "GET", "/ack", _any)

    async def channels(self) -> Channels:
        """Return the lowest and highest channel a window may ask for."""
        return await self._call("channels", "GET", "/channels", parse_channels)

    async def live_metadata(self) -> LiveMetadata:
        """Return what the server knows of the fibre; `waiting_for_fiber` says whether live windows can work."""
        return await self._call("live_metadata", "GET", "/live_metadata", parse_live_metadata)

    async def metadata(self, job_id: str) -> ConfigureResponse:
        """Return a job's description; the field's server often answers 404 for jobs that exist."""
        return await self._call("metadata", "GET", f"/metadata/{job_id}", parse_configure)

    async def recordings_in_time_range(self, start_s: int, end_s: int) -> Recordings:
        """Return the recordings between two instants (epoch seconds)."""
        body = msgspec.json.encode({"start_time": start_s, "end_time": end_s})
        return await self._call(
            "recordings_in_time_range", "POST", "/recordings_in_time_range", parse_recordings, body
        )

    async def recordings_timeline(self) -> str:
        """Return the recordings' timeline, an HTML page where a build has it."""
        return await self._call("recordings_timeline", "GET", "/get_recordings_timeline", _text)

    async def _call(
        self,
        operation: str,
        method: str,
        path: str,
        parse: Callable[[bytes], T],
        data: bytes | None = None,
        request_id: str | None = None,
        about: int = 0,
    ) -> T:
        if self._http is None:
            raise RuntimeError("use the client as a context manager: async with AsyncFocusServerAPI(...)")
        request_id = request_id or uuid.uuid4().hex
        sent_ns = time.monotonic_ns()
        status, body, failure = 0, b"", None
        answer: T | None = None
        try:
            reply = await self._http.request(method, path, request_id, data)
            status, body = reply.status, reply.body
            if status == 200:
                answer = parse(body)
        except BaseException as error:  # also a cancellation is an attempt that was made
            failure = error
            if isinstance(error, AnswerFailed):
                status, body = error.status, error.body
        outcome = _outcome(status, body, failure)
        told = "" if outcome is None else _start_of(body[: 4 * BODY_CAP])
        self._seen(
            Attempt(
                operation=operation,
                request_id=request_id,
                sent_ns=sent_ns,
                done_ns=time.monotonic_ns(),
                outcome=outcome,
                status=status,
                bytes=len(body),
                body=told or (redacted(str(failure), BODY_CAP) if failure else ""),
                about=about,
            )
        )
        if outcome is None:
            return answer  # type: ignore[return-value]
        if failure is not None and not isinstance(failure, Exception):
            raise failure
        if failure is None:
            why = f"status {status} {told}".rstrip()
        else:
            why = redacted(str(failure) or type(failure).__name__)
        raise CallFailed(outcome, f"{method} {path}: {why}", status=status, body=told) from failure


class FocusServerAPI:
    """The synchronous front: the same calls, each blocking until its answer. Safe to use from several threads, one call at a time."""

    def __init__(self, endpoint: Endpoint, seen: Callable[[Attempt], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._api = AsyncFocusServerAPI(endpoint, seen)

    @classmethod
    def at(cls, url: str, *, ca_file: str | None = None, insecure: bool = False) -> Self:
        """Return a client for the server at `url` (prefix included)."""
        return cls(Endpoint(url=url, ca_file=ca_file, insecure=insecure))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._loop is not None:
                self._loop.run_until_complete(self._api.__aexit__())
                self._loop.close()
                self._loop = None

    def configure_streaming_job(self, payload: ConfigureRequest) -> ConfigureResponse:
        """Ask for a window; raise `InvalidRequest` for anything but a request, `CallFailed` for any other ending."""
        return self._run(self._api.configure_streaming_job(payload))

    def ack(self) -> None:
        """Return if the server is there; raise `CallFailed` if it is not."""
        self._run(self._api.ack())

    def channels(self) -> Channels:
        """Return the lowest and highest channel a window may ask for."""
        return self._run(self._api.channels())

    def live_metadata(self) -> LiveMetadata:
        """Return what the server knows of the fibre."""
        return self._run(self._api.live_metadata())

    def metadata(self, job_id: str) -> ConfigureResponse:
        """Return a job's description."""
        return self._run(self._api.metadata(job_id))

    def recordings_in_time_range(self, start_s: int, end_s: int) -> Recordings:
        """Return the recordings between two instants (epoch seconds)."""
        return self._run(self._api.recordings_in_time_range(start_s, end_s))

    def recordings_timeline(self) -> str:
        """Return the recordings' timeline (HTML)."""
        return self._run(self._api.recordings_timeline())

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
            return self._loop.run_until_complete(self._opened(call))

    async def _opened(self, call: Coroutine[Any, Any, T]) -> T:
        if self._api._http is None:
            try:
                await self._api.__aenter__()
            except BaseException:
                call.close()
                raise
        return await call


def _outcome(status: int, body: bytes, failure: BaseException | None) -> Outcome | None:
    if failure is None:
        return None if status == 200 else of_status(status, body)
    if status and not isinstance(
        failure, asyncio.CancelledError
    ):  # the answer had begun and could not be used
        return of_status(status, body) if status != 200 else Outcome.BROKEN_ANSWER
    return of_exception(failure)


@lru_cache(maxsize=256)
def _start_of(body: bytes) -> str:
    return redacted(body.decode("utf-8", "replace"), BODY_CAP)


def _any(body: bytes) -> None:
    return None


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")


def _unseen(attempt: Attempt) -> None:
    pass
