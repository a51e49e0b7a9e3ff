"""The live view of a running campaign: a small panel on a terminal, one plain line per 10 s elsewhere.

The conductor enters a `TerminalView` around the run; a thread of the view redraws it from snapshots of the live state. It only
shows: it decides nothing, and a broken terminal never stops a run.
"""

import threading
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from harness.clock import SECOND_NS, Clock, seconds
from harness.history.events import FaultStep, Phase
from harness.report.live import LiveState
from harness.report.snapshot import Headline, LiveFault, Snapshot

REDRAW_S: Final = 0.25
PLAIN_EVERY_S: Final = 10.0
RATE_OVER_S: Final = 5.0
WIDEST: Final = 100
HEADLINES_SHOWN: Final = 5
BARS: Final = " ▁▂▃▄▅▆▇█"

PHASE_STYLE: Final = {
    Phase.WARM_UP: "bold white on grey37",
    Phase.BASELINE: "bold white on dark_cyan",
    Phase.INJECT: "bold white on red3",
    Phase.HOLD: "bold white on red3",
    Phase.UNDO: "bold black on orange1",
    Phase.RECOVER: "bold white on green4",
    Phase.DRAIN: "bold white on grey37",
}
LEVEL_STYLE: Final = {"info": "", "warning": "yellow", "error": "bold red"}


@dataclass(frozen=True, slots=True)
class Moment:
    """One reading of the counters, kept to tell rates and to draw the recent past."""

    at_ns: int
    asked: int
    refused: int
    open: int | None


@dataclass(frozen=True, slots=True)
class Rates:
    """Creates and 503s per second over the last seconds."""

    asked: float
    refused: float


