"""The run told in sentences: what a game-day lead reads first.

Pure; page, text and markdown show the same sentences. Every number comes from the findings.
"""

from collections import Counter
from dataclasses import dataclass

from harness.history.run import RunInfo
from harness.judge.findings import CapacitySearch, FaultFinding, Findings, Status
from harness.report import words

VERDICT_WORDS = {Status.PASSED: "Passed", Status.FAILED: "Failed", Status.UNJUDGED: "Not judged"}


NO_EXPERIMENT = ("", "alone")
"""What a fault's experiment is called when an action was called outside of any."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One injection of an experiment: its undo entries that overlap in time, told as one thing."""

    experiment: str
    entries: tuple[FaultFinding, ...]

    @property
    def name(self) -> str:
        """Return the experiment's name, or the fault's where there is no experiment around it."""
        return self.entries[0].fault if self.experiment in NO_EXPERIMENT else self.experiment

    @property
    def injected_ns(self) -> int | None:
        """Return the first instant anything of it was injected."""
        return min((e.injected_ns for e in self.entries if e.injected_ns is not None), default=None)

    @property
    def undone_ns(self) -> int | None:
        """Return the instant the last of it was undone; None while anything of it is not."""
        undone = [e.undone_ns for e in self.entries if e.injected_ns is not None]
        known = [at_ns for at_ns in undone if at_ns is not None]
        return max(known) if known and len(known) == len(undone) else None

    @property
    def to_ns(self) -> int | None:
        """Return the end of its window: recovered, or the best that is known."""
        return max((e.to_ns for e in self.entries if e.to_ns is not None), default=None)

    @property
    def felt_most(self) -> FaultFinding:
        """Return the entry clients felt most; entries overlap, so their counts do not add up."""
        return max(self.entries, key=lambda e: (e.refusals_503, e.streams_broken, e.creates))

    @property
    def targets(self) -> tuple[str, ...]:
        """Return what was hit, each once."""
        return tuple(dict.fromkeys(e.target for e in self.entries if e.target))

    @property
    def recovery_s(self) -> float | None:
        """Return the longest way back of its entries."""
        return max((e.recovery_s for e in self.entries if e.recovery_s is not None), default=None)


def occurrences(findings: Findings) -> tuple[Occurrence, ...]:
    """Group the faults: entries of one experiment whose windows overlap are one occurrence."""
    groups: list[list[FaultFinding]] = []
    for fault in findings.faults:
        home = next((g for g in reversed(groups) if g[0].experiment == fault.experiment), None)
        start = fault.opened_ns if fault.injected_ns is None else fault.injected_ns
        ends = [e.undone_ns for e in home or ()]
        latest = max((at_ns for at_ns in ends if at_ns is not None), default=None)
        if home is not None and (None in ends or start is None or (latest is not None and start < latest)):
            home.append(fault)
        else:
            groups.append([fault])
    return tuple(Occurrence(group[0].experiment, tuple(group)) for group in groups)


WHYS = {"ended": "the load had ended", "in_flight": "too many creates were unanswered"}
"""Why an arrival was not offered, in words; else it is a limit of the budget, by its name."""


def lead(findings: Findings) -> tuple[str, ...]:
    """Return the run in three or four sentences."""
    sentences = [
        _capacity(findings),
        _creates(findings),
        _arrivals(findings),
        _windows(findings),
        _own(findings),
        _faults(findings),
        _sight(findings),
    ]
    return tuple(sentence for sentence in sentences if sentence)


def _capacity(findings: Findings) -> str:
    searches = findings.capacity.searches if findings.capacity is not None else ()
    if not searches:
        return ""
    return f"The target sustains {words.listed(_sustained(one) for one in searches)}."


def _sustained(found: CapacitySearch) -> str:
    if not found.value:
        return f"no number of {found.unit} that could be shown"
    least = "" if found.above is not None and found.converged else "at least "
    beyond = f" (not {words.level(found.above)})" if found.above is not None else ""
    return f"{least}{words.level(found.value)} {found.unit}{beyond}"


def capacity(found: CapacitySearch) -> str:
    """Return what a search found, and what is not known."""
    return f"{_edge(found)} {_ceiling(found)}".rstrip()


