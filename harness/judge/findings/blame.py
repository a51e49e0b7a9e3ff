"""Findings on why windows failed. Made by `judge.blame.groups`."""

from harness.judge.findings.finding import Finding, Interval, Limit


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
