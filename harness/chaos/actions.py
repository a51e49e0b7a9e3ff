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


def drain_worker(nodes: str = "1", hold_s: float = 60.0) -> str:
    """Cordon workers and evict their pods, as far as disruption budgets allow."""
    return _begin("drain-worker", hold_s, nodes=str(nodes))


def worker_not_ready(nodes: str = "1", hold_s: float = 90.0) -> str:
    """Stop the kubelet of `all` workers, a number of them, or those named."""
    return _begin("worker-not-ready", hold_s, nodes=str(nodes))


def worker_crash(nodes: str = "1", hold_s: float = 90.0) -> str:
    """Kill workers with everything that runs on them."""
    return _begin("worker-crash", hold_s, nodes=str(nodes))


def kill_mongo(repeat: bool = True, hold_s: float = 30.0) -> str:
    """Kill MongoDB's pod without grace, with `repeat` its successors too while held."""
    return _begin("kill-mongo", hold_s, repeat=repeat)


def mongo_outage(hold_s: float = 30.0) -> str:
    """Scale MongoDB to nothing."""
    return _begin("mongo-outage", hold_s)


def mongo_stall(hold_s: float = 30.0) -> str:
    """Drop everything sent to MongoDB: it runs and answers nothing."""
    return _begin("mongo-stall", hold_s)


def mongo_slow(delay_ms: int = 200, hold_s: float = 30.0) -> str:
    """Make everything to and from MongoDB `delay_ms` later each way."""
    return _begin("mongo-slow", hold_s, delay_ms=delay_ms)


def saturate_gpu(
    fill: str = "100%",
    leave: int | str | None = None,
    nodes: str = "all",
    image: str = "",
    load: str = "",
    hold_s: float = 30.0,
) -> str:
    """Hold `fill` percent of the free GPU shares of `nodes`, or all but `leave`; `image` and `load` may burn them."""
    return _begin(
        "saturate-gpu", hold_s, fill=str(fill), leave=leave, nodes=str(nodes), image=image, load=load
    )


def kill_focus_server(repeat: bool = True, hold_s: float = 20.0) -> str:
    """Kill Focus Server's pod without grace, with `repeat` its successors too while held."""
    return _begin("kill-focus-server", hold_s, repeat=repeat)


def focus_server_outage(hold_s: float = 30.0) -> str:
    """Scale Focus Server to nothing."""
    return _begin("focus-server-outage", hold_s)


def focus_server_crash_loop(hold_s: float = 30.0) -> str:
    """Make Focus Server crash as soon as it starts."""
    return _begin("focus-server-crash-loop", hold_s)


def focus_restart_without_mongo(hold_s: float = 45.0) -> str:
    """Start Focus Server anew while MongoDB is away."""
    return _begin("focus-restart-without-mongo", hold_s)


def revoke_kubernetes_access(hold_s: float = 30.0) -> str:
    """Take the rights of Focus Server's service account away."""
    return _begin("revoke-kubernetes-access", hold_s)


def exhaust_pod_ips(nodes: str = "all", image: str = "", hold_s: float = 60.0) -> str:
    """Take the pod addresses of workers, until new pods get none."""
    return _begin("exhaust-pod-ips", hold_s, nodes=str(nodes), image=image)


def api_server_slow(delay: str = "1500ms", hold_s: float = 30.0) -> str:
    """Delay every answer of the API server."""
    return _begin("api-server-slow", hold_s, delay=delay)


def api_server_down(hold_s: float = 20.0) -> str:
    """Take the API server away."""
    return _begin("api-server-down", hold_s)


def fill_windows(windows: int | str = "50%", hold_s: float = 60.0) -> str:
    """Open a number of windows, or a percentage of MaxWindows, and hold them without reading."""
    return _begin("fill-windows", hold_s, windows=str(windows))


def kill_streams(share: str = "50%", hold_s: float = 15.0) -> str:
    """Kill a share of the running stream pods, once."""
    return _begin("kill-streams", hold_s, share=str(share))


def slow_network(nodes: str = "all", delay: str = "200ms", hold_s: float = 30.0) -> str:
    """Make what passes between clients and streams later by `delay` each way."""
    return _begin("slow-network", hold_s, nodes=str(nodes), delay=delay)


def drop_network(nodes: str = "all", hold_s: float = 15.0) -> str:
    """Drop everything between clients and streams."""
    return _begin("drop-network", hold_s, nodes=str(nodes))


def rabbitmq_outage(hold_s: float = 30.0) -> str:
    """Scale RabbitMQ to nothing."""
    return _begin("rabbitmq-outage", hold_s)


def starve_feed(hold_s: float = 30.0) -> str:
    """Scale the player to nothing: the live feed dries up."""
    return _begin("starve-feed", hold_s)


def waiting_for_fibre(hold_s: float = 45.0) -> str:
    """Start Focus Server anew while nobody feeds it."""
    return _begin("waiting-for-fibre", hold_s)


def block_cleanup(hold_s: float = 60.0) -> str:
    """Take the rights of the cleanup jobs' service account away."""
    return _begin("block-cleanup", hold_s)


def inject(fault: str, hold_s: float = 30.0, arguments: dict[str, Any] | None = None) -> str:
    """Inject any fault by its kind: for faults from outside, which the target file names under `faults`."""
    return _begin(fault, hold_s, **(arguments or {}))


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
    with _patiently() as play:
        fault = fault_named(kind, play.site.target.faults)
        return play.begin(fault, arguments_of(fault, given), float(hold_s)).entry.id


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
