"""`POST /configure` per client CPU second, with full statistics, from a locustfile: this load beside Locust's FastHttpUser and HttpUser, and wrk as the limit.

`python -m benchmarks --only configure`, about a minute and a half; needs nginx. Fifty users ask again as soon as they are answered, without TLS; a 503 of 20 bytes
and a 200 of 6.3 kB. Client CPU is that of Locust and, where there is one, its engine.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.nginx import REFUSAL, nginx
from benchmarks.rows import Row
from harness.focus.endpoint import Endpoint
from harness.focus.seam import Budget
from harness.history.events import LoadState
from harness.history.reader import read_history
from harness.load.plan import LoadPlan, Step, write_plan

USERS, SECONDS = 50, 12.0
BEGIN_S = 3.0
ROOMY = Budget(max_jobs=10**9, max_rate_per_s=1e9, max_open_windows=10**6)
ANSWER = {
    "status": "", "job_id": "1-1701", "stream_amount": 3, "stream_port": 1, "stream_url": "http://127.0.0.1", "lines_dt": 0.1, "view_type": 0,
    "channel_to_stream_index": {str(channel): min(2, (channel - 1) // 17) for channel in range(1, 51)}, "channel_amount": 50,
    "frequencies_list": [round(n * 1.951219512195122, 12) for n in range(256)], "frequencies_amount": 256, "metadata": {},
}  # fmt: skip


def measure(command: str) -> list[Row]:
    """Ask as fast as possible: refusals, then windows that nobody connects to."""
    accepted = json.dumps(ANSWER)
    rows: list[Row] = []
    for status, body, shown in (
        (503, REFUSAL, "a 503 of 20 B"),
        (200, accepted, f"a 200 of {len(accepted) / 1000:.1f} kB"),
    ):
        with nginx(status, body) as server:
            ours = _ours(server.url)
            fast, requests = (_locust(server.url, base) for base in ("fast", "requests"))
            wrk = _wrk(server.url) if shutil.which("wrk") else None
        name = f"/configure, {shown}, per client CPU second"
        rows.append(Row(name, ours, "1/s", command, "3 x (aim: 10 x)", "Locust FastHttpUser", fast))
        rows.append(
            Row(f"{name}: Locust HttpUser", requests, "1/s", command, "", "Locust FastHttpUser", fast)
        )
        if wrk is not None:
            rows.append(Row(f"{name}: wrk", wrk, "1/s", command, "", "Locust FastHttpUser", fast))
    return rows


def _ours(url: str) -> float:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        plan = LoadPlan(
            endpoint=Endpoint(url=url),
            budget=ROOMY,
            stages=(Step(0, USERS),),
            personas={"abandoner": 1.0},
            creates_in_flight=USERS,
            hold_s=(0.0, 0.0),
            after_refusal_s=0.0,
            storm=True,
            end_s=BEGIN_S + SECONDS,
            history=str(folder / "history"),
            clock_start_ns=time.monotonic_ns(),
        )
        write_plan(plan, folder / "plan.json")
        subprocess.run(
            [sys.executable, "-m", "harness.load", "--plan", str(folder / "plan.json")], check=True
        )
        history = read_history(folder / "history")
    from_ns, to_ns = (BEGIN_S + 1) * 1e9, (BEGIN_S + SECONDS - 1) * 1e9
    done_ns = history.samples["attempts"].rows["done_ns"]
    states = [one.event for one in history.events if isinstance(one.event, LoadState)]
    cpu = np.mean([one.cpu for one in states if from_ns < one.at_ns <= to_ns])
    return float(((done_ns > from_ns) & (done_ns <= to_ns)).sum() / (to_ns - from_ns) * 1e9 / cpu)


def _locust(url: str, base: str) -> float:
    before = os.times()
    printed = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("peer_locustfile.py"))),
            *("--headless", "--json", "--host", url, "-u", str(USERS), "-r", "1000", "-t", f"{SECONDS:g}s"),
        ],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={"PER_USER_S": "0", "BASE": base, "PATH": os.environ["PATH"]},
    )
    after = os.times()
    (stats,) = json.loads(printed.stdout)
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return float(stats["num_requests"] / cpu_s)


def _wrk(url: str) -> float:
    before = os.times()
    done = subprocess.run(
        ["wrk", "-t", "1", "-c", str(USERS), "-d", "6s", f"{url}/configure"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    after = os.times()
    found = re.search(r"(\d+) requests in", done.stdout)
    assert found is not None
    return int(found[1]) / (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
