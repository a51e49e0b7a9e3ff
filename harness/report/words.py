"""Numbers, instants and closed sets in plain words: one wording for page, text, markdown and JUnit.

Pure. Says what the findings say and nothing more: `None` becomes "not known", never zero.
"""

from collections.abc import Iterable
from typing import Final

from harness.clock import SECOND_NS
from harness.history.events import ConditionState, Outcome, Phase
from harness.history.samples import ACCEPTED
from harness.judge import blame
from harness.judge.findings import GateFinding, Interval, Limit, Status

NOT_KNOWN: Final = "not known"
MINUS: Final = "\N{MINUS SIGN}"
DASH: Final = "\N{EN DASH}"

CAUSES: Final[dict[str, tuple[str, str, str]]] = {
    **{cause.name: (cause.heading, cause.sentence, cause.remedy) for cause in blame.CAUSES},
    blame.UNEXPLAINED: (
        "Nothing that was seen explains them",
        "Every watcher could see, and nothing stood in the way.",
        "read the server's log at that time; if it says why, a cause is missing here",
    ),
    blame.UNKNOWN: (
        "It cannot be told",
        "Somebody who would have seen the cause was blind at that time.",
        "give the watchers the rights and the way they lack",
    ),
}
"""Why windows fail: a heading, a sentence, and what to do."""

OUTCOMES: Final[dict[str, str]] = {
    ACCEPTED: "answered 200",
    Outcome.STREAMING: "streamed, held and closed as planned",
    Outcome.COMPLETE: "historic data complete",
    Outcome.UNAVAILABLE_503: "refused with 503",
    Outcome.SERVER_5XX: "server error, another 5xx",
    Outcome.PARSE_500: "500, the server could not read the answer of a part",
    Outcome.INGRESS_502_504: "502 or 504 from the ingress",
    Outcome.NO_RECORDING_404: "404, no recording in that time",
    Outcome.NOT_FOUND_404: "404, not found",
    Outcome.VALIDATION_422: "422, the request was not valid",
    Outcome.OTHER_STATUS: "another status",
    Outcome.CONNECT_FAILED: "no connection",
    Outcome.CONNECT_TIMEOUT: "no connection in time",
    Outcome.READ_TIMEOUT: "no answer in time",
    Outcome.BROKEN_ANSWER: "an answer that cannot be read",
    Outcome.UNKNOWN: "no answer: possibly open",
    Outcome.PENDING_NO_START: "200, but the stream never became ready",
    Outcome.STREAM_NO_FRAME: "ready, but no frame came",
    Outcome.STREAM_BROKEN_BEFORE_DATA: "the stream broke before its first frame",
    Outcome.STREAM_BROKEN: "the stream broke while frames came",
    Outcome.FOREIGN_STREAM: "the stream carried another job's frames",
    Outcome.ABANDONED: "accepted and never connected to, as meant",
    Outcome.CANCELLED: "the run ended while it was opening",
}
"""Every outcome in words."""

GOOD_OUTCOMES: Final = frozenset({ACCEPTED, Outcome.STREAMING.value, Outcome.COMPLETE.value})

NEUTRAL_OUTCOMES: Final = frozenset({Outcome.CANCELLED.value, Outcome.ABANDONED.value})
"""Neither good nor bad: our own doing."""

LIMITS: Final[dict[Limit, str]] = {
    Limit.AT_LIMIT: "at MaxWindows",
    Limit.PERHAPS: "perhaps at MaxWindows",
    Limit.BELOW: "below MaxWindows",
    Limit.NO_LIMIT: "no limit known",
}

STATUS_SIGN: Final[dict[Status, str]] = {Status.PASSED: "✓", Status.FAILED: "✗", Status.UNJUDGED: "?"}

CONDITION_STATUS: Final[dict[ConditionState, Status]] = {
    ConditionState.CLEAR: Status.PASSED,
    ConditionState.HOLDS: Status.FAILED,
    ConditionState.UNKNOWN: Status.UNJUDGED,
}
"""How a stop condition's state looks beside the gates."""

OPERATORS: Final[dict[str, str]] = {
    ">=": "at least",
    "<=": "at most",
    ">": "more than",
    "<": "less than",
    "==": "exactly",
    "!=": "not",
}

MEASURES: Final[dict[str, tuple[str, str]]] = {
    "configure_accepted": ("Create, accepted", "POST /configure answered 200, from sending to the last byte"),
    "configure_refused": ("Create, refused", "POST /configure answered 503"),
    "configure_accepted_planned": (
        "Create, accepted, as planned",
        "the same from the instant the arrival was planned for",
    ),
    "configure_refused_planned": (
        "Create, refused, as planned",
        "the same from the instant the arrival was planned for",
    ),
    "ready": ("Ready", "from the 200 to a ready stream channel"),
    "first_frame": ("First frame", "from the 200 to the first frame of the window's own job"),
    "frame_lag": ("Frame lag", "how much later a frame came than its stream's pace"),
}

