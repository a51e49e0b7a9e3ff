"""Play one run: a sandbox with drawn parameters, the harness' own campaign on it, and what the campaign must not know of.

Everything is kept in the run's folder: `record/` (what the harness recorded), `truth/` (what the sandbox knew) and `run.json`.
"""

import dataclasses
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from harness.focus.request import ConfigureRequest
from harness.history.events import Record
from tests.score.plan import ACTS, HIGH, LOW, STAGGER_S, Run, Window
from tests.score.ranges import drawn

ROOT = Path(__file__).resolve().parents[2]
HARNESS = [sys.executable, "-m", "harness"]
UP_S, EXTRA_S = 120, 240
WANTED = {"seed": {HIGH: 34}, "field": {HIGH: 20}}
"""Windows that are wanted open beyond the limit; in the field there is none, only more of them."""
FEW = 12
READY_S = {"impatient": "15s", "outside": "15s"}
"""How long a window is waited for in some runs."""
HOLD = {
    (mode, load): {"min": low, "max": high}
    for mode, load, low, high in (
        ("seed", LOW, "12s", "20s"),
        ("field", LOW, "12s", "20s"),
        ("seed", HIGH, "26s", "42s"),
        ("field", HIGH, "16s", "28s"),
    )
}
REQUEST = {"displayTimeAxisDuration": 40}
"""Not a window a second, whatever the load, and two and a half rows a second in each stream: two cores play three sandboxes."""

_conductors: set["subprocess.Popen[bytes]"] = set()


def stop() -> None:
    """Have every campaign that is being played end in order: it undoes what it did."""
    for conductor in tuple(_conductors):
        conductor.terminate()


def play(run: Run, folder: Path) -> str:
    """Play a run into its folder; return what went wrong with the playing itself, empty if nothing."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    options = drawn(run.seed, run.mode) | dict(run.options)
    (folder / "run.json").write_text(json.dumps({"run": dataclasses.asdict(run), "options": options}))
    (folder / "campaign.yaml").write_text(yaml.safe_dump(campaign(run)))
    try:
        with sandbox(
            f"score-{os.getpid()}-{zlib.crc32(run.name.encode()):08x}", options, folder
        ) as environment:
            return _campaign(run, folder, environment)
    except subprocess.SubprocessError as error:
        return f"{type(error).__name__}: {error}"


def campaign(run: Run) -> dict[str, Any]:
    """Return a run as a campaign file."""
    wanted = WANTED[run.mode].get(run.load, FEW)
    load: dict[str, Any] = {
        "stages": [{"at": "0s", "open_windows": wanted}],
        "creates_in_flight": 3,
        "hold": HOLD[run.mode, run.load],
        "after_refusal": "1s",
        "storm": True,
        **dict(run.extra),
    }
    load["request"] = REQUEST | load.get("request", {})
    if run.mode == "field":
        load.setdefault("historic_share", 0.4)
    return {
        "schema": 1,
        "name": run.name,
        "seed": run.seed,
        "warm_up": "6s",
        "recover": "6s",
        "drain": "8s",
        "leaks": {"later": "0s"},
        "duration": f"{run.duration_s}s",
        "load": load,
        "timeline": [step for window in run.windows for step in _steps(window)],
    }


def _steps(window: Window) -> list[dict[str, Any]]:
    """Return a window's faults: one after another goes in; windows are filled while there are shares, what takes the API away comes last and goes first."""
    order = sorted(
        window.faults,
        key=lambda fault: (ACTS[fault].last, not ACTS[fault].first, "windows" not in ACTS[fault].group),
    )
    steps = []
    for number, fault in enumerate(order):
        act = ACTS[fault]
        at_s = window.at_s + (0 if not number else STAGGER_S + number - 1)
        hold_s = window.held_s or act.hold_s
        if act.last and number:
            hold_s = 5
        elif len(order) > 1:
            hold_s = max(hold_s, STAGGER_S + len(order) + 5 + 2)
        step: dict[str, Any] = {"experiment": fault, "at": f"{at_s}s", "hold": f"{hold_s}s"}
        if settings := window.settings or act.settings:
            step["with"] = dict(settings)
        steps.append(step)
    return steps


@contextmanager
def sandbox(name: str, options: dict[str, str], folder: Path) -> Iterator[dict[str, str]]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HARNESS_")}
    environment = clean | {
        "XDG_STATE_HOME": str(folder / "state"),
        "HARNESS_SANDBOX": name,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NO_COLOR": "1",
    }
    mode = options.pop("mode")
    settings = [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    command = [*HARNESS, "sandbox", "up", "--name", name, "--mode", mode, "--profile", "fast"]
    _do([*command, "--bound-to", str(os.getpid()), *settings], environment, folder / "sandbox.log")
    try:
        yield environment
    finally:
        _do([*HARNESS, "sandbox", "down", "--name", name], environment, folder / "sandbox.log")
        kept = folder / "state" / "focus-harness" / "sandboxes" / name
        for part in ("truth", "logs"):
            if (kept / part).is_dir():
                shutil.move(kept / part, folder / part)
        shutil.rmtree(folder / "state", ignore_errors=True)


def _do(command: list[str], environment: dict[str, str], log: Path) -> None:
    with log.open("a") as told:
        subprocess.run(
            command, env=environment, cwd=log.parent, stdout=told, stderr=told, check=True, timeout=UP_S
        )


def _campaign(run: Run, folder: Path, environment: dict[str, str]) -> str:
    command = [*HARNESS, "run", str(folder / "campaign.yaml"), "--target", str(_target(run, folder))]
    command += ["--guard-only", "--out", str(folder / "record")]
    with (folder / "harness.log").open("w") as told:
        conductor = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=told, stderr=told, start_new_session=True
        )
        _conductors.add(conductor)
        done = threading.Event()
        trick = threading.Thread(
            target=TRICKS.get(run.trick, _nothing), args=(run, folder, environment, conductor.pid, done)
        )
        trick.start()
        try:
            code = conductor.wait(run.duration_s + EXTRA_S)
        except subprocess.TimeoutExpired:
            os.kill(conductor.pid, signal.SIGTERM)
            code = conductor.wait(60)
        finally:
            _conductors.discard(conductor)
            done.set()
            trick.join()
    return "" if code in (0, 7, 10) else f"harness run ended with {code}"


