"""The doctor's answer for people: one line per check, then the likely cause on top, and each finding with evidence and lines to type.

Pure: it makes text. Colour is asked for by whoever prints it.
"""

import textwrap
from collections.abc import Iterator

from harness.doctor.diagnosis import Diagnosis
from harness.doctor.remedies import Plan
from harness.doctor.result import CheckResult, Result

MARKS = {Result.OK: ("ok", "32"), Result.FOUND: ("!!", "31"), Result.UNKNOWN: ("??", "33")}
MOST_LINES = 8
MOST_REFUSED = 4
ANSWER_CAP = 400


class Page:
    """Makes lines of at most `width` columns."""

    def __init__(self, width: int = 100, *, colour: bool = False) -> None:
        self._width = max(60, width)
        self._colour = colour

    def whole(
        self, diagnosis: Diagnosis, plans: dict[str, tuple[str, Plan]], where: str, shell: str = ""
    ) -> str:
        """Return the page; `shell` is what a person sets once so that the lines reach this cluster."""
        lines = [*self.wrapped(where, "", "1"), ""]
        lines += [self._check(one) for one in diagnosis.results]
        lines += ["", *self._verdict(diagnosis)]
        shown: set[str] = set()
        for one in diagnosis.found:
            lines += ["", *self._finding(one, plans, shown)]
        if shell and shown:
            lines += ["", self.paint(f"The kubectl lines need: {shell}", "2")]
        return "\n".join(lines)

    def _check(self, one: CheckResult) -> str:
        mark, code = MARKS[one.result]
        room = self._width - 21
        summary = one.summary if len(one.summary) <= room else one.summary[: room - 3] + "..."
        return f" {self.paint(mark, code)}  {one.check:<16}{summary}"

    def _verdict(self, diagnosis: Diagnosis) -> Iterator[str]:
        if top := diagnosis.top:
            yield from self.wrapped(
                f"Most likely cause of a 503 now: {diagnosis.cause}: {top.summary}", "", "1;31"
            )
            for words in diagnosis.because:
                yield from self.wrapped(f"behind it: {words}", "  ", "31")
            if diagnosis.also:
                yield from self.wrapped(f"also: {', '.join(diagnosis.also)}", "  ")
        elif diagnosis.found:
            yield self.paint("Nothing found that refuses windows now; found besides:", "1;33")
        elif diagnosis.blind:
            blind = ", ".join(one.check for one in diagnosis.blind)
            yield from self.wrapped(f"Nothing found, but not everything was seen: {blind}", "", "1;33")
        else:
            yield self.paint("Healthy: every check looked and found nothing.", "1;32")

    def _finding(
        self, one: CheckResult, plans: dict[str, tuple[str, Plan]], shown: set[str]
    ) -> Iterator[str]:
        cause = f" ({one.cause})" if one.cause else ""
        yield self.paint(f"{one.check}{cause}", "1")
        yield from self.wrapped(one.summary, "  ")
        for words in one.behind:
            yield from self.wrapped(f"behind it: {words}", "  ")
        for piece in one.evidence:
            answer = (
                piece.answered if len(piece.answered) <= ANSWER_CAP else piece.answered[:ANSWER_CAP] + " ..."
            )
            yield from self.wrapped(f"{piece.asked}: {answer}", "    ", "2")
        for advice in one.advice:
            if advice.remedy in shown:
                yield f"  remedy {advice.remedy}: see above"
            elif advice.remedy in plans:
                shown.add(advice.remedy)
                yield from self.remedy(advice.remedy, advice.why, plans[advice.remedy][1])

    def remedy(self, name: str, why: str, plan: Plan) -> Iterator[str]:
        """Yield a remedy with what a person would type for it."""
        yield from self.wrapped(f"remedy {name}: {why}" if why else f"remedy {name}", "  ", "36")
        for touch in plan.touches[:MOST_LINES]:
            yield f"    {touch.line}"
        if len(plan.touches) > MOST_LINES:
            yield f"    ... and {len(plan.touches) - MOST_LINES} more: harness doctor --fix {name} --dry-run"
        if plan.touches and plan.wait_s:
            yield f"    expected to show within about {plan.wait_s:.0f} s"
        for note in plan.notes:
            yield from self.wrapped(note, "    ", "2")
        yield from self._refusals(plan)

    def _refusals(self, plan: Plan) -> Iterator[str]:
        for refusal in plan.refused[:MOST_REFUSED]:
            yield from self.wrapped(f"left alone: {refusal.what}: {refusal.why}", "    ", "2")
        if len(plan.refused) > MOST_REFUSED:
            yield f"    ... and {len(plan.refused) - MOST_REFUSED} more are left alone"

    def plan(self, name: str, title: str, plan: Plan, where: str) -> str:
        """Return exactly what `--fix` will touch."""
        lines = [self.paint(f"{name}: {title}", "1"), f"on {where}"]
        lines += [
            line
            for touch in plan.touches
            for line in (*self.wrapped(touch.words, "  "), f"      {touch.line}")
        ]
        lines += [
            line
            for one in plan.refused
            for line in self.wrapped(f"left alone: {one.what}: {one.why}", "  ", "2")
        ]
        lines += [line for note in plan.notes for line in self.wrapped(note, "  ", "2")]
        return "\n".join(lines)

    def wrapped(self, text: str, indent: str, code: str = "") -> Iterator[str]:
        """Yield text in lines that fit."""
        for line in textwrap.wrap(
            text, self._width, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
        ):
            yield self.paint(line, code)

    def paint(self, text: str, code: str) -> str:
        """Return text in a colour, if colours are wanted."""
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text
