"""A small asyncio face of pika for the sandbox's pods: connect, declare, bind, publish, consume, delete.

Used by Focus Server (queues of a window, reachability), stream servers (live feed), cleanup and player. One `Link`
is one connection with one channel; when it breaks it is thrown away and a new one made. It never retries and
never logs; every failure is a BrokerError that carries pika's own text.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

from harness.sandbox.api import Api, ApiStatus
from harness.sandbox.pods.context import PodContext
from harness.sandbox.pods.plain_api import PlainApi
from harness.sandbox.pods.resolve import service_address

# pika logs every refused connection with a traceback; its callers say what matters.
logging.getLogger("pika").setLevel(logging.CRITICAL)

HEARTBEAT_S = 10


class BrokerError(Exception):
    """The broker did not do what was asked; the text is pika's."""


class Link:
    """One connection and channel; make with `connect`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[str] = self._loop.create_future()
        self._connection: Any = None
        self._channel: Any = None

    async def open(self, parameters: Any, timeout_s: float) -> None:
        """Connect and open the channel; BrokerError after timeout_s."""
        opened: asyncio.Future[None] = self._loop.create_future()

        def on_channel(channel: Any) -> None:
            self._channel = channel
            channel.add_on_close_callback(lambda _channel, reason: self._lost(reason))
            if not opened.done():
                opened.set_result(None)

        def on_error(_connection: Any, error: BaseException | str) -> None:
            if not opened.done():
                opened.set_exception(BrokerError(repr(error)))

        self._connection = AsyncioConnection(
            parameters,
            on_open_callback=lambda connection: connection.channel(on_open_callback=on_channel),
            on_open_error_callback=on_error,
            on_close_callback=lambda _connection, reason: self._lost(reason),
            custom_ioloop=self._loop,
        )
        try:
            await asyncio.wait_for(opened, timeout_s)
        except TimeoutError:
            self.close()
            raise BrokerError(f"no AMQP connection within {timeout_s:g} s") from None

    async def declare_exchange(self, name: str) -> None:
        """Make sure a durable topic exchange exists."""
        await self._call(
            lambda done: self._channel.exchange_declare(name, "topic", durable=True, callback=done)
        )

    async def make_queues(self, queues: tuple[str, ...], exchange: str, key: str) -> None:
        """Make sure a topic exchange and durable queues exist, the first one bound to it; one round trip."""
        if self.closed.done():
            raise BrokerError(self.closed.result())
        # Without a callback pika asks for no answer; the bind's answer comes after all of them.
        self._channel.exchange_declare(exchange, "topic", durable=True)
        for queue in queues:
            self._channel.queue_declare(queue, durable=True, arguments={"x-max-length-bytes": 1 << 20})
        await self._call(lambda done: self._channel.queue_bind(queues[0], exchange, key, callback=done))

    async def delete_queue(self, name: str) -> None:
        """Delete a queue; one that is not there is fine."""
        await self._call(lambda done: self._channel.queue_delete(name, callback=done))

    def publish(self, exchange: str, key: str, body: bytes) -> None:
        """Send a message without waiting; BrokerError when the link is gone."""
        if self.closed.done():
            raise BrokerError(self.closed.result())
        self._channel.basic_publish(exchange, key, body)

    async def consume(self, queue: str) -> AsyncIterator[bytes]:
        """Yield message bodies until the link breaks, then raise BrokerError."""
        bodies: asyncio.Queue[bytes] = asyncio.Queue(64)

        def on_message(_channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
            with contextlib.suppress(asyncio.QueueFull):
                bodies.put_nowait(body)

        self._channel.basic_consume(queue, on_message, auto_ack=True)
        while True:
            getting = asyncio.ensure_future(bodies.get())
            either: set[asyncio.Future[Any]] = {getting, self.closed}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                getting.cancel()
                raise BrokerError(self.closed.result())
            yield getting.result()

    async def ping(self, timeout_s: float) -> None:
        """Ask the broker for an answer now; BrokerError when none comes."""
        await self._call(lambda done: self._channel.basic_qos(prefetch_count=0, callback=done), timeout_s)

    def close(self) -> None:
        """Close without waiting."""
        if self._connection is not None and not (self._connection.is_closed or self._connection.is_closing):
            with contextlib.suppress(Exception):
                self._connection.close()

    async def _call(self, call: Callable[[Callable[[Any], None]], Any], timeout_s: float = 5.0) -> None:
        if self.closed.done():
            raise BrokerError(self.closed.result())
        answered: asyncio.Future[None] = self._loop.create_future()
        call(lambda _frame: None if answered.done() else answered.set_result(None))
        either: set[asyncio.Future[Any]] = {answered, self.closed}
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self.closed.done():
            raise BrokerError(self.closed.result())
        if not answered.done():
            self.close()
            raise BrokerError(f"no answer of the broker within {timeout_s:g} s")

    def _lost(self, reason: BaseException | str) -> None:
        if not self.closed.done():
            self.closed.set_result(repr(reason))


async def connect(pod: PodContext, api: Api | None = None, timeout_s: float | None = None) -> Link:
    """Return a link to the sandbox's broker (or the URL in the settings); BrokerError when there is none."""
    settings = pod.settings
    limit_s = settings.broker_timeout_s if timeout_s is None else timeout_s
    if settings.broker_url:
        parameters: Any = pika.URLParameters(settings.broker_url)
    else:
        parameters = pika.ConnectionParameters(
            host=await _address(pod, api),
            port=settings.broker_port,
            credentials=pika.PlainCredentials(settings.broker_user, settings.broker_password),
        )
    parameters.heartbeat = HEARTBEAT_S
    parameters.connection_attempts = 1
    parameters.socket_timeout = parameters.stack_timeout = limit_s
    link = Link()
    await link.open(parameters, limit_s)
    return link


async def messages(pod: PodContext, queue: str) -> AsyncIterator[bytes]:
    """Connect and yield a queue's messages; BrokerError when the link breaks or cannot be made."""
    link = await connect(pod, timeout_s=5.0)
    try:
        async for body in link.consume(queue):
            yield body
    finally:
        link.close()


async def _address(pod: PodContext, api: Api | None) -> str:
    try:
        if api is not None:
            return await service_address(api, pod.namespace, pod.settings.broker_name)
        # Blocking, on a thread: a stream pod that only needs this one address keeps no pool of connections.
        return await asyncio.to_thread(_ask_plainly, pod)
    except ApiStatus as error:
        raise BrokerError(str(error)) from error


def _ask_plainly(pod: PodContext) -> str:
    api = PlainApi(pod)
    try:
        return str(api.get("services", pod.settings.broker_name, pod.namespace)["spec"]["clusterIP"])
    finally:
        api.close()
