"""`make score`: how often blame is right. Plays faults on sandboxes with drawn parameters and holds every cause against the truth.

    python -m tests.score [--seed N] [--only TEXT] [--quick] [--sandboxes N] [--keep DIR]
    python -m tests.score --rejudge DIR          judge kept runs again, with today's rules
    python -m tests.score --docs                 put the figures of reports/score.json into docs/score.md

Prints the figures, writes reports/score.json, and ends with 0 if every bound holds, else with 10.
"""

import argparse
import json
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import RecordUnusable
from harness.history.events import FaultChanged
from harness.history.reader import read_history
from harness.history.run import read_run
from harness.judge.blame import CAUSES, VERSION, blame
from harness.judge.record import RunRecord
from harness.judge.world import World
from tests.score import recovery, tables
from tests.score.figures import UNEXPLAINED, UNKNOWN, Case, Figures, counted, figures
from tests.score.labels import AFTER_NS, Truth, edges_ns, labels_of, truth_of
from tests.score.plan import OTHER, PAIR, SINGLE, TRIPLE, Run, plan, rest_of
from tests.score.play import ROOT, play, stop

REPORT = ROOT / "reports" / "score.json"
PAGE = ROOT / "docs" / "score.md"
PLAYED = "played.json"
"""In a folder of runs: the seed they were played with, and how long it took."""
TRUE_CAUSES = (*(cause.name for cause in CAUSES), UNEXPLAINED)
"""What the truth can be; each must come often enough to be judged. `unknown` is only ever an answer."""
BOUNDS = {
    "single": 0.995,
    "overlaps": 0.97,
    "worst cause": 0.97,
    "confidently wrong": 0,
    "unexplained": 0.001,
    "failures": 5000,
    "per cause": 150,
    "not played": 0,
}


def main() -> int:
    """Play or re-judge, print, write."""
    options = _options()
    if options.docs:
        return _into_docs()
    began = time.monotonic()
    if options.rejudge:
        kept = Path(options.rejudge)
        if not (kept / PLAYED).is_file():
            sys.stderr.write(
                f"{kept} holds no runs of the score ({PLAYED} is missing): `--keep DIR` makes one\n"
            )
            return 2
        runs = [(folder.name, folder) for folder in sorted(kept.iterdir()) if folder.is_dir()]
        told = [_told(folder) for _, folder in runs]
        trouble = {name: one["trouble"] for (name, _), one in zip(runs, told, strict=True) if one["trouble"]}
    else:
        folder = Path(options.keep) if options.keep else Path(tempfile.mkdtemp(prefix="score-"))
        have_broker = shutil.which("rabbitmq-server") is not None
        wanted = [
            run
            for run in plan(options.seed, broker=have_broker)
            if any(part in run.name for part in options.only.split(","))
        ]
        if options.quick:
            wanted = [run for run in wanted if run.name.endswith("-1") or not run.windows]
        folder.mkdir(parents=True, exist_ok=True)
        trouble = _play(wanted, folder, options.sandboxes)
        kept = folder
        (kept / PLAYED).write_text(
            json.dumps({"seed": options.seed, "took_s": round(time.monotonic() - began)}) + "\n"
        )
        runs = [(place.name, place) for place in sorted(folder.iterdir()) if (place / "run.json").exists()]
    cases: list[Case] = []
    unlabelled = 0
    errors: recovery.Errors = defaultdict(list)
    for name, place in runs:
        try:
            some, without = cases_of(place)
            cases += some
            unlabelled += without
            for instant, seconds in recovery.errors_of(place).items():
                errors[instant] += seconds
        except Exception as error:
            trouble[name] = f"cannot be scored: {type(error).__name__}: {error}"
    played = json.loads((kept / PLAYED).read_text())
    said = summary(cases, trouble, played["seed"], played["took_s"])
    said |= {"recovery": recovery.told(errors)}
    said |= {"unlabelled": unlabelled, "runs": {name: _drawn(place) for name, place in runs}}
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(tables.page(said))
    if not options.rejudge and not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if all(bound["holds"] for bound in said["bounds"].values()) else 10


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.score", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="play the runs whose name has one of these texts")
    parser.add_argument("--quick", action="store_true", help="the first run of each kind")
    parser.add_argument("--sandboxes", type=int, default=3, help="how many at once (3)")
    parser.add_argument("--keep", default="", help="keep every run's record and truth in this folder")
    parser.add_argument("--docs", action="store_true", help="write the last run's figures into docs/score.md")
    parser.add_argument("--rejudge", default="", help="score the runs kept in this folder, play nothing")
    return parser.parse_args()


