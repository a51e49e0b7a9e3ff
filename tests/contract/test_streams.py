"""The stream program alone, as a process of its own: pacing, payload, two readers, ends."""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from harness.sandbox.pods import activity
from harness.sandbox.pods.analyzer_arguments import Assignment
from harness.sandbox.pods.derived import View
from harness.sandbox.pods.payload import global_maximum, matches
from harness.sandbox.settings import Settings
from harness.sandbox.truth import read
from harness.wire import pandadatastream_pb2

pytestmark = [
    pytest.mark.timeout(60),
    # grpc.aio leaves sockets to the collector when its loop is gone.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

HOST = "127.251.7.{}"
QUICK = ("ready_delay_s=0", "ready_delay_median_s=0", "ready_delay_p95_s=0", "disconnect_linger_s=0.3")
PROGRAM = """
import json, sys
from pathlib import Path
from harness.sandbox.pods.context import PodContext
from harness.sandbox.pods.stream_server import main
from harness.sandbox.settings import Settings
said = json.load(sys.stdin)
settings = Settings.from_json(said.pop("settings"))
paths = {key: Path(said.pop(key)) for key in ("volume", "ca_file", "truth_dir")}
sys.exit(main(PodContext(settings=settings, args=tuple(said.pop("args")), **paths, **said)))
"""


def assignment(*, dt: float = 0.05, historic: bool = False) -> Assignment:
    view = View(1, 50, 1024, 0, 500, dt, 3)
    return Assignment("4-2051", view, 1765119503, 1765126703, 80) if historic else Assignment("4-2051", view)


@contextmanager
def stream_program(tmp_path: Path, number: int, given: Assignment, *sets: str) -> Iterator[tuple[str, Any]]:
    address = HOST.format(number)
    said = {
        "name": "grpc-job-4-2051-abcde",
        "namespace": "panda",
        "uid": "u",
        "node": "n",
        "ip": address,
        "node_ip": address,
        "image": "pzlinux",
        "container": "grpc-server",
        "args": given.args(),
        "env": given.env(),
        "volume": str(tmp_path),
        "api_url": "",
        "ca_file": "",
        "token": "",
        "truth_dir": str(tmp_path / "truth"),
        "settings": Settings.make("seed", "fast", [*QUICK, *sets]).to_json(),
    }
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, text=True)
    try:
        assert process.stdin is not None
        json.dump(said, process.stdin)
        process.stdin.close()
        yield f"{address}:5000", process
    finally:
        process.kill()
        process.wait()


async def ready(channel: grpc.aio.Channel) -> Any:
    await asyncio.wait_for(channel.channel_ready(), 20)
    return channel.unary_stream(
        "/pandadatastream.DataStreamService/StreamData",
        request_serializer=pandadatastream_pb2.StreamDataRequest.SerializeToString,
        response_deserializer=pandadatastream_pb2.DataStream.FromString,
    )


