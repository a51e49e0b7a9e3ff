"""The chaos process: `python -m harness.chaos`, one experiment, Chaos Toolkit on the main thread.

Started by the conductor with the run's folder, clock (`HARNESS_CLOCK_START_NS`) and a lifeline (`HARNESS_LIFELINE_FD`). SIGTERM, or
the end of the lifeline, ends the hold; the way back is walked before it exits. Exit codes: 0 played and undone, 2 bad input,
3 target unusable, 4 a fault could not be injected, 5 something is left, 7 not injected because the steady state
was not met, 8 stopped from outside.
"""

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from chaoslib.exceptions import ChaosException
from chaoslib.experiment import ensure_experiment_is_valid, run_experiment

from harness.chaos.actions import use_play
from harness.chaos.alive import Alive, sign_of
from harness.chaos.journal import Journal, new_header
from harness.chaos.play import Play
from harness.chaos.registry import register
from harness.chaos.signals import hear
from harness.chaos.story import Story, read_story, variables
from harness.chaos.ward import GUARD, undo_folder
from harness.chaos.world import Site, freeze
from harness.clock import Instant, SystemClock, nanoseconds
from harness.cluster import connect
from harness.errors import Exit, HarnessError, InputError, RecordUnusable, Stopped, gravest
from harness.history.events import ExperimentEnded, Note
from harness.history.live import LiveSender
from harness.history.run import read_run
from harness.history.writer import HistoryWriter
from harness.target import Target, find_target, load_target

LIFELINE_VARIABLE = "HARNESS_LIFELINE_FD"
STEADY_STATE_LEAD_S = 2.0
CONDUCTOR = "conductor"
"""The conductor's name among the signs of life."""
SETTINGS = {"runtime": {"rollbacks": {"strategy": "always"}}}


def main(arguments: list[str]) -> int:
    """Play one experiment; return the exit code."""
    given = _parse(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    clock = SystemClock.inherited()
    live = LiveSender(given.live) if given.live else None
    history = HistoryWriter(given.run / "history", given.writer, live)
    try:
        story = read_story(given.experiment)
        changed = variables(story, dict(given.set), given.hold)
        target = load_target(find_target(given.target))
        play = _play(given, story, target, clock, history)
    except HarnessError as error:
        return _refused(history, clock, given.experiment.stem, error)
    stopped = False

    def told(number: int, _frame: object) -> None:
        play.stop_now(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, told)
    hear((signal.SIGTERM,), play.stop_now)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the conductor's business
    _follow_lifeline(play)
    use_play(play)
    code = Exit.OK
    try:
        code = _run(story, changed, play)
    except HarnessError as error:
        play.failures.append(error)
        play.note("error", str(error))
        status = "interrupted" if isinstance(error, Stopped) else "failed"
        history.event(
            ExperimentEnded(at_ns=clock.now(), experiment=story.name, status=status, deviated=False)
        )
    except KeyboardInterrupt:
        stopped = True
    finally:
        signal.signal(signal.SIGTERM, told)
        if stopped:
            play.stop_now("interrupted")
        ended = play.finish()
    return int(gravest([code, ended]))


def _run(story: Story, changed: dict[str, Any], play: Play) -> Exit:
    """Let Chaos Toolkit run it and record how that ended."""
    try:
        ensure_experiment_is_valid(story.document)
        if play.at_ns is not None:  # the steady state that counts is the one right before the fault
            play.wait_until(Instant(play.at_ns - nanoseconds(STEADY_STATE_LEAD_S)))
        journal = run_experiment(story.document, settings=SETTINGS, experiment_vars=(changed, {}))
    except ChaosException as error:
        raise InputError(f"experiment {story.name}: {error}") from error
    play.undo()
    before = (journal.get("steady_states") or {}).get("before")
    not_met = before is not None and not before.get("steady_state_met")
    if journal["status"] == "interrupted":
        play.stop_now("interrupted")  # between two actions, by Chaos Toolkit's own handler
    if before is not None and not_met:
        failed = [probe["activity"]["name"] for probe in before.get("probes", [])][-1:]
        play.note(
            "warning", f"{story.name}: not injected: the steady state was not met ({', '.join(failed)})"
        )
    play.history.event(
        ExperimentEnded(
            at_ns=play.clock.now(),
            experiment=story.name,
            status="not-injected" if not_met else "failed" if play.failures else str(journal["status"]),
            deviated=bool(journal["deviated"]) and not not_met and not play.failures,
        )
    )
    if not_met:
        return Exit.UNJUDGED
    if journal["status"] in {"failed", "aborted"}:
        return Exit.INJECTION
    return Exit.OK


def _play(
    given: argparse.Namespace,
    story: Story,
    target: Target,
    clock: SystemClock,
    history: HistoryWriter,
) -> Play:
    cluster = connect(target)
    alive = Alive(undo_folder(given.run), given.writer)
    cluster.be_brisk(alive.show)
    site = Site(cluster, target)
    header = new_header(_run_id(given.run), given.writer, freeze(target), clock.start_ns)
    journal = Journal.create(undo_folder(given.run) / f"{given.writer}.jsonl", header)
    register(journal)
    return Play(
        site=site,
        header=header,
        journal=journal,
        history=history,
        clock=clock,
        experiment=story.name,
        at_ns=given.at_ns,
        hold_s=given.hold,
        alive=alive,
        trouble=lambda: _watchers(given.run),
    )


def _run_id(run: Path) -> str:
    """Return the run's id, as the Lease says it too: its folder may have any name."""
    try:
        return read_run(run).run_id
    except RecordUnusable:
        return run.name  # played without a conductor


def _watchers(run: Path) -> str:
    """Return what is wrong with the conductor (whose end is heard by the lifeline, a hang is seen here) or the guard."""
    signs = (sign_of(undo_folder(run), name) for name in (CONDUCTOR, GUARD))
    return next((sign.trouble for sign in signs if sign is not None and sign.trouble), "")


def _follow_lifeline(play: Play) -> None:
    """Stop the play when the conductor is gone: the guard undoes then too, whoever is faster."""
    value = os.environ.get(LIFELINE_VARIABLE)
    if not value:
        return

    def follow() -> None:
        while os.read(int(value), 1024):
            pass
        play.stop_now("the conductor is gone")

    threading.Thread(target=follow, name="lifeline", daemon=True).start()


def _refused(history: HistoryWriter, clock: SystemClock, experiment: str, error: HarnessError) -> int:
    print(error, file=sys.stderr)  # noqa: T201  (its log file)
    history.event(Note(at_ns=clock.now(), level="error", text=f"{experiment}: {error}"))
    history.event(
        ExperimentEnded(at_ns=clock.now(), experiment=experiment, status="not-injected", deviated=False)
    )
    history.close()
    return int(error.code)


def _parse(arguments: list[str]) -> argparse.Namespace:
    def pair(text: str) -> tuple[str, str]:
        key, separator, value = text.partition("=")
        if not separator:
            raise argparse.ArgumentTypeError(f"{text!r} is not key=value")
        return key, value

    parser = argparse.ArgumentParser(prog="python -m harness.chaos")
    parser.add_argument("--experiment", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--target", required=True, help="a target file or its name")
    parser.add_argument("--writer", required=True)
    parser.add_argument("--live", type=Path)
    parser.add_argument("--set", type=pair, action="append", default=[], metavar="K=V")
    parser.add_argument("--hold", type=float, metavar="S")
    parser.add_argument("--at-ns", type=int)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
