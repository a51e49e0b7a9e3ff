"""The report of a run as one HTML file: everything inside, nothing fetched, works offline and on paper.

Called by `harness run` and `harness judge` after judging. Templates escape everything; the page has no other source than the
findings and the run's facts.
"""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Final, TypeVar

from jinja2 import DictLoader, Environment, StrictUndefined

from harness.errors import RecordUnusable
from harness.history.run import RunInfo
from harness.judge.findings import BlameGroup, Disagreement, Findings, Leftover, Status
from harness.report import sentences, words
from harness.report.admission import bars
from harness.report.admission import shown as proof_records
from harness.report.bins import Bin, bin_size_s, bins_of
from harness.report.capacity import HEADINGS, WORDS, plot
from harness.report.recovery import held, marks, when
from harness.report.sentences import Occurrence
from harness.report.strips import strips_of
from harness.report.timeline import draw

REPORT_FILE: Final = "report.html"
WIDE: Final = 1080.0
NARROW: Final = 380.0
TABLE_ROWS: Final = 200.0

SOURCES: Final = {
    file.name: file.read_text(encoding="utf-8")
    for file in (files("harness.report") / "templates").iterdir()
    if file.is_file()
}
"""The templates, read with the code: a run of hours whose installation is replaced meanwhile still gets its page."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the large numbers under the verdict."""

    value: str
    unit: str
    caption: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """One bar of a bar list: its name, count, width in per cent, and whether it is a good, bad or neutral ending."""

    name: str
    text: str
    count: int
    width: float
    tone: str


@dataclass(frozen=True, slots=True)
class Reason:
    """The failures with one primary cause, ready to be read."""

    heading: str
    sentence: str
    remedy: str
    behind: tuple[str, ...]
    count: int
    refused_503: int
    windows: int
    share: float
    tone: str
    groups: tuple[BlameGroup, ...]


@dataclass(frozen=True, slots=True)
class LeftoverGroup:
    """Leftovers of one kind whose names differ in their numbers only."""

    object_kind: str
    owner: str
    stem: str
    names: tuple[str, ...]
    at_ns: int
    made_by: tuple[str, ...] = ()


def write_page(findings: Findings, run: RunInfo, folder: Path) -> Path:
    """Write `report.html` into the run's folder and return its path; raises RecordUnusable if it cannot."""
    path = folder / REPORT_FILE
    write_file(path, render_page(findings, run, shown(folder)))
    return path


