"""A small Focus Server for tests: REST by aiohttp, one real gRPC server per job. It does what its `Script` says.

In-process: `async with FakeFocus(Script(...)) as fake: fake.url`. As a process: `python fake_focus.py '{"limit": 2}'` prints its
URL as the first line and serves until its stdin closes.
"""

import asyncio
import dataclasses
import json
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
import grpc.aio
from aiohttp import web

from harness.wire.pandadatastream_pb2 import DataStream, StreamDataRequest

NO_RECORDING = '{"error":"No recording found in given time range"}'


@dataclass
class Script:
    """How the fake behaves; `answers` are used up first, one per create, then `answer`."""

    answer: str = "ok"  # ok | hang | drop | bad_json | truncated | no_job | "<status> <body>"
    answers: list[str] = field(default_factory=list)
    stream: str = (
        "live"  # live | end | goaway | break | break_before | end_before | silent | never | foreign | ...
    )
    ready_after_s: float = 0.05
    frames: int = 0  # of a historic stream; of a live one before it breaks
    limit: int = 0  # MaxWindows; 0 is none
    port_as_text: bool = False
    recordings: list[list[float]] = field(default_factory=lambda: [[1000, 1040.1], [1039, -1]])
    latency_s: float = 0.0
    job_field: str = ""  # "", counter, slot or wrong
    lenient: bool = False  # accept what is no valid request, as far as it can be read


@dataclass
class Job:
    slot: int
    counter: int
    body: dict[str, Any]
    port: int
    server: grpc.aio.Server | None = None
    readers: int = 0
    started_s: float = 0.0
    begun: asyncio.Event = field(default_factory=asyncio.Event)


