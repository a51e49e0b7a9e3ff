"""The complete shape of what judging yields: frozen values, JSON-encodable with `msgspec.json.encode`, nothing else.

`judge.judge` makes a `Findings`; report, metrics, cli and the verdict file read it. Instants (`*_ns`) are nanoseconds since
the run's start, spans (`*_s`) are seconds. `None` always means "not known", never zero. An attempt belongs to the second
and the phase of the instant its outcome was known (`done_ns`).
"""

from enum import StrEnum

import msgspec

from harness.errors import Exit
from harness.history.events import ConditionState, Phase
from harness.measures.gate import Status as Status  # noqa: PLC0414 (part of this shape)

SCHEMA = 1


class Limit(StrEnum):
    """Where the open windows stood against MaxWindows while a request was being decided."""

    AT_LIMIT = "at_limit"
    """Certainly at or above MaxWindows."""
    PERHAPS = "perhaps"
    """Possibly at MaxWindows, not certainly."""
    BELOW = "below"
    """Certainly below MaxWindows."""
    NO_LIMIT = "no_limit"
    """The target has no limit, or it is not known."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What every finding is: a frozen value."""


class Interval(Finding, frozen=True, kw_only=True):
    """A count that lies between two bounds: certainly at least `certain`, possibly as many as `possible`."""

    certain: int
    possible: int


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
    """configure_accepted, configure_refused, ready, first_frame or frame_lag."""
    phase: str
    unit: str
    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
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


class Instant(Finding, frozen=True, kw_only=True):
    """One moment of a recovery: when it was, and by how much that may be off."""

    name: str
    """first effect, detected, undone, first success, success back, windows back or backlog gone."""
    at_ns: int | None
    """None: it had not come by the end of the record, or there was nothing that could come."""
    resolution_s: float
    """How coarsely whoever saw it looks."""
    seen_in: str
    """Who saw it."""
    due: bool = True
    """Whether it was to be expected at all; one that was due and never came is `never`."""


class RecoveryFinding(Finding, frozen=True, kw_only=True):
    """One fault's recovery taken apart, by what clients and watchers saw."""

    entry: str
    experiment: str
    injected_ns: int
    until_ns: int
    """The end of looking: nothing after it is counted."""
    instants: tuple[Instant, ...]
    never: tuple[str, ...] = ()
    """Instants that were due and had not come by the end of looking: censored, not zero."""
    streams_running: int
    """Streams that ran when the fault went in."""
    streams_interrupted: int
    """Of those, how many broke before it was over."""
    survival: float | None
    """The share of them that did not break."""
    rows_lost: int
    """Rows that such streams skipped."""
    seconds_stalled: float
    """Time for which such streams stood still: gaps longer than thrice their usual one, less the usual one."""
    failures: dict[str, int]
    """Windows refused, failed or not served meanwhile, by cause."""
    errors: int
    error_p50_s: float | None
    error_p95_s: float | None
    error_max_s: float | None
    clean_errors: int
    """Answers that say plainly that it did not work: 503, 404, 422."""
    dirty_errors: int
    """Other server errors, timeouts, lost connections, answers that cannot be read."""
    made_by_failed: tuple[str, ...] = ()
    """Jobs in the cluster that failed creates left behind or began; there should be none."""


class ReclaimFinding(Finding, frozen=True, kw_only=True):
    """What rate of windows the limit can sustain, and what bounds it: slots are held while windows get ready, are used, are cleaned up."""

    limit: int | None
    windows: int
    """Windows whose whole life was seen."""
    censored: int
    """Windows that were over and whose slot was not seen to be given back."""
    ready_p50_s: float | None
    ready_p95_s: float | None
    hold_p50_s: float | None
    hold_p95_s: float | None
    reclaim_p50_s: float | None
    """From the client's close to the slot given back, as watches saw it."""
    reclaim_p95_s: float | None
    sustainable_per_s: float | None
    """MaxWindows by the mean life of a slot."""
    bound_by: str
    """ready, hold or reclaim: which part of a slot's life is the longest; empty when not known."""
    measured_per_s: float | None
    """Windows accepted per second, warm-up and drain left out."""


