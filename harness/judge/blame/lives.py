"""The life of an accepted window that was not served, as the cluster showed it: its pod, node, Job, Service and their Events.

Called by `blame`, which asks the causes' window rules about each. Everything is what watchers and the client saw, with the instant at
which it was seen.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.history.events import (
    ClusterEventSeen,
    JobSeen,
    NodeSeen,
    Outcome,
    PodSeen,
    WindowAccepted,
    WindowClosed,
    WindowReady,
)
from harness.history.samples import Rows
from harness.judge.blame.bodies import LOCAL, writers_of
from harness.judge.blame.cause import Claim
from harness.judge.sightings import DOWN, Seen, identity
from harness.judge.steps import ints
from harness.judge.world import World

S = 1_000_000_000
NODE_GRACE_NS = 60 * S
"""A node whose kubelet died is seen NotReady within this time (40 s on Kubernetes as shipped)."""
BEFORE_NS, AFTER_NS = 5 * S, 15 * S
"""What is seen of a window's objects is seen from so long before it was accepted until so long after it was over for its client."""
DRY_NS = 4 * S
"""A stream without a frame for this long has run dry."""
GOES_ALONG_NS = 2 * S
"""Within this time of each other a Job and its pod are seen to go."""
TOGETHER_NS = 3 * S
"""Streams that break for one reason break within this time."""


