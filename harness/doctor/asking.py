"""Ask what is not in the Kubernetes API: Focus Server over HTTP, MongoDB, the broker. Each question has a timeout of its own.

Called by the checks through their `Sight`; tests answer in its stead. Nothing is retried, nothing is written, no credentials are shown, and
the target's headers go to nobody but the target's URL.
"""

import http.client
import logging
import ssl
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import pika
import pymongo
from pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)
from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from harness.cluster import Cluster, Ran
from harness.doctor.way import UNREADABLE, NoAnswer, connected, parts_of, reach
from harness.focus.endpoint import endpoint_of, tls_context
from harness.target import Target

HTTP_TIMEOUT_S = 3.0
ASK_TIMEOUT_S = 2.0
BODY_CAP = 1 << 16
DENIED = frozenset({13, 18, 334, 8000})
"""MongoDB's codes for credentials that are missing, wrong or not enough."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer: status, the start of the body, who says they are the server, and how long it took."""

    status: int
    body: bytes
    server: str
    took_s: float


class Asking(Protocol):
    """What checks ask beside the cluster's objects."""

    def get(self, url: str) -> Reply:
        """GET a URL step by step; raise NoAnswer with the step `dns`, `connect`, `tls` or `http`."""
        ...

    def mongodb(self, uri: str) -> list[dict[str, Any]]:
        """Ping MongoDB with these credentials and return its `base_paths`; raise NoAnswer."""
        ...

    def broker(self, uri: str, queues: Iterable[str]) -> dict[str, int]:
        """Connect to the broker and return which of `queues` exist, with their messages; raise NoAnswer."""
        ...

    def execute(self, pod: str, argv: list[str], within_s: float) -> Ran:
        """Run a command in a pod of the system; raises what the cluster answers."""
        ...


class RealAsking:
    """Asks over the network."""

    def __init__(self, target: Target, cluster: Cluster | None) -> None:
        self._target = target
        self._cluster = cluster

    def get(self, url: str) -> Reply:
        """GET a URL step by step; a redirect is an answer."""
        secure, host, port, path = parts_of(url)
        started = time.monotonic()
        link = connected(host, port, HTTP_TIMEOUT_S)
        with closing(link):
            if secure:
                try:
                    link = tls_context(endpoint_of(self._target)).wrap_socket(link, server_hostname=host)
                except (OSError, ssl.SSLError) as error:
                    raise NoAnswer("tls", f"{host}:{port}: {error}") from error
            connection = http.client.HTTPConnection(host, port, timeout=HTTP_TIMEOUT_S)
            connection.sock = link
            own = self._target.headers if parts_of(self._target.url)[:3] == (secure, host, port) else {}
            headers = {"Connection": "close", "User-Agent": "focus-harness", **own}
            try:
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                body = answer.read(BODY_CAP)
            except (OSError, http.client.HTTPException) as error:
                raise NoAnswer("http", f"no answer: {type(error).__name__}: {error}") from error
            finally:
                connection.close()
        return Reply(answer.status, body, answer.getheader("Server", ""), time.monotonic() - started)

    def mongodb(self, uri: str) -> list[dict[str, Any]]:
        """Ping, and read with the target's credentials: a ping needs none."""
        wait_ms = round(ASK_TIMEOUT_S * 1000)
        try:
            hosts = parse_uri(uri)["nodelist"]
            client = pymongo.MongoClient[dict[str, Any]](
                uri,
                serverSelectionTimeoutMS=wait_ms,
                connectTimeoutMS=wait_ms,
                socketTimeoutMS=wait_ms,
                retryReads=False,
                appname="focus-harness",
                connect=False,
            )
        except (PyMongoError, ValueError, TypeError) as error:  # their text may show a part of the password
            raise NoAnswer("uri", f"mongodb_uri {UNREADABLE}") from error
        with client:
            reach(((str(host), port) for host, port in hosts), ASK_TIMEOUT_S)
            try:
                client.admin.command("ping")
            except PyMongoError as error:
                raise NoAnswer(_mongodb_step(error, "mongodb"), _in_short(error)) from error
            try:
                base = client.get_default_database(default="prisma").base_paths
                base.find_one()
                return list(base.find({}, {"base_path": 1, "guid": 1}).limit(20))
            except PyMongoError as error:
                words = f"it answers a ping, and does not let base_paths be read: {_in_short(error)}"
                raise NoAnswer(_mongodb_step(error, "read"), words) from error

    def broker(self, uri: str, queues: Iterable[str]) -> dict[str, int]:
        """Connect, and ask for each queue by its name, which changes nothing (a passive declare)."""
        logging.getLogger("pika").setLevel(logging.CRITICAL)
        parameters = _amqp(uri)
        there: dict[str, int] = {}
        reach([(str(parameters.host), int(parameters.port))], ASK_TIMEOUT_S)
        try:
            with closing(pika.BlockingConnection(parameters)) as link:
                for queue in queues:
                    channel = link.channel()
                    try:
                        told = channel.queue_declare(queue, passive=True)
                        there[queue] = int(told.method.message_count)
                        channel.close()
                    except ChannelClosedByBroker as error:  # the broker closes the channel that asked
                        if error.reply_code == 405:  # another connection's own: it is there
                            there[queue] = 0
                        elif error.reply_code != 404:
                            raise NoAnswer("credentials", f"queue {queue}: {error!r}") from error
        except (AMQPError, OSError) as error:
            raise NoAnswer(_amqp_step(error), f"{error!r}"[:300]) from error
        return there

    def execute(self, pod: str, argv: list[str], within_s: float) -> Ran:
        """Run a command in a pod of the system."""
        if self._cluster is None:
            raise NoAnswer("exec", "the cluster is out of reach")
        return self._cluster.execute(pod, argv, within_s=within_s)


def _mongodb_step(error: PyMongoError, otherwise: str) -> str:
    text = str(error).lower()
    if isinstance(error, OperationFailure) and (error.code in DENIED or "auth" in text):
        return "credentials"
    if isinstance(error, ConfigurationError):
        return "uri"
    return "tls" if "certificate" in text or "ssl handshake failed" in text else otherwise


def _amqp(uri: str) -> pika.URLParameters:
    parameters = None
    try:
        parts = urlsplit(uri)
        if parts.scheme in {"amqp", "amqps"} and parts.hostname:
            parameters = pika.URLParameters(uri)
    except (ValueError, TypeError, SyntaxError, LookupError):  # their text may show a part of the password
        pass
    if parameters is None:
        raise NoAnswer("uri", f"broker_uri {UNREADABLE}")
    parameters.socket_timeout = parameters.stack_timeout = ASK_TIMEOUT_S
    parameters.blocked_connection_timeout = ASK_TIMEOUT_S
    parameters.connection_attempts = 1
    return parameters


def _amqp_step(error: Exception) -> str:
    denied = (AuthenticationError, ProbableAuthenticationError, ProbableAccessDeniedError)
    if isinstance(error, denied) or (
        isinstance(error, ConnectionClosedByBroker) and error.reply_code in {403, 530}
    ):
        return "credentials"
    return "tls" if isinstance(error, ssl.SSLError) else "broker"


def _in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


__all__ = ["Asking", "NoAnswer", "RealAsking", "Reply"]
