"""The closed set of events a run's history may hold: frozen values, no I/O, no clock.

Everybody who sees or does something appends these; everybody who concludes something reads them. The event kinds and their
fields are public (`schema` 1): a field may be added with a default, never renamed. Instants are nanoseconds since the
run's start. Free text is short (`writer.py` caps it) and never holds a credential.
"""

from enum import StrEnum
from typing import Union, get_args

import msgspec

SCHEMA = 1


class Phase(StrEnum):
    """The closed set of phases; gates ignore `warm-up` and `drain` unless they name them."""

    WARM_UP = "warm-up"
    BASELINE = "baseline"
    INJECT = "inject"
    HOLD = "hold"
    UNDO = "undo"
    RECOVER = "recover"
    DRAIN = "drain"


class Outcome(StrEnum):
    """How one window ended, or that it never opened: the closed, documented set.

    `streaming` is the only success: the first frame of the window's own job arrived, and the window was then held and closed
    as planned. `complete` is the success of a historic window whose stream ended after its data.
    """

    STREAMING = "streaming"
    COMPLETE = "complete"
    UNAVAILABLE_503 = "unavailable_503"
    SERVER_5XX = "server_5xx"
    PARSE_500 = "parse_500"
    INGRESS_502_504 = "ingress_502_504"
    NO_RECORDING_404 = "no_recording_404"
    NOT_FOUND_404 = "not_found_404"
    VALIDATION_422 = "validation_422"
    OTHER_STATUS = "other_status"
    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    READ_TIMEOUT = "read_timeout"
    BROKEN_ANSWER = "broken_answer"
    UNKNOWN = "unknown"
    """No reply: the server may have opened the window."""
    PENDING_NO_START = "pending_no_start"
    """200, and the stream never became ready."""
    STREAM_NO_FRAME = "stream_no_frame"
    STREAM_BROKEN_BEFORE_DATA = "stream_broken_before_data"
    STREAM_BROKEN = "stream_broken"
    """Frames came, then the stream ended before its planned end."""
    FOREIGN_STREAM = "foreign_stream"
    ABANDONED = "abandoned"
    """Accepted, and never connected to: its user did not mean to. Nobody's success and nobody's failure."""
    CANCELLED = "cancelled"
    """The run ended or was stopped while the window was opening."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    """What every event has: the instant it happened at (not the instant it was written at)."""

    at_ns: int


# --- the run --------------------------------------------------------------------------------------


class RunStarted(Event, frozen=True, kw_only=True, tag="run_started"):
    """The conductor started the run."""

    run_id: str
    campaign: str
    target: str


class PhaseChanged(Event, frozen=True, kw_only=True, tag="phase_changed"):
    """From this instant on the run is in `phase`; `step` names the timeline entry that caused it."""

    phase: Phase
    step: str = ""


class RunEnded(Event, frozen=True, kw_only=True, tag="run_ended"):
    """The conductor ended the run; `reason` is `planned`, `stopped`, `stop condition`, or what went wrong."""

    reason: str
    wall_step_s: float = 0.0
    """How far the wall clock moved against the run's clock from start to end."""


class ProcessStarted(Event, frozen=True, kw_only=True, tag="process_started"):
    """A process of the run started."""

    process: str
    pid: int


class ProcessEnded(Event, frozen=True, kw_only=True, tag="process_ended"):
    """A process of the run ended; `exit_code` is negative for a signal."""

    process: str
    pid: int
    exit_code: int


class WorkerLost(Event, frozen=True, kw_only=True, tag="worker_lost"):
    """A worker of a load that several play is not heard of any more; how it ended is not known."""

    process: str
    pid: int
    """0 where it never said."""


class ConditionState(StrEnum):
    """What is known of a stop condition at one moment."""

    CLEAR = "clear"
    HOLDS = "holds"
    UNKNOWN = "unknown"


class StopConditionChanged(Event, frozen=True, kw_only=True, tag="stop_condition_changed"):
    """A stop condition of the campaign is in another state than before, or (`ended`) has just ended the run.

    `value` is what was compared with the limit, None where there is no number; `detail` says it in words. With `ended`, `detail`
    is the reason, and an `unknown` one means that the run could not see what it must not go on without.
    """

    name: str
    state: ConditionState
    value: float | None = None
    detail: str = ""
    ended: bool = False


class Note(Event, frozen=True, kw_only=True, tag="note"):
    """Something a person reading the record should know: `level` is info, warning or error."""

    level: str
    text: str


# --- load -----------------------------------------------------------------------------------------


class ArrivalsPlanned(Event, frozen=True, kw_only=True, tag="arrivals_planned"):
    """An engine has a plan of open arrivals: how many, and from what lateness on one counts as late."""

    planned: int
    late_after_ns: int
    process: str
    """constant or poisson."""
    seed: int = 0


