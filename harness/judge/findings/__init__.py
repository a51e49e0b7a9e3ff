"""The complete shape of what judging yields: frozen values, JSON-encodable with `msgspec.json.encode`, nothing else.

`judge.judge` makes a `Findings`; report, metrics, cli and the verdict file read it. Instants (`*_ns`) are nanoseconds since
the run's start, spans (`*_s`) are seconds. `None` always means "not known", never zero. An attempt belongs to the second
and the phase of the instant its outcome was known (`done_ns`).
"""

from harness.errors import Exit
from harness.history.events import ConditionState, Phase
from harness.judge.findings.admission import AdmissionFinding as AdmissionFinding
from harness.judge.findings.admission import AdmissionViolation as AdmissionViolation
from harness.judge.findings.admission import Proof as Proof
from harness.judge.findings.admission import SweepLevel as SweepLevel
from harness.judge.findings.arrivals import ArrivalsFinding as ArrivalsFinding
from harness.judge.findings.blame import BlameGroup as BlameGroup
from harness.judge.findings.blame import Citation as Citation
from harness.judge.findings.capacity import CapacityFinding as CapacityFinding
from harness.judge.findings.capacity import CapacityLevel as CapacityLevel
from harness.judge.findings.capacity import CapacitySearch as CapacitySearch
from harness.judge.findings.finding import Finding as Finding
from harness.judge.findings.finding import Interval as Interval
from harness.judge.findings.finding import Limit as Limit
from harness.judge.findings.own import FeedFinding as FeedFinding
from harness.judge.findings.own import OwnFinding as OwnFinding
from harness.judge.findings.own import RequestRow as RequestRow
from harness.judge.findings.recovery import Instant as Instant
from harness.judge.findings.recovery import ReclaimFinding as ReclaimFinding
from harness.judge.findings.recovery import RecoveryFinding as RecoveryFinding
from harness.judge.findings.recovery import Standstill as Standstill
from harness.judge.findings.streams import StreamRow as StreamRow
from harness.judge.findings.streams import StreamsFinding as StreamsFinding
from harness.judge.findings.streams import TransportRow as TransportRow
from harness.judge.findings.validity import ValidityCheck as ValidityCheck
from harness.judge.findings.validity import ValidityFinding as ValidityFinding
from harness.measures.gate import Status as Status

SCHEMA = 1


class PhaseSpan(Finding, frozen=True, kw_only=True):
    """One stretch of the run in one phase; `step` is the timeline entry that caused it."""

    phase: Phase
    step: str
    from_ns: int
    to_ns: int


class Second(Finding, frozen=True, kw_only=True):
    """One second of the run; `at_s` is its number, starting at 0."""

    at_s: int
    phase: Phase
    """The phase at the second's first instant."""
    creates: int
    """Answers (or given-up waits) for `POST /configure` within the second."""
    outcomes: dict[str, int]
    """Those creates by outcome; `accepted` for a 200. Sums to `creates`."""
    refused_503: int
    open: Interval
    """Open windows of everybody, own and foreign: lowest certain and highest possible count within the second."""
    streams: int | None
    """Source 1: own windows with a live stream, as the engine counts them, at the second's end."""
    pods: int | None
    """Source 2: running stream pods in the cluster."""
    slots: int | None
    """Source 3: held slots (Services) in the cluster."""
    foreign: int | None
    free_shares: int | None
    free_schedulable: int | None
    blind: tuple[str, ...] = ()
    """Watchers that could not see during some of the second."""


class PhaseTable(Finding, frozen=True, kw_only=True):
    """All of one phase (every stretch of it together)."""

    phase: Phase
    duration_s: float
    creates: int
    outcomes: dict[str, int]
    """Creates by outcome; sums to `creates`."""
    refused_503: int
    ratio_503: float | None
    open: Interval
    """Most windows open at once within the phase: certainly `certain`, possibly `possible`."""
    windows: dict[str, int]
    """Windows that ended in this phase by how they ended: refused creates and closed windows alike."""
    frames: int
    bytes: int


class Spread(Finding, frozen=True, kw_only=True):
    """The distribution of one measurement over one phase, or over the whole run (`phase` empty)."""

    measure: str
    """configure_accepted, configure_refused, both also from the planned instant (`_planned`), ready, first_frame or frame_lag."""
    phase: str
    unit: str
    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float | None = None
    p9999: float | None = None
    max: float