def _target(run: Run, folder: Path) -> Path:
    """Return the target file: the sandbox's own, with room for more pods, less patience for windows, or no way to ask MongoDB."""
    known = ROOT / "targets" / "sandbox.yaml"
    if run.trick not in ("impatient", "roomy", "outside", "missing"):
        return known
    document = yaml.safe_load(known.read_text(encoding="utf-8"))
    document["limits"]["max_pods"] = 400
    if run.trick == "missing":
        del document["mongodb_uri"]
    elif run.trick in READY_S:
        document["timeouts"] = {"ready": READY_S[run.trick]}
    file = folder / f"{run.trick}.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


# --- what the campaign must not know of -----------------------------------------------------------

Trick = Callable[[Run, Path, dict[str, str], int, threading.Event], None]


def _nothing(
    _run: Run, _folder: Path, _environment: dict[str, str], _pid: int, _done: threading.Event
) -> None:
    return


def _frozen(run: Run, folder: Path, _environment: dict[str, str], pid: int, done: threading.Event) -> None:
    """Stop the conductor, and with it every watcher, around the edges of faults: for less than it would be replaced for."""
    chance = random.Random(run.seed)
    if not _wait_for(folder, "load_state", done):
        return
    began = time.monotonic()
    for window in run.windows:
        at_s = window.at_s + chance.uniform(-1.5, window.hold_s - 1)
        if done.wait(max(0.0, began + at_s - time.monotonic())):
            return
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(3.2)
        finally:
            os.kill(pid, signal.SIGCONT)


def _outside(run: Run, folder: Path, environment: dict[str, str], pid: int, done: threading.Event) -> None:
    """Have one thing after another go wrong that is not the system's: the way to it, our own machine, other people."""
    if not _wait_for(folder, "load_state", done) or done.wait(14):
        return
    _ingress(folder, environment, done)
    for _ in range(2):
        if not done.wait(12):
            _files(folder, environment, done)
    if not done.wait(12):
        _foreign(environment, done)


def _ingress(folder: Path, environment: dict[str, str], done: threading.Event) -> None:
    """End the ingress for a while, and start it again: nobody comes to the server any more."""
    _tell(folder, "path")
    _do([*HARNESS, "sandbox", "process", "ingress", "kill"], environment, folder / "sandbox.log")
    done.wait(14)
    _do([*HARNESS, "sandbox", "process", "ingress", "start"], environment, folder / "sandbox.log")
    _tell(folder, "")


def _files(folder: Path, environment: dict[str, str], done: threading.Event) -> None:
    """Leave the engine no file to open for a while: a fault of our own machine."""
    pid = next(
        record.event.pid  # type: ignore[union-attr]
        for record in _records(folder, "engine")
        if type(record.event).__name__ == "ProcessStarted"
    )
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    _tell(folder, "generator")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
    for verb in ("kill", "start"):  # the connections that are open would be used on and on
        _do([*HARNESS, "sandbox", "process", "ingress", verb], environment, folder / "sandbox.log")
    done.wait(14)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    _tell(folder, "")


def _foreign(environment: dict[str, str], done: threading.Event) -> None:
    """Open windows as somebody else would, who reads none of them: cleanup takes each away after a while."""
    told = subprocess.run(
        [*HARNESS, "sandbox", "env", "--format", "json"],
        env=environment,
        capture_output=True,
        check=True,
        timeout=UP_S,
    )
    url = json.loads(told.stdout)["FOCUS_URL"].rstrip("/") + "/configure"
    wish = ConfigureRequest(channel_min=1, channel_max=3).body()
    until = time.monotonic() + 40
    while time.monotonic() < until and not done.wait(0.2):
        request = urllib.request.Request(url, data=wish, headers={"Content-Type": "application/json"})
        try:
            urllib.request.urlopen(request, timeout=5).close()
        except OSError:  # refused, like everybody else
            continue


TRICKS: dict[str, Trick] = {"frozen": _frozen, "outside": _outside}


def _tell(folder: Path, what: str) -> None:
    """Keep when a trick began and ended, on the clock that the sandbox and the harness share."""
    with (folder / "tricks.jsonl").open("a") as file:
        file.write(json.dumps({"at_ns": time.monotonic_ns(), "cause": what}) + "\n")


def _wait_for(folder: Path, kind: str, done: threading.Event) -> bool:
    """Wait until the engine has written an event of some kind."""
    needle = f'"kind":"{kind}"'
    while not done.wait(0.2):
        for file in (folder / "record" / "history").glob("engine*.events.jsonl"):
            if needle in file.read_text(encoding="utf-8", errors="replace"):
                return True
    return False


def _records(folder: Path, writer: str) -> list[Record]:
    from harness.history.reader import read_history

    history = read_history(folder / "record" / "history")
    return [record for record in history.events if record.writer.startswith(writer)]