def _play(runs: list[Run], folder: Path, sandboxes: int) -> dict[str, str]:
    """Play all runs, some at once, and the rest of those that end early; return what went wrong with the playing, by run.

    What ended a run is tried once more on a sandbox of its own, at the head of the rest: only what fails twice was not played.
    """
    waiting: queue.PriorityQueue[tuple[int, str, Run]] = queue.PriorityQueue()

    def enqueue(run: Run) -> None:
        """The longest first, so that all sandboxes end at about the same time."""
        waiting.put((-run.duration_s, run.name, run))

    for run in runs:
        enqueue(run)
    trouble: dict[str, str] = {}
    tried: set[tuple[str, str]] = set()
    lock = threading.Lock()
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            try:
                run = waiting.get_nowait()[-1]
            except queue.Empty:
                return
            try:
                wrong = play(run, folder / run.name)
            except Exception as error:
                wrong = f"{type(error).__name__}: {error}"
            (folder / run.name).mkdir(parents=True, exist_ok=True)
            with lock:
                if wrong:
                    stuck = windows_begun(folder / run.name, run)
                    what = "+".join(run.windows[stuck - 1].faults) if stuck else run.name
                    attempt = (run.name.split("-rest")[0], what)
                    again = attempt not in tried
                    tried.add(attempt)
                    if not again:
                        trouble[run.name] = f"{what}: {wrong}"
                    rest = rest_of(run, max(0, stuck - 1) if again else stuck) if run.windows else run
                    if rest is not None and (again or stuck):
                        enqueue(rest)
                (folder / run.name / "trouble.txt").write_text(trouble.get(run.name, ""))
                sys.stdout.write(f"{run.name}: {wrong or 'played'}; {waiting.qsize()} wait\n")
                sys.stdout.flush()

    with ThreadPoolExecutor(sandboxes) as players:
        try:
            wait([players.submit(work) for _ in range(sandboxes)])
        except KeyboardInterrupt:  # leaving the block waits for what was told to end
            ended.set()
            stop()
            raise
    return trouble


def windows_begun(folder: Path, run: Run) -> int:
    """Return how many windows of a run had begun when it ended."""
    try:
        record = RunRecord(read_run(folder / "record"), read_history(folder / "record" / "history"))
    except RecordUnusable:
        return 0
    opened: dict[str, set[str]] = defaultdict(set)
    for change in record.of(FaultChanged):
        opened[change.experiment].add(change.entry)
    begun, due = 0, Counter[str]()
    for number, window in enumerate(run.windows, 1):
        due.update(window.faults)
        if any(len(opened[fault]) >= due[fault] for fault in window.faults):
            begun = number
    return begun


def _told(folder: Path) -> dict[str, Any]:
    file = folder / "trouble.txt"
    return {"trouble": file.read_text() if file.exists() else ""}


def _drawn(folder: Path) -> dict[str, Any]:
    """Return the seed of a kept run and what its sandbox's parameters were."""
    file = folder / "run.json"
    if not file.exists():
        return {}
    told = json.loads(file.read_text())
    return {"seed": told["run"]["seed"], **told["options"]}


def _into_docs() -> int:
    """Put the figures of the last run between the page's markers."""
    said = json.loads(REPORT.read_text(encoding="utf-8"))
    PAGE.write_text(
        tables.between_marks(PAGE.read_text(encoding="utf-8"), tables.page(said)), encoding="utf-8"
    )
    return 0


def cases_of(folder: Path) -> tuple[list[Case], int]:
    """Return the counted failures of a kept run with their truth and their blame, and how many have no truth to be had."""
    told = json.loads((folder / "run.json").read_text())["run"]
    record = RunRecord(read_run(folder / "record"), read_history(folder / "record" / "history"))
    world = World(record.records, record.attempts, record.end_ns)
    blames, bare = blame(record, world), blame(record, world, logs=False)
    truth = truth_of(folder, record)
    labels = labels_of(blames.failures, truth)
    windows: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        if label is not None:
            windows[_window(told, truth, int(blames.failures.at_ns[index]))].append(index)
    cases = []
    for (kind, combination, _), members in windows.items():
        here = np.array(members)
        chosen, near = counted(blames.failures.at_ns[here], edges_ns(truth), told["seed"], rare=kind == OTHER)
        for place, close in zip(here[chosen].tolist(), near.tolist(), strict=True):
            label = labels[place]
            assert label is not None
            cases.append(
                Case(
                    kind=kind,
                    combination=combination,
                    seed=told["seed"],
                    label=label,
                    blamed=blames.names[place],
                    without_logs=bare.names[place],
                    blind=bool(blames.blind[place]),
                    near_an_edge=close,
                )
            )
    return cases, labels.count(None)


