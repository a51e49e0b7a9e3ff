"""Frames per client CPU second: the engine's own reading over both transports, beside Locust's gRPC sample pattern and h2load.

`python -m benchmarks --only streams`, about two minutes. Ten streams from one sender of frames that were encoded before; the engine's clients check and record
every frame as in a run, the others only count. Each client is a process of its own; its CPU is what `getrusage` says of it while it read.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.rows import Row

STREAMS, SECONDS = 10, 6.0
SIZES = ((4096, "4 kB"), (200_000, "200 kB"))
LIVE, LIVE_RATE, LIVE_S = 2000, 10.0, 10.0
GROWTH, GROWTH_RATE, GROWTH_S = (10, 500, 1000, 2000), 5.0, 8.0
"""Windows of one stream each, that many at once."""
CLIENTS = ("lean", "reference", "locust")


def measure(command: str) -> list[Row]:
    """Read as fast as possible with each client, both sizes; then many slow streams at once."""
    rows: list[Row] = []
    for size, shown in SIZES:
        with sender(size) as place:
            got = {client: _client(client, place, STREAMS, SECONDS) for client in CLIENTS}
            h2load = _h2load(place) if shutil.which("h2load") else None
        sample = got["locust"]["per_cpu_s"]
        for client, what in (
            ("lean", "engine, lean transport"),
            ("reference", "engine, reference transport"),
        ):
            reach = {"4 kB": "8 x", "200 kB": "3 x"}[shown] if client == "lean" else ""
            rows.append(
                Row(
                    f"frames of {shown} per client CPU second: {what}",
                    got[client]["per_cpu_s"],
                    "1/s",
                    command,
                    reach,
                    "Locust's gRPC sample pattern",
                    sample,
                )
            )
        if h2load is not None:
            lean_us, bare_us = 1e6 / got["lean"]["per_cpu_s"], 1e6 / h2load
            reach = {"4 kB": "within 2.5 x", "200 kB": "within 1.6 x"}[shown]
            rows.append(
                Row(
                    f"CPU per frame of {shown}: lean transport",
                    lean_us,
                    "us",
                    command,
                    reach,
                    "h2load, which counts bytes",
                    bare_us,
                )
            )
    with sender(4096, LIVE_RATE) as place:
        for client in ("lean", "reference"):
            many = _client(client, place, LIVE, LIVE_S)
            shown = f"{LIVE} streams of 4 kB at {LIVE_RATE:g}/s, {client}"
            rows.append(
                Row(
                    f"{shown}: frames that came",
                    many["frames"] / LIVE / LIVE_RATE / LIVE_S,
                    "share",
                    command,
                    "1",
                )
            )
            rows.append(Row(f"{shown}: share of a core", many["cpu_s"] / LIVE_S, "cores", command, "1"))
            rows.append(Row(f"{shown}: frame later than its pace, p99", many["lag_ms"], "ms", command, "5"))
            rows.append(Row(f"{shown}: memory per stream, PSS", many["pss_kb"], "kB", command, "25"))
    return [*rows, *_growth(command)]


def _growth(command: str) -> list[Row]:
    """What more windows cost: the same windows at the same pace, more and more of them, on connections of their own."""
    with sender(4096, GROWTH_RATE) as place:
        spent = {
            windows: _client("lean", place, windows, GROWTH_S, each=1, rate=GROWTH_RATE) for windows in GROWTH
        }
    rows = [
        Row(
            f"{windows} windows of a stream of 4 kB at {GROWTH_RATE:g}/s, lean: share of a core",
            told["cpu_s"] / GROWTH_S,
            "cores",
            command,
        )
        for windows, told in spent.items()
    ]
    few, some, many = (spent[windows]["cpu_s"] / GROWTH_S for windows in (GROWTH[0], GROWTH[2], GROWTH[3]))
    first, last = (
        1e6 * (some - few) / (GROWTH[2] - GROWTH[0]),
        1e6 * (many - some) / (GROWTH[3] - GROWTH[2]),
    )
    shown = f"a window more, from {GROWTH[2]} to {GROWTH[3]}"
    before = f"from {GROWTH[0]} to {GROWTH[2]}"
    return [*rows, Row(shown, last, "us CPU/s", command, "linear: ratio 1", before, first)]


@contextmanager
def sender(size: int, per_second: float = 0.0) -> Iterator[dict[str, int]]:
    """Run a sender; yield where it is and what it sends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sender", "--bytes", str(size), "--per-second", str(per_second)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        out, _ = process.communicate("", timeout=10)
        if per_second:
            sys.stderr.write(f"the sender itself was late by {json.loads(out)['late_ms']:.2f} ms (p99)\n")