class FaultFinding(Finding, frozen=True, kw_only=True):
    """One undo entry from opening to proof of undoing, and what clients felt of it.

    An *effect* is a create that ended in anything but `accepted` or `cancelled`, a window that was accepted and never served,
    or a stream that broke. Effects belong to the fault's window `from_ns..to_ns`: from injected to recovered (the later of verified and the first success after the
    undo; without one, the start of the drain).
    """

    entry: str
    fault: str
    experiment: str
    target: str
    opened_ns: int | None
    injected_ns: int | None
    effective_ns: int | None
    not_held_ns: int | None
    undone_ns: int | None
    verified_ns: int | None
    failed: str
    """Why it failed, in the words of whoever did it; empty when it did not."""
    undone_by: str
    from_ns: int | None
    to_ns: int | None
    creates: int
    outcomes: dict[str, int]
    refusals_503: int
    refusal_expected: bool
    streams_broken: int
    windows_unserved: int = 0
    """Windows accepted within the fault's window that never became ready or never yielded a frame of their own."""
    first_effect_ns: int | None
    last_effect_ns: int | None
    first_accepted_after_undo_ns: int | None
    first_success_after_undo_ns: int | None
    """The first own frame, after the undo, of a window accepted since the injection."""
    recovery_s: float | None
    """From undone to the first success; None when there was no effect, no undo or no recovery."""
    baseline_success: float | None
    """Share of creates accepted in the 30 s before the injection."""
    baseline_after_s: float | None
    """From undone until the share of accepted creates, over 5 s, is back at 90 % of the baseline's."""
    never_recovered: bool
    """There was an effect and an undo, and no success after it."""
    blind: tuple[str, ...] = ()
    """Watchers that could not see during some of the fault's window."""


class ExperimentFinding(Finding, frozen=True, kw_only=True):
    """What Chaos Toolkit said of an experiment, and whether it ever began."""

    experiment: str
    planned: int
    """How many times the plan has it."""
    injected: int
    """How many times it was injected."""
    statuses: tuple[str, ...]
    deviated: int


class WindowsFound(Finding, frozen=True, kw_only=True):
    """Every window seen, by whose it is, and how own windows ended."""

    own: int
    own_unknown: int
    """Creates without an answer: the server may have opened a window."""
    own_unknown_found: int
    """Of those, how many a window in the cluster may belong to."""
    foreign: int | None
    """Windows in the cluster that no request of ours explains; None without sight of the cluster."""
    outcomes: dict[str, int]
    """How windows ended, `Outcome` by `Outcome`: refused creates and closed windows alike."""
    halfway: int = 0
    """Windows in the cluster that a refused create of ours may have begun: they appeared while it was being decided."""
    still_open: int
    """Accepted windows whose end is not in the record."""
    ready: int
    first_frame: int


class OpenWindows(Finding, frozen=True, kw_only=True):
    """Open windows over the whole run against MaxWindows."""

    max_windows: int | None
    max_windows_text: str
    certain_max: int
    certain_max_ns: int
    possible_max: int
    possible_max_ns: int
    seconds_certainly_above: int
    """Seconds in which more than MaxWindows windows were certainly open."""
    refused_below: int
    """503s that came while fewer than MaxWindows were possibly open (something else refused)."""


class Disagreement(Finding, frozen=True, kw_only=True):
    """A stretch in which the three counts of open windows differed for longer than they may lag."""

    from_ns: int
    to_ns: int
    streams: int
    pods: int
    slots: int
    """The three counts where they differed most; foreign windows are taken off pods and slots."""


class Gap(Finding, frozen=True, kw_only=True):
    """A blind spot: `watcher` could not see from `from_ns` to `to_ns`, and why."""

    watcher: str
    from_ns: int
    to_ns: int
    detail: str


class DriftFinding(Finding, frozen=True, kw_only=True):
    """A tolerated departure of the server's answers from the contract."""

    quirk: str
    detail: str
    first_ns: int
    count: int


class Leftover(Finding, frozen=True, kw_only=True):
    """Something that should be gone after the run and was still there."""

    object_kind: str
    name: str
    owner: str
    """own, fault, foreign or unknown."""
    at_ns: int
    job_id: str = ""
    made_by: str = ""
    """The window or fault that made it, in words."""


class AuditRow(Finding, frozen=True, kw_only=True):
    """How many things of one kind there were before the run, after it, and at the last look."""

    object_kind: str
    before: int
    after: int
    later: int
    ours: int
    """Of those at the last look: made by windows or faults of this run."""
    seen: bool
    detail: str