@dataclass(frozen=True)
class Life:
    """One accepted window that ended badly; instants are nanoseconds since the run's start."""

    world: World
    cluster: "ClusterLives"
    closed: WindowClosed
    accepted_ns: int
    ready_ns: int | None
    last_frame_ns: int | None

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        return self.closed.outcome

    @property
    def at_ns(self) -> int:
        """When it ended for the client."""
        return self.closed.at_ns

    @property
    def suffered_ns(self) -> tuple[int, int]:
        """Return the stretch in which whatever kept it from being served was at work."""
        if self.outcome is Outcome.PENDING_NO_START:
            return self.accepted_ns, self.at_ns
        if self.outcome is Outcome.STREAM_NO_FRAME:
            return self.ready_ns or self.accepted_ns, self.at_ns
        return self.at_ns - TOGETHER_NS // 2, self.at_ns

    # --- the pod ----------------------------------------------------------------------------------

    @cached_property
    def pods(self) -> tuple[tuple[str, PodSeen], ...]:
        """Return what was seen of its pod: record identity and sight, in order of time."""
        found = self.cluster.pods.get(self.closed.job_id, ())
        return tuple(one for one in found if self._is_mine(one[1].at_ns))

    def _is_mine(self, at_ns: int) -> bool:
        """Return whether something of its job was seen around its own life: a server that counts anew uses job ids again."""
        return self.accepted_ns - BEFORE_NS <= at_ns <= self.at_ns + AFTER_NS

    @property
    def node(self) -> str:
        """Return the node its pod was put on; empty if it never was."""
        return next((pod.node for _, pod in reversed(self.pods) if pod.node), "")

    @property
    def placed_ns(self) -> int | None:
        """When its pod was first seen on a node; None if it was not before the window's end."""
        return next((pod.at_ns for _, pod in self.pods if pod.node and pod.at_ns <= self.at_ns), None)

    @property
    def waited_for_a_place(self) -> bool:
        """Return whether it was given up after its pod had been on no node for half of the wait."""
        if self.outcome is not Outcome.PENDING_NO_START:
            return False
        return 2 * ((self.placed_ns or self.at_ns) - self.accepted_ns) >= self.at_ns - self.accepted_ns

    @property
    def made_ns(self) -> int | None:
        """When its pod was first seen; None if it was not before the window's end."""
        return next((pod.at_ns for _, pod in self.pods if pod.at_ns <= self.at_ns), None)

    @property
    def job_seen(self) -> bool:
        """Return whether its Job was seen before the window's end."""
        found = self.cluster.jobs.get(self.closed.job_id, ())
        return any(job.exists and self._is_mine(job.at_ns) and job.at_ns <= self.at_ns for job in found)

    @property
    def ran(self) -> bool:
        """Return whether its pod was seen Ready before the window's end."""
        return any(pod.ready and pod.at_ns <= self.at_ns for _, pod in self.pods)

    @property
    def lost_ns(self) -> int | None:
        """When its pod was first seen being ended, gone or failed."""
        return next((pod.at_ns for _, pod in self.pods if _is_over(pod)), None)

    def lost_by(self, until_ns: int) -> bool:
        """Return whether its pod was seen to be over by `until_ns`."""
        return self.lost_ns is not None and self.lost_ns <= until_ns

    def reasons(self) -> frozenset[str]:
        """Return why its pod waited or ended, in Kubernetes' words, from its states and its Events."""
        told = {pod.reason for _, pod in self.pods if pod.reason}
        return frozenset(told | {event.reason for _, event in self.events if event.warning})

    @cached_property
    def events(self) -> tuple[tuple[str, ClusterEventSeen], ...]:
        """Return Kubernetes' Events about its pod or Job until it ended."""
        found = self.cluster.events.get(self.closed.job_id, ())
        return tuple(one for one in found if self.accepted_ns - BEFORE_NS <= one[1].at_ns <= self.at_ns + S)

    def said(self, *parts: str) -> tuple[str, ...]:
        """Return the identities of the Events whose text has one of `parts`."""
        return tuple(where for where, event in self.events if any(part in event.text for part in parts))

    def neighbour_said(self, *parts: str) -> bool:
        """Return whether an Event about another window's pod on its node had one of `parts` in its text while it waited."""
        return bool(self.node) and self.cluster.said_on(self.node, self.accepted_ns, self.at_ns, parts)

    @property
    def failed_before_ready(self) -> bool:
        """Return whether its pod failed or ended, while it was waited for, without ever having been ready."""
        over = (pod.phase in ("Failed", "Succeeded") and pod.at_ns <= self.at_ns for _, pod in self.pods)
        return not self.ran and any(over)

    @property
    def ran_dry(self) -> bool:
        """Return whether frames had come and then had stayed away for a good while before the end."""
        broken = self.outcome in (Outcome.STREAM_BROKEN, Outcome.STREAM_BROKEN_BEFORE_DATA)
        since_ns = self.last_frame_ns or self.ready_ns
        return broken and since_ns is not None and self.at_ns - since_ns >= DRY_NS

    def without(self, spare: Seen) -> Claim:
        """Claim that no share was left in `spare` while it waited to be put somewhere."""
        if self.blind("pods", "nodes"):
            return Claim.NO
        none = spare.steps.equal(0)
        start, end = ints([self.accepted_ns + S // 2]), ints([self.at_ns])
        if none.lowest(start, end)[0]:
            return Claim.CERTAIN
        return Claim.LIKELY if none.highest(start, end)[0] else Claim.NO

    # --- its Job and Service ----------------------------------------------------------------------

    @property
    def job_gone_ns(self) -> int | None:
        """When its Job was first seen gone; None if it was not before the window's end and a second."""
        return self._job_gone_by(self.at_ns + S)

    def _job_gone_by(self, until_ns: int) -> int | None:
        found = self.cluster.jobs.get(self.closed.job_id, ())
        gone = [job.at_ns for job in found if not job.exists and job.at_ns >= self.accepted_ns]
        return next((at for at in gone if at <= until_ns), None)

    @property
    def job_outlived_pod(self) -> bool:
        """Return whether its Job was still there a while after its pod was over: cleanup takes the Job, and the pod goes with it."""
        if self.lost_ns is None or self.blind("jobs"):
            return False
        return self.job_seen and self._job_gone_by(self.lost_ns + GOES_ALONG_NS) is None

    # --- the node ---------------------------------------------------------------------------------

    def node_was_away(self, from_ns: int, to_ns: int) -> bool:
        """Return whether its node was seen gone or not Ready between two instants."""
        return bool(self.node) and self.cluster.away(self.node, from_ns, to_ns)

    @property
    def up_ns(self) -> tuple[int, int] | None:
        """Return since when and until when its pod was seen Ready, no longer than it was waited for; None if it never was."""
        ready_ns = next((pod.at_ns for _, pod in self.pods if pod.ready), None)
        if ready_ns is None:
            return None
        return ready_ns, min(self.at_ns, self.lost_ns or self.at_ns)

    @property
    def was_up_for_half(self) -> bool:
        """Return whether its pod was Ready for half of the time in which it was waited for."""
        up = self.up_ns
        return up is not None and 2 * (up[1] - up[0]) >= self.at_ns - self.accepted_ns

    @property
    def was_removed(self) -> bool:
        """Return whether its Job was taken away before it had failed and its pod was over, while somebody still wanted it."""
        gone_ns = self.job_gone_ns
        if gone_ns is None:
            return False
        jobs = self.cluster.jobs.get(self.closed.job_id, ())
        failed = any(
            job.state == "failed" and self._is_mine(job.at_ns) and job.at_ns <= gone_ns for job in jobs
        )
        return not failed and (self.lost_ns is None or gone_ns <= self.lost_ns + S // 2)

    def broke_together(self) -> int:
        """Return how many other windows on its node ended badly within a moment of it."""
        return self.cluster.ended_near(self.node, self.at_ns) - 1 if self.node else 0

    # --- the world around -------------------------------------------------------------------------

    def blind(self, *watchers: str) -> bool:
        """Return whether one of the watchers could not see all through the time it suffered."""
        start, end = (ints([at]) for at in self.suffered_ns)
        return any(bool(self.world.blind_at(watcher, start, end)[0]) for watcher in watchers)

    def down(self, name: str, before_ns: int = 0, after_ns: int = 0) -> bool:
        """Return whether a dependency was seen not to answer, or to have no ready pod, while it suffered."""
        start, end = self.suffered_ns
        span = ints([start - before_ns]), ints([end + after_ns])
        told = [self.world.ready_pods[name]] if name in self.world.ready_pods else []
        if name in self.world.dependencies:
            told.append(self.world.dependencies[name])
        return any(bool(seen.steps.equal(DOWN).highest(*span)[0]) for seen in told)

    def evidence(self) -> tuple[str, ...]:
        """Return the identities of what tells most about its end: the last word on its pod, and its last warnings."""
        pods = [where for where, pod in self.pods if pod.at_ns <= self.at_ns + S][-1:]
        warnings = [where for where, event in self.events if event.warning][-2:]
        return (*pods, *warnings)


def _is_over(pod: PodSeen) -> bool:
    return not pod.exists or pod.terminating or pod.phase in ("Failed", "Succeeded")


class ClusterLives:
    """What was seen of every window's objects and of every node, by job id and by node; built once per run."""

    def __init__(self, world: World) -> None:
        pods: dict[str, list[tuple[str, PodSeen]]] = defaultdict(list)
        events: dict[str, list[tuple[str, ClusterEventSeen]]] = defaultdict(list)
        self.jobs: dict[str, list[JobSeen]] = defaultdict(list)
        self.nodes: dict[str, list[NodeSeen]] = defaultdict(list)
        self._bad: dict[str, list[int]] = defaultdict(list)
        self._reached: dict[str, list[int]] = defaultdict(list)
        self._unreached: list[tuple[Life, tuple[int, int]]] = []
        for record, pod in world.of(PodSeen):
            if pod.role == "stream":
                pods[pod.job_id].append((identity(record), pod))
        for _, job in world.of(JobSeen):
            if job.job.startswith("grpc-job-"):
                self.jobs[job.job_id].append(job)
        for _, node in world.of(NodeSeen):
            self.nodes[node.node].append(node)
        for record, told in world.of(ClusterEventSeen):
            kind, _, name = told.about.partition("/")
            if kind in ("Pod", "Job") and name.startswith("grpc-job-"):
                events["-".join(name.split("-")[2:4])].append((identity(record), told))
        rows, local = world.attempts.rows, writers_of(world.attempts.texts) == LOCAL
        self._ran_out = np.sort(rows["done_ns"][local[rows["body"]]]) if len(local) else ints([])
        self.pods = {job: tuple(seen) for job, seen in pods.items()}
        self.events = {job: tuple(seen) for job, seen in events.items()}

    def ran_out(self, from_ns: int, to_ns: int) -> bool:
        """Return whether a request of ours between two instants failed for want of something on our own machine."""
        first, last = np.searchsorted(self._ran_out, (from_ns, to_ns))
        return bool(last > first)

    def take_ready(self, opened: Iterable[WindowReady]) -> None:
        """Take in when streams could be reached, to see which nodes could be."""
        for event in opened:
            self._reached[self._node_of(event.job_id)].append(event.at_ns)

    def reached(self, node: str, from_ns: int, to_ns: int) -> bool:
        """Return whether a stream on a node was reached at some instant between two."""
        return any(from_ns <= at_ns <= to_ns for at_ns in self._reached.get(node, ()))

    def _node_of(self, job_id: str) -> str:
        return next((pod.node for _, pod in reversed(self.pods.get(job_id, ())) if pod.node), "")

    def take_bad(self, closed: Iterable[WindowClosed]) -> None:
        """Take in which windows ended badly, to see which ended together."""
        for event in closed:
            self._bad[self._node_of(event.job_id)].append(event.at_ns)

    def said_on(self, node: str, from_ns: int, to_ns: int, parts: tuple[str, ...]) -> bool:
        """Return whether an Event about a window's pod on `node` between two instants had one of `parts` in its text."""
        return any(
            from_ns <= event.at_ns <= to_ns and any(part in event.text for part in parts)
            for job, events in self.events.items()
            if any(pod.node == node for _, pod in self.pods.get(job, ()))
            for _, event in events
        )

    def away(self, node: str, from_ns: int, to_ns: int) -> bool:
        """Return whether a node was seen gone or not Ready at some instant between two."""
        before: NodeSeen | None = None
        for seen in self.nodes.get(node, ()):
            if seen.at_ns > to_ns:
                break
            if seen.at_ns >= from_ns and _is_away(seen):
                return True
            before = seen if seen.at_ns < from_ns else before
        return before is not None and _is_away(before)

    def unreached_beside(self, life: Life) -> int:
        """Return how many other windows of its node had a Ready pod while its own was, and were never reached either."""
        mine = life.up_ns
        if mine is None:
            return 0
        return sum(
            other is not life and other.node == life.node and up[0] < mine[1] and mine[0] < up[1]
            for other, up in self._unreached
        )

    def take_lives(self, lives: Iterable[Life]) -> None:
        """Take in the windows that ended badly, to see which were never reached although their pods were Ready."""
        self._unreached = [
            (life, up) for life in lives if life.outcome is Outcome.PENDING_NO_START and (up := life.up_ns)
        ]

    def ended_near(self, node: str, at_ns: int) -> int:
        """Return how many windows of a node ended badly within a moment of `at_ns`."""
        return sum(abs(other - at_ns) <= TOGETHER_NS for other in self._bad.get(node, ()))


def _is_away(node: NodeSeen) -> bool:
    return not node.exists or node.ready != "True"


def lives_of(world: World, cluster: ClusterLives, closed: list[WindowClosed], frames: Rows) -> list[Life]:
    """Return the life of every window that ended badly, in the order of their ends."""
    accepted: dict[int, WindowAccepted] = {}
    ready: dict[int, int] = {}
    for _, begun in world.of(WindowAccepted):
        accepted[begun.window] = begun
    for _, opened in world.of(WindowReady):
        ready[opened.window] = opened.at_ns
    cluster.take_bad(closed)
    cluster.take_ready(opened for _, opened in world.of(WindowReady))
    last = _last_frames(frames, {event.window for event in closed})
    lives = []
    for event in closed:
        at_ns = accepted[event.window].at_ns if event.window in accepted else event.at_ns
        lives.append(Life(world, cluster, event, at_ns, ready.get(event.window), last.get(event.window)))
    cluster.take_lives(lives)
    return lives


def _last_frames(frames: Rows, windows: set[int]) -> dict[int, int]:
    """Return when each of `windows` got its last frame."""
    wanted = frames[np.isin(frames["window"], list(windows))]
    return dict(zip(wanted["window"].tolist(), wanted["at_ns"].tolist(), strict=True))  # in order of time
