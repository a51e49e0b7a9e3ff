"""Thirty live windows of three streams at lines_dt 0.1 s: what the load costs, and how late frames are recorded.

`python -m benchmarks.load --json --url URL` needs a running Focus Server; without `--url` it takes the one HARNESS_TARGET names.
The load is started exactly as the conductor starts it. The peer is the plainest possible client in a process of its own:
grpc.aio, parsed messages, nothing recorded; it reads as many windows of the same server, after the load has gone.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.rows import Row, table
from harness.errors import RecordUnusable
from harness.focus.endpoint import Endpoint
from harness.focus.request import ConfigureRequest
from harness.focus.seam import Budget, Payload
from harness.history.events import FirstFrame, LoadState
from harness.history.reader import read_history
from harness.load.plan import LoadPlan, Step, write_plan
from harness.target import find_target, load_target

PAYLOAD = Payload(duration_s=10, height=100, channels=50)
LINES_DT_S = 0.1
OPENING_S = 60.0
COMMAND = "python -m benchmarks.load --json"


def measure(url: str, windows: int, steady_s: float) -> list[Row]:
    """Play the load, then the peer; return the rows."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        start_ns = time.monotonic_ns()
        plan = LoadPlan(
            endpoint=Endpoint(url=url),
            budget=Budget(max_rate_per_s=50.0, max_open_windows=windows),
            payload=PAYLOAD,
            stages=(Step(0.0, windows),),
            hold_s=(3600.0, 3600.0),
            history=str(folder / "history"),
            clock_start_ns=start_ns,
        )
        write_plan(plan, folder / "plan.json")
        load = subprocess.Popen([sys.executable, "-m", "harness.load", "--plan", str(folder / "plan.json")])
        try:
            _until_open(folder / "history", windows)
            time.sleep(steady_s)
        finally:
            load.send_signal(signal.SIGTERM)
            load.wait(timeout=30)
        cpu, lag_ms, frames_per_s, seconds = _steady(folder / "history", windows)
    peer = _peer(url, windows, steady_s)
    shown = f"{windows} windows x 3 streams, lines_dt 0.1 s"
    return [
        Row(
            f"{shown}: load and engine, share of a core",
            cpu,
            "cores",
            COMMAND,
            "under 0.60",
            "plain grpc.aio reader",
            peer["cpu"],
        ),
        Row(
            f"{shown}: frame lag p99",
            lag_ms,
            "ms",
            COMMAND,
            "under 20",
            "plain grpc.aio reader",
            peer["lag_ms"],
        ),
        Row(
            f"{shown}: frames recorded",
            frames_per_s,
            "1/s",
            COMMAND,
            f"{windows * 30}",
            "plain grpc.aio reader",
            peer["frames_per_s"],
        ),
        Row(f"{shown}: measured for", seconds, "s", COMMAND),
    ]


def _until_open(history: Path, windows: int) -> None:
    deadline = time.monotonic() + OPENING_S
    while time.monotonic() < deadline:
        try:
            if sum(isinstance(r.event, FirstFrame) for r in read_history(history).events) >= windows:
                return
        except RecordUnusable:
            continue  # nothing is written yet
        finally:
            time.sleep(1.0)
    raise SystemExit(f"{windows} windows were not open within {OPENING_S:g} s; is the server at its limit?")


def _steady(history: Path, windows: int) -> tuple[float, float, float, float]:
    """Return CPU, lag p99 (ms), frames per second and length of the time in which all windows streamed."""
    found = read_history(history)
    states = [record.event for record in found.events if isinstance(record.event, LoadState)]
    last_first_ns = max(r.event.at_ns for r in found.events if isinstance(r.event, FirstFrame))
    full = [s for s in states if s.streams_open == windows and s.at_ns > last_first_ns + 2_000_000_000]
    begin_ns, end_ns = full[0].at_ns, full[-1].at_ns
    frames = found.samples["frames"].rows
    chosen = frames[(frames["at_ns"] > begin_ns) & (frames["at_ns"] <= end_ns)]
    seconds = (end_ns - begin_ns) / 1e9
    cpu = float(np.mean([state.cpu for state in full[1:]]))
    return cpu, float(np.percentile(chosen["lag_ns"], 99)) / 1e6, len(chosen) / seconds, seconds


def _peer(url: str, windows: int, steady_s: float) -> dict[str, float]:
    """Run the plain reader in a process of its own; return its CPU share, frames per second and lag p99."""
    time.sleep(8.0)  # the server gives slots back some seconds after their readers have gone
    printed = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.load"),
            *("--url", url, "--peer", str(windows), "--seconds", str(steady_s)),
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=steady_s + 2 * OPENING_S,
    )
    told: dict[str, float] = json.loads(printed.stdout)
    return told


async def _read_plainly(url: str, windows: int, seconds: float) -> dict[str, float]:
    import aiohttp  # noqa: PLC0415  (the load's own process must not pay for the peer's imports)
    import grpc.aio  # noqa: PLC0415

    from harness.wire.pandadatastream_pb2 import StreamDataRequest  # noqa: PLC0415
    from harness.wire.pandadatastream_pb2_grpc import DataStreamServiceStub  # noqa: PLC0415

    frames, open_now = 0, 0
    lags_s: list[float] = []
    body = ConfigureRequest(channel_min=1, channel_max=50, duration_s=10, height=100).body()

    async def stream(stub: DataStreamServiceStub, number: int) -> None:
        nonlocal frames, open_now
        first, base_s = True, float("inf")
        async for message in stub.StreamData(StreamDataRequest(stream_id=number)):
            frames += len(message.row_index)
            due_s = time.monotonic() - message.row_index[-1] * LINES_DT_S
            base_s = min(base_s, due_s)
            lags_s.append(due_s - base_s)
            open_now += first
            first = False

    async def window(session: aiohttp.ClientSession) -> None:
        headers = {"Content-Type": "application/json"}
        async with session.post(url + "/configure", data=body, headers=headers) as reply:
            answer = await reply.json()
        address = f"{answer['stream_url'].rpartition('/')[2]}:{answer['stream_port']}"
        options = (("grpc.max_reconnect_backoff_ms", 250), ("grpc.initial_reconnect_backoff_ms", 100))
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            await channel.channel_ready()
            stub = DataStreamServiceStub(channel)
            await asyncio.gather(*(stream(stub, number) for number in range(answer["stream_amount"])))

    async with aiohttp.ClientSession() as session:
        tasks = []
        for _ in range(windows):
            tasks.append(asyncio.create_task(window(session)))
            await asyncio.sleep(0.1)
        deadline = time.monotonic() + OPENING_S
        while open_now < 3 * windows and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
        began, cpu_s, had = time.monotonic(), time.process_time(), frames
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        measured = {"cpu": (time.process_time() - cpu_s) / took, "frames_per_s": (frames - had) / took}
        measured["lag_ms"] = float(np.percentile(lags_s[had:], 99)) * 1e3
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return measured


def main() -> None:
    """Measure, and print a table or one JSON object per line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument(
        "--url", help="Focus Server, prefix included; default: the target HARNESS_TARGET names"
    )
    parser.add_argument("--windows", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long all windows are watched")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    url = given.url or load_target(find_target(None)).url
    if given.peer:
        import uvloop  # noqa: PLC0415

        print(json.dumps(uvloop.run(_read_plainly(url, given.peer, given.seconds))))  # noqa: T201
        return
    rows = measure(url, given.windows, given.seconds)
    lines = [json.dumps(asdict(row)) for row in rows]
    print("\n".join(lines) if given.json else table(rows))  # noqa: T201


if __name__ == "__main__":
    main()
