"""The doctor's answer as JSON (`schema: 1`), for programs; `harness schema doctor` prints its schema."""

from typing import Any, Literal

import msgspec

from harness.doctor.diagnosis import Diagnosis
from harness.doctor.remedies import Plan
from harness.doctor.result import CheckResult


class RemedyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One remedy that the findings name, as a person would do it."""

    remedy: str
    why: str
    lines: list[str]
    """What to type, in order."""
    wait_s: float
    left_alone: int
    """Objects it would not touch."""
    notes: list[str]


class FixDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What `--fix` did."""

    remedy: str
    done: list[str]
    skipped: list[str]
    refused: list[str]
    after: list[CheckResult]
    journal: str


class DoctorDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the doctor found, and how it ended."""

    schema: Literal[1] = 1
    target: str
    cluster: str
    at: str
    exit_code: int
    cause: str
    """The most likely cause of a 503 now; empty if none was found."""
    because: list[str]
    also: list[str]
    checks: list[CheckResult]
    remedies: list[RemedyDocument]
    fix: FixDocument | None = None


def remedies_of(plans: dict[str, tuple[str, Plan]]) -> list[RemedyDocument]:
    """Return the remedies with what to type for them; `plans` are by name, with why."""
    return [
        RemedyDocument(
            remedy=name,
            why=why,
            lines=[touch.line for touch in plan.touches],
            wait_s=round(plan.wait_s, 1),
            left_alone=len(plan.refused),
            notes=[*plan.notes],
        )
        for name, (why, plan) in plans.items()
    ]


def document(
    diagnosis: Diagnosis,
    plans: dict[str, tuple[str, Plan]],
    *,
    target: str,
    cluster: str,
    at: str,
    exit_code: int,
    fix: FixDocument | None = None,
) -> DoctorDocument:
    """Return the whole answer."""
    return DoctorDocument(
        target=target,
        cluster=cluster,
        at=at,
        exit_code=exit_code,
        cause=diagnosis.cause,
        because=list(diagnosis.because),
        also=list(diagnosis.also),
        checks=list(diagnosis.results),
        remedies=remedies_of(plans),
        fix=fix,
    )


def in_json(doc: Any) -> str:
    """Return a document as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(doc), indent=2).decode()