class CapacitySought(Event, frozen=True, kw_only=True, tag="capacity_sought"):
    """A search for what the target sustains begins: what it means that a level is held, and how sure that has to be."""

    sought: str
    """windows (open at once), creates (in flight at once) or rate (arrivals per second)."""
    success: float
    ready_within_s: float
    unstalled: float
    confidence: float
    precision: float
    hold_s: float
    """How long windows are held in a search for a rate."""
    most: float
    """No level above this is tried."""


class ProbeStarted(Event, frozen=True, kw_only=True, tag="probe_started"):
    """A level is tried: `planned` creates with the window numbers from `first_window` on, of which those from `counted_ns` on count."""

    probe: int
    sought: str
    level: float
    first_window: int
    planned: int
    counted_ns: int


class ProbeEnded(Event, frozen=True, kw_only=True, tag="probe_ended"):
    """The probe is over: nothing that happened later says anything of its level."""

    probe: int


class FeedOpened(Event, frozen=True, kw_only=True, tag="feed_opened"):
    """Rows for people's own users are at hand: of which file, how many, handed out in which order."""

    file: str
    order: str
    """unique, round_robin or random."""
    rows: int


class WindowAccepted(Event, frozen=True, kw_only=True, tag="window_accepted"):
    """`POST /configure` answered 200: a window is possibly open (its stream has shown nothing yet)."""

    window: int
    job_id: str
    streams: int
    latency_ns: int
    address: str = ""
    lines_dt_s: float = 0.0
    """How much time a row of its live streams takes; 0 where the answer did not say."""
    persona: str = ""
    """Which kind of user asked for it; `arrival` for a plan's arrivals."""
    own_pace: bool = False
    """Its user reads at a pace of its own, or not at all: its frames are nobody's lateness."""


class WindowReady(Event, frozen=True, kw_only=True, tag="window_ready"):
    """The window's gRPC channel became ready, `since_accept_ns` after the 200."""

    window: int
    job_id: str
    since_accept_ns: int
    transport: str = "reference"
    """What carries its streams: reference or lean."""


class FirstFrame(Event, frozen=True, kw_only=True, tag="first_frame"):
    """The first frame of the window's own job arrived: from here on it is certainly open."""

    window: int
    job_id: str
    since_accept_ns: int


class WindowClosed(Event, frozen=True, kw_only=True, tag="window_closed"):
    """An accepted window ended on the client's side; its slot may be held for a while longer."""

    window: int
    job_id: str
    outcome: Outcome
    frames: int = 0
    rows: int = 0
    bytes: int = 0
    checked: int = 0
    """Frames whose every row was looked at."""
    detail: str = ""


class WindowUnknown(Event, frozen=True, kw_only=True, tag="window_unknown"):
    """A create got no answer: the window is possibly open until it is found in the cluster or drained."""

    window: int
    outcome: Outcome
    request_id: str


class ScenarioSuspended(Event, frozen=True, kw_only=True, tag="scenario_suspended"):
    """`refusals` equal refusals in a row: the load stopped asking until `until_ns`."""

    outcome: Outcome
    refusals: int
    until_ns: int


class Drift(Event, frozen=True, kw_only=True, tag="drift"):
    """The server's answer departs from the contract in a tolerated way (first sight of `quirk` only)."""

    quirk: str
    detail: str = ""


class LoadState(Event, frozen=True, kw_only=True, tag="load_state"):
    """Once a second, what the engine knows of itself: its own health and its count of windows.

    `streams_open` are windows with a live stream; `opening` were accepted and are not ready yet; `creates` are
    unanswered POSTs; `lag_ns` is the worst lateness of the engine's event loop within the second; `cpu` is the share
    of one core that the load's processes used.
    """

    streams_open: int
    opening: int
    creates: int
    unknown: int
    lag_ns: int
    cpu: float
    wanted: int = 0


class CanarySeen(Event, frozen=True, kw_only=True, tag="canary_seen"):
    """Once a second, how an engine read its canary: a stream of its own whose frames say when they were sent.

    `lag_ns` is the worst time from sending to reading, `pacing_ns` the worst lateness of the sender itself.
    """

    frames: int
    lost: int
    lag_ns: int
    pacing_ns: int = 0


# --- faults ---------------------------------------------------------------------------------------


class FaultStep(StrEnum):
    """The life of an undo entry, in order; `not_held` may come between `effective` and `undone`."""

    OPENED = "opened"
    INJECTED = "injected"
    EFFECTIVE = "effective"
    NOT_HELD = "not_held"
    UNDONE = "undone"
    VERIFIED = "verified"
    FAILED = "failed"


class FaultChanged(Event, frozen=True, kw_only=True, tag="fault_changed"):
    """One step in the life of a fault: `entry` is its undo entry, `experiment` the file's name."""

    entry: str
    fault: str
    experiment: str
    step: FaultStep
    target: str = ""
    detail: str = ""
    by: str = "chaos"
    """Who did it: chaos, conductor, guard or operator."""


class ExperimentEnded(Event, frozen=True, kw_only=True, tag="experiment_ended"):
    """Chaos Toolkit finished an experiment; `status` is its own word, `deviated` its own judgment."""

    experiment: str
    status: str
    deviated: bool


