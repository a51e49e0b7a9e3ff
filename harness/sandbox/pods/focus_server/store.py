"""Focus Server's MongoDB: tasks of windows and the lookup of recordings.

Used by the window flow and the recording routes. One client per address; when the server is not reached the client
is thrown away and the service name resolved again on the next call. Failures are StoreErrors with pymongo's text.
Keeps no recording in memory.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from pymongo import AsyncMongoClient
from pymongo.errors import ConnectionFailure, PyMongoError

from harness.sandbox.api import Api, ApiStatus
from harness.sandbox.pods.resolve import service_address
from harness.sandbox.settings import Settings

T = TypeVar("T")
Database = Any


class StoreError(Exception):
    """MongoDB did not do what was asked; the text is the client's."""


class Store:
    """The database `prisma` as Focus Server uses it."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        self._client: AsyncMongoClient[dict[str, Any]] | None = None

    async def ping(self) -> None:
        """Ask for an answer; StoreError when none comes in time."""
        await self._do(lambda database: database.command("ping"))

    async def add_task(self, job_id: str, task: dict[str, Any]) -> None:
        """Write the task of a window."""
        document = {"_id": job_id, "job_id": job_id, "created_at": datetime.now(UTC), **task}
        await self._do(lambda database: database.tasks.insert_one(document))

    async def remove_task(self, job_id: str) -> None:
        """Remove the task of a window; one that is not there is fine."""
        await self._do(lambda database: database.tasks.delete_one({"_id": job_id}))

    async def recordings(self, start_s: float, end_s: float) -> list[tuple[float, float]]:
        """Return (start, end) of recordings that overlap a time range, oldest first; end -1 while running."""

        async def query(database: Database) -> list[tuple[float, float]]:
            base = await database.base_paths.find_one({"base_path": self._settings.storage_mount_path})
            if base is None:
                return []
            overlap = {
                "start_time": {"$lt": _date(end_s)},
                "$or": [{"end_time": {"$gt": _date(start_s)}}, {"end_time": None}],
                "deleted": {"$ne": True},
            }
            cursor = database[base["guid"]].find(overlap, {"start_time": 1, "end_time": 1})
            found = await cursor.to_list(1000)
            return sorted((_epoch(doc["start_time"]), _epoch(doc.get("end_time"))) for doc in found)

        return await self._do(query)

    async def close(self) -> None:
        """Close the client; a later call opens a new one."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def _do(self, work: Callable[[Database], Awaitable[T]]) -> T:
        for last in (False, True):
            fresh = self._client is None
            try:
                client = self._client or await self._connect()
                return await work(client[self._settings.mongodb_database])
            except ConnectionFailure as error:
                await self.close()
                # A pooled connection of a server that was restarted says nothing about the server.
                if last or fresh:
                    raise StoreError(f"{type(error).__name__}: {error}") from error
            except PyMongoError as error:
                raise StoreError(f"{type(error).__name__}: {error}") from error
            except ApiStatus as error:
                raise StoreError(str(error)) from error
        raise AssertionError("unreachable")

    async def _connect(self) -> AsyncMongoClient[dict[str, Any]]:
        settings = self._settings
        host = await service_address(self._api, settings.namespace, settings.mongodb_name)
        timeout_ms = int(settings.mongodb_timeout_s * 1000)
        self._client = AsyncMongoClient(
            host,
            settings.mongodb_port,
            username=settings.mongodb_user,
            password=settings.mongodb_password,
            authSource=settings.mongodb_database,
            directConnection=True,
            tz_aware=True,
            serverSelectionTimeoutMS=timeout_ms,
            connectTimeoutMS=timeout_ms,
            socketTimeoutMS=timeout_ms,
            maxPoolSize=8,
            appname="focus_server",
        )
        return self._client


def recorded_rows(spans: list[tuple[float, float]], start_s: float, end_s: float, lines_dt_s: float) -> int:
    """Return the rows that finished recordings give inside a window; overlaps count once."""
    covered_s, reached_s = 0.0, start_s
    for span_start_s, span_end_s in spans:
        if span_end_s < 0:
            continue
        begin_s, finish_s = max(span_start_s, reached_s), min(span_end_s, end_s)
        if finish_s > begin_s:
            covered_s += finish_s - begin_s
            reached_s = finish_s
    return int(covered_s / lines_dt_s + 1e-9)


def accepted(
    spans: list[tuple[float, float]],
    start_s: float,
    rule: str,
    index_delay_s: float,
    now_s: float | None = None,
) -> bool:
    """Return whether a historic window is accepted: `overlap` with, or `strict` start inside, an indexed recording."""
    now_s = time.time() if now_s is None else now_s
    indexed = [span for span in spans if 0 <= span[1] <= now_s - index_delay_s]
    if rule == "strict":
        return any(begin_s <= start_s < finish_s for begin_s, finish_s in indexed)
    return bool(indexed)


def _date(epoch_s: float) -> datetime:
    return datetime.fromtimestamp(epoch_s, UTC)


def _epoch(date: datetime | None) -> float:
    return -1 if date is None else date.timestamp()
