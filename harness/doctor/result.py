"""What a check says: its result, what was asked and answered, and which remedies there are. Plain data, printed and written as JSON.

`Unknown` is an answer: a check that could not look never counts as healthy.
"""

from enum import StrEnum
from typing import Any

import msgspec


class Result(StrEnum):
    """How a check ended: all well, something found, or it could not look."""

    OK = "ok"
    FOUND = "found"
    UNKNOWN = "unknown"


class Evidence(msgspec.Struct, frozen=True):
    """One thing that was asked, and the answer in words; `data` is the same for programs."""

    asked: str
    answered: str
    data: dict[str, Any] = {}


class Advice(msgspec.Struct, frozen=True):
    """A remedy that a check names, and in words why it; `remedy` is what `--fix` takes."""

    remedy: str
    why: str = ""


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One check's answer. `refuses` says that what was found makes creates fail (or windows never start) now."""

    check: str
    result: Result
    summary: str
    cause: str = ""
    """The cause of a 503 that this is, by the names blame uses; empty for what is none."""
    refuses: bool = False
    behind: tuple[str, ...] = ()
    """What lies behind it, a sentence each; filled in once all checks have answered."""
    evidence: tuple[Evidence, ...] = ()
    advice: tuple[Advice, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """Every piece of data of the evidence in one dictionary."""
        return {key: value for one in self.evidence for key, value in one.data.items()}


class CannotLook(Exception):
    """A check cannot see what it would have to; the text says why."""


def fine(check: str, summary: str, *evidence: Evidence) -> CheckResult:
    """Return that nothing is wrong."""
    return CheckResult(check=check, result=Result.OK, summary=summary, evidence=evidence)


def unknown(check: str, why: str, *evidence: Evidence) -> CheckResult:
    """Return that the check could not look."""
    return CheckResult(check=check, result=Result.UNKNOWN, summary=why, evidence=evidence)


def found(
    check: str,
    summary: str,
    *evidence: Evidence,
    cause: str = "",
    refuses: bool = False,
    advice: tuple[Advice, ...] = (),
) -> CheckResult:
    """Return what is wrong."""
    return CheckResult(
        check=check,
        result=Result.FOUND,
        summary=summary,
        cause=cause,
        refuses=refuses,
        evidence=evidence,
        advice=advice,
    )
