"""The canary: a stream of known age, read on the engine's own loop, by a process that never outlives its engine."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.engine.canary import Canary
from harness.engine.record import Recorder
from harness.focus.endpoint import Endpoint, Timeouts
from harness.focus.seam import Begin, Budget, Payload
from harness.history.events import CanarySeen, Event
from harness.history.reader import read_history


def begin(folder: Path) -> Begin:
    return Begin(
        endpoint=Endpoint(url="http://127.0.0.1:9/focus-server", timeouts=Timeouts()),
        budget=Budget(),
        payload=Payload(),
        creates_in_flight=1,
        history=str(folder),
        writer="engine-1",
        clock_start_ns=time.monotonic_ns(),
    )


def seen(folder: Path, *, blocked_s: float = 0.0) -> list[CanarySeen]:
    """Read the canary until it has told three times; hold the loop up for `blocked_s` after the first."""
    told: list[CanarySeen] = []

    class Listening(Recorder):
        def event(self, event: Event) -> None:
            super().event(event)
            if isinstance(event, CanarySeen) and event.frames:
                told.append(event)

    async def run() -> None:
        record = Listening(begin(folder), lambda error: pytest.fail(str(error)))
        task = asyncio.create_task(Canary(record).watch())
        async with asyncio.timeout(40):
            while len(told) < 3:
                await asyncio.sleep(0.05)
                if told and blocked_s and not blocked:
                    time.sleep(blocked_s)  # noqa: ASYNC251  (the point of it)
                    blocked.append(blocked_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        record.close(0)

    blocked: list[float] = []
    asyncio.run(run())
    assert [one.at_ns for one in told] == [
        record.event.at_ns
        for record in read_history(folder).events
        if isinstance(record.event, CanarySeen) and record.event.frames
    ]
    return told


def test_frames_are_counted_none_is_lost_and_a_loop_that_is_held_up_reads_them_late(tmp_path: Path) -> None:
    quiet, blocked = seen(tmp_path / "quiet"), seen(tmp_path / "blocked", blocked_s=1.2)
    assert all(one.frames == 10 and one.lost == 0 for one in (*quiet, *blocked))
    assert max(one.lag_ns for one in blocked) > 0.8e9
    assert min(one.lag_ns for one in quiet) < 0.5e9


def test_the_canary_ends_with_whoever_started_it() -> None:
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.engine.canary", str(os.getpid())], stdin=read, stdout=subprocess.PIPE
    )
    os.close(read)
    assert process.stdout is not None
    assert int(process.stdout.readline()) > 0
    os.close(write)  # as when an engine is killed: nobody holds the other end
    assert process.wait(10) == 0
    process.stdout.close()


def test_a_canary_that_stands_still_ends_with_its_engine_too(tmp_path: Path) -> None:
    script = (
        "import os, subprocess, sys; "
        "canary = subprocess.Popen([sys.executable, '-m', 'harness.engine.canary', str(os.getpid())], "
        "stdin=subprocess.PIPE, stdout=subprocess.PIPE); "
        "canary.stdout.readline(); print(canary.pid, flush=True); sys.stdin.read()"
    )
    engine = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert engine.stdout is not None
    assert engine.stdin is not None
    canary = int(engine.stdout.readline())
    os.kill(canary, signal.SIGSTOP)
    engine.kill()
    engine.wait()
    until = time.monotonic() + 5
    while Path(f"/proc/{canary}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    lives = Path(f"/proc/{canary}").exists() and "Z" not in Path(f"/proc/{canary}/stat").read_text()
    if lives:
        os.kill(canary, signal.SIGKILL)
    engine.stdin.close()
    engine.stdout.close()
    assert not lives


def test_a_canary_that_stands_still_does_not_keep_its_engine_from_ending(tmp_path: Path) -> None:
    async def run() -> float:
        record = Recorder(begin(tmp_path), lambda error: pytest.fail(str(error)))
        task = asyncio.create_task(Canary(record).watch())
        async with asyncio.timeout(40):
            while not (pids := children()):
                await asyncio.sleep(0.05)
        os.kill(pids[0], signal.SIGSTOP)
        asked = time.monotonic()
        task.cancel()
        await asyncio.wait([task], timeout=30)
        record.close(0)
        assert task.done()
        assert not children()
        return time.monotonic() - asked

    def children() -> list[int]:
        found = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text(encoding="ascii")
        return [int(pid) for pid in found.split() if b"harness.engine.canary" in command(pid)]

    def command(pid: str) -> bytes:
        return Path(f"/proc/{pid}/cmdline").read_bytes()

    assert asyncio.run(run()) < 10