PHASES: Final[dict[Phase, str]] = {
    Phase.WARM_UP: "not judged by gates unless they name it",
    Phase.BASELINE: "load without a fault",
    Phase.INJECT: "a fault is being put in",
    Phase.HOLD: "a fault is in",
    Phase.UNDO: "a fault is being taken out",
    Phase.RECOVER: "after a fault",
    Phase.DRAIN: "no new windows; the rest ends",
}


def moment(at_ns: int | None) -> str:
    """Return an instant of the run as minutes, seconds and tenths: `1:02.5`."""
    if at_ns is None:
        return NOT_KNOWN
    tenths = round(at_ns / (SECOND_NS // 10))
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"


def clock_time(at_s: float) -> str:
    """Return an instant of the run, in whole seconds, for axes: `1:02`."""
    whole = round(at_s)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def span(length_s: float | None) -> str:
    """Return a length of time with a unit that suits it: `850 ms`, `14.1 s`, `2 min 52 s`."""
    if length_s is None:
        return NOT_KNOWN
    size = abs(length_s)
    if size == 0:
        return "0 s"
    if size < 0.0995:
        text = f"{size * 1000:.1f} ms" if size < 0.00995 else f"{size * 1000:.0f} ms"
    elif size < 0.9995:
        text = f"{size * 1000:.0f} ms"
    elif size < 99.95:
        text = f"{size:.1f} s" if size >= 9.995 else f"{size:.2f} s"
    else:
        minutes, rest = divmod(round(size), 60)
        hours, minutes = divmod(minutes, 60)
        text = f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
    return (MINUS if length_s < 0 else "") + text


def between_s(from_ns: int | None, to_ns: int | None) -> float | None:
    """Return the seconds from one instant to another, None if one is not known."""
    return None if from_ns is None or to_ns is None else (to_ns - from_ns) / SECOND_NS


def number(value: float | None) -> str:
    """Return a number as short as it stays true, thousands apart."""
    if value is None:
        return NOT_KNOWN
    if float(value).is_integer():
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return f"{value:.4g}"


def measured(value: float | None, unit: str) -> str:
    """Return a measured value with its unit."""
    if value is None:
        return NOT_KNOWN
    if unit in ("s", "seconds"):
        return span(value)
    if unit in ("ratio", "share"):
        return percent(value)
    if value == 1 and unit.endswith("s"):
        unit = unit.removesuffix("es") if unit.endswith(("sses", "ches")) else unit.removesuffix("s")
    return f"{number(value)} {unit}".strip()


def percent(share: float | None) -> str:
    """Return a share as per cent, with a decimal where it matters."""
    if share is None:
        return NOT_KNOWN
    value = share * 100
    edge = 0 < value < 10 or 99 < value < 100
    return f"{value:.1f} %" if edge else f"{value:.0f} %"


def level(value: float) -> str:
    """Return a level of a search: whole, or to three digits."""
    return number(value) if value == int(value) else f"{value:.3g}"


def megabytes(size: int) -> str:
    """Return bytes as MB or GB (powers of ten)."""
    if size >= 1_000_000_000:
        return f"{size / 1e9:.2f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: `1 window`, `3 windows`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def listed(names: Iterable[str], last: str = "and") -> str:
    """Return names as a person lists them: `a, b and c`."""
    items = list(names)
    return f" {last} ".join(filter(None, (", ".join(items[:-1]), items[-1]))) if items else ""


def interval(value: Interval) -> str:
    """Return a count that lies between two bounds: `17`, or two with a dash."""
    if value.certain == value.possible:
        return number(value.certain)
    return f"{number(value.certain)}{DASH}{number(value.possible)}"


def cause(name: str) -> str:
    """Return a cause as a heading."""
    return CAUSES[name][0] if name in CAUSES else name.replace("_", " ")


def outcome(name: str) -> str:
    """Return an outcome in words."""
    return OUTCOMES.get(name, name.replace("_", " "))


def run_name(campaign: str) -> str:
    """Return what was played; a fault injected alone has no campaign."""
    return campaign or "a fault alone"


def wanted(gate: GateFinding) -> str:
    """Return what a gate asks for: `at least 20 windows`."""
    return f"{OPERATORS.get(gate.op, gate.op)} {measured(gate.limit, gate.unit)}"


def gate_subject(gate: GateFinding) -> str:
    """Return what a gate measures, and where: `refusals during baseline and the fault kill-mongo`."""
    of = f" of {gate.of.replace('_', ' ')}" if gate.of else ""
    where = listed(part.replace("fault:", "the fault ") for part in gate.during)
    return f"{gate.measure.replace('_', ' ')}{of}{f' during {where}' if where else ''}"
