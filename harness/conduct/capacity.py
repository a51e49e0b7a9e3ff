"""The middle of a search for capacity: probe after probe, each a load of its own on an empty target, until the edge is found.

Everything is decided by `judge.capacity` from the record, between probes and while one is played; `harness judge` finds the same again.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import msgspec

from harness.campaign.capacity import Next, Objectives, Search, Sought
from harness.clock import nanoseconds, seconds
from harness.conduct.assignment import load_plan
from harness.conduct.children import Child
from harness.conduct.stage import LOAD_GRACE_S, TICK_S, Stage
from harness.errors import Exit, RecordUnusable
from harness.focus.arrivals import Arrivals, Stretch
from harness.history.events import (
    CapacitySought,
    Phase,
    ProbeEnded,
    ProbeStarted,
    Record,
    SlotsSeen,
    WindowAccepted,
    WindowUnknown,
)
from harness.history.live import Second
from harness.history.reader import read_history
from harness.judge.capacity import UNITS, Tally, assess, expected_edge, known, needed, tally, trial
from harness.judge.findings.capacity import top_of
from harness.judge.sequential import Decision
from harness.load.plan import write_plan

LATE_AFTER_S = 0.25
"""Arrivals of a probe may be that late; what counts is that none is left out."""
FILL_PER_S = 10.0
"""Windows that are to be open at once are opened one after the other at this rate: creates in flight are another search."""
BURST_S = 0.001
"""Creates that are to be in flight at once are sent within this time."""
FIRST = 0.7
"""A search for a rate starts at this part of what the windows that were found would make of a slot's life as far as it is known."""
SPARE = 2
"""A probe of a rate is that much longer than flawless windows need, for one that is not."""
NEARLY = 2
"""A probe that would be broken off goes on where at most so many times its windows decide: another one would begin with empty slots."""
LOOKS_BAD = 2.5
"""A level whose likelihoods stand at e to this is left on the way to the edge: two failures; it is decided when it turns out to be the edge."""
LOOK_S = 0.5
LOAD_STARTS_S = 60.0
GATE_LEAD_S = 0.3
"""From opening the gate to the first arrival: the load looks often."""
ALL_READY_S = 5.0
"""Windows that are closed before their stream is ready are given back late, as unused ones: they are waited for so long."""
SETTLED_S = 1.5
"""So long after the load's end the watchers have seen whatever it had opened."""
LIFE_MARGIN = 1.15
"""Of the usual life of a slot: then nearly all of the first ones are given back."""
READY_S, RECLAIM_S = 2.0, 10.0
"""How long windows take to be ready, and to be given back, while none was seen."""
PATIENCE_S = 30.0
"""Beside the time to ready: how long a probe may take to know the fate of what it has sent."""


class SlotsHeard:
    """The windows in the cluster as the watchers last told, heard on the live path."""

    def __init__(self) -> None:
        self.last: SlotsSeen | None = None

    def hear(self, message: Record | Second) -> None:
        """Take a message of the live path in."""
        if isinstance(message, Record) and isinstance(message.event, SlotsSeen):
            self.last = message.event

    @property
    def empty(self) -> bool | None:
        """Whether nobody but others has a window; None while nothing was heard."""
        if self.last is None:
            return None
        return max(self.last.slots, self.last.running_pods + self.last.pending_pods) <= self.last.foreign


