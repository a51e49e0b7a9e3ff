"""Play one campaign from the first look at the target to the verdict: the run as a pyramid of `with` blocks.

What is entered first is left last: lock, record, live path, watchers, guard, processes. However the blocks are left, faults
are undone, the load is ended and what was recorded is judged.
"""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta

import click
import msgspec

from harness import chaos, observe
from harness.clock import SECOND_NS, SystemClock
from harness.cluster import Cluster, Lease, connect
from harness.conduct.audit import Audit
from harness.conduct.capacity import CapacityStage, SlotsHeard
from harness.conduct.children import Children
from harness.conduct.conditions import ENDED, StopConditions
from harness.conduct.ears import Ears
from harness.conduct.ending import judge_folder, told, write_results
from harness.conduct.facts import run_facts, wall_time
from harness.conduct.folder import RunFolder, make_run_folder, new_run_id, shown
from harness.conduct.orders import Prepared
from harness.conduct.phases import FaultBoard
from harness.conduct.stage import RENEW_S, Stage
from harness.conduct.stop import Stop
from harness.errors import Exit, HarnessError, TargetError, Unreachable, gravest
from harness.focus.api import FocusServerAPI
from harness.focus.endpoint import INSECURE_WARNING, endpoint_of
from harness.history.events import (
    FaultChanged,
    Note,
    Record,
    RunEnded,
    RunStarted,
)
from harness.history.live import LiveReceiver, LiveSender, Second
from harness.history.reader import read_history
from harness.history.run import RunInfo, write_run
from harness.history.writer import HistoryWriter
from harness.report import LiveState, TerminalView, print_verdict, serve_metrics
from harness.target import Target


def play(prepared: Prepared) -> int:
    """Play a campaign, or a search for capacity, and judge it; return the exit code. Raises `HarnessError` if it cannot begin."""
    order = prepared.order
    run_id = new_run_id(prepared.plan.campaign.name)
    with Stop() as stop, ExitStack() as locks:
        _knock(prepared.target)
        cluster = connect(prepared.target) if prepared.target.kubernetes != "none" else None
        lease: Lease | None = None
        if cluster is not None and order.wait_lock_s:  # then everything is looked at when it is our turn
            lease = locks.enter_context(_locked(cluster, run_id, prepared, stop))
        reverter = _look_before(prepared, cluster, lease)
        folder = make_run_folder(order.reports, run_id, order.out)
        click.echo(f"record: {shown(folder.path)}")
        run = msgspec.structs.replace(run_facts(prepared, folder, cluster), reverter=reverter)
        for text in (*run.fighters, *run.unverified):
            click.echo(f"beware: {text}", err=True)
        write_run(folder.path, run)
        try:
            if cluster is not None and lease is None:
                lease = locks.enter_context(_locked(cluster, run_id, prepared, stop))
            elif lease is not None:
                lease.renew(may_have_run_out=True)
            endings = _perform(prepared, cluster, lease, folder, run, stop)
        finally:
            shutil.rmtree(folder.live_socket.parent, ignore_errors=True)
        locks.close()
        return _judge(folder, run, endings)


def _look_before(prepared: Prepared, cluster: Cluster | None, lease: Lease | None) -> str:
    """Look before anything moves: rights, leftovers, limits, the reverter, whose version is returned; empty where none is needed."""
    if cluster is None:
        return ""

    keep = _keeping(lease)
    chaos.preflight(prepared.target, cluster, tuple(prepared.experiments.values()))
    for moment in prepared.plan.moments:
        keep()
        settings = dict(moment.settings)
        chaos.rehearse(prepared.target, cluster, prepared.experiments[moment.experiment], settings)
    if not prepared.plan.moments or prepared.order.guard_only:
        return ""
    return chaos.require_reverter(prepared.target, cluster, keep)


def _keeping(lease: Lease | None) -> Callable[[], None]:
    """Return what keeps the lock, if there is one, while this process looks around."""

    def keep() -> None:
        if lease is not None and lease.unrenewed_s > RENEW_S:
            lease.renew(may_have_run_out=True)

    return keep


def _knock(target: Target) -> None:
    """Make sure that somebody answers before anything is locked or injected."""
    endpoint = endpoint_of(target)
    if endpoint.unverified:
        click.echo(INSECURE_WARNING.format(url=endpoint.url), err=True)
    try:
        with FocusServerAPI(endpoint) as server:
            server.ack()
    except TargetError as error:
        raise Unreachable(
            f"target {target.name}: Focus Server at {target.url} is not there ({error}); nothing was injected. "
            "Start it, or correct `url` in the target file"
        ) from error


