"""Look for what windows and faults leave behind where no watch looks: tasks in MongoDB, queues in the broker, processes of our own.

Called by the audit, at the end of a run, a few times. Every look is bounded; what cannot be looked at is said (`CannotLook`), never taken
for clean. It removes nothing.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import pika
import pymongo
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pymongo.errors import PyMongoError

LOOK_S = 3.0
TASKS = "tasks"
QUEUE_OF = "focus_baby.{}"
"""The queue of a window's data. The other one carries the time of its making in its name, which no client knows."""


class CannotLook(Exception):
    """Nobody can tell; the text says why."""


def tasks_of(uri: str, job_ids: Iterable[str]) -> frozenset[str]:
    """Return those of `job_ids` that still have a task in MongoDB; raise CannotLook."""
    wanted = list(job_ids)
    milliseconds = round(LOOK_S * 1000)
    try:
        with pymongo.MongoClient[dict[str, str]](
            uri,
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
            socketTimeoutMS=milliseconds,
            appname="focus-harness",
        ) as client:
            database = client[_database(uri)]
            found = database[TASKS].find({"_id": {"$in": wanted}}, {"_id": 1})
            return frozenset(str(document["_id"]) for document in found)
    except PyMongoError as error:
        raise CannotLook(f"MongoDB: {type(error).__name__}: {str(error).splitlines()[0]}") from error


def _database(uri: str) -> str:
    return urlsplit(uri).path.strip("/") or "prisma"


def queues_of(uri: str, job_ids: Iterable[str]) -> frozenset[str]:
    """Return the queues of `job_ids` that still exist in the broker; raise CannotLook."""
    parameters = pika.URLParameters(uri)
    parameters.socket_timeout = parameters.stack_timeout = parameters.blocked_connection_timeout = LOOK_S
    parameters.connection_attempts = 1
    found = set()
    try:
        connection = pika.BlockingConnection(parameters)
        try:
            channel = connection.channel()
            for job_id in job_ids:
                name = QUEUE_OF.format(job_id)
                try:
                    channel.queue_declare(name, passive=True)
                except ChannelClosedByBroker as error:
                    if error.reply_code != 404:
                        raise
                    channel = connection.channel()
                else:
                    found.add(name)
        finally:
            connection.close()
    except (AMQPError, OSError) as error:
        raise CannotLook(f"broker: {type(error).__name__}: {error}") from error
    return frozenset(found)


def alive(pids: Iterable[int]) -> frozenset[int]:
    """Return those of `pids` that still run (a process that only waits to be collected does not)."""
    return frozenset(pid for pid in pids if _runs(pid))


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return not Path("/proc/self").exists() and _answers(pid)
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sockets_of(pid: int) -> int:
    """Return how many sockets a process holds; 0 where that cannot be seen."""
    try:
        return sum(str(file.readlink()).startswith("socket:") for file in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return 0