def _window(told: dict[str, Any], truth: Truth, at_ns: int) -> tuple[str, str, int]:
    """Return the kind and the faults of the stretch of a run that an instant lies in, and which stretch it is."""
    mode, load = told["mode"], told["load"]
    inside = set(truth.faults_at(at_ns, at_ns, AFTER_NS))
    for window in told["windows"]:
        if inside & set(window["faults"]):
            begun = sum(name in window["faults"] and start <= at_ns for name, start, _ in truth.faults)
            return window["kind"], f"{'+'.join(window['faults'])} ({mode}, {load})", begun
    name = told["trick"] or (told["name"] if not told["windows"] else "no fault")
    kind = OTHER if not told["windows"] or told["trick"] else SINGLE
    tricks = [number for number, (start, _, _) in enumerate(truth.tricks) if start <= at_ns]
    return kind, f"{name} ({mode}, {load})", -1 - len(tricks)


def summary(cases: list[Case], trouble: dict[str, str], seed: int, took_s: int) -> dict[str, Any]:
    """Return what reports/score.json says."""
    everything = figures(cases)
    by_kind = {kind: figures(c for c in cases if c.kind == kind) for kind in (SINGLE, PAIR, TRIPLE, OTHER)}
    overlaps = figures(c for c in cases if c.kind in (PAIR, TRIPLE))
    sighted = figures(c for c in cases if not c.blind)
    seeds = {one: figures(c for c in cases if c.seed == one).held.value for one in {c.seed for c in cases}}
    worst_seed = min(seeds.items(), key=lambda item: item[1] or 0, default=(0, None))
    return {
        "seed": seed,
        "blame_version": VERSION,
        "took_s": took_s,
        "failures": everything.held.of,
        "near_an_edge": everything.near_an_edge,
        "bounds": _bounds(everything, by_kind, overlaps, sighted, len(trouble)),
        "strict": everything.strict.told(),
        "any_held": everything.held.told(),
        "any_held_without_logs": everything.held_without_logs.told(),
        "any_held_sighted": sighted.held.told(),
        "unexplained": everything.unexplained.told(),
        "unknown": everything.unknown.told(),
        "inside_blind_spots": everything.inside_blind_spots,
        "confidently_wrong": everything.confidently_wrong,
        "seeds": {"mean": _mean(seeds.values()), "worst": worst_seed[1], "worst_seed": worst_seed[0]},
        "per_kind": {
            kind: {
                "any_held": one.held.told(),
                "strict": one.strict.told(),
                "without_logs": one.held_without_logs.told(),
                "sighted": figures(c for c in cases if c.kind == kind and not c.blind).held.told(),
            }
            for kind, one in by_kind.items()
        },
        "per_cause": {
            cause: {
                "recall": everything.recall[cause].told(),
                "precision": everything.precision[cause].told(),
            }
            for cause in sorted({*everything.recall, *everything.precision})
        },
        "per_combination": _combinations(cases),
        "confusion": [
            [true, blamed, count] for (true, blamed), count in sorted(everything.confusion.items())
        ],
        "not_played": trouble,
    }


def _combinations(cases: Iterable[Case]) -> dict[str, Any]:
    parts: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        parts[case.combination].append(case)
    found = {}
    for name, some in sorted(parts.items()):
        one = figures(some)
        found[name] = {
            "failures": one.held.of,
            "any_held": one.held.value,
            "strict": one.strict.value,
            "unexplained": one.unexplained.good,
            "confidently_wrong": one.confidently_wrong,
        }
    return found


def _bounds(
    everything: Figures, by_kind: dict[str, Figures], overlaps: Figures, sighted: Figures, not_played: int
) -> dict[str, Any]:
    """Hold the figures against what is asked; with and without the server's log, the worse counts."""
    single = by_kind[SINGLE]
    shares = [
        share.value
        for cause, share in sighted.recall.items()
        if share.of >= BOUNDS["per cause"] and cause != UNKNOWN
    ]
    shares += [share.value for share in sighted.precision.values() if share.of >= BOUNDS["per cause"]]
    came = {cause: everything.recall[cause].of if cause in everything.recall else 0 for cause in TRUE_CAUSES}
    few = {cause: count for cause, count in came.items() if count < BOUNDS["per cause"]}
    measured = {
        "single": _worse(single),
        "overlaps": _worse(overlaps),
        "worst cause": min((share for share in shares if share is not None), default=0.0),
        "confidently wrong": everything.confidently_wrong,
        "unexplained": everything.unexplained.value or 0.0,
        "failures": everything.held.of,
        "not played": not_played,
    }
    upper = ("confidently wrong", "unexplained", "not played")
    found = {
        name: {
            "measured": value,
            "bound": BOUNDS[name],
            "holds": value <= BOUNDS[name] if name in upper else value >= BOUNDS[name],
        }
        for name, value in measured.items()
    }
    found["per cause"] = {"measured": few, "bound": BOUNDS["per cause"], "holds": not few}
    return found


def _worse(one: Figures) -> float:
    return min(one.held.value or 0.0, one.held_without_logs.value or 0.0)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


if __name__ == "__main__":
    sys.exit(main())
