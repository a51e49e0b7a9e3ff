"""Every error the harness raises on purpose, and the exit code each ending gets.

    HarnessError                  70  a fault of our own unless a subclass says otherwise
    ├── InputError                 2  the command line or a file is wrong
    │   └── FileProblems           2  every problem of a file at once, each with file:line
    ├── TargetError                3  target unusable, nothing injected
    │   ├── IdentityMismatch       3  the cluster is not the one the target file names
    │   ├── AccessDenied           3  credentials or rights are refused
    │   └── Unreachable            3  no answer at all
    ├── InjectionFailed            4  a fault could not be injected; what was injected is undone
    ├── StillBroken                5  something may still be broken; says what, and how to mend it
    ├── RecordUnusable             6  the history cannot be written or read
    ├── Blind                      7  not judged, or could not see
    ├── Stopped                    8  stopped from outside
    ├── TargetBusy                 9  lock held, or leftovers of an earlier run
    └── GateFailed                10  a gate or stop condition failed, or the doctor found something

A message shows the value that was wrong and the way out. Foreign exceptions become these in one module
per library, the original chained.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """What a command's exit code means; one table for every command. 1 is never used: anything may print it."""

    OK = 0
    USAGE = 2
    TARGET = 3
    INJECTION = 4
    BROKEN = 5
    RECORD = 6
    UNJUDGED = 7
    STOPPED = 8
    BUSY = 9
    FAILED = 10
    INTERNAL = 70


# If several endings apply, the first one here is the exit code.
PRECEDENCE: tuple[Exit, ...] = (
    Exit.BROKEN,
    Exit.INJECTION,
    Exit.INTERNAL,
    Exit.RECORD,
    Exit.TARGET,
    Exit.BUSY,
    Exit.STOPPED,
    Exit.FAILED,
    Exit.UNJUDGED,
    Exit.USAGE,
    Exit.OK,
)

# Whether running the same command again, unchanged, can sensibly end differently.
RETRY_MAKES_SENSE: frozenset[Exit] = frozenset({Exit.TARGET, Exit.STOPPED, Exit.BUSY, Exit.UNJUDGED})


def gravest(endings: Iterable[Exit]) -> Exit:
    """Return the ending that names the run when several apply; `Exit.OK` for none."""
    found = set(endings)
    return next((code for code in PRECEDENCE if code in found), Exit.OK)


class HarnessError(Exception):
    """The root: everything the harness raises on purpose."""

    code: Exit = Exit.INTERNAL


class InputError(HarnessError):
    """The command line or a file is wrong."""

    code = Exit.USAGE


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in a file: where, and what to write instead."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


class FileProblems(InputError):
    """Every problem found in a file (or several), at once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class TargetError(HarnessError):
    """The target is unusable, not recognised or refused; nothing was injected."""

    code = Exit.TARGET


class IdentityMismatch(TargetError):
    """The cluster behind the context is not the one the target file names."""


class AccessDenied(TargetError):
    """Credentials or rights were refused."""


class Unreachable(TargetError):
    """The target did not answer."""


class InjectionFailed(HarnessError):
    """A fault could not be injected; what was injected before is undone."""

    code = Exit.INJECTION


class StillBroken(HarnessError):
    """Something may still be broken; the message lists what and how to mend it."""

    code = Exit.BROKEN


class RecordUnusable(HarnessError):
    """The history cannot be written (disk full) or read back."""

    code = Exit.RECORD


class Blind(HarnessError):
    """Not judged: the harness could not see what it would have to know."""

    code = Exit.UNJUDGED


class Stopped(HarnessError):
    """The run was stopped from outside; what was injected is undone."""

    code = Exit.STOPPED


class TargetBusy(HarnessError):
    """Another run holds the target's lock, or an earlier one left something behind."""

    code = Exit.BUSY


class GateFailed(HarnessError):
    """A gate or a stop condition failed, or the doctor found something."""

    code = Exit.FAILED
