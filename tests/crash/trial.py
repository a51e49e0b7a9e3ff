"""One crash trial: a campaign with one fault, processes of it killed, stopped or cut off at a random instant, and a look at what heals.

Healed means: everything declared is as before (how ready workloads and nodes are is recovery, and is measured apart).
"""

import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil
import yaml

from harness.chaos.alive import sign_of
from harness.chaos.copies import COPY_PREFIX, copies_in_words
from harness.chaos.declared import declared_state, differences
from harness.chaos.faults import BLINDING_FAULTS, fault_named
from harness.chaos.journal import parse
from harness.chaos.sweep import marks
from harness.cluster import halt
from harness.errors import HarnessError
from tests.crash.world import HARNESS, CrashWorld

HEALED_WITHIN_S = 15.0
PROCESSES = ("conductor", "chaos", "guard")
WAYS = ("kill", "stop", "partition")
HALTS = ("SIGINT", "SIGTERM", "halt", "annotate", "delete")
"""Ways to end a run in order: what is measured is how soon the undo calls were acknowledged."""
CI = "ci"
"""SIGINT to the parent shell, SIGTERM 7.5 s later, SIGKILL to the tree 2.5 s after that."""
HOLD_S = 8.0
AT_S = 3.0
SETTINGS: dict[str, dict[str, Any]] = {
    "cordon-worker": {"nodes": "all"},
    "kill-mongo": {"repeat": True},
    "fill-windows": {"windows": "3"},
    "exhaust-pod-ips": {"nodes": "1"},
    "slow-network": {"nodes": "all"},
    "drop-network": {"nodes": "all"},
}
NEEDS_STREAMS = {"kill-streams"}


@dataclass(frozen=True, slots=True)
class Attack:
    """What is done to which processes, at which instant."""

    fault: str
    way: str
    victims: tuple[str, ...]
    after_s: float
    """After the planned injection; may be before it."""
    apart_s: float
    """Between the first victim and the second."""
    pause_s: float
    """How long a stop or a partition lasts."""

    @property
    def is_covered(self) -> bool:
        """Say whether somebody is left who can undo it: not if all three are gone and no API call would."""
        return set(self.victims) != set(PROCESSES) or fault_named(self.fault).undone_inside

    @property
    def name(self) -> str:
        """Say what it is, for people."""
        return f"{self.way} {'+'.join(self.victims)}" if self.victims else self.way


@dataclass(slots=True)
class Outcome:
    """How a trial ended."""

    attack: Attack
    healed: bool
    seconds: float
    """From the last blow (for faults that take the API away: from its return) until nothing declared differed."""
    ready_s: float
    by: str
    undone_s: float | None = None
    """From the last blow until the undo calls were acknowledged, by the journal; None if it says nothing of it."""
    covered: bool = True
    """False: all three were killed, and the fault cannot be undone from inside."""
    problems: list[str] = field(default_factory=list)


def attacks(faults: list[str], count: int, seed: int) -> list[Attack]:
    """Return a seeded plan in which every fault meets every way to be hit as evenly as `count` allows."""
    chance = random.Random(seed)
    blows = [(way, (one,)) for way in WAYS for one in PROCESSES]
    blows += [(way, (a, b)) for way in WAYS for a in PROCESSES for b in PROCESSES if a < b]
    blows += [*((way, PROCESSES) for way in WAYS), (CI, ())]
    grid = [(fault, way, victims) for way, victims in blows for fault in faults]
    chance.shuffle(grid)
    chosen = [grid[number % len(grid)] for number in range(count)]
    return [
        Attack(
            fault,
            way,
            victims,
            after_s=chance.uniform(-0.5, HOLD_S + 1.5),
            apart_s=chance.choice([0.0, chance.uniform(0.0, 1.5)]),
            pause_s=chance.uniform(8.0, 11.0),
        )
        for fault, way, victims in chosen
    ]


def halts(faults: list[str], count: int, seed: int) -> list[Attack]:
    """Return a seeded plan in which every way to halt a run meets faults that are in."""
    chance = random.Random(seed)
    by_signal = ("SIGINT", "SIGTERM")  # nobody reaches the Lease while the API server is what is away
    grid = [
        (fault, way) for way in HALTS for fault in faults if way in by_signal or fault not in BLINDING_FAULTS
    ]
    chance.shuffle(grid)
    return [
        Attack(fault, way, (), chance.uniform(2.0, HOLD_S - 2.0), 0.0, 0.0)
        for fault, way in (grid[number % len(grid)] for number in range(count))
    ]