def write_file(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RecordUnusable(
            f"cannot write {path}: {error.strerror or error}; free space or choose --out"
        ) from error


def shown(folder: Path) -> str:
    """Return the folder as a person would type it from here."""
    relative = os.path.relpath(folder)
    return str(folder) if relative.startswith("..") else relative


def render_page(findings: Findings, run: RunInfo, folder: str) -> str:
    """Return the page; `folder` is the run's folder as the commands on the page should name it."""
    wide = draw(findings, WIDE)
    return (
        _templates()
        .get_template("report.html")
        .render(
            f=findings,
            run=run,
            folder=folder,
            verdict_word=sentences.VERDICT_WORDS[findings.verdict.status],
            lead=sentences.lead(findings),
            cautions=sentences.cautions(run),
            figures=figures(findings),
            happened=sentences.occurrences(findings),
            headline=sentences.sentence(findings.verdict.reason),
            more=[
                sentences.sentence(one) for one in findings.verdict.reasons if one != findings.verdict.reason
            ],
            reasons=reasons(findings),
            drawings=(("wide", wide), ("narrow", draw(findings, NARROW))),
            bins=bins_of(findings, bin_size_s(float(len(findings.seconds)), TABLE_ROWS)),
            hover=hover(findings, wide.bin_s) if wide else [],
            strips=strips_of(findings),
            endings=endings(findings.windows.outcomes),
            commands=commands(run, folder),
            others=others,
            badly=badly,
            disagreements=longest(findings),
            few=few,
            pieces=pieces,
            leftovers=leftovers(findings),
            proof_bars=bars,
            proof_records=proof_records,
            recovery_marks=marks,
            recovery_held=held,
            when=when,
            capacity_plot=plot,
            capacity_headings=HEADINGS,
            capacity_words=WORDS,
            capacity_sentence=sentences.capacity,
        )
    )


@lru_cache(maxsize=1)
def _templates() -> Environment:
    environment = Environment(
        loader=DictLoader(SOURCES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(words=words, sentences=sentences, Status=Status)
    environment.filters.update(
        moment=words.moment,
        span=lambda length_s: unbroken(words.span(length_s)),
        number=words.number,
        percent=lambda share: unbroken(words.percent(share)),
        megabytes=lambda size: unbroken(words.megabytes(size)),
        interval=words.interval,
        listed=words.listed,
        outcome=words.outcome,
        cause=words.cause,
        anchor=anchor,
        pieces=pieces,
    )
    return environment


def anchor(identity: str) -> str:
    """Return the page's anchor of a record."""
    return "record-" + re.sub(r"[^A-Za-z0-9]+", "-", identity)


def unbroken(text: str) -> str:
    """Return a number and its unit so that no line ends between them."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def pieces(text: str) -> list[str]:
    """Cut a long name where a narrow column may break it: after / _ - and full stops."""
    return [piece for piece in re.split(r"(?<=[/_.-])", text) if piece]


def figures(findings: Findings) -> tuple[Figure, ...]:
    """Return the large numbers under the verdict."""
    found = findings.open_windows
    limit = "" if found.max_windows is None else f"of {words.number(found.max_windows)}"
    most = words.number(found.certain_max)
    if found.possible_max > found.certain_max:
        most += f"{words.DASH}{words.number(found.possible_max)}"
    ratio = words.percent(findings.refused_503 / findings.creates) if findings.creates else ""
    happened = [one for one in sentences.occurrences(findings) if one.injected_ns is not None]
    undone = sum(one.undone_ns is not None for one in happened)
    back = [one.recovery_s for one in happened if one.recovery_s is not None]
    slowest = words.span(max(back)).split(" ", 1) if back else [words.DASH, ""]
    streamed = findings.windows.first_frame
    return (
        Figure(words.number(findings.creates), "", "windows asked for"),
        Figure(words.number(streamed), "", "windows streamed", "good" if streamed else ""),
        Figure(
            words.number(findings.refused_503),
            ratio,
            "refused with 503",
            "bad" if findings.refused_503 else "",
        ),
        Figure(
            most,
            limit,
            "most windows open",
            "bad" if found.seconds_certainly_above else "",
        ),
        Figure(f"{undone}", f"of {len(happened)}", "faults undone", "bad" if undone < len(happened) else "")
        if happened
        else Figure("0", "", "faults injected"),
        Figure(slowest[0], slowest[1], "slowest way back"),
    )


def reasons(findings: Findings) -> tuple[Reason, ...]:
    """Return the failures under their primary causes, the most numerous first."""
    alike: dict[str, list[BlameGroup]] = {}
    for group in findings.failures:
        alike.setdefault(group.cause, []).append(group)
    everything = sum(group.count for group in findings.failures)
    found = []
    for cause, groups in alike.items():
        heading, sentence, remedy = words.CAUSES.get(cause, (words.cause(cause), "", ""))
        count = sum(group.count for group in groups)
        found.append(
            Reason(
                heading=heading,
                sentence=sentence,
                remedy=remedy,
                behind=tuple(dict.fromkeys(group.behind for group in groups if group.behind)),
                count=count,
                refused_503=sum(group.refused_503 for group in groups),
                windows=sum(group.count for group in groups if group.of_windows),
                share=count / everything,
                tone="odd" if cause in ("unexplained", "unknown") else "",
                groups=tuple(groups),
            )
        )
    return tuple(sorted(found, key=lambda one: -one.count))


def longest(findings: Findings, most: int = 10) -> tuple[Disagreement, ...]:
    """Return the longest disagreements of the three counts, in the order of time."""
    chosen = sorted(findings.disagreements, key=lambda one: one.from_ns - one.to_ns)[:most]
    return tuple(sorted(chosen, key=lambda one: one.from_ns))


def leftovers(findings: Findings) -> tuple[LeftoverGroup, ...]:
    """Return the leftovers, those alike together, most numerous first."""
    alike: dict[tuple[str, str, str], list[Leftover]] = {}
    for one in findings.leftovers:
        stem = re.sub(r"[-.]?[0-9][0-9-]*$", "", one.name) or one.name
        alike.setdefault((one.object_kind, one.owner, stem), []).append(one)
    groups = [
        LeftoverGroup(
            kind,
            owner,
            stem,
            tuple(one.name for one in found),
            min(one.at_ns for one in found),
            tuple(dict.fromkeys(one.made_by for one in found if one.made_by)),
        )
        for (kind, owner, stem), found in alike.items()
    ]
    return tuple(sorted(groups, key=lambda group: -len(group.names)))


def few(items: Sequence[Item], most: int = 40) -> Sequence[Item]:
    """Return the first items only: a page that lists ten thousand is read by nobody (findings.json has all)."""
    return items[:most]


def endings(outcomes: dict[str, int]) -> tuple[Share, ...]:
    """Return how windows ended, most frequent first."""
    most = max(outcomes.values(), default=0)
    return tuple(
        Share(
            words.outcome(name),
            name,
            count,
            round(100 * count / most, 1) if most else 0,
            _tone(name),
        )
        for name, count in sorted(outcomes.items(), key=lambda pair: (-pair[1], pair[0]))
        if count
    )


def _tone(outcome: str) -> str:
    if outcome in words.GOOD_OUTCOMES:
        return "good"
    return "neutral" if outcome in words.NEUTRAL_OUTCOMES else "bad"


def badly(windows: dict[str, int]) -> int:
    """Return how many windows that were accepted ended badly."""
    return sum(count for name, count in windows.items() if _tone(name) == "bad" and name != "unavailable_503")


def others(outcomes: dict[str, int]) -> int:
    """Return how many creates ended neither with 200 nor with 503."""
    return sum(
        count for name, count in outcomes.items() if name not in ("accepted", "unavailable_503", "cancelled")
    )


def hover(findings: Findings, size_s: int) -> list[list[object]]:
    """Return what the read-out shows, one compact row per bin of `size_s` seconds."""
    return [_row(one) for one in bins_of(findings, size_s)]


def _row(one: Bin) -> list[object]:
    return list(asdict(one).values())


def commands(run: RunInfo, folder: str) -> tuple[tuple[str, str], ...]:
    """Return what a person may want to type next, as (why, command)."""
    told = [("judge this record again, with today's rules", shlex.join(["harness", "judge", folder]))]
    if run.gates or run.steps:
        again = ["harness", "run", f"campaigns/{run.campaign}.yaml", "--target", run.target]
        for key, value in sorted(run.overrides.items()):
            again += ["--set", f"{key}={value}"]
        told.append(("play the campaign again", shlex.join(again)))
    told.append(("read what happened, event by event", f"cat {shlex.quote(folder)}/history/*.events.jsonl"))
    return tuple(told)


__all__ = ["REPORT_FILE", "Occurrence", "render_page", "write_page"]
