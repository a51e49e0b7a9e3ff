"""The program of image `pzlinux`: serves the streams of one window over gRPC and ends when the window is over.

Started by the kubelet for every `grpc-job-<id>` pod. Opens its port some seconds after the pod runs, answers
`pandadatastream.DataStreamService/StreamData` on `<pod ip>:5000`, and exits 0 when its readers have gone, when
nobody reads for too long, or when a historic window's time is up; the server then cancels all calls. It serves
nobody's job but its own and cannot tell who reads: the port alone selects the job, as in the field.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import signal
import sys
import time
from typing import TypeAlias

import grpc
import grpc.aio

from harness.sandbox.pods import activity, feed
from harness.sandbox.pods.analyzer_arguments import Assignment, parse
from harness.sandbox.pods.context import PodContext
from harness.sandbox.pods.pacing import HistoricCursor, LiveCursor
from harness.sandbox.pods.payload import Samples, global_maximum, parse_job_id
from harness.sandbox.settings import Settings
from harness.sandbox.truth import TruthLog, process_name
from harness.wire import pandadatastream_pb2

PORT = 5000
SERVICE = "pandadatastream.DataStreamService"
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class Window:
    """The state of one window: its rows, its readers, what has been sent and why it ended."""

    def __init__(
        self, assignment: Assignment, settings: Settings, live_feed: feed.Feed, truth: TruthLog
    ) -> None:
        self._truth = truth
        self.assignment = assignment
        self.settings = settings
        self.feed = live_feed
        slot, counter = parse_job_id(assignment.job_id)
        view = assignment.view
        self.samples = [Samples(slot, counter, i, view.width(i)) for i in range(view.streams)]
        self.chance = random.Random(assignment.job_id)
        self.silent = self.chance.random() < settings.silent_share
        self.frames = 0
        self.readers = 0
        self.seen_reader_s: float | None = None
        self.idle_since_s = time.monotonic()
        self.start_s = time.monotonic()
        self.start_epoch_s = time.time()
        self._shared: dict[int, LiveCursor | HistoricCursor] = {}

    def cursor(self, stream: int) -> LiveCursor | HistoricCursor:
        """Return the cursor a new reader of a stream takes its rows from."""
        if not self.settings.split_readers:
            return self._new_cursor()
        return self._shared.setdefault(stream, self._new_cursor())

    def message(self, stream: int, rows: range) -> bytes:
        """Return the encoded message that carries these rows of a stream."""
        first, last = self.assignment.view.spans[stream]
        samples = self.samples[stream]
        encoded: bytes = pandadatastream_pb2.DataStream(
            start_channel=first,
            end_channel=last,
            timestamp_in_milis=[self._epoch_ms(row) for row in rows],
            row_index=rows,
            data_shape_x=samples.width,
            data_shape_y=1,
            global_maximum=global_maximum(rows[-1]),
            global_minimum=0.0,
            main_data=[samples.row(row) for row in rows],
        ).SerializeToString()
        return encoded

    def sent(self) -> None:
        """Count a message that was sent; the first is told."""
        if not self.frames:
            self._truth.write("first_frame", job_id=self.assignment.job_id)
        self.frames += 1

    def over(self, now_s: float) -> str | None:
        """Return why the window is over at an instant, None while it lives."""
        settings = self.settings
        if self.readers:
            self.idle_since_s = now_s
        idle_s = now_s - self.idle_since_s
        if self.seen_reader_s is None:
            return "inactivity" if idle_s > settings.stream_inactivity_s else None
        if self.assignment.historic and now_s - self.seen_reader_s >= settings.historic_end_s:
            return "historic_end"
        return "disconnect" if not self.readers and idle_s >= settings.disconnect_linger_s else None

    def _new_cursor(self) -> LiveCursor | HistoricCursor:
        if self.assignment.historic:
            return HistoricCursor(self.assignment.recorded_rows, self.settings.historic_rows_per_message)
        return LiveCursor(self.start_s, self.assignment.view.lines_dt_s, time.monotonic)

    def _epoch_ms(self, row: int) -> int:
        start_s = self.assignment.time_start if self.assignment.historic else self.start_epoch_s
        assert start_s is not None
        return round((start_s + row * self.assignment.view.lines_dt_s) * 1000)


async def stream_data(window: Window, request: bytes, context: Context) -> None:
    """Serve one call: rows of one stream until the reader or the server ends it."""
    stream = pandadatastream_pb2.StreamDataRequest.FromString(request).stream_id
    if not 0 <= stream < window.assignment.view.streams:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"stream_id {stream} is not served")
    window.readers += 1
    window.seen_reader_s = window.seen_reader_s or time.monotonic()
    try:
        cursor = window.cursor(stream)
        if window.silent:
            await asyncio.Event().wait()
        elif isinstance(cursor, LiveCursor):
            await _live(window, stream, cursor, context)
        else:
            await _historic(window, stream, cursor, context)
    except asyncio.CancelledError:
        # gRPC would print a traceback for every call that ends this way, the ordinary one.
        return
    finally:
        window.readers -= 1


async def _live(window: Window, stream: int, cursor: LiveCursor, context: Context) -> None:
    while True:
        row, due_s = cursor.take()
        if window.settings.live_jitter_s:
            due_s += window.chance.uniform(0, window.settings.live_jitter_s)
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        if window.feed.fresh() and window.chance.random() >= window.settings.live_gap_share:
            await context.write(window.message(stream, range(row, row + 1)))
            window.sent()


async def _historic(window: Window, stream: int, cursor: HistoricCursor, context: Context) -> None:
    while (rows := cursor.take()) is not None:
        await context.write(window.message(stream, rows))
        window.sent()
    # The data has ended, the call has not: it idles until the server cancels it.
    await asyncio.Event().wait()


def make_server(window: Window, address: str) -> grpc.aio.Server:
    """Return a gRPC server for a window, bound to `host:port`, not yet started; RuntimeError if it cannot bind."""

    async def handler(request: bytes, context: Context) -> None:
        await stream_data(window, request, context)

    # No (de)serialiser: messages are encoded once, by the window.
    method = grpc.unary_stream_rpc_method_handler(handler)
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1)))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"StreamData": method}),))
    if not server.add_insecure_port(address):
        raise RuntimeError(f"cannot bind {address}")
    return server


def ready_delay_s(settings: Settings, chance: random.Random) -> float:
    """Return how long a stream program needs until its port opens: a floor plus a log-normal part."""
    median = settings.ready_delay_median_s - settings.ready_delay_s
    p95 = settings.ready_delay_p95_s - settings.ready_delay_s
    if median <= 0 or p95 <= median:
        return max(settings.ready_delay_s, settings.ready_delay_median_s)
    sigma = math.log(p95 / median) / 1.645
    return settings.ready_delay_s + chance.lognormvariate(math.log(median), sigma)


async def serve(pod: PodContext) -> int:
    """Play the window's whole life; return the exit code."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    assignment = parse(pod.args, pod.env)
    truth = TruthLog(pod.truth_dir, process_name("stream", pod.name))
    settings = pod.settings
    live_feed = await feed.connect(pod, assignment)
    window = Window(assignment, settings, live_feed, truth)
    if window.chance.random() < settings.never_ready_share or await _told_within(
        told, ready_delay_s(settings, window.chance)
    ):
        await told.wait()
        return 143
    window.start_s, window.start_epoch_s = time.monotonic(), time.time()
    window.idle_since_s = window.start_s
    server = make_server(window, f"{pod.ip}:{PORT}")
    await server.start()
    answers = await activity.serve(pod.ip, lambda: window.frames)
    truth.write("ready", job_id=assignment.job_id, slot=parse_job_id(assignment.job_id)[0], pod=pod.name)
    reason = None
    while reason is None:
        reason = "told" if await _told_within(told, 0.25) else window.over(time.monotonic())
    truth.write("stream_over", job_id=assignment.job_id, reason=reason, frames=window.frames)
    await server.stop(None)
    # Calls that the core has cancelled end in a turn or two; the loop must not cancel them a second time.
    await asyncio.sleep(0.05)
    answers.close()
    await live_feed.close()
    return 143 if reason == "told" else 0


async def _told_within(told: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(told.wait(), seconds)
    except TimeoutError:
        return False
    return True


def main(pod: PodContext) -> int:
    """Run the stream program of one pod; return its exit code."""
    # Every call that the server itself cancels would be logged there with a traceback.
    logging.getLogger("grpc._cython.cygrpc").disabled = True
    try:
        return asyncio.run(serve(pod))
    except (ValueError, RuntimeError) as error:
        sys.stderr.write(f"baby_analyzer: {error}\n")
        return 1
