"""Ask what is not in the Kubernetes API: Focus Server over HTTP, MongoDB, the broker. Each question has a timeout of its own.

Called by the checks through their `Sight`; tests answer in its stead. Nothing is retried, nothing is written, no credentials are shown.
"""

import http.client
import logging
import socket
import ssl
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import pika
import pymongo
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pymongo.errors import PyMongoError

from harness.cluster import Cluster, Ran
from harness.focus.endpoint import endpoint_of, tls_context
from harness.history.writer import redacted
from harness.target import Target

HTTP_TIMEOUT_S = 3.0
ASK_TIMEOUT_S = 2.0
BODY_CAP = 1 << 16


class NoAnswer(Exception):
    """Somebody did not answer as they should; `step` says where on the way it went wrong, the text how."""

    def __init__(self, step: str, text: str) -> None:
        super().__init__(redacted(text))
        self.step = step


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
        parts = urlsplit(url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        started = time.monotonic()
        try:
            address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4]
        except OSError as error:
            raise NoAnswer("dns", f"{host} does not resolve: {error}") from error
        try:
            link: socket.socket = socket.create_connection(
                (str(address[0]), int(address[1])), timeout=HTTP_TIMEOUT_S
            )
        except OSError as error:
            raise NoAnswer("connect", f"{address[0]}:{port}: {error}") from error
        with closing(link):
            if secure:
                try:
                    link = tls_context(endpoint_of(self._target)).wrap_socket(link, server_hostname=host)
                except (OSError, ssl.SSLError) as error:
                    raise NoAnswer("tls", f"{host}:{port}: {error}") from error
            connection = http.client.HTTPConnection(host, port, timeout=HTTP_TIMEOUT_S)
            connection.sock = link
            headers = {"Connection": "close", "User-Agent": "focus-harness", **self._target.headers}
            try:
                connection.request("GET", parts.path or "/", headers=headers)
                answer = connection.getresponse()
                body = answer.read(BODY_CAP)
            except (OSError, http.client.HTTPException) as error:
                raise NoAnswer("http", f"no answer: {type(error).__name__}: {error}") from error
            finally:
                connection.close()
        return Reply(answer.status, body, answer.getheader("Server", ""), time.monotonic() - started)

    def mongodb(self, uri: str) -> list[dict[str, Any]]:
        """Ping with the target's credentials; what may not be read is not there."""
        wait_ms = round(ASK_TIMEOUT_S * 1000)
        try:
            with pymongo.MongoClient[dict[str, Any]](
                uri,
                serverSelectionTimeoutMS=wait_ms,
                connectTimeoutMS=wait_ms,
                socketTimeoutMS=wait_ms,
                retryReads=False,
                appname="focus-harness",
            ) as client:
                client.admin.command("ping")
                base = client.get_default_database(default="prisma").base_paths
                try:
                    base.find_one()  # a ping needs no credentials; this does
                    return list(base.find({}, {"base_path": 1, "guid": 1}).limit(20))
                except PyMongoError as error:
                    if "auth" in str(error).lower():
                        raise
                    return []
        except PyMongoError as error:
            raise NoAnswer("mongodb", f"{type(error).__name__}: {str(error).splitlines()[0]}") from error

    def broker(self, uri: str, queues: Iterable[str]) -> dict[str, int]:
        """Connect, and ask for each queue by its name, which changes nothing (a passive declare)."""
        logging.getLogger("pika").setLevel(logging.CRITICAL)
        parameters = pika.URLParameters(uri)
        parameters.socket_timeout = parameters.stack_timeout = ASK_TIMEOUT_S
        parameters.blocked_connection_timeout = ASK_TIMEOUT_S
        parameters.connection_attempts = 1
        there: dict[str, int] = {}
        try:
            with closing(pika.BlockingConnection(parameters)) as link:
                for queue in queues:
                    channel = link.channel()
                    try:
                        told = channel.queue_declare(queue, passive=True)
                        there[queue] = int(told.method.message_count)
                        channel.close()
                    except ChannelClosedByBroker:
                        continue  # there is no such queue; the broker closes the channel that asked
        except (AMQPError, OSError) as error:
            raise NoAnswer("broker", f"{type(error).__name__}: {error!r}"[:300]) from error
        return there

    def execute(self, pod: str, argv: list[str], within_s: float) -> Ran:
        """Run a command in a pod of the system."""
        if self._cluster is None:
            raise NoAnswer("exec", "the cluster is out of reach")
        return self._cluster.execute(pod, argv, within_s=within_s)