def _perform(
    prepared: Prepared,
    cluster: Cluster | None,
    lease: Lease | None,
    folder: RunFolder,
    run: RunInfo,
    stop: Stop,
) -> dict[Exit, str]:
    """Play it; return the endings that the record alone does not tell, each with its reason."""
    endings: dict[Exit, str] = {}
    audit = None
    if cluster is not None:
        brisk = cluster.seen_as(cluster.kubernetes)
        brisk.be_brisk()
        audit = Audit(brisk, prepared.target, lambda: read_history(folder.history).events, _keeping(lease))
    with ExitStack() as stack:
        clock = SystemClock.start()
        wall_start_s = time.time() - clock.now() / SECOND_NS
        state, board = LiveState(run), FaultBoard()
        conditions = StopConditions(prepared.plan.campaign.stop_when, clock, stop)
        receiver = LiveReceiver(folder.live_socket)
        slots = SlotsHeard()
        hearers = (state.absorb, _hears(board), conditions.hear, slots.hear)
        ears = stack.enter_context(Ears(receiver, hearers))
        writer = stack.enter_context(closing(_writer(folder, "conductor")))
        writer.event(
            RunStarted(at_ns=clock.now(), run_id=run.run_id, campaign=run.campaign, target=run.target)
        )
        metrics = stack.enter_context(serve_metrics(state, port=prepared.order.metrics_port))
        click.echo(f"live metrics: {metrics.url}")
        seen = stack.enter_context(closing(_writer(folder, "watchers")))
        watchers = observe.start(prepared.target, cluster, seen, clock)
        stack.callback(watchers.stop)
        stack.enter_context(_longest(prepared.plan.longest_s, stop))
        stack.enter_context(TerminalView(state, clock, prepared.plan.longest_s, sys.stderr))
        children = stack.enter_context(Children(folder.logs, writer, clock, clock.environment()))
        kind = Stage if prepared.capacity is None else CapacityStage
        stage = kind(prepared, folder, writer, clock, board, children, lease, stop, conditions)
        if isinstance(stage, CapacityStage):
            stage.sees(slots if cluster is not None else None)
        stack.callback(stage.close)
        try:
            stage.play()
        except HarnessError as error:
            endings[error.code] = str(error)
            stop.ask(str(error))
            writer.event(Note(at_ns=clock.now(), level="error", text=str(error)))
        except BaseException as error:
            stop.ask(f"internal error: {type(error).__name__}: {error}")
            raise
        finally:
            conditions.end()
            endings |= conditions.endings | stage.strike()
        if audit is not None:
            campaign = prepared.plan.campaign
            for event in audit.after(campaign.drain, campaign.leaks.later_s, stop, stage.renew, clock.now):
                writer.event(event)
        if ears.failure is not None:
            writer.event(
                Note(at_ns=clock.now(), level="warning", text=f"the live view failed: {ears.failure!r}")
            )
        if stop.asked and not endings:
            endings[Exit.STOPPED] = stop.reason
        ended = ENDED if conditions.endings else "stopped" if stop.asked else "planned"
        now_ns = clock.now()
        step_s = round(time.time() - wall_start_s - now_ns / SECOND_NS, 6)
        writer.event(RunEnded(at_ns=now_ns, reason=ended, wall_step_s=step_s))
    return endings


@contextmanager
def _locked(cluster: Cluster, run_id: str, prepared: Prepared, stop: Stop) -> Iterator[Lease]:
    """Hold the target's lock; a lock that cannot be given back lapses by itself and costs the run nothing."""
    ends = datetime.now(UTC) + timedelta(seconds=prepared.plan.longest_s + prepared.order.wait_lock_s)
    brisk = cluster.seen_as(cluster.kubernetes)
    brisk.be_brisk()  # a conductor that waits long for an answer is silent, and silence is taken for death
    lease = Lease.acquire(
        brisk,
        run_id,
        ends=ends.isoformat(timespec="seconds"),
        wait_s=prepared.order.wait_lock_s,
        pause=stop.wait,
        waiting=lambda busy: click.echo(
            f"waiting up to {prepared.order.wait_lock_s:.0f} s for the lock: {busy}", err=True
        ),
    )
    try:
        yield lease
    finally:
        try:
            lease.release()
        except HarnessError as error:
            click.echo(f"harness: the lock was not given back ({error}); it lapses by itself", err=True)


def _writer(folder: RunFolder, name: str) -> HistoryWriter:
    return HistoryWriter(folder.history, name, LiveSender(folder.live_socket))


def _judge(folder: RunFolder, run: RunInfo, endings: dict[Exit, str]) -> int:
    """Judge the record, write the results, print the verdict; return the exit code."""
    code = gravest(endings)
    ended = msgspec.structs.replace(
        run, wall_end=wall_time(), exit_code=int(code), exit_reason=endings.get(code, "")
    )
    write_run(folder.path, ended)
    run, findings = judge_folder(folder.path)
    report = write_results(folder.path, run, findings)
    print_verdict(findings, run, told(folder.path, report), sys.stdout)
    return int(gravest([findings.verdict.exit_code, Exit.OK if report else Exit.INTERNAL]))


def _hears(board: FaultBoard) -> Callable[[Record | Second], None]:
    def hear(message: Record | Second) -> None:
        if isinstance(message, Record) and isinstance(message.event, FaultChanged):
            board.absorb(message.event, message.writer)

    return hear


@contextmanager
def _longest(longest_s: float, stop: Stop) -> Iterator[None]:
    """Ask the run to stop when it has taken as long as it may."""
    timer = threading.Timer(longest_s, stop.ask, [f"the longest possible duration ({longest_s:g} s) is over"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