class ProcessDeath(Finding, frozen=True, kw_only=True):
    """A process of the run that ended other than planned."""

    process: str
    pid: int
    exit_code: int
    at_ns: int


class GeneratorHealth(Finding, frozen=True, kw_only=True):
    """What the load side said of itself; None without a word from it."""

    cpu_mean: float | None
    cpu_max: float | None
    lag_p99_s: float | None
    lag_max_s: float | None
    suspended: int
    """How often a scenario stopped asking after equal refusals in a row."""


class Remark(Finding, frozen=True, kw_only=True):
    """A note of level warning or error from the run."""

    at_ns: int
    level: str
    text: str


class GateFinding(Finding, frozen=True, kw_only=True):
    """A gate, judged: the measured value against the limit, from `samples` samples."""

    name: str
    measure: str
    of: str
    during: tuple[str, ...]
    op: str
    limit: float
    min_samples: int
    status: Status
    value: float | None
    samples: int
    unit: str
    reason: str
    """One sentence: what was measured where, against what."""
    built_in: bool = False
    """True for the gate on the history's completeness, which is always there."""


class StopFinding(Finding, frozen=True, kw_only=True):
    """A stop condition as the run saw it: how it stood at last, and for how long it held or was not known."""

    name: str
    state: ConditionState
    """At the end of looking."""
    value: float | None
    detail: str
    """What was seen last; the reason, if it ended the run."""
    held: int
    """How many times it began to hold."""
    held_s: float
    unknown_s: float
    first_held_ns: int | None
    ended: bool
    """Whether it ended the run, or kept the first fault from being injected."""


class Verdict(Finding, frozen=True, kw_only=True):
    """The run's ending: word, exit code, and why, gravest first."""

    status: Status
    exit_code: Exit
    reason: str
    reasons: tuple[str, ...]
    retry_makes_sense: bool


class RunSummary(Finding, frozen=True, kw_only=True):
    """Which run this is."""

    run_id: str
    campaign: str
    target: str
    target_url: str
    target_identity: str
    sandbox: str
    harness_version: str
    plan_hash: str
    seed: int
    labels: dict[str, str]
    wall_start: str
    wall_end: str
    planned_s: float
    duration_s: float
    ended: str
    """`planned`, `stopped`, or what went wrong; empty when the record has no end."""


class Findings(Finding, frozen=True, kw_only=True):
    """Everything judging found out about one run."""

    schema: int = SCHEMA
    run: RunSummary
    verdict: Verdict
    gates: tuple[GateFinding, ...]
    phases: tuple[PhaseSpan, ...]
    by_phase: tuple[PhaseTable, ...]
    """In the order of the phases, only phases that occurred."""
    seconds: tuple[Second, ...]
    creates: int
    outcomes: dict[str, int]
    """All creates by outcome; `accepted` for a 200."""
    refused_503: int
    frames: int
    bytes: int
    open_windows: OpenWindows
    admission: AdmissionFinding | None = None
    windows: WindowsFound
    faults: tuple[FaultFinding, ...]
    """By the instant they were opened."""
    recoveries: tuple[RecoveryFinding, ...] = ()
    """By the instant the fault was injected."""
    reclaim: ReclaimFinding | None = None
    capacity: CapacityFinding | None = None
    experiments: tuple[ExperimentFinding, ...]
    failures: tuple[BlameGroup, ...]
    """Every failed create and every accepted window that was not served to its end is in exactly one group; most numerous first."""
    cited: tuple[Citation, ...] = ()
    """The records that groups show as evidence, in order of time."""
    blame_version: int = 0
    """Which set of rules the causes were found by."""
    spreads: tuple[Spread, ...]
    arrivals: ArrivalsFinding | None = None
    streams: StreamsFinding | None = None
    own: OwnFinding | None = None
    """What people's own users asked; None without any."""
    disagreements: tuple[Disagreement, ...]
    gaps: tuple[Gap, ...]
    incomplete: tuple[str, ...]
    """What is missing from the record, in words; empty when it is complete."""
    drift: tuple[DriftFinding, ...]
    leftovers: tuple[Leftover, ...]
    audit: tuple[AuditRow, ...] = ()
    deaths: tuple[ProcessDeath, ...]
    generator: GeneratorHealth
    validity: ValidityFinding | None = None
    remarks: tuple[Remark, ...]
    stops: tuple[StopFinding, ...] = ()
    """In the order they were first looked at."""
