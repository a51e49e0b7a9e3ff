"""Look for what windows leave behind where no watch looks: tasks in MongoDB, queues in the broker.

Called by the audit, before and at the end of a run. Every look is bounded; what cannot be looked at is said (`CannotLook`), never
taken for clean. It removes nothing.
"""

import re
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

import pika
import pymongo
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pymongo.errors import PyMongoError

LOOK_S = 3.0
TASKS = "tasks"
MOST_TASKS = 20_000
"""Where more are kept, only those of our own windows are looked for."""
JOB_ID = re.compile(r"\d+-\d+")
QUEUE_OF = "focus_baby.{}"
"""The queue of a window's data. The other one carries the time of its making in its name, which no client knows."""


class CannotLook(Exception):
    """Nobody can tell; the text says why."""


def tasks_of(uri: str, job_ids: Iterable[str]) -> frozenset[str]:
    """Return the windows that have a task in MongoDB: all of them, where the collection is small, else those of `job_ids`; raise CannotLook."""
    milliseconds = round(LOOK_S * 1000)
    try:
        with pymongo.MongoClient[dict[str, str]](
            uri,
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
            socketTimeoutMS=milliseconds,
            retryReads=False,
            appname="focus-harness",
        ) as client:
            tasks = client[_database(uri)][TASKS]
            found = [str(document["_id"]) for document in tasks.find({}, {"_id": 1}).limit(MOST_TASKS + 1)]
            if len(found) > MOST_TASKS:
                wanted = {"_id": {"$in": list(job_ids)}}
                found = [str(document["_id"]) for document in tasks.find(wanted, {"_id": 1})]
    except PyMongoError as error:
        raise CannotLook(f"MongoDB: {type(error).__name__}: {str(error).splitlines()[0]}") from error
    return frozenset(one for one in found if JOB_ID.fullmatch(one))


def _database(uri: str) -> str:
    return urlsplit(uri).path.strip("/") or "prisma"


class Queues:
    """The queues of one run's windows: AMQP lists none, so each is asked for by its name, and not again once it is gone."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._gone: set[str] = set()
        self._there: set[str] = set()

    def of(self, job_ids: Iterable[str]) -> frozenset[str]:
        """Return the windows of `job_ids` whose queue exists; raise CannotLook where not all could be asked for within LOOK_S.

        What was found out is kept: the next look goes on where this one had to end.
        """
        wanted = set(job_ids) - self._gone
        until = time.monotonic() + LOOK_S
        asked: set[str] = set()
        try:
            if wanted:
                connection = pika.BlockingConnection(self._parameters())
                try:
                    channel = connection.channel()
                    for job_id in sorted(wanted, key=lambda one: (one in self._there, one)):
                        if time.monotonic() >= until:
                            break
                        exists, channel = _exists(connection, channel, QUEUE_OF.format(job_id))
                        asked.add(job_id)
                        (self._there if exists else self._gone).add(job_id)
                finally:
                    connection.close()
        except (AMQPError, OSError) as error:
            raise CannotLook(f"broker: {type(error).__name__}: {error}") from error
        self._there -= self._gone
        if left := len(wanted - asked):
            raise CannotLook(f"broker: {left} queues could not be asked for within {LOOK_S:g} s")
        return frozenset(wanted & self._there)

    def _parameters(self) -> pika.URLParameters:
        parameters = pika.URLParameters(self._uri)
        parameters.socket_timeout = parameters.stack_timeout = parameters.blocked_connection_timeout = LOOK_S
        parameters.connection_attempts = 1
        return parameters


def _exists(
    connection: pika.BlockingConnection, channel: BlockingChannel, name: str
) -> tuple[bool, BlockingChannel]:
    """Return whether a queue exists, and a channel to go on with: the broker closes the one that asked for none."""
    try:
        channel.queue_declare(name, passive=True)
    except ChannelClosedByBroker as error:
        if error.reply_code != 404:
            raise
        return False, connection.channel()
    return True, channel