# --- observations ---------------------------------------------------------------------------------


class WatcherState(Event, frozen=True, kw_only=True, tag="watcher_state"):
    """A watcher can see (`seeing`) or is blind from this instant on, and why."""

    watcher: str
    seeing: bool
    detail: str = ""


class NodeSeen(Event, frozen=True, kw_only=True, tag="node_seen"):
    """A node as the cluster describes it, whenever one of these fields changes."""

    node: str
    exists: bool
    ready: str
    """`True`, `False` or `Unknown`: the Ready condition."""
    unschedulable: bool
    worker: bool
    gpu_allocatable: int
    taints: tuple[str, ...] = ()


class PodSeen(Event, frozen=True, kw_only=True, tag="pod_seen"):
    """A pod as the cluster describes it, whenever one of these fields changes."""

    pod: str
    role: str
    """focus_server, mongodb, broker, player, stream, cleanup, hog or other."""
    exists: bool
    phase: str
    ready: bool
    node: str = ""
    job_id: str = ""
    gpu: int = 0
    reason: str = ""
    """Why it waits or ended, in Kubernetes' word (Unschedulable, CrashLoopBackOff, ErrImagePull, Error...)."""
    restarts: int = 0
    terminating: bool = False
    image: str = ""
    """Images of its containers, joined by commas."""


class JobSeen(Event, frozen=True, kw_only=True, tag="job_seen"):
    """A `grpc-job-` or `cleanup-job-` Job appeared, changed state or went."""

    job: str
    job_id: str
    exists: bool
    state: str = ""
    """active, complete, failed, or empty."""


class ServiceSeen(Event, frozen=True, kw_only=True, tag="service_seen"):
    """A `grpc-service-` Service (a held slot) appeared or went; `node_port` is 0 when it has none."""

    service: str
    job_id: str
    exists: bool
    node_port: int = 0


class ClusterEventSeen(Event, frozen=True, kw_only=True, tag="cluster_event_seen"):
    """A Kubernetes Event about an object we follow."""

    about: str
    reason: str
    text: str
    warning: bool = False


class SharesSeen(Event, frozen=True, kw_only=True, tag="shares_seen"):
    """GPU shares: on all registered workers, and on those that are Ready and schedulable."""

    total: int
    used: int
    free: int
    free_schedulable: int
    by_hogs: int = 0


class DependencySeen(Event, frozen=True, kw_only=True, tag="dependency_seen"):
    """A dependency answered (`up`) or not: mongodb, broker, kubernetes_api, focus_server or fibre; on change and every 10 s."""

    dependency: str
    up: bool
    latency_ns: int = 0
    detail: str = ""


class SlotsSeen(Event, frozen=True, kw_only=True, tag="slots_seen"):
    """Open windows by the cluster's two countings: running stream pods, and held slots (Services)."""

    running_pods: int
    pending_pods: int
    slots: int
    foreign: int = 0


class LogLineSeen(Event, frozen=True, kw_only=True, tag="log_line_seen"):
    """A line of Focus Server's log, redacted and capped."""

    pod: str
    text: str


class LeftoverSeen(Event, frozen=True, kw_only=True, tag="leftover_seen"):
    """Something that should be gone after the run is still there."""

    object_kind: str
    name: str
    owner: str = ""
    """own, fault, foreign or unknown."""
    job_id: str = ""
    made_by: str = ""
    """The window or the fault that made it, in words."""


class AuditSeen(Event, frozen=True, kw_only=True, tag="audit_seen"):
    """How many things of a kind there were before the run, after it, and at the last look."""

    object_kind: str
    before: int
    after: int
    later: int
    seen: bool = True
    """False: nobody could look at the last time, and `detail` says why."""
    detail: str = ""


AnyEvent = Union[  # noqa: UP007  (msgspec builds its decoder from this union)
    RunStarted,
    PhaseChanged,
    RunEnded,
    ProcessStarted,
    ProcessEnded,
    WorkerLost,
    StopConditionChanged,
    ArrivalsPlanned,
    CapacitySought,
    ProbeStarted,
    ProbeEnded,
    FeedOpened,
    Note,
    WindowAccepted,
    WindowReady,
    FirstFrame,
    WindowClosed,
    WindowUnknown,
    ScenarioSuspended,
    Drift,
    LoadState,
    CanarySeen,
    FaultChanged,
    ExperimentEnded,
    WatcherState,
    NodeSeen,
    PodSeen,
    JobSeen,
    ServiceSeen,
    ClusterEventSeen,
    SharesSeen,
    DependencySeen,
    SlotsSeen,
    LogLineSeen,
    LeftoverSeen,
    AuditSeen,
]

KINDS: dict[str, type[Event]] = {str(cls.__struct_config__.tag): cls for cls in get_args(AnyEvent)}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an events file: who wrote it, its number there, and the event."""

    schema: int = SCHEMA
    writer: str
    seq: int
    event: AnyEvent
