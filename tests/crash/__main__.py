"""The crash campaign: `make crash N=300`, and with `--halts` the same for runs that are ended in order: `make halts N=100`. Random blows to the processes of a run during every fault, on several sandboxes side by side.

Prints a line per trial and writes reports/crash.json: kills, healed, worst seconds to heal, per fault and kind of blow. Ends with 0 if
everything that is covered healed within the bound, else with 10.
"""

import argparse
import json
import math
import os
import queue
import shutil
import statistics
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from harness.chaos.faults import FAULTS
from tests.crash.trial import HALTS, HEALED_WITHIN_S, Attack, Outcome, Trial, attacks, halts
from tests.crash.world import ROOT, CrashWorld

REPORT = ROOT / "reports" / "crash.json"
NEEDS_BROKER = "rabbitmq-outage"


def faults_here(names: str) -> list[str]:
    """Return the kinds to play: those named, or all that can be played on this machine."""
    if names:
        return names.split(",")
    have_broker = shutil.which("rabbitmq-server") is not None
    return [fault.kind for fault in FAULTS if fault.kind != NEEDS_BROKER or have_broker]


def play(
    plan: list[Attack], sandboxes: int, folder: Path, told: Callable[[int, Outcome], None]
) -> list[Outcome]:
    """Play all trials on that many sandboxes; return how each ended."""
    waiting: queue.SimpleQueue[tuple[int, Attack]] = queue.SimpleQueue()
    for number, attack in enumerate(plan):
        waiting.put((number, attack))
    outcomes: list[Outcome] = []
    broken: list[BaseException] = []
    lock = threading.Lock()
    starting = threading.Lock()

    def guarded(index: int) -> None:
        try:
            work(index)
        except BaseException as error:
            broken.append(error)

    def work(index: int) -> None:
        world = CrashWorld(f"crash-{os.getpid()}-{index}", folder / f"world-{index}")
        with starting:
            world.up()
        try:
            while True:
                try:
                    number, attack = waiting.get_nowait()
                except queue.Empty:
                    return
                place = folder / f"trial-{number}"
                try:
                    outcome = Trial(world, attack, place).play()
                except Exception:  # a trial that breaks is a trial that failed
                    outcome = Outcome(attack, False, 0.0, 0.0, "?", problems=[traceback.format_exc(limit=3)])
                with lock:
                    outcomes.append(outcome)
                    told(number, outcome)
                if outcome.healed:
                    shutil.rmtree(place, ignore_errors=True)
                elif any("not as before" in problem for problem in outcome.problems):
                    world.down()
                    world.up()
        finally:
            world.down()

    threads = [threading.Thread(target=guarded, args=(index,)) for index in range(sandboxes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        raise broken[0]
    return outcomes


def summary(outcomes: list[Outcome], seed: int, took_s: float) -> dict[str, Any]:
    """Return what reports/crash.json says."""
    injected = [one for one in outcomes if one.by != "nothing was injected"]
    covered = [one for one in outcomes if one.covered]
    return {
        "trials": len(outcomes),
        "seed": seed,
        "took_s": round(took_s),
        "bound_s": HEALED_WITHIN_S,
        "covered": _counts(covered),
        "with_a_fault_in": _counts([one for one in covered if one in injected]),
        "not_covered": {
            "what": "all three processes killed during a fault that no API call undoes: its timer, or a person",
            "trials": len(outcomes) - len(covered),
            "faults": sorted({one.attack.fault for one in outcomes if not one.covered}),
        },
        "undo_calls_s": _halted(outcomes),
        "undone_by": {
            by: sum(one.by == by for one in outcomes) for by in sorted({one.by for one in outcomes})
        },
        "per_fault": {
            fault: _counts([one for one in covered if one.attack.fault == fault])
            for fault in sorted({one.attack.fault for one in covered})
        },
        "per_blow": {
            name: _counts([one for one in covered if one.attack.name == name])
            for name in sorted({one.attack.name for one in covered})
        },
        "failures": [
            {
                "fault": one.attack.fault,
                "blow": one.attack.name,
                "after_s": round(one.attack.after_s, 2),
                "seconds": one.seconds,
                "problems": one.problems,
            }
            for one in covered
            if not one.healed
        ],
    }


def write_summary(outcomes: list[Outcome], seed: int, took_s: float, report: Path) -> dict[str, Any]:
    """Write the summary, and return it."""
    said = summary(outcomes, seed, took_s)
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return said


def _halted(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return how soon undo calls were acknowledged, per way to halt a run: p50 and p99 over the trials, and the worst."""
    said: dict[str, Any] = {}
    for way in (*HALTS, "all"):
        seconds = sorted(
            one.undone_s
            for one in outcomes
            if one.undone_s is not None
            and (one.attack.way == way or (way == "all" and one.attack.way in HALTS))
        )
        if seconds:
            rank = max(0, math.ceil(0.99 * len(seconds)) - 1)
            said[way] = {
                "trials": len(seconds),
                "p50": round(statistics.median(seconds), 3),
                "p99": seconds[rank],
                "worst": seconds[-1],
            }
    return said


def _counts(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    chosen = list(outcomes)
    seconds = sorted(one.seconds for one in chosen)
    return {
        "kills": len(chosen),
        "healed": sum(one.healed for one in chosen),
        "median_s": round(statistics.median(seconds), 2) if seconds else None,
        "worst_s": seconds[-1] if seconds else None,
        "all_ready_again_worst_s": max((one.ready_s for one in chosen), default=None),
    }


def main() -> int:
    """Play the campaign; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--sandboxes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", default="", help="kinds, separated by commas")
    parser.add_argument(
        "--halts", action="store_true", help="end runs in order instead, and time the undo calls"
    )
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    report = given.report or REPORT.with_name("halts.json" if given.halts else REPORT.name)
    plan = (halts if given.halts else attacks)(faults_here(given.faults), given.trials, given.seed)
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="crash-"))
    done = 0

    def told(number: int, one: Outcome) -> None:
        nonlocal done
        done += 1
        word = "healed" if one.healed else "NOT HEALED" if one.covered else "not covered"
        line = f"{done:4d}/{len(plan)} {word:11s} {one.seconds:6.2f} s  {one.attack.fault:28s} {one.attack.name:28s} by {one.by} {one.undone_s or ''}"
        print(line + "".join(f"\n      {problem}" for problem in one.problems), flush=True)  # noqa: T201  (its output)

    outcomes = play(plan, given.sandboxes, folder, told)
    said = write_summary(outcomes, given.seed, time.monotonic() - started, report)
    covered = said["covered"]
    print(  # noqa: T201
        f"{covered['healed']} of {covered['kills']} healed, worst {covered['worst_s']} s (bound {HEALED_WITHIN_S:g} s); "
        f"{said['not_covered']['trials']} not covered; in {said['took_s']} s; {report}"
    )
    if not said["failures"]:
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    print(f"what the failed trials left is in {folder}")  # noqa: T201
    return 10


if __name__ == "__main__":
    sys.exit(main())