def _client(
    client: str, place: dict[str, int], streams: int, seconds: float, each: int = 0, rate: float = 0.0
) -> dict[str, float]:
    printed = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.streams", "--client", client, "--place", json.dumps(place)),
            *("--streams", str(streams), "--seconds", str(seconds)),
            *("--each", str(each), "--rate", str(rate)),
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=seconds + 120,
    )
    told: dict[str, float] = json.loads(printed.stdout.splitlines()[-1])
    return told


def _h2load(place: dict[str, int]) -> float:
    """Return messages per CPU second of h2load, which reads the same bytes and counts them."""
    with tempfile.NamedTemporaryFile() as body:
        Path(body.name).write_bytes(bytes(5))
        before = os.times()
        done = subprocess.run(
            [
                *(
                    "h2load",
                    "-D",
                    str(int(SECONDS)),
                    "-c",
                    "1",
                    "-m",
                    str(STREAMS),
                    "-w",
                    "24",
                    "-W",
                    "30",
                    "-d",
                    body.name,
                ),
                *("-H", "te: trailers", "-H", "content-type: application/grpc"),
                f"http://127.0.0.1:{place['port']}/pandadatastream.DataStreamService/StreamData",
            ],
            check=False,
            stdout=subprocess.PIPE,
            text=True,
        )
        after = os.times()
    (traffic,) = [line for line in done.stdout.splitlines() if line.startswith("traffic:")]
    total = int(traffic.split("(")[1].split(")")[0])
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return total / (place["bytes"] + 14) / cpu_s