def _ceiling(found: CapacitySearch) -> str:
    allowed = found.ceiling
    if allowed is None:
        return ""
    return (
        f"Its {words.plural(allowed.slots, 'slot')}, each taken for {words.span(allowed.life_s)} on average, allow "
        f"{words.level(allowed.per_s)} at most, however many may fail."
    )


def _edge(found: CapacitySearch) -> str:
    if not found.levels:
        return "No level was tried; there was no time left."
    if found.above is None:
        why = (
            "no more may be tried"
            if found.value >= found.most
            else "nothing above was decided in the time there was"
        )
        return f"The lowest level that is not held was not found: {why}."
    if found.converged:
        return f"{words.level(found.above)} was not held."
    return f"{words.level(found.above)} was not held; the edge between was not found in the time there was."


def _own(findings: Findings) -> str:
    own = findings.own
    if own is None or not own.count:
        return ""
    failed = f"{words.number(own.failed)} of them failed" if own.failed else "none of them failed"
    return f"Own users sent {words.plural(own.count, 'request')}; {failed}."


def _arrivals(findings: Findings) -> str:
    came = findings.arrivals
    if came is None:
        return ""
    parts = [f"{words.number(came.on_time)} came on time"]
    if came.late:
        worst = "" if came.lateness_max_s is None else f" (by up to {words.span(came.lateness_max_s)})"
        parts.append(f"{words.number(came.late)} late{worst}")
    parts += [
        f"{words.number(count)} not at all ({WHYS.get(why, why)})" for why, count in came.not_offered.items()
    ]
    if came.unaccounted:
        parts.append(f"of {words.number(came.unaccounted)} nobody knows")
    return f"Of {words.number(came.planned)} arrivals that were planned {words.listed(parts)}."


def _creates(findings: Findings) -> str:
    if not findings.creates:
        return "No window was asked for."
    accepted = findings.outcomes.get("accepted", 0)
    text = (
        f"In {words.span(findings.run.duration_s)}, {words.plural(findings.creates, 'window')} "
        f"{'was' if findings.creates == 1 else 'were'} asked for: {words.number(accepted)} accepted, "
        f"{words.number(findings.refused_503)} refused with 503"
    )
    others = findings.creates - accepted - findings.refused_503
    return text + (f", {words.number(others)} ended otherwise." if others else ".")


def _windows(findings: Findings) -> str:
    found = findings.open_windows
    if not found.possible_max:
        return ""
    most = words.plural(found.possible_max, "window")
    if found.certain_max < found.possible_max:
        most = f"at least {words.number(found.certain_max)} and at most {most}"
    text = f"At the peak {most} {'was' if found.possible_max == 1 else 'were'} open at once"
    if found.max_windows is None:
        return f"{text}; MaxWindows is {found.max_windows_text or words.NOT_KNOWN}."
    text += f", with MaxWindows at {words.number(found.max_windows)}"
    if found.seconds_certainly_above:
        return f"{text}; the limit was certainly broken in {words.plural(found.seconds_certainly_above, 'second')}."
    return f"{text}; the limit was not seen broken."


def _faults(findings: Findings) -> str:
    happened = [one for one in occurrences(findings) if one.injected_ns is not None]
    if not happened:
        return "No fault was injected." if findings.experiments else ""
    names = words.listed(dict.fromkeys(one.name for one in happened))
    came = f"{words.plural(len(happened), 'fault')} came ({names})"
    left = [one for one in happened if one.undone_ns is None]
    if left:
        return f"{came}, and {words.listed(one.name for one in left)} may still be in."
    proven = all(
        e.verified_ns is not None for one in happened for e in one.entries if e.injected_ns is not None
    )
    text = f"{came} and {'was' if len(happened) == 1 else 'were'} undone" + (
        ", verified by looking" if proven else ""
    )
    lost = [one.name for one in happened if any(e.never_recovered for e in one.entries)]
    if lost:
        return f"{text}; after {words.listed(lost)} no new window streamed again."
    back = [(one.recovery_s, one.name) for one in happened if one.recovery_s is not None]
    if not back:
        return text + "."
    slowest_s, experiment = max(back)
    return f"{text}; the slowest way back took {words.span(slowest_s)} ({experiment})."


def _sight(findings: Findings) -> str:
    if findings.incomplete:
        return "The record is not complete: " + words.listed(findings.incomplete) + "."
    blind = dict.fromkeys(gap.watcher for gap in findings.gaps)
    if blind:
        return f"Watchers were blind for a while: {words.listed(blind)}."
    return ""