class CapacityStage(Stage):
    """A stage on which probes are played instead of a timeline."""

    def sees(self, slots: SlotsHeard | None) -> None:
        """Say where windows are seen, before `play`; None where the cluster cannot be seen."""
        if self._prepared.capacity is None:
            raise RuntimeError("no capacity was asked for")
        self._order = order = self._prepared.capacity
        self._slots = slots
        self._probes = 0
        self._windows = self._jobs = 0
        self._tallies: dict[str, dict[float, list[Tally]]] = {sought: {} for sought in order.sought}
        self._ready_s = READY_S
        self._lives_s: tuple[float, ...] = ()
        self._reclaims_s: list[float] = [] if slots is not None else [order.reclaim_s]
        self._closed_ns = self._look_ns = 0
        budget = self._prepared.target.budget
        self._most = {
            "windows": float(budget.max_open_windows),
            "creates": float(min(budget.max_open_windows, int(budget.max_rate_per_s))),
            "rate": float(budget.max_rate_per_s),
        }

    def play(self) -> None:
        """Play probes until every edge is found, the budget is spent, or somebody asks to stop."""
        order = self._order
        self._phases.at(Phase.WARM_UP, "")
        ends_ns = self._clock.now() + nanoseconds(order.budget_s)
        for number, sought in enumerate(order.sought):
            if self._stop.asked:
                break
            left_s = seconds(ends_ns - self._clock.now()) / (len(order.sought) - number)
            self._begin(sought)
            start = order.start(sought) or self._start(sought)
            search = Search(
                start=min(start, self._most[sought]),
                most=self._most[sought],
                precision=order.objectives.precision if sought == "rate" else 0.0,
            )
            value = self._search(sought, search, self._clock.now() + nanoseconds(left_s))
            if sought == "windows" and value:  # more at once than may be open at all would tell nothing new
                self._most["creates"] = min(self._most["creates"], value)

    def _start(self, sought: Sought) -> float:
        """Return where a search starts that no requirement names a level for."""
        if sought != "rate":
            return 8.0
        windows = [
            level for level, tries in self._tallies.get("windows", {}).items() if tries[-1].unsuccessful == 0
        ]
        return FIRST * max(windows) / self._fill_s if windows else 1.0

    def _all_ready(self, probe: ProbeStarted) -> bool:
        seen = self._tally(msgspec.structs.replace(probe, counted_ns=0), self._clock.now())
        return seen.answered == seen.sent and seen.streamed >= seen.opened

    def _begin(self, sought: Sought) -> None:
        """Write down what is sought, and by what it is decided."""
        aims = self._order.objectives
        self._writer.event(
            CapacitySought(
                at_ns=self._clock.now(),
                sought=sought,
                success=aims.success,
                ready_within_s=aims.ready_within_s,
                unstalled=aims.unstalled,
                confidence=aims.confidence,
                precision=aims.precision,
                hold_s=self._order.hold_s,
                most=self._most[sought],
            )
        )

    def _search(self, sought: Sought, search: Search, until_ns: int) -> float:
        """Play probes until the edge is found or the time or the jobs are used up; return the highest level that is held."""
        self._until_ns = until_ns
        while True:
            seen = {
                level: known(sought, level, probes, self._order.objectives)
                for level, probes in self._tallies[sought].items()
            }
            following = search.next(seen, self._hint(sought))
            if following is None or self._clock.now() >= until_ns or self._stop.asked:
                break
            low, above, _ = search.found(seen)
            if seen and self._order.is_decided(sought, low, top_of(sought, above)):
                break
            if self._jobs >= (most := self._prepared.target.budget.max_jobs):
                self._note(
                    "warning",
                    f"budget max_jobs: {most} jobs were made, no more are allowed; the search ends here",
                )
                break
            self._probe(sought, following)
        value, above, done = search.found(seen)
        beyond = "nothing above was tried" if above is None else f"{above:.4g} is not"
        ending = "" if done else "; the edge was not found"
        click.echo(f"{sought}: {value:.4g} {UNITS[sought]} held, {beyond}{ending}")
        return value

    def _hint(self, sought: Sought) -> float | None:
        """Return where the edge of a rate is to be expected, once the lives of slots were seen."""
        return expected_edge(self._tallies, self._order.objectives) if sought == "rate" else None

    def _probe(self, sought: Sought, following: Next) -> None:
        """Play one probe and take its tally in."""
        self._probes += 1
        arrivals, counts_after_s = self._arrivals(sought, following)
        gate = self._folder.live_socket.parent / f"gate-{self._probes}"
        child = self._load = self._load_of(arrivals, gate, sought)
        ready = gate.with_name(f"{gate.name}.ready")
        if not self._emptied() or not self._waited(ready.exists, LOAD_STARTS_S):
            self._stop.ask(f"{child.name} did not start; see {self._folder.logs}")
            return
        begins_ns = self._clock.now() + nanoseconds(GATE_LEAD_S)
        probe = ProbeStarted(
            at_ns=self._clock.now(),
            probe=self._probes,
            sought=sought,
            level=following.level,
            first_window=self._windows + 1,
            planned=round(arrivals.expected),
            counted_ns=begins_ns + nanoseconds(counts_after_s),
        )
        self._windows += probe.planned
        self._writer.event(probe)
        opened = gate.with_name(f"{gate.name}.new")
        opened.write_text(repr(seconds(begins_ns)), encoding="ascii")
        opened.rename(gate)
        sent_ns = begins_ns + nanoseconds(arrivals.stretches[-1].end_s)
        seen = self._watched(probe, following, begins_ns, sent_ns)
        ended_ns = self._clock.now()
        self._writer.event(ProbeEnded(at_ns=ended_ns, probe=probe.probe))
        self._phases.at(Phase.WARM_UP, "")
        gate.with_name(f"{gate.name}.closed").touch()
        self._waited(lambda: self._all_ready(probe), ALL_READY_S)
        self._load, self._closed_ns = None, self._clock.now()
        child.end_later()
        self._await([child], LOAD_GRACE_S)
        if child.end(grace_s=0.0) != Exit.OK and not self._stop.asked:
            self._stop.ask(f"{child.name} did not end as it should; see {self._folder.logs}")
        if not self._stop.asked:
            # As it is judged later: what was known when the probe was over, and what the watchers saw of slots' lives.
            history = read_history(self._folder.history)
            seen = tally(history, probe, self._order.objectives, ended_ns)
            made = (WindowAccepted, WindowUnknown)
            self._jobs = sum(isinstance(one.event, made) for one in history.events)
            self._lives_s += tuple(life_s for _, life_s in seen.lives_s) if sought == "rate" else ()
            self._tallies[sought].setdefault(probe.level, []).append(seen)
            click.echo(_told(probe, seen, self._order.objectives, self._tallies[sought][probe.level]))

    def _emptied(self) -> bool:
        """Wait until every window of the probe before is given back; return whether the search may go on."""
        if self._slots is None:
            return not self._waited(lambda: False, self._order.reclaim_s if self._closed_ns else 0.0)
        gone_ns = self._closed_ns + nanoseconds(SETTLED_S)
        empty = self._waited(
            lambda: bool(self._slots and self._slots.empty) and self._clock.now() > gone_ns,
            self._order.reclaim_s,
        )
        if not empty and not self._stop.asked:
            self._note(
                "warning",
                f"windows are still open {self._order.reclaim_s:g} s after their end; the search goes on beside them",
            )
        if self._closed_ns:
            self._reclaims_s.append(seconds(self._clock.now() - self._closed_ns))
        return not self._stop.asked

    def _waited(self, holds: Callable[[], bool], at_most_s: float) -> bool:
        """Wait until something holds, showing progress meanwhile; return whether it does, or did not have to."""
        until_ns = self._clock.now() + nanoseconds(at_most_s)
        while not (held := holds()) and self._clock.now() < until_ns and not self._stop.wait(TICK_S):
            self._progress()
        return held

    def _arrivals(self, sought: Sought, following: Next) -> tuple[Arrivals, float]:
        """Return what is sent in a probe, from its begin on, and after how many seconds it counts."""
        level, counts_after_s = following.level, 0.0
        if sought == "rate":
            rate, counts_after_s = level, self._fill_s
            windows = following.effort or needed(sought, self._order.objectives)
            length_s = max(1, round(counts_after_s * level + SPARE * windows)) / level
        else:
            rate = min(FILL_PER_S, self._most["rate"]) if sought == "windows" else level / BURST_S
            length_s = level / rate
        stretch = Stretch(0.0, length_s, rate, rate)
        plan = Arrivals(process="constant", stretches=(stretch,), late_after_s=LATE_AFTER_S)
        return plan, counts_after_s

    @property
    def _fill_s(self) -> float:
        """How long it takes from the first window of a rate until slots are given back as they are taken."""
        if self._lives_s:
            return LIFE_MARGIN * median(self._lives_s)
        return (
            self._order.hold_s + self._ready_s + (median(self._reclaims_s) if self._reclaims_s else RECLAIM_S)
        )

    def _load_of(self, arrivals: Arrivals, gate: Path, sought: Sought) -> Child:
        """Start the load of a probe; it waits until its gate is opened."""
        prepared = self._prepared
        campaign = prepared.order.campaign
        plan = load_plan(prepared.plan, prepared.target, self._folder, self._clock, 0, campaign)
        hold_s = self._order.hold_s if sought == "rate" else self._order.budget_s
        left = plan.budget.max_jobs - self._jobs
        plan = msgspec.structs.replace(
            plan,
            arrivals=arrivals,
            arrivals_gate=str(gate),
            hold_s=(hold_s, hold_s),
            budget=msgspec.structs.replace(plan.budget, max_jobs=left),
            load_writer=f"load-{self._probes}",
            engine_writer=f"engine-{self._probes}",
            window_base=self._windows,
        )
        orders = self._folder.live_socket.parent / f"load-{self._probes}.json"  # may hold credentials
        write_plan(plan, orders)
        return self._children.start(f"load-{self._probes}", "harness.load", ["--plan", str(orders)])

    def _watched(self, probe: ProbeStarted, following: Next, begins_ns: int, sent_ns: int) -> Tally:
        """Look at a probe until it has shown what it can; return its tally."""
        objectives, seen = self._order.objectives, Tally()
        over_ns = min(sent_ns + nanoseconds(objectives.ready_within_s + PATIENCE_S), self._until_ns)
        whole_ns = 0
        while self._clock.now() < over_ns and not self._stop.wait(TICK_S):
            self._progress()
            now_ns = self._clock.now()
            if now_ns < begins_ns:
                continue
            self._phases.at(Phase.BASELINE, f"{probe.sought} {probe.level:.4g}")
            if now_ns < self._look_ns:
                continue
            self._look_ns = now_ns + nanoseconds(LOOK_S)
            seen = self._tally(probe, now_ns)
            if probe.sought == "rate":
                if self._rate_shown(probe, seen, following, all_sent=now_ns > sent_ns):
                    break
                continue
            held = trial(probe.level, seen, objectives)
            whole_ns = (whole_ns or now_ns) if held else 0
            settle_s = self._order.settle_s if probe.sought == "windows" else 0.0
            answered = (
                seen.windows + seen.opened >= probe.planned
            )  # then it is known how many there were all the same
            if (held is False and answered) or (whole_ns and now_ns - whole_ns >= nanoseconds(settle_s)):
                break
        self._ready_s = max([self._ready_s, *seen.ready_s])
        return seen

    def _rate_shown(self, probe: ProbeStarted, seen: Tally, following: Next, *, all_sent: bool) -> bool:
        before = self._tallies["rate"].get(probe.level, [])
        found = assess("rate", probe.level, [*before, seen], self._order.objectives)
        known_all = all_sent and seen.windows == seen.sent
        if found.decision is Decision.REFUTED:  # and a slot's whole life was seen, by which the search is led
            return known_all or seen.span_s >= self._fill_s
        if found.decision is Decision.SUSTAINED:
            return True
        brief = following.effort and needed("rate", self._order.objectives) > NEARLY * following.effort
        if brief and found.leaning and seen.windows >= following.effort:
            return True
        if following.effort and found.ratio > LOOKS_BAD and seen.span_s >= self._fill_s:
            return True
        return known_all

    def _tally(self, probe: ProbeStarted, now_ns: int) -> Tally:
        try:
            history = read_history(self._folder.history, f"engine-{probe.probe}")
        except RecordUnusable:  # the engine has not begun to write
            return Tally()
        return tally(history, probe, self._order.objectives, now_ns)


def _told(probe: ProbeStarted, seen: Tally, objectives: Objectives, tries: list[Tally]) -> str:
    """Return what a probe showed, as a line."""
    found = assess(probe.sought, probe.level, tries, objectives)
    amiss = [f"{count} {what}" for count, what in (
        (seen.unsuccessful, "unsuccessful"), (seen.slow, "ready too late"), (seen.stalled, "stalled"),
    ) if count]  # fmt: skip
    parts = ", ".join(amiss) or "all served"
    return f"  {probe.sought} {probe.level:.4g}: {seen.windows} windows, {parts}; {found.decision.value}"