class ExperimentFinding(Finding, frozen=True, kw_only=True):
    """What Chaos Toolkit said of an experiment, and whether it ever began."""

    experiment: str
    planned: int
    """How many times the plan has it."""
    injected: int
    """How many times it was injected."""
    statuses: tuple[str, ...]
    deviated: int


class BlameGroup(Finding, frozen=True, kw_only=True):
    """Failures with the same cause, under the same circumstances: refused or failed creates, or windows that were not served."""

    cause: str
    """The primary cause: the name of a file in `judge/blame/causes`, or `unexplained`, or `unknown` (somebody was blind)."""
    also: tuple[str, ...] = ()
    """Other causes that were seen to hold."""
    behind: str = ""
    """What lies behind the cause, where that was seen."""
    of_windows: bool = False
    """True: accepted windows that were not served to their end. False: creates that opened none."""
    outcomes: dict[str, int]
    count: int
    refused_503: int
    first_ns: int
    last_ns: int
    limit: Limit
    open: Interval
    """Lowest certain and highest possible count of open windows while they were decided."""
    blind: tuple[str, ...] = ()
    """Watchers that could not see around the first of them."""
    during: tuple[str, ...] = ()
    """Experiments in whose fault windows they fell; told for the reader, never looked at for the cause."""
    body: str = ""
    """Start of the body of the first of them, as the client recorded it."""
    evidence: tuple[str, ...] = ()
    """Identities (`writer:seq`) of the records that show the cause, of the first of them; see `Findings.cited`."""


class Citation(Finding, frozen=True, kw_only=True):
    """A record that is shown as evidence, in words."""

    identity: str
    at_ns: int
    text: str


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


class Proof(Finding, frozen=True, kw_only=True):
    """One line of a counter-example: something that lasted, or (with `to_ns` equal to `from_ns`) an instant."""

    what: str
    from_ns: int
    to_ns: int


class AdmissionViolation(Finding, frozen=True, kw_only=True):
    """A way in which the admission limit was broken that no allowed order of events explains; the first case and how many there were."""

    kind: str
    """over_admission, premature_refusal, late_refusal, lost_slot or reuse."""
    count: int
    first_ns: int
    last_ns: int
    sentence: str
    proof: tuple[Proof, ...]
    """The shortest counter-example of the first case: nothing in it can be left out."""


class SweepLevel(Finding, frozen=True, kw_only=True):
    """What became of creates that were sent while so many windows were certainly open."""

    open: int
    creates: int
    accepted: int
    ready: int
    first_frame: int
    failed: dict[str, int]


class AdmissionFinding(Finding, frozen=True, kw_only=True):
    """The admission limit as an invariant, from what clients and watchers saw."""

    status: Status
    """Unjudged without a limit, or without sight of the windows of others."""
    reason: str
    violations: tuple[AdmissionViolation, ...] = ()
    sweep: tuple[SweepLevel, ...] = ()
    """Where the server has no limit: what happens at each number of open windows."""


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
    at_ns: int


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
    experiments: tuple[ExperimentFinding, ...]
    failures: tuple[BlameGroup, ...]
    """Every failed create and every accepted window that was not served to its end is in exactly one group; most numerous first."""
    cited: tuple[Citation, ...] = ()
    """The records that groups show as evidence, in order of time."""
    blame_version: int = 0
    """Which set of rules the causes were found by."""
    spreads: tuple[Spread, ...]
    disagreements: tuple[Disagreement, ...]
    gaps: tuple[Gap, ...]
    incomplete: tuple[str, ...]
    """What is missing from the record, in words; empty when it is complete."""
    drift: tuple[DriftFinding, ...]
    leftovers: tuple[Leftover, ...]
    deaths: tuple[ProcessDeath, ...]
    generator: GeneratorHealth
    remarks: tuple[Remark, ...]
    stops: tuple[StopFinding, ...] = ()
    """In the order they were first looked at."""
