"""Rows for people's own users: a file with one JSON object per line, handed out in one of three orders.

Read as a whole and checked when the load is planned, so that a broken line is found before anything starts. Pure but for reading
the file; the session records which row went to whom. Imports no Locust.
"""

import random
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from harness.errors import FileProblems, InputError, Problem

Order = Literal["unique", "round_robin", "random"]
ORDERS: tuple[str, ...] = get_args(Order)
PROBLEMS_TOLD = 20
Row = dict[str, Any]


class FeedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Which file, and in which order its rows are handed out."""

    file: str
    order: Order = "unique"


class Feed:
    """The rows of one load; `part` of `parts` takes every so-manieth row only, so that several loads share a file."""

    def __init__(self, plan: FeedPlan, seed: int, part: int = 0, parts: int = 1) -> None:
        self.plan = plan
        self._rows = read_rows(Path(plan.file))[part::parts]
        self._random = random.Random(f"{seed}:feed:{part}")
        self._next = 0

    def __len__(self) -> int:
        return len(self._rows)

    def take(self) -> tuple[int, Row] | None:
        """Return a row and the number of its line, or None when `unique` has none left."""
        if not self._rows:
            return None
        if self.plan.order == "random":
            chosen = self._random.randrange(len(self._rows))
        elif self.plan.order == "unique" and self._next >= len(self._rows):
            return None
        else:
            chosen = self._next % len(self._rows)
            self._next += 1
        line, text = self._rows[chosen]
        row: Row = msgspec.json.decode(text)
        return line, row


def read_rows(file: Path) -> list[tuple[int, bytes]]:
    """Return the file's rows with the numbers of their lines; raise `FileProblems` for every line that is no JSON object."""
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
    rows = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    problems = []
    for number, line in rows:
        try:
            msgspec.json.decode(line, type=Row)
        except msgspec.MsgspecError as error:  # its own line is no news to whoever reads the message
            problems.append(Problem(str(file), number, f"not a JSON object: {error}"))
    if not rows:
        problems.append(Problem(str(file), 1, "has no row; it needs one JSON object per line"))
    if len(problems) > PROBLEMS_TOLD:
        left = len(problems) - PROBLEMS_TOLD
        problems = problems[:PROBLEMS_TOLD]
        problems[-1] = Problem(problems[-1].file, problems[-1].line, f"{problems[-1].text} ({left} more)")
    if problems:
        raise FileProblems(problems)
    return rows