class FakeFocus:
    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.jobs: dict[int, Job] = {}
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.creates_now = 0
        self.creates_peak = 0
        self._counter = 1700
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/focus-server"
        return self

    async def __aexit__(self, *exc: object) -> None:
        # A gRPC server that is not quite stopped hangs the process whenever it is collected later: wait for all of them.
        for job in tuple(self.jobs.values()):
            self._later(self._gone(job))
        self.jobs.clear()
        while self._tasks:
            await asyncio.gather(*self._tasks)
        await self._runner.cleanup()

    # --- REST -----------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        path = request.path.removeprefix("/focus-server")
        self.requests.append((request.method, path, dict(request.headers), body))
        match path:
            case "/ack":
                return web.json_response({})
            case "/channels":
                return web.json_response({"lowest_channel": 1, "highest_channel": 2337})
            case "/live_metadata":
                return web.json_response({"prr": 2000.0, "sw_version": "11.17", "number_of_channels": 9791})
            case "/recordings_in_time_range":
                return web.json_response(self.script.recordings)
            case "/get_recordings_timeline":
                return web.Response(text="<html></html>", content_type="text/html")
            case "/configure":
                self.creates_now += 1
                self.creates_peak = max(self.creates_peak, self.creates_now)
                try:
                    await asyncio.sleep(self.script.latency_s)
                    if not self.script.lenient and not _valid(body):
                        return web.json_response({"detail": []}, status=422)
                    return await self._configure(request, json.loads(body))
                finally:
                    self.creates_now -= 1
        return web.json_response({"detail": "Not Found"}, status=404)

    async def _configure(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        script = self.script
        answer = script.answers.pop(0) if script.answers else script.answer
        if answer == "ok" and script.limit and len(self.jobs) >= script.limit:
            answer = "503 "
        if answer == "hang":
            await asyncio.sleep(60)
        if answer == "drop":
            assert request.transport is not None
            request.transport.close()
            await asyncio.sleep(1)
        if answer == "bad_json":
            return web.Response(text="<html>200</html>", content_type="text/html")
        if answer == "truncated":
            reply = web.StreamResponse(headers={"Content-Length": "1000"})
            await reply.prepare(request)
            await reply.write(b"{")
            assert request.transport is not None
            request.transport.close()
            return reply
        if body.get("view_type") == "2" and answer == "ok":
            return web.Response(status=500, text='{"detail":"Error parsing configuration"}')
        if answer[0].isdigit():
            status, _, text = answer.partition(" ")
            return web.Response(status=int(status), text=text, content_type="application/json")
        job = self._job(body)
        described = self._described(job)
        if answer == "no_job":
            del described["job_id"]
        return web.json_response(described)

    def _job(self, body: dict[str, Any]) -> Job:
        slot = next(n for n in range(1, 10_000) if n not in self.jobs)
        self._counter += 1
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        job = self.jobs[slot] = Job(slot, self._counter, body, port)
        if self.script.stream != "never":
            self._later(self._start(job))
        return job

    def _described(self, job: Job) -> dict[str, Any]:
        channels, streams = job.body["channels"], self._split(job)
        height = job.body.get("displayInfo", {"height": 100})["height"]
        return {
            "status": "",
            "frequencies_list": [float(n) for n in range(4)],
            "lines_dt": job.body["displayTimeAxisDuration"] / height,
            "channel_to_stream_index": {
                str(channel): index
                for index, (low, high) in enumerate(streams)
                for channel in range(low, high + 1)
            },
            "stream_amount": len(streams),
            "job_id": f"{job.slot}-{job.counter}",
            "frequencies_amount": 4,
            "channel_amount": channels["max"] - channels["min"] + 1,
            "stream_port": str(job.port) if self.script.port_as_text else job.port,
            "stream_url": "http://127.0.0.1",
            "view_type": int(job.body["view_type"]) if job.body["view_type"] in "012" else 0,
            "metadata": {},
        }

    def _split(self, job: Job) -> list[tuple[int, int]]:
        low, high = job.body["channels"]["min"], job.body["channels"]["max"]
        streams = 1 if job.body["view_type"] == "1" else 3
        size, larger = divmod(high - low + 1, streams)
        parts = []
        for index in range(streams):
            end = low + size + (index < larger) - 1
            parts.append((low, end))
            low = end + 1
        return parts

    # --- the stream -----------------------------------------------------------------------------

    async def _start(self, job: Job) -> None:
        await asyncio.sleep(self.script.ready_after_s)
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])

        async def stream(
            request: StreamDataRequest, context: grpc.aio.ServicerContext[Any, Any]
        ) -> AsyncIterator[DataStream]:
            async for frame in self._stream(job, request, context):
                yield frame

        handler = grpc.unary_stream_rpc_method_handler(
            stream,
            request_deserializer=StreamDataRequest.FromString,
            response_serializer=DataStream.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "pandadatastream.DataStreamService", {"StreamData": handler}
                ),
            )
        )
        server.add_insecure_port(f"127.0.0.1:{job.port}")
        await server.start()
        job.server, job.started_s = server, time.monotonic()
        job.begun.set()

    async def _stream(
        self, job: Job, request: StreamDataRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[DataStream]:
        job.readers += 1
        kind, frames = self.script.stream, self.script.frames
        if kind == "live" and job.body["start_time"] is not None:  # a recording ends, after eight messages
            kind, frames = "goaway", frames or 8
        dt_s = job.body["displayTimeAxisDuration"] / job.body.get("displayInfo", {"height": 100})["height"]
        try:
            if kind == "silent":
                await asyncio.sleep(60)
            if kind == "break_before":
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Cancelling all calls")
            row = 0
            while kind != "end_before" and (not frames or row < frames):
                if kind == "live":
                    due_s = job.started_s + row * dt_s
                    await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                yield self._frame(job, request.stream_id, row)
                row += 1
            if kind == "goaway":
                await asyncio.sleep(0.1)
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Cancelling all calls")
            if kind in ("break", "live"):
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        finally:
            job.readers -= 1
            if job.readers == 0 and self.jobs.get(job.slot) is job:
                del self.jobs[job.slot]
                self._later(self._gone(job))

    async def _gone(self, job: Job) -> None:
        await asyncio.sleep(
            0.3
        )  # as the real one lingers: its last frames arrive, its other streams may still come
        if self.script.stream != "never":
            await job.begun.wait()
        if job.server is not None:
            await job.server.stop(0)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _frame(self, job: Job, stream: int, row: int) -> DataStream:
        kind = self.script.stream
        low, high = self._split(job)[stream]
        width = (high - low + 1) * 4
        shift = 500 if kind == "foreign" or (kind == "turns_foreign" and row >= 3) else 0
        frame = DataStream(
            start_channel=low + shift,
            end_channel=high + shift,
            timestamp_in_milis=[1_700_000_000_000 + row * 100],
            row_index=[row + (100_000 if kind == "late_rows" else 0)],
            data_shape_x=width + (4 if kind == "other_width" else 0),
            data_shape_y=1,
            global_maximum=100.0 - (row if kind == "falling_maximum" else 0),
            main_data=[struct.pack(f"<{width}f", *([float(row)] * width))],
        )
        numbers = {"counter": job.counter, "slot": job.slot, "wrong": 1_000_000}
        if self.script.job_field:
            frame.job_id = numbers[self.script.job_field]
        if kind == "corrupt" and row >= 4:
            frame.main_data[0] = frame.main_data[0][:-4]
        if kind == "rows_back" and row >= 3:
            frame.row_index[0] = 0
        return frame


def _valid(body: bytes) -> bool:
    """What the field's server checks of a create: that it can be read, and has what is required, in the right types."""
    try:
        sent = json.loads(body)
        ends = (*sent["channels"].values(), *sent["displayInfo"].values())
        return all(isinstance(end, int) for end in ends) and str(sent["view_type"]) in "012"
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


async def _main(script: Script) -> None:
    async with FakeFocus(script) as fake:
        print(fake.url, flush=True)  # noqa: T201
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        posts = sum(path == "/configure" for _, path, _, _ in fake.requests)
        left = {"left": len(fake.jobs), "posts": posts, "peak": fake.creates_peak}
        print(json.dumps(left), flush=True)  # noqa: T201


if __name__ == "__main__":
    known = {item.name for item in dataclasses.fields(Script)}
    given = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    assert set(given) <= known, f"unknown: {set(given) - known}"
    asyncio.run(_main(Script(**given)))