def fault_sentence(one: Occurrence) -> str:
    """Return what one fault did, felt like and took to mend."""
    failed = next((entry.failed for entry in one.entries if entry.failed), "")
    if one.injected_ns is None:
        return f"It was never injected{': ' + failed if failed else ''}."
    targets = words.listed(one.targets[:3]) + (
        f" and {len(one.targets) - 3} more" if len(one.targets) > 3 else ""
    )
    held = words.span(words.between_s(one.injected_ns, one.undone_ns))
    text = f"In from {words.moment(one.injected_ns)}"
    text += (
        f" to {words.moment(one.undone_ns)} ({held})" if one.undone_ns is not None else ", never seen undone"
    )
    text += f", on {targets}." if targets else "."
    felt = one.felt_most
    if felt.first_effect_ns is None:
        text += " No client felt it." if felt.creates else " No window was asked for meanwhile."
    else:
        after = words.span(words.between_s(one.injected_ns, felt.first_effect_ns))
        text += f" {_effects(felt)}; the first {after} after the injection."
    if felt.never_recovered:
        text += " No new window streamed after the undo."
    elif one.recovery_s is not None:
        text += f" The first new window streamed {words.span(one.recovery_s)} after the undo."
    if any(entry.not_held_ns is not None for entry in one.entries):
        text += " Somebody else ended it early: what it shows is not judged."
    if failed:
        text += f" It failed: {failed}."
    return text


def _effects(felt: FaultFinding) -> str:
    parts = []
    if felt.refusals_503:
        parts.append(
            f"{words.number(felt.refusals_503)} of {words.plural(felt.creates, 'create')} refused with 503"
        )
    others = sum(
        count
        for name, count in felt.outcomes.items()
        if name not in ("accepted", "cancelled", "unavailable_503")
    )
    if others:
        parts.append(f"{words.plural(others, 'create')} failed otherwise")
    if felt.windows_unserved:
        parts.append(f"{words.plural(felt.windows_unserved, 'accepted window')} never served")
    if felt.streams_broken:
        parts.append(f"{words.plural(felt.streams_broken, 'stream')} broken")
    text = words.listed(parts) or "felt"
    return text[0].upper() + text[1:]


def sentence(text: str) -> str:
    """Return text with a capital first, unless it begins with a name; its end may be a command and stays as it is."""
    first = text.split(" ", 1)[0].rstrip(",;:")
    return text[:1].upper() + text[1:] if first.isalpha() else text


def cautions(run: RunInfo) -> tuple[str, ...]:
    """Return what a reader has to know before anything else: safety that somebody went without. Nothing is usual."""
    found = []
    if run.guard_only:
        found.append(
            "Played with --guard-only: no reverter in the cluster would have undone the faults if this machine had been lost."
        )
    if run.unverified:
        found.append(f"Actions that nobody undoes or verifies were played: {', '.join(run.unverified)}.")
    if run.validity:
        set_ = ", ".join(f"{name} {bound:g}" for name, bound in sorted(run.validity.items()))
        found.append(f"The campaign sets its own bounds of what a valid run is: {set_}.")
    if run.insecure_tls:
        found.append(
            "TLS certificates of the target were not verified: anybody on the way could have answered."
        )
    found += [f"Somebody may have fought back: {text}." for text in run.fighters]
    return tuple(found)


WHOSE = {
    "own": "of this run's windows",
    "fault": "of faults",
    "unknown": "of nobody knows whom",
    "foreign": "of others",
}


def left_behind(findings: Findings) -> str:
    """Return what was left at the last look, by whose it is, and what nobody could look for; empty if there is neither."""
    counts = Counter((one.owner or "unknown", one.object_kind) for one in findings.leftovers)
    told = []
    for owner, whose in WHOSE.items():
        kinds = [f"{number} x {kind}" for (of, kind), number in sorted(counts.items()) if of == owner]
        if kinds:
            told.append(f"{words.listed(kinds)} {whose}")
    unseen = words.listed([row.object_kind for row in findings.audit if not row.seen])
    left = f"Left behind: {'; '.join(told)}." if told else ""
    return " ".join(filter(None, (left, f"Nobody could look for: {unseen}." if unseen else "")))