class Trial:
    """One run of one attack on one world."""

    def __init__(self, world: CrashWorld, attack: Attack, folder: Path) -> None:
        self._world, self._attack, self._folder = world, attack, folder
        self._run = folder / "run"

    def play(self) -> Outcome:
        """Play it; the world is as before afterwards, whatever it takes."""
        process = self._begin()
        problems: list[str] = []
        try:
            planned = self._planned_at()
            blow_at = self._strike(process, planned)
            base = max(blow_at, planned + HOLD_S) if self._nobody_is_hurt() else blow_at
            base, healed_at, ready_at, left = self._await_healing(base)
            if left:
                problems += left
        finally:
            self._release()
            problems += self._end(process)
        undone = self._undone()
        if self._attack.fault in BLINDING_FAULTS:  # somebody has to have called for it within the bound, too
            called_at = healed_at if undone is None else undone["at_ns"] / 1e9
            base = min(base, healed_at - max(0.0, called_at - blow_at))
        healed = not problems and healed_at - base <= HEALED_WITHIN_S
        outcome = Outcome(
            self._attack,
            healed,
            round(max(0.0, healed_at - base), 2),
            round(max(0.0, ready_at - base), 2),
            self._who(),
            None if undone is None else round(undone["at_ns"] / 1e9 - blow_at, 3),
            self._attack.is_covered,
            problems,
        )
        self._clean_up(outcome)
        return outcome

    # --- the run ----------------------------------------------------------------------------------

    def _begin(self) -> "subprocess.Popen[bytes]":
        """Start the run, up to three times: on a machine so busy that it gives itself up before the fault, there is nothing to hit."""
        for _ in range(3):
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
            process = self._start()
            until = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < until:
                if self._pid("chaos"):
                    return process
                time.sleep(0.02)
            process.kill()
            process.wait()
        raise AssertionError(f"the run did not come to its fault: {self._said()}")

    def _start(self) -> "subprocess.Popen[bytes]":
        fault = self._attack.fault
        hold_s = max(HOLD_S, 2.0)
        windows = 3 if fault in NEEDS_STREAMS else 1
        campaign = {
            "schema": 1,
            "name": "crash",
            "duration": f"{AT_S + hold_s + 6:g}s",
            "recover": "1s",
            "drain": "1s",
            "load": {
                "stages": [{"at": "0s", "open_windows": windows}],
                "hold": {"min": "60s", "max": "60s"},
                "storm": True,
            },
            "timeline": [
                {
                    "experiment": fault,
                    "at": f"{AT_S:g}s",
                    "hold": f"{hold_s:g}s",
                    "with": SETTINGS.get(fault, {}),
                }
            ],
        }
        file = self._folder / "crash.yaml"
        file.write_text(yaml.safe_dump(campaign), encoding="utf-8")
        command = [*HARNESS, "run", str(file), "--out", str(self._run)]
        if self._attack.way == CI:  # a job's shell, which is the parent
            command = ["bash", "-c", 'trap "" INT; "$@" & wait $!; wait $!', "job", *command]
        with (self._folder / "terminal.log").open("wb") as log:
            return subprocess.Popen(
                command,
                env=self._world.environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _planned_at(self) -> float:
        """Return the instant at which the chaos process plans to inject."""
        chaos = psutil.Process(self._pid("chaos"))
        command = chaos.cmdline()
        at_ns = int(command[command.index("--at-ns") + 1])
        return (int(chaos.environ()["HARNESS_CLOCK_START_NS"]) + at_ns) / 1e9

    def _pid(self, name: str) -> int:
        sign = sign_of(self._run / "undo", "chaos-1" if name == "chaos" else name)
        return int(sign.holder.split("/")[1]) if sign is not None else 0

    def _strike(self, process: "subprocess.Popen[bytes]", planned: float) -> float:
        """Hit the victims at the instant; return when the last blow fell."""
        time.sleep(max(0.0, planned + self._attack.after_s - time.monotonic()))
        if self._attack.way == CI:
            return self._cancel(process)
        if self._attack.way in HALTS:
            return self._halt()
        victims = list(self._attack.victims)
        random.Random(self._attack.after_s).shuffle(victims)
        self._paused: list[int] = []
        for number, victim in enumerate(victims):
            if number:
                time.sleep(self._attack.apart_s)
            pid = self._pid(victim)
            if not pid:
                continue  # it has ended by itself
            if self._attack.way == "partition":
                self._world.cut_off.add(pid)
            else:
                try:
                    os.kill(pid, signal.SIGKILL if self._attack.way == "kill" else signal.SIGSTOP)
                except ProcessLookupError:
                    continue
                if self._attack.way == "stop":
                    self._paused.append(pid)
        blow_at = time.monotonic()
        self._release_at = blow_at + self._attack.pause_s
        return blow_at

    def _cancel(self, process: "subprocess.Popen[bytes]") -> float:
        """Do what a CI service does to a job that is cancelled."""
        tree = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
        os.killpg(process.pid, signal.SIGINT)
        blow_at = time.monotonic()
        time.sleep(7.5)
        _signal(process.pid, signal.SIGTERM)
        time.sleep(2.5)
        for pid in tree:
            _signal(pid, signal.SIGKILL)
        self._paused, self._release_at = [], blow_at
        return blow_at

    def _halt(self) -> float:
        """End the run in order, once its fault is in."""
        until = time.monotonic() + 60
        while b'"injected"' not in self._journal() and time.monotonic() < until:
            time.sleep(0.02)
        blow_at = time.monotonic()
        cluster, ours = self._world.cluster, self._world.cluster.harness_namespace
        match self._attack.way:
            case "halt":
                halt(cluster, "by a trial")  # what `harness halt` does, without its start
            case "annotate":
                patch = {"metadata": {"annotations": {"focus-harness/halt": "now"}}}
                cluster.patch("leases", "focus-harness", patch, ours)
            case "delete":
                cluster.delete("leases", "focus-harness", ours)
            case name:
                _signal(self._pid("conductor"), signal.Signals[name])
        self._paused, self._release_at = [], blow_at
        return blow_at

    def _journal(self) -> bytes:
        path = self._run / "undo" / "chaos-1.jsonl"
        return path.read_bytes() if path.exists() else b""

    def _nobody_is_hurt(self) -> bool:
        """Say whether the run may rightly go on to its end: the guard needs no API server while all is well."""
        return self._attack.way == "partition" and self._attack.victims == ("guard",)

    def _release(self) -> None:
        """Let go on what was stopped, and make the network whole."""
        for pid in getattr(self, "_paused", []):
            _signal(pid, signal.SIGCONT)
        self._world.cut_off.clear()

    # --- what heals ---------------------------------------------------------------------------------

    def _await_healing(self, base: float) -> tuple[float, float, float, list[str]]:
        """Return from when it counts, when nothing declared differed any more, when all was ready again, and what still differs."""
        healed_at, ready_at = 0.0, 0.0
        counts_from_api = self._attack.fault in BLINDING_FAULTS
        until = base + (HEALED_WITHIN_S if set(self._attack.victims) != set(PROCESSES) else 40.0) + 25
        left = ["nobody looked"]
        released = False
        while time.monotonic() < until:
            if not released and time.monotonic() >= self._release_at:
                self._release()
                released = True
            now = time.monotonic()
            if counts_from_api and not self._world.site.world.answers():
                base, until = (
                    now,
                    max(until, now + HEALED_WITHIN_S + 25),
                )  # the bound counts from the API's return
            left, unready = self._differences()
            if left and healed_at:
                healed_at = 0.0
            if not left and not healed_at:
                healed_at = now
            if not left and not unready:
                ready_at = now
                if released and now - healed_at > 1.0:
                    break
            time.sleep(0.15)
        return base, (healed_at or time.monotonic()), (ready_at or time.monotonic()), left

    def _differences(self) -> tuple[list[str], list[str]]:
        """Return what differs from before: in what is declared, and in how ready things are."""
        if not self._world.site.world.answers():
            return ["the API server does not answer"], []
        try:
            now = declared_state(self._world.site)
        except HarnessError as error:
            return [str(error)], []
        before = self._world.before
        # How ready things are, and the entry, which stands until that is as before too.
        ready = [key for key in {*before, *now} if "ready" in key.lower() or f"/{COPY_PREFIX}" in key]
        strip = lambda state: {key: value for key, value in state.items() if key not in ready}  # noqa: E731
        return differences(strip(before), strip(now)), differences(
            {key: before.get(key) for key in ready}, {key: now.get(key) for key in ready}
        )

    def _end(self, process: "subprocess.Popen[bytes]") -> list[str]:
        """Wait for the run's processes; what does not end is a problem, and is ended."""
        problems = []
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (process.poll() is None or self._own_processes()):
            time.sleep(0.2)
        for left in self._own_processes():
            problems.append(f"process left: {' '.join(left.cmdline()[1:6])}")
            left.kill()
        process.wait(timeout=10)
        return problems

    def _own_processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if str(self._run) in " ".join(process.cmdline()) or (
                    process.environ().get("HARNESS_SANDBOX_ROOT") is None
                    and str(self._folder) == process.cwd()
                ):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def _who(self) -> str:
        """Return who undid it, by the journal; nobody's line means the reverter, or that there was nothing to undo."""
        if not parse(self._journal()).entries:
            return "nothing was injected"
        first = self._undone()
        return str(first["by"]) if first else "reverter"

    def _undone(self) -> dict[str, Any] | None:
        """Return the journal's first line that says an entry is undone."""
        for line in self._journal().split(b"\n"):
            if b'"undone"' in line and line.endswith(b"}"):
                moved: dict[str, Any] = msgspec.json.decode(line)
                return moved
        return None

    def _clean_up(self, outcome: Outcome) -> None:
        """Leave the world as it was, whatever the trial left; what was left although nobody was left to undo it is no surprise."""
        said = self._world.harness("undo", "--target", str(self._world.target_file), ok=False)
        leftovers = [str(mark) for mark in marks(self._world.site)] + copies_in_words(self._world.site)
        if leftovers:
            outcome.problems.append(
                f"left after harness undo: {'; '.join(leftovers)} ({said.strip()[-300:]})"
            )
        until = time.monotonic() + 60
        while (left := [*self._differences()[0], *self._differences()[1]]) and time.monotonic() < until:
            time.sleep(0.3)
        if left:
            outcome.problems.append(f"not as before after harness undo: {'; '.join(left)}")
        if outcome.problems and not outcome.covered:
            return
        if outcome.problems:
            outcome.healed = False

    def _said(self) -> str:
        return (self._folder / "terminal.log").read_text(errors="replace")[-2000:]


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


__all__ = ["BLINDING_FAULTS", "HALTS", "Attack", "Outcome", "Trial", "attacks", "halts"]