# --- the clients, each in a process of its own --------------------------------------------------------


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def _pss_kb() -> int:
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def _engine(
    transport: str, place: dict[str, int], streams: int, seconds: float, each: int, rate: float
) -> dict[str, float]:
    """Read as the engine does: every frame is checked for whose it is, timed and recorded."""
    import uvloop  # noqa: PLC0415  (each client pays for its own imports only)

    from harness.engine.reading import Reading  # noqa: PLC0415
    from harness.engine.record import Recorder  # noqa: PLC0415
    from harness.engine.window import TRANSPORTS  # noqa: PLC0415
    from harness.focus.answers import parse_configure  # noqa: PLC0415
    from harness.focus.endpoint import Endpoint  # noqa: PLC0415
    from harness.focus.seam import Begin, Budget, Payload  # noqa: PLC0415

    each = each or (3 if streams > 100 else streams)
    rate = rate or (LIVE_RATE if streams > 100 else 0.0)

    async def run(folder: str) -> dict[str, float]:
        begin = Begin(
            endpoint=Endpoint(url="http://127.0.0.1"), budget=Budget(), payload=Payload(), creates_in_flight=1, history=folder, writer="bench", clock_start_ns=time.monotonic_ns(),
        )  # fmt: skip
        record = Recorder(begin, lambda error: sys.exit(str(error)))
        answer = {
            "job_id": "1-1", "stream_amount": each, "stream_port": place["port"], "stream_url": "http://127.0.0.1", "status": "",
            "channel_to_stream_index": {}, "frequencies_list": [], "frequencies_amount": 0, "channel_amount": 9,
            "lines_dt": 1 / rate if rate else 1e-6, "view_type": 0, "metadata": {},
        }  # fmt: skip
        response = parse_configure(json.dumps(answer).encode())
        before_kb = _pss_kb()
        channels, readings, tasks = [], [], []
        for window in range(-(-streams // each)):
            channel = TRANSPORTS[transport](response.address)  # type: ignore[index]
            await channel.ready()
            channels.append(channel)
            reading = Reading(
                channel, response, (1, 9), window=window, live=bool(rate), asked_ns=time.monotonic_ns(), record=record, first=lambda _: None,
            )  # fmt: skip
            # What a stream's channels are is this sender's affair, not what is measured here.
            for watch in reading._watches:
                watch._wanted = type(watch._wanted)(None, None, frozenset(), frozenset(), 0.0)
            readings.append(reading)
            tasks.append(asyncio.create_task(reading.held(30.0, 3600.0)))
        while sum(reading.frames > 0 for reading in readings) < len(readings):
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        record._writer.flush()
        seen, cpu_s, began = sum(reading.frames for reading in readings), _cpu_s(), time.monotonic()
        from_ns = record.now()
        while (left := began + seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(0.02, left))
            record.gather()
            if time.monotonic() - began >= 1 and int(time.monotonic()) != getattr(run, "flushed", 0):
                run.flushed = int(time.monotonic())  # type: ignore[attr-defined]
                record._writer.flush()
        cpu_s, took = _cpu_s() - cpu_s, time.monotonic() - began
        frames = sum(reading.frames for reading in readings) - seen
        pss_kb = (_pss_kb() - before_kb) / streams
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        wrong = [one for one in ended if not isinstance(one, asyncio.CancelledError)]
        if wrong:
            sys.exit(f"{len(wrong)} windows ended by themselves: {wrong[0]}")
        for channel in channels:
            await channel.close()
        record._writer.close()
        lag_ms = _lag_ms(folder, from_ns) if rate else 0.0
        return {
            "frames": frames,
            "cpu_s": cpu_s,
            "per_cpu_s": frames / cpu_s,
            "seconds": took,
            "lag_ms": lag_ms,
            "pss_kb": pss_kb,
        }

    with tempfile.TemporaryDirectory() as folder:
        return uvloop.run(run(folder))


def _lag_ms(folder: str, from_ns: int) -> float:
    import numpy as np  # noqa: PLC0415

    from harness.history.reader import read_history  # noqa: PLC0415

    rows = read_history(Path(folder)).samples["frames"].rows
    return float(np.quantile(rows["lag_ns"][rows["at_ns"] >= from_ns], 0.99)) / 1e6


def _locust(place: dict[str, int], streams: int, seconds: float) -> dict[str, float]:
    """Read as Locust's documented gRPC example does: gevent, a channel per user, a blocking iterator of parsed messages."""
    from gevent import monkey  # noqa: PLC0415

    monkey.patch_all()
    import gevent  # noqa: PLC0415
    import grpc.experimental.gevent as grpc_gevent  # noqa: PLC0415

    gevent.get_hub().threadpool.maxsize = 200  # its default of 10 starves
    grpc_gevent.init_gevent()
    import grpc  # noqa: PLC0415

    from harness.wire.pandadatastream_pb2 import StreamDataRequest  # noqa: PLC0415
    from harness.wire.pandadatastream_pb2_grpc import DataStreamServiceStub  # noqa: PLC0415

    frames = [0]

    def user(number: int) -> None:
        channel = grpc.insecure_channel(
            f"127.0.0.1:{place['port']}",
            options=(("grpc.max_receive_message_length", 50 << 20), ("bench.user", number)),
        )
        for _ in DataStreamServiceStub(channel).StreamData(StreamDataRequest(stream_id=number)):
            frames[0] += 1

    users = [gevent.spawn(user, number) for number in range(streams)]
    gevent.sleep(2.0)
    had, cpu_s, began = frames[0], _cpu_s(), time.monotonic()
    gevent.sleep(seconds)
    cpu_s, got, took = _cpu_s() - cpu_s, frames[0] - had, time.monotonic() - began
    gevent.killall(users, block=False)
    return {"frames": got, "cpu_s": cpu_s, "per_cpu_s": got / cpu_s, "seconds": took}


def main() -> None:
    """Be one client, and print what it measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("--client", choices=CLIENTS, required=True)
    parser.add_argument("--place", type=json.loads, required=True)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--each", type=int, default=0, help="streams of a window")
    parser.add_argument(
        "--rate", type=float, default=0.0, help="frames per second and stream; 0: as fast as they come"
    )
    given = parser.parse_args()
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    if given.client == "locust":
        told = _locust(given.place, given.streams, given.seconds)
    else:
        told = _engine(given.client, given.place, given.streams, given.seconds, given.each, given.rate)
    print(json.dumps(told), flush=True)  # noqa: T201
    os._exit(0)  # grpcio's clean-up may wait for ever


if __name__ == "__main__":
    main()
