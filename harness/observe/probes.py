"""Ask the dependencies whether they answer: Focus Server, the Kubernetes API, MongoDB, the broker; about once a second.

Called by `watchers`, a thread each. Every question has a timeout of its own that is shorter than anybody's patience, so that a
probe never becomes the outage. MongoDB and the broker may be out of reach from here: until they have answered once, the watcher
says it cannot see them rather than that they are down.
"""

import http.client
import json
import logging
import ssl
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit

import pika
import pymongo
from pymongo.errors import PyMongoError

from harness.clock import SECOND_NS, nanoseconds
from harness.cluster import Cluster
from harness.observe.notebook import Notebook
from harness.target import Target

PERIOD_S = 1.0
BROKER_PERIOD_S = 2.0
HTTP_TIMEOUT_S = 3.0
ASK_TIMEOUT_S = 1.0
BODY_CAP = 1 << 16
API_PERIOD_S = 0.5
"""The API server is asked more often: while it is silent nothing else can be seen."""


class NoAnswer(Exception):
    """A dependency did not answer as it should; the text says how."""


class CannotSee(Exception):
    """Whether the dependency is well cannot be told from here; the text says why."""


@dataclass(frozen=True)
class Probe:
    """One dependency: its name, how to ask (raises anything if it is down), and how often."""

    name: str
    ask: Callable[[], None]
    period_s: float = PERIOD_S
    must_have_answered: bool = False
    patience_s: float = 3.0
    """No failing question lasts longer than this by its own timeouts; one that does tells of us, not of the dependency."""
    close: Callable[[], None] = lambda: None

    def run(self, notebook: Notebook, stop: threading.Event) -> None:
        """Ask on a fixed beat until `stop`; a beat that is missed is left out, never made up for."""
        answered = not self.must_have_answered
        due_ns = notebook.now()
        period_ns = nanoseconds(self.period_s)
        try:
            while not stop.is_set():
                answered = self._once(notebook, answered)
                due_ns += period_ns * (1 + max(0, notebook.now() - due_ns) // period_ns)
                stop.wait(max(0, due_ns - notebook.now()) / SECOND_NS)
        finally:
            self.close()

    def _once(self, notebook: Notebook, answered: bool) -> bool:
        asked_ns = notebook.now()
        try:
            self.ask()
        except CannotSee as error:
            notebook.seeing(self.name, seeing=False, detail=str(error))
            return answered
        except Exception as error:
            detail = (f"{type(error).__name__}: {error}" if str(error) else repr(error)).splitlines()[0]
            if notebook.now() - asked_ns > nanoseconds(self.patience_s):
                notebook.seeing(self.name, seeing=False, detail=f"nobody looked in time: {detail}")
            elif answered:
                notebook.seeing(self.name, seeing=True)
                notebook.dependency(self.name, up=False, at_ns=asked_ns, detail=detail)
            else:
                notebook.seeing(
                    self.name, seeing=False, detail=f"it has not answered from here yet: {detail}"
                )
            return answered
        done_ns = notebook.now()
        notebook.seeing(self.name, seeing=True)
        notebook.dependency(self.name, up=True, at_ns=done_ns, latency_ns=done_ns - asked_ns)
        return True


def probes(target: Target, cluster: Cluster | None, notebook: Notebook) -> list[Probe]:
    """Return the probes that the target's file gives reason for."""
    found = [Probe("focus_server", FocusProbe(target, notebook).ask, patience_s=HTTP_TIMEOUT_S + 1)]
    if cluster is not None:
        found.append(Probe("kubernetes_api", lambda: _ask_cluster(cluster), period_s=API_PERIOD_S))
    if target.mongodb_uri:
        mongodb = MongoProbe(target.mongodb_uri)
        found.append(Probe("mongodb", mongodb.ask, must_have_answered=True, close=mongodb.close))
    if target.broker_uri:
        uri = target.broker_uri
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # it logs each refused connection, with a stack
        found.append(
            Probe("broker", lambda: _ask_broker(uri), period_s=BROKER_PERIOD_S, must_have_answered=True)
        )
    return found


class FocusProbe:
    """`GET /ack`, and `GET /live_metadata` for the fibre; a connection each, never reused."""

    def __init__(self, target: Target, notebook: Notebook) -> None:
        self._url = urlsplit(target.url)
        self._headers = dict(target.headers)
        self._context = _tls(target) if self._url.scheme == "https" else None
        self._notebook = notebook

    def ask(self) -> None:
        """Raise unless Focus Server answers, with anything below 500."""
        status, _ = self._get("/ack")
        if status >= 500:
            raise NoAnswer(f"GET /ack answered {status}")
        self._ask_fibre()

    def _ask_fibre(self) -> None:
        at_ns = self._notebook.now()
        try:
            status, body = self._get("/live_metadata")
            metadata = json.loads(body)
            prr, version = metadata.get("prr"), metadata.get("sw_version")
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            self._notebook.seeing("fibre", seeing=False, detail=f"{type(error).__name__}: {error}")
            return
        if status >= 400:
            self._notebook.seeing("fibre", seeing=False, detail=f"GET /live_metadata answered {status}")
            return
        self._notebook.seeing("fibre", seeing=True)
        up = isinstance(prr, int | float) and prr > 0 and version != "waiting for fiber"
        self._notebook.dependency("fibre", up=up, at_ns=at_ns, detail="" if up else f"prr {prr}, {version!r}")

    def _get(self, path: str) -> tuple[int, bytes]:
        where = (self._url.hostname or "", self._url.port)
        connection: http.client.HTTPConnection
        if self._context is not None:
            connection = http.client.HTTPSConnection(*where, timeout=HTTP_TIMEOUT_S, context=self._context)
        else:
            connection = http.client.HTTPConnection(*where, timeout=HTTP_TIMEOUT_S)
        with closing(connection):
            headers = {"Connection": "close", "User-Agent": "focus-harness", **self._headers}
            connection.request("GET", self._url.path + path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read(BODY_CAP)


def _tls(target: Target) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=target.tls.ca_file)
    if target.tls.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _ask_cluster(cluster: Cluster) -> None:
    """Raise unless the API server answers; a refusal (401, 403) is an answer."""
    response = cluster.open("GET", "/readyz", {}, None, "application/json", ASK_TIMEOUT_S)
    try:
        response.read()
    finally:
        response.release_conn()
    if response.status >= 500:
        raise NoAnswer(f"GET /readyz answered {response.status}")


class MongoProbe:
    """`ping` with the target's credentials over one connection; made in the thread that uses it."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client: pymongo.MongoClient[dict[str, object]] | None = None

    def ask(self) -> None:
        """Raise unless MongoDB answers a ping within a second."""
        if self._client is None:
            timeout_ms = round(ASK_TIMEOUT_S * 1000)
            self._client = pymongo.MongoClient(
                self._uri,
                serverSelectionTimeoutMS=timeout_ms,
                connectTimeoutMS=timeout_ms,
                socketTimeoutMS=timeout_ms,
                maxPoolSize=1,
                retryReads=False,
                appname="focus-harness",
            )
        self._client.admin.command("ping")

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            try:
                self._client.close()
            except PyMongoError:
                pass  # it was broken anyway


def _ask_broker(uri: str) -> None:
    """Raise unless the broker takes a connection with the target's credentials."""
    parameters = pika.URLParameters(uri)
    parameters.socket_timeout = parameters.stack_timeout = ASK_TIMEOUT_S
    parameters.blocked_connection_timeout = ASK_TIMEOUT_S
    parameters.connection_attempts = 1
    pika.BlockingConnection(parameters).close()


def pulse(notebook: Notebook, stop: threading.Event) -> None:
    """Notice that this whole process stood still (frozen, or starved), and say that nobody looked meanwhile.

    For a beat afterwards nobody is believed to see: the watches tell late what they missed.
    """
    last_ns = notebook.now()
    while not stop.wait(PERIOD_S):
        now_ns = notebook.now()
        if now_ns - last_ns > STILL_NS:
            notebook.blinked(last_ns)
        else:
            notebook.caught_up()
        last_ns = now_ns


STILL_NS = 5 * SECOND_NS // 2
"""A beat of a second that takes this long means the process was not running."""