class TerminalView:
    """Shows `state` on `stream` until left; `planned_s` is the longest the run may take."""

    def __init__(self, state: LiveState, clock: Clock, planned_s: float, stream: TextIO) -> None:
        self._state = state
        self._clock = clock
        self._planned_s = planned_s
        self._console = Console(file=stream, highlight=False, soft_wrap=False)
        self._is_terminal = self._console.is_terminal and not self._console.is_dumb_terminal
        self._moments: deque[Moment] = deque(maxlen=600)
        self._per_second: deque[int] = deque(maxlen=WIDEST)
        self._next_plain_ns = 0
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to show, in a thread of the view's own."""
        if self._is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=False)
            self._live.start()
        self._thread = threading.Thread(target=self._show, name="terminal", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Show the last state once more and leave the terminal as it was."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(2.0)
        try:
            self._next_plain_ns = 0
            self.tick()
            if self._live is not None:
                self._live.stop()
        except (OSError, ValueError):  # nobody is looking any more
            return

    def tick(self) -> None:
        """Redraw now; off a terminal, print a line if the last one is 10 s old."""
        snapshot = self._state.snapshot()
        now_ns = self._clock.now()
        self._remember(snapshot, now_ns)
        if self._live is not None:
            self._live.update(self.panel(snapshot, now_ns, self._console.width), refresh=True)
        elif now_ns >= self._next_plain_ns:
            self._next_plain_ns = now_ns + int(PLAIN_EVERY_S * SECOND_NS)
            print(self.line(snapshot, now_ns), file=self._console.file, flush=True)

    def _show(self) -> None:
        while not self._ending.is_set():
            try:
                self.tick()
            except (OSError, ValueError):  # the terminal went away; the run goes on without it
                return
            self._ending.wait(REDRAW_S)

    def _remember(self, snapshot: Snapshot, now_ns: int) -> None:
        best = _best_count(snapshot)
        if not self._moments or now_ns // SECOND_NS != self._moments[-1].at_ns // SECOND_NS:
            self._per_second.append(best or 0)
        elif best is not None:
            self._per_second[-1] = best
        self._moments.append(Moment(now_ns, snapshot.asked, snapshot.refused, best))

    def _rates(self) -> Rates:
        last = self._moments[-1]
        oldest_ns = last.at_ns - int(RATE_OVER_S * SECOND_NS)
        before = [moment for moment in self._moments if moment.at_ns <= oldest_ns]
        first = before[-1] if before else self._moments[0]
        span_s = seconds(last.at_ns - first.at_ns)
        if span_s <= 0:
            return Rates(0.0, 0.0)
        return Rates((last.asked - first.asked) / span_s, (last.refused - first.refused) / span_s)

    # --- without a terminal ------------------------------------------------------------------------

    def line(self, snapshot: Snapshot, now_ns: int) -> str:
        """Return the state in one plain line."""
        rates = self._rates()
        phase = snapshot.phase.value if snapshot.phase else "starting"
        parts = [
            f"{_minutes(now_ns)} of at most {_minutes(int(self._planned_s * SECOND_NS))}",
            phase,
            f"open {_windows_text(snapshot)}",
            f"creates {rates.asked:.1f}/s",
            f"503s {snapshot.refused} ({rates.refused:.1f}/s)",
        ]
        parts += [_fault_text(fault, now_ns) for fault in _by_experiment(snapshot.active_faults)]
        if snapshot.headlines:
            latest = snapshot.headlines[-1]
            parts.append(f"[{_minutes(latest.at_ns)} {latest.text}]")
        return " | ".join(parts)

    # --- on a terminal -----------------------------------------------------------------------------

    def panel(self, snapshot: Snapshot, now_ns: int, width: int) -> RenderableType:
        """Return what the terminal shows, at most `width` cells wide."""
        wide = max(40, min(width, WIDEST) - 1)
        rows: list[Text] = [
            self._title(snapshot, now_ns, wide),
            self._progress(now_ns, wide),
            Text(),
            *self._windows(snapshot, wide),
            self._creates(snapshot),
            self._streams(snapshot),
            Text(),
            *self._faults(snapshot, now_ns),
            Text(),
            *self._headlines(snapshot, wide),
        ]
        if not snapshot.ended:
            rows.append(Text("Ctrl-C stops the run and undoes every fault", "grey50"))
        for row in rows:
            row.no_wrap = True
            row.overflow = "ellipsis"
            row.truncate(wide, overflow="ellipsis")
        return Group(*rows)

    def _title(self, snapshot: Snapshot, now_ns: int, wide: int) -> Text:
        phase = snapshot.phase
        badge = f" {phase.value.upper() if phase else 'STARTING'} "
        style = PHASE_STYLE[phase] if phase else "bold white on grey37"
        run = snapshot.run
        name = f"{run.campaign} on {run.target}" if run else "focus-harness"
        left_ns = max(0, int(self._planned_s * SECOND_NS) - now_ns)
        time = f"{_minutes(now_ns)}, at most {_minutes(left_ns)} left"
        title = Text.assemble((badge, style), " ", (name, "bold"))
        gap = wide - title.cell_len - cell_len(time)
        if gap < 2:
            title.truncate(max(10, wide - cell_len(time) - 2), overflow="ellipsis")
            gap = wide - title.cell_len - cell_len(time)
        return title.append(" " * max(1, gap)).append(time)

    def _progress(self, now_ns: int, wide: int) -> Text:
        share = min(1.0, seconds(now_ns) / self._planned_s) if self._planned_s > 0 else 0.0
        done = int(share * wide)
        return Text.assemble(("━" * done, "dark_cyan"), ("━" * (wide - done), "grey30"))

    def _windows(self, snapshot: Snapshot, wide: int) -> list[Text]:
        count, limit = _best_count(snapshot), snapshot.max_windows
        bar_wide = max(10, wide - 34)
        row = _label("windows")
        if count is None:
            return [row.append("nobody has counted yet", "grey62")]
        top = max(limit or 0, count, 1)
        filled = round(bar_wide * count / top)
        full = limit is not None and count >= limit
        row.append("▇" * filled, "red3" if full else "dark_cyan")
        row.append("▁" * (bar_wide - filled), "grey42")
        row.append(f" {count}", "bold")
        row.append(f" of {limit}" if limit else f", {_limit_text(snapshot)}")
        if full:
            row.append(" FULL", "bold red3")
        counts = snapshot.open_windows
        by_source = ", ".join(f"{name} {value}" for name, value in counts.items())
        opening = sum(load.opening for load in snapshot.loads.values())
        wanted = sum(load.wanted for load in snapshot.loads.values())
        more = f"; {f'{opening} opening, ' if opening else ''}want {wanted}" if snapshot.loads else ""
        recent = _spark(list(self._per_second)[-bar_wide:], top)
        past = _label("").append(f"{recent:>{bar_wide}}", "grey50").append(f" last {bar_wide} s", "grey62")
        return [row, past, _label("").append(by_source + more, "grey62")]

    def _creates(self, snapshot: Snapshot) -> Text:
        rates = self._rates()
        row = _label("creates").append(f"{rates.asked:.1f}/s", "bold")
        row.append(f", {snapshot.accepted} accepted, ")
        row.append(f"503s {snapshot.refused}", "bold red3" if snapshot.refused else "")
        row.append(f" ({rates.refused:.1f}/s)")
        others = snapshot.asked - snapshot.refused - snapshot.accepted
        return row.append(f", {others} ended otherwise", "yellow") if others else row

    def _streams(self, snapshot: Snapshot) -> Text:
        row = _label("streams")
        if not snapshot.frames:
            return row.append("no frame yet", "grey62")
        row.append(f"{snapshot.frames:,} frames, {snapshot.stream_bytes / 1e6:,.1f} MB")
        if snapshot.frame_lag_max_ns is not None:
            row.append(f", worst lag {snapshot.frame_lag_max_ns / 1e6:.0f} ms")
        broken = snapshot.measured["streams_broken"]
        return row.append(f", {broken} broken", "yellow") if broken else row

    def _faults(self, snapshot: Snapshot, now_ns: int) -> list[Text]:
        rows: list[Text] = []
        for fault in _by_experiment(snapshot.active_faults):
            style = "bold red3" if fault.step is not FaultStep.FAILED else "bold white on red3"
            rows.append(_label("fault" if not rows else "").append(f"● {_fault_text(fault, now_ns)}", style))
        if rows:
            return rows
        over = {fault.experiment for fault in snapshot.faults if fault.undone_ns is not None}
        text = "none in the world" + (f"; undone so far: {', '.join(sorted(over))}" if over else "")
        return [_label("fault").append(text, "grey62")]

    def _headlines(self, snapshot: Snapshot, wide: int) -> list[Text]:
        rows = [_headline(line) for line in snapshot.headlines[-HEADLINES_SHOWN:]]
        blind = sorted(name for name, seeing in snapshot.watchers.items() if not seeing)
        if blind:
            rows.append(Text(f"blind: {', '.join(blind)}", "bold yellow"))
        if snapshot.lost:
            rows.append(Text(f"{snapshot.lost} live messages lost; the record has them", "grey62"))
        return rows + [Text()] * (HEADLINES_SHOWN - len(rows))


def _label(name: str) -> Text:
    return Text.assemble((set_cell_size(name, 9), "grey62"))


def _headline(line: Headline) -> Text:
    return Text.assemble((f"{_minutes(line.at_ns)}    ", "grey62"), (line.text, LEVEL_STYLE[line.level]))


def _minutes(at_ns: int) -> str:
    whole = max(0, at_ns // SECOND_NS)
    return f"{whole // 60:02d}:{whole % 60:02d}"


def _best_count(snapshot: Snapshot) -> int | None:
    """Return the count nearest to what the server admits by: slots, else pods, else own streams."""
    counts = snapshot.open_windows
    return next((counts[source] for source in ("slots", "pods", "streams") if source in counts), None)


def _limit_text(snapshot: Snapshot) -> str:
    text = snapshot.run.max_windows_text if snapshot.run else ""
    return "no limit" if text == "unlimited" else "limit unknown"


def _windows_text(snapshot: Snapshot) -> str:
    count = _best_count(snapshot)
    limit = snapshot.max_windows
    return f"{'?' if count is None else count} of {limit or _limit_text(snapshot)}"


def _by_experiment(faults: tuple[LiveFault, ...]) -> tuple[LiveFault, ...]:
    """Return one fault per experiment, the earliest: hogs of one experiment are one line."""
    first: dict[str, LiveFault] = {}
    for fault in sorted(faults, key=lambda one: one.injected_ns or 0):
        first.setdefault(fault.experiment, fault)
    return tuple(first.values())


def _fault_text(fault: LiveFault, now_ns: int) -> str:
    held_ns = now_ns - (fault.injected_ns or now_ns)
    word = {FaultStep.INJECTED: "injected, not seen yet", FaultStep.FAILED: "FAILED"}.get(fault.step, "in")
    return f"{fault.experiment} {word} for {_minutes(held_ns)}"


def _spark(values: list[int], top: int) -> str:
    return "".join(BARS[max(1, round(8 * value / top)) if value else 0] for value in values)
