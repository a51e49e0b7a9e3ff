"""Findings on the admission limit. Made by `judge.admission` and `judge.sweep`."""

from harness.judge.findings.blame import Citation
from harness.judge.findings.finding import Finding
from harness.measures.gate import Status


class Proof(Finding, frozen=True, kw_only=True):
    """One line of a counter-example: something that lasted, or (with `to_ns` equal to `from_ns`) an instant."""

    what: str
    from_ns: int
    to_ns: int
    evidence: tuple[str, ...] = ()
    """Identities of the records that say so; a refused create is a sample, named by the number of its window."""


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
    cited: tuple[Citation, ...] = ()
    """The records that the counter-examples rest on, in words."""
