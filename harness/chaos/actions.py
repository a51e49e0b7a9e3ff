"""The functions that experiment files name: Chaos Toolkit actions, one per fault, and `hold` and `undo`.

Plain typed functions on the main thread. A play is there already when the conductor started this process; alone, the first
action makes one. Ctrl-C and SIGTERM never interrupt an action half way: they end its waiting, the way back is walked, and
only then does the experiment end (`SystemExit(20)`, on which Chaos Toolkit still runs its rollbacks).
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from harness.chaos.alone import play_alone
from harness.chaos.faults import fault_named
from harness.chaos.play import Play
from harness.chaos.story import arguments_of
from harness.errors import Stopped

LEAVE_WITH_ROLLBACKS = 20
_play: Play | None = None
_left = False


def use_play(play: Play | None) -> None:
    """Make `play` the one that this process' actions belong to (Chaos Toolkit hands them no context)."""
    global _play, _left
    _play, _left = play, False


def current_play() -> Play | None:
    """Return the play if there is one yet."""
    return _play


def cordon_worker(nodes: str = "1", hold_s: float = 30.0) -> str:
    """Cordon `all` workers, a number of them, or those named; returns the undo entry's id."""
    return _begin("cordon-worker", hold_s, nodes=str(nodes))


def kill_mongo(repeat: bool = True, hold_s: float = 30.0) -> str:
    """Kill MongoDB's pod without grace, with `repeat` its successors too while held."""
    return _begin("kill-mongo", hold_s, repeat=repeat)


def saturate_gpu(
    fill: str = "100%", leave: int | str | None = None, image: str = "", hold_s: float = 30.0
) -> str:
    """Hold `fill` percent of the free GPU shares with idle pods, or all but `leave`."""
    return _begin("saturate-gpu", hold_s, fill=str(fill), leave=leave, image=image)


def worker_not_ready(nodes: str = "1", hold_s: float = 90.0) -> str:
    """Stop the kubelet of `all` workers, a number of them, or those named."""
    return _begin("worker-not-ready", hold_s, nodes=str(nodes))


def mongo_outage(hold_s: float = 30.0) -> str:
    """Scale MongoDB to nothing."""
    return _begin("mongo-outage", hold_s)


def kill_focus_server(repeat: bool = True, hold_s: float = 20.0) -> str:
    """Kill Focus Server's pod without grace, with `repeat` its successors too while held."""
    return _begin("kill-focus-server", hold_s, repeat=repeat)


def focus_server_outage(hold_s: float = 30.0) -> str:
    """Scale Focus Server to nothing."""
    return _begin("focus-server-outage", hold_s)


def hold(hold_s: float = 30.0) -> str:
    """Hold what is in for `hold_s` seconds, watching that it is still in; stopped early, undo at once."""
    with _patiently() as play:
        play.hold(float(hold_s))
        if play.stop.is_set():
            play.undo()
        return f"stopped: {play.stop_reason}" if play.stop.is_set() else "held"


def undo() -> list[str]:
    """Undo and verify everything this experiment has injected; nothing to do is fine."""
    if _play is None:
        return []
    with _patiently() as play:
        return [str(ending) for ending in play.undo()]


def _begin(kind: str, hold_s: float, **given: Any) -> str:
    fault = fault_named(kind)
    arguments = arguments_of(fault, given)
    with _patiently() as play:
        return play.begin(fault, arguments, float(hold_s)).entry.id


@contextmanager
def _patiently() -> Iterator[Play]:
    """Let signals end waits instead of interrupting; leave the experiment afterwards if one came."""
    global _left  # noqa: PLW0603
    if _play is None:
        use_play(play_alone())
    play = _play
    assert play is not None

    def told(number: int, _frame: FrameType | None) -> None:
        play.stop_now(signal.Signals(number).name)

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, told) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield play
    except Stopped:
        pass  # said below, in the words Chaos Toolkit understands
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if play.stop.is_set() and not _left:
        _left = True
        raise SystemExit(LEAVE_WITH_ROLLBACKS)
