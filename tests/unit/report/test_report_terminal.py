"""The terminal view: fits narrow terminals, keeps quiet off them, and shows what matters."""

import io
import os
import pty
import re
import struct
import termios
from collections.abc import Iterator
from fcntl import ioctl
from select import select

import pytest
from rich.console import Console
from story import run_info, tell

from harness.clock import ManualClock, nanoseconds
from harness.history.events import FaultChanged, FaultStep, Record, WatcherState
from harness.report import LiveState, TerminalView


def state_at(at_s: float) -> tuple[LiveState, ManualClock]:
    state, clock = LiveState(run_info()), ManualClock()
    for message in tell().told:
        if isinstance(message, Record):
            if message.event.at_ns > nanoseconds(at_s):
                break
            clock.sleep_until(message.event.at_ns)  # type: ignore[arg-type]
        state.absorb(message)
    clock.sleep_until(nanoseconds(at_s))  # type: ignore[arg-type]
    return state, clock


def panel(at_s: float, width: int) -> list[str]:
    state, clock = state_at(at_s)
    view = TerminalView(state, clock, 340.0, io.StringIO())
    view.tick()
    out = io.StringIO()
    Console(file=out, width=width).print(view.panel(state.snapshot(), clock.now(), width))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
@pytest.mark.parametrize("at_s", [0.05, 30, 52, 80, 110, 171])
def test_no_line_is_wider_than_the_terminal_and_the_height_is_steady(at_s: float, width: int) -> None:
    lines = panel(at_s, width)
    assert max(len(line) for line in lines) <= width
    assert len(lines) <= 18  # fits a terminal of 24 rows with room for what was printed before


def test_the_panel_shows_phase_windows_refusals_fault_and_time_left() -> None:
    text = "\n".join(panel(52, 80))
    for part in (
        "HOLD",
        "tour on sandbox",
        "00:52",
        "at most 04:48 left",
        " of 30",
        "503s ",
        "● cordon-worker in for 00:05",
    ):
        assert part in text, part


def test_a_full_server_is_said_to_be_full() -> None:
    assert any("30 of 30 FULL" in line for line in panel(25.9, 80))


def test_a_run_that_nobody_has_spoken_of_yet_shows_no_numbers_it_does_not_have() -> None:
    view = TerminalView(LiveState(), ManualClock(), 60.0, io.StringIO())
    view.tick()
    out = io.StringIO()
    Console(file=out, width=80).print(view.panel(LiveState().snapshot(), 0, 80))
    assert "nobody has counted yet" in out.getvalue()
    assert "STARTING" in out.getvalue()


def test_a_blind_watcher_and_a_fault_that_failed_stand_out() -> None:
    state, clock = state_at(52)
    failed = FaultChanged(
        at_ns=52_000_000_000, entry="e1", fault="cordon", experiment="cordon-worker", step=FaultStep.FAILED
    )
    state.absorb(Record(writer="late", seq=1, event=failed))
    state.absorb(
        Record(writer="late", seq=2, event=WatcherState(at_ns=52_000_000_001, watcher="pods", seeing=False))
    )
    view = TerminalView(state, clock, 340.0, io.StringIO())
    view.tick()
    out = io.StringIO()
    Console(file=out, width=80).print(view.panel(state.snapshot(), clock.now(), 80))
    assert "cordon-worker FAILED" in out.getvalue()
    assert "blind: pods" in out.getvalue()


def test_off_a_terminal_one_plain_line_comes_every_ten_seconds() -> None:
    state, clock = LiveState(run_info()), ManualClock()
    out = io.StringIO()
    view = TerminalView(state, clock, 340.0, out)
    for _ in range(4 * 35):
        view.tick()
        clock.advance(nanoseconds(0.25))
    lines = out.getvalue().splitlines()
    assert [line[:5] for line in lines] == ["00:00", "00:10", "00:20", "00:30"]
    assert "\x1b" not in out.getvalue()


def test_a_plain_line_tells_rates_over_the_last_seconds() -> None:
    state, clock = LiveState(run_info()), ManualClock()
    out = io.StringIO()
    view = TerminalView(state, clock, 340.0, out)
    for message in tell().told:
        if isinstance(message, Record):
            if message.event.at_ns > nanoseconds(30.5):
                break
            while message.event.at_ns > clock.now():
                view.tick()
                clock.advance(nanoseconds(0.25))
        state.absorb(message)
    line = out.getvalue().splitlines()[-1]
    found = re.search(r"creates ([\d.]+)/s \| 503s (\d+) \(([\d.]+)/s\)", line)
    assert found, line
    assert 2 < float(found[1]) < 12
    assert int(found[2]) > 20
    assert 0.5 < float(found[3]) < float(found[1])


@pytest.fixture
def terminal() -> Iterator[tuple[int, io.TextIOWrapper]]:
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(theirs, "w") as stream:
        yield ours, stream
    os.close(ours)


def shown_on(ours: int) -> str:
    """Return everything that was written to the terminal."""
    data = b""
    while select([ours], [], [], 0.05)[0]:
        data += os.read(ours, 1 << 16)
    return data.decode()


def test_no_color_is_honoured_on_a_terminal(
    terminal: tuple[int, io.TextIOWrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    ours, stream = terminal
    state, clock = state_at(52)
    with TerminalView(state, clock, 340.0, stream):
        pass
    text = shown_on(ours)
    assert "cordon-worker" in text
    colours = [
        code for code in re.findall(r"\x1b\[([\d;]*)m", text) if re.search(r"\b([349]\d|10\d|38|48)\b", code)
    ]
    assert colours == []


def test_a_terminal_gets_colour_and_its_cursor_back(
    terminal: tuple[int, io.TextIOWrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    ours, stream = terminal
    state, clock = state_at(52)
    with TerminalView(state, clock, 340.0, stream):
        pass
    text = shown_on(ours)
    assert re.search(r"\x1b\[[\d;]*(38|48|3\d|4\d)[\d;]*m", text)
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_a_terminal_that_goes_away_does_not_stop_the_run() -> None:
    stream = io.StringIO()
    state, clock = state_at(20)
    view = TerminalView(state, clock, 340.0, stream)
    view.start()
    stream.close()
    view.stop()