def channel_to(target: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(
        target, options=[("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
    )


async def read_rows(call: Any, stream: int, rows: int) -> list[tuple[float, Any]]:
    got: list[tuple[float, Any]] = []
    async for message in call(pandadatastream_pb2.StreamDataRequest(stream_id=stream)):
        got.append((time.monotonic(), message))
        if len(got) == rows:
            break
    return got


def test_live_rows_are_paced_checkable_and_end_with_the_last_reader(tmp_path: Path) -> None:
    given = assignment()
    with stream_program(tmp_path, 1, given) as (target, process):

        async def read_all() -> list[list[tuple[float, Any]]]:
            async with channel_to(target) as channel:
                call = await ready(channel)
                return list(await asyncio.gather(*(read_rows(call, i, 20) for i in range(3))))

        began_ms = time.time() * 1000
        streams = asyncio.run(read_all())
        assert process.wait(10) == 0
    for stream, got in enumerate(streams):
        messages = [message for _, message in got]
        rows = [row for message in messages for row in message.row_index]
        assert rows == list(range(rows[0], rows[0] + 20))
        # Absolute instants: 19 row times from first to last, give or take the host's hiccups.
        assert 0.8 <= got[-1][0] - got[0][0] <= 3
        stamps = [message.timestamp_in_milis[0] for message in messages]
        assert all(abs(b - a - 50) <= 1 for a, b in itertools.pairwise(stamps))
        assert abs(stamps[0] - began_ms) < 30_000
        first, last = given.view.spans[stream]
        for message in messages:
            assert (message.start_channel, message.end_channel) == (first, last)
            assert (message.data_shape_x, message.data_shape_y) == (given.view.width(stream), 1)
            assert message.global_maximum == global_maximum(message.row_index[0])
            assert message.global_minimum == 0
            assert matches("4-2051", stream, message.row_index[0], message.main_data[0])
    facts = read(tmp_path / "truth")
    assert [fact["kind"] for fact in facts] == ["ready", "first_frame", "stream_over"]
    assert facts[2]["reason"] == "disconnect"


def test_a_historic_window_bursts_idles_and_is_cancelled(tmp_path: Path) -> None:
    given = assignment(dt=0.5, historic=True)
    with stream_program(tmp_path, 2, given, "historic_end_s=1.5") as (target, process):

        async def read_all() -> tuple[list[tuple[float, Any]], float, Any]:
            got: list[tuple[float, Any]] = []
            async with channel_to(target) as channel:
                call = await ready(channel)
                began = time.monotonic()
                try:
                    async for message in call(pandadatastream_pb2.StreamDataRequest(stream_id=0)):
                        got.append((time.monotonic() - began, message))  # noqa: PERF401 - kept until the error
                except grpc.aio.AioRpcError as error:
                    return got, time.monotonic() - began, error
            raise AssertionError("no error at the end")

        got, ended_s, error = asyncio.run(read_all())
        assert process.wait(10) == 0
    assert len(got) == 8
    assert got[-1][0] < ended_s - 0.5
    assert [row for _, message in got for row in message.row_index] == list(range(80))
    assert got[0][1].timestamp_in_milis[:2] == [1765119503000, 1765119503500]
    assert 170_000 < got[0][1].ByteSize() < 180_000
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "Cancelling all calls")


@pytest.mark.parametrize("split", [True, False], ids=["split", "copy"])
def test_two_readers_of_a_stream_split_or_copy_as_the_setting_says(tmp_path: Path, split: bool) -> None:
    given = assignment()
    number = 3 + split
    with stream_program(tmp_path, number, given, f"split_readers={str(split).lower()}") as (target, _):

        async def read_twice() -> list[set[int]]:
            async with channel_to(target) as channel:
                call = await ready(channel)
                both = await asyncio.gather(read_rows(call, 0, 10), read_rows(call, 0, 10))
            return [{row for _, message in got for row in message.row_index} for got in both]

        first, second = asyncio.run(read_twice())
    if split:
        assert not first & second
    else:
        assert len(first & second) >= 8


def test_frames_sent_can_be_asked_and_an_unread_window_ends_of_inactivity(tmp_path: Path) -> None:
    with stream_program(tmp_path, 5, assignment(), "stream_inactivity_s=1") as (target, process):
        address = target.partition(":")[0]
        deadline = time.monotonic() + 20
        while activity.ask(address, 0.2) is None:
            assert time.monotonic() < deadline
        assert activity.ask(address) == 0
        assert process.wait(20) == 0
    assert read(tmp_path / "truth")[-1]["reason"] == "inactivity"


def test_a_wrong_stream_and_a_wrong_service_are_refused_as_grpc_does(tmp_path: Path) -> None:
    with stream_program(tmp_path, 6, assignment()) as (target, _):

        async def statuses() -> list[grpc.StatusCode]:
            found = []
            async with channel_to(target) as channel:
                call = await ready(channel)
                guessed = channel.unary_stream("/datastream.DataStreamService/StreamSpectrograms")
                for calling in (call(pandadatastream_pb2.StreamDataRequest(stream_id=3)), guessed(b"")):
                    try:
                        await calling.read()
                    except grpc.aio.AioRpcError as error:
                        found.append(error.code())
            return found

        assert asyncio.run(statuses()) == [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED]


def test_a_silent_window_is_ready_and_sends_nothing(tmp_path: Path) -> None:
    with stream_program(tmp_path, 7, assignment(), "silent_share=1") as (target, _):

        async def first_frame() -> None:
            async with channel_to(target) as channel:
                await asyncio.wait_for(read_rows(await ready(channel), 0, 1), 0.8)

        with pytest.raises(TimeoutError):
            asyncio.run(first_frame())
