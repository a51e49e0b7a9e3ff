"""The page: whole, self-contained, escaped, true to its findings, and honest when there is nothing to show."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from story import run_info

from harness.clock import SECOND_NS
from harness.errors import Exit, RecordUnusable
from harness.history.events import Outcome, Phase
from harness.history.run import RunInfo
from harness.judge.findings import (
    FeedFinding,
    Findings,
    GeneratorHealth,
    Interval,
    OpenWindows,
    OwnFinding,
    Remark,
    RequestRow,
    RunSummary,
    Second,
    Status,
    Verdict,
    WindowsFound,
)
from harness.report import words
from harness.report.bins import bins_of
from harness.report.page import reasons, render_page, shown, write_page
from harness.report.sentences import fault_sentence, lead, occurrences
from harness.report.timeline import draw

VOID = {"meta", "link", "br", "wbr"}
HOSTILE = "</script><script>alert(1)</script>&\"'<b>"


@pytest.fixture(scope="session")
def page(findings: Findings) -> str:
    return render_page(findings, run_info(), "reports/tour")


def nothing() -> Findings:
    """Findings of a run that ended before anything happened."""
    run = run_info()
    summary = RunSummary(
        run_id=run.run_id,
        campaign="tour",
        target="sandbox",
        target_url="",
        target_identity="",
        sandbox="",
        harness_version="0.1.0",
        plan_hash="",
        seed=1,
        labels={},
        wall_start="2026-11-23T21:15:00+00:00",
        wall_end="",
        planned_s=0,
        duration_s=0,
        ended="",
    )
    verdict = Verdict(
        status=Status.UNJUDGED,
        exit_code=Exit.UNJUDGED,
        reason="no data",
        reasons=("no data",),
        retry_makes_sense=True,
    )
    return Findings(
        run=summary, verdict=verdict, gates=(), phases=(), by_phase=(), seconds=(), creates=0, outcomes={}, refused_503=0,
        frames=0, bytes=0, faults=(), experiments=(), failures=(), spreads=(), disagreements=(), gaps=(), incomplete=(),
        open_windows=OpenWindows(
            max_windows=None, max_windows_text="unknown", certain_max=0, certain_max_ns=0, possible_max=0, possible_max_ns=0,
            seconds_certainly_above=0, refused_below=0,
        ),
        windows=WindowsFound(
            own=0, own_unknown=0, own_unknown_found=0, foreign=None, outcomes={}, still_open=0, ready=0, first_frame=0
        ),
        drift=(), leftovers=(), deaths=(), remarks=(),
        generator=GeneratorHealth(cpu_mean=None, cpu_max=None, lag_p99_s=None, lag_max_s=None, suspended=0),
    )  # fmt: skip


class Reader(HTMLParser):
    """Checks nesting while it reads, and keeps what tests ask about."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        if not self.stack or self.stack[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag == name]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_every_tag_is_closed_and_every_id_is_one(page: str) -> None:
    reader = Reader(page)
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [attrs["href"] for attrs in reader.all("a")]
    assert targets
    assert all(target and target[0] == "#" and target[1:] in ids for target in targets)


def test_the_page_fetches_nothing(page: str) -> None:
    reader = Reader(page)
    for tag, attrs in reader.tags:
        assert "src" not in attrs, tag
        assert "style" not in attrs or "url(" not in str(attrs["style"]).replace("url(#", ""), tag
    assert [attrs["href"] for attrs in reader.all("link")] == ["data:,"]
    style = page[page.index("<style>") : page.index("</style>")]
    assert "@import" not in style
    assert not re.search(r"url\((?!#)", style)
    script = page[page.index('<script type="application/json"') :]
    assert "fetch(" not in script
    assert "XMLHttp" not in script


def test_tables_have_headers_with_scope_and_drawings_have_names(page: str) -> None:
    reader = Reader(page)
    assert reader.all("th")
    assert all(attrs.get("scope") in ("row", "col") for attrs in reader.all("th"))
    named = [svg for svg in reader.all("svg") if svg.get("role") == "img"]
    assert all(svg.get("aria-label") or svg.get("aria-labelledby") for svg in named)
    assert all(svg.get("role") == "img" or svg.get("aria-hidden") == "true" for svg in reader.all("svg")), (
        "unnamed"
    )


def test_the_page_says_what_the_findings_say(page: str, findings: Findings) -> None:
    text = Reader(page).words
    for sentence in lead(findings):
        assert sentence in text
    for gate in findings.gates:
        assert gate.name in text
        assert (words.gate_subject(gate) if gate.status is Status.PASSED else gate.reason) in text
    for one in occurrences(findings):
        assert fault_sentence(one) in text
    assert "cordon-worker" in text
    assert "streamed, held and closed as planned" in text


def test_every_503_is_in_exactly_one_reason(findings: Findings) -> None:
    told = reasons(findings)
    assert sum(one.refused_503 for one in told) == findings.refused_503 > 0
    assert sum(len(one.groups) for one in told) == len(findings.failures)
    assert [one.count for one in told] == sorted((one.count for one in told), reverse=True)


def test_text_from_outside_cannot_become_markup(findings: Findings) -> None:
    run = msgspec.structs.replace(run_info(), campaign=HOSTILE, labels={"x": HOSTILE}, images={"x": HOSTILE})
    fault = msgspec.structs.replace(findings.faults[0], target=HOSTILE, experiment=HOSTILE, failed=HOSTILE)
    group = msgspec.structs.replace(findings.failures[0], body=HOSTILE, during=(HOSTILE,))
    hostile = msgspec.structs.replace(
        findings,
        faults=(fault, *findings.faults[1:]),
        failures=(group, *findings.failures[1:]),
        remarks=(Remark(at_ns=1, level="warning", text=HOSTILE),),
        run=msgspec.structs.replace(findings.run, campaign=HOSTILE, run_id=HOSTILE, target_url=HOSTILE),
    )
    page = render_page(hostile, run, "reports/x")
    reader = Reader(page)
    assert len(reader.all("script")) == 2
    assert not reader.all("b") or "alert(1)</b>" not in page
    assert "<script>alert" not in page
    assert HOSTILE in "".join(reader.text)


def test_a_run_without_data_says_so_instead_of_drawing_empty_boxes() -> None:
    page = render_page(nothing(), run_info(), "reports/x")
    reader = Reader(page)
    assert not [svg for svg in reader.all("svg") if "drawing" in str(svg.get("class"))]
    for words_ in (
        "Not judged",
        "No window was asked for.",
        "The campaign has no gates",
        "nothing to draw",
        "No fault was opened",
        "none could fail",
        "The record names no phase",
        "Nothing was measured",
        "It said nothing about itself",
        "the record has no end",
        "Foreign not known",
    ):
        assert words_ in reader.words, words_
    assert "<script" not in page


def test_the_read_out_holds_the_same_numbers_as_the_findings(page: str, findings: Findings) -> None:
    found = re.search(r'<script type="application/json" id="seconds">(.*?)</script>', page, re.DOTALL)
    assert found
    rows = json.loads(found[1])
    assert len(rows) == len(findings.seconds)
    assert sum(row[8] for row in rows) == findings.creates
    assert sum(row[10] for row in rows) == findings.refused_503
    assert [row[5:8] for row in rows] == [[s.streams, s.pods, s.slots] for s in findings.seconds]


def test_the_same_findings_give_the_same_page(page: str, findings: Findings) -> None:
    assert render_page(findings, run_info(), "reports/tour") == page


def seconds(count: int, streams: int | None = 3) -> tuple[Second, ...]:
    return tuple(
        Second(
            at_s=number, phase=Phase.HOLD, creates=4, outcomes={"accepted": 3, "unavailable_503": 1}, refused_503=1,
            open=Interval(certain=2, possible=9 if number == 7 else 5), streams=streams, pods=None, slots=None, foreign=None,
            free_shares=None, free_schedulable=None,
        )
        for number in range(count)
    )  # fmt: skip


def test_a_run_of_hours_stays_small_and_its_worst_second_is_still_there() -> None:
    base = nothing()
    hours = 6
    run = msgspec.structs.replace(base.run, duration_s=hours * 3600.0)
    long = msgspec.structs.replace(base, run=run, seconds=seconds(hours * 3600), creates=hours * 3600 * 4)
    drawing = draw(long, 1080.0)
    assert drawing is not None
    assert drawing.bin_s >= 30
    bins = bins_of(long, drawing.bin_s)
    assert sum(one.creates for one in bins) == hours * 3600 * 4
    assert max(one.possible for one in bins) == 9
    assert len(render_page(long, run_info(), "r")) < 600_000


def test_what_is_not_known_leaves_a_hole_in_the_line_and_no_zero() -> None:
    base = nothing()
    some = seconds(10)
    holed = (*some[:4], *seconds(6, None)[4:], *some[6:])
    found = msgspec.structs.replace(
        base, seconds=holed, run=msgspec.structs.replace(base.run, duration_s=10.0)
    )
    drawing = draw(found, 1080.0)
    assert drawing is not None
    paths = dict(drawing.plots[0].paths)
    assert paths["streams"].count("M") == 2
    assert "pods" not in paths
    assert [plot.title for plot in drawing.plots] == ["Open windows", "Creates per second"]


@pytest.mark.parametrize("width", [380.0, 1080.0])
def test_everything_is_drawn_inside_the_drawing(findings: Findings, width: float) -> None:
    drawing = draw(findings, width)
    assert drawing is not None
    for plot in drawing.plots:
        for _name, data in plot.paths:
            for command, values in re.findall(r"([MVH])([-\d. ]+)", data):
                numbers = [float(value) for value in values.split()]
                xs = numbers[:1] if command in "MH" else []
                ys = numbers[1:] if command == "M" else numbers if command == "V" else []
                assert all(drawing.left <= x <= drawing.right for x in xs)
                assert all(plot.top - 0.1 <= y <= plot.bottom + 0.1 for y in ys)
        for bar in plot.bars:
            assert bar.refused + bar.accepted + bar.other <= plot.height + 0.3
    for band in drawing.faults:
        assert drawing.left <= band.x
        assert band.x + band.held + band.back <= drawing.right + 0.2
    limit = drawing.plots[0].limit_y
    assert limit is not None
    assert drawing.plots[0].top <= limit <= drawing.plots[0].bottom


def test_faults_that_overlap_get_rows_of_their_own_and_labels_do_not_touch(findings: Findings) -> None:
    first = findings.faults[0]
    other = msgspec.structs.replace(first, entry="x", experiment="another-fault")
    both = draw(msgspec.structs.replace(findings, faults=(first, other)), 1080.0)
    assert both is not None
    assert [band.row for band in both.faults] == [0, 1]
    wide = draw(findings, 1080.0)
    assert wide is not None
    assert [band.row for band in wide.faults] == [0, 0, 0]


def test_entries_of_one_injection_are_told_together_and_later_ones_apart(findings: Findings) -> None:
    told = occurrences(findings)
    assert [len(one.entries) for one in told] == [2, 1, 1]
    again = msgspec.structs.replace(
        findings.faults[0],
        entry="later",
        injected_ns=150 * SECOND_NS,
        opened_ns=150 * SECOND_NS,
        undone_ns=160 * SECOND_NS,
    )
    assert len(occurrences(msgspec.structs.replace(findings, faults=(*findings.faults, again)))) == 4


def test_a_fault_that_was_never_undone_and_one_that_failed_say_so(findings: Findings) -> None:
    left = msgspec.structs.replace(findings.faults[2], undone_ns=None, verified_ns=None, recovery_s=None)
    text = lead(msgspec.structs.replace(findings, faults=(left,)))
    assert any("kill-mongo may still be in" in sentence for sentence in text)
    never = msgspec.structs.replace(left, injected_ns=None, failed="403 forbidden")
    (one,) = occurrences(msgspec.structs.replace(findings, faults=(never,)))
    assert fault_sentence(one) == "It was never injected: 403 forbidden."


def test_writing_the_page_is_all_or_nothing(findings: Findings, tmp_path: Path) -> None:
    path = write_page(findings, run_info(), tmp_path)
    assert path == tmp_path / "report.html"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(RecordUnusable, match="cannot write"):
        write_page(findings, run_info(), tmp_path / "missing")


def test_a_folder_below_here_is_shown_relative(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "reports" / "x") == "reports/x"
    assert shown(Path("/elsewhere/x")) == "/elsewhere/x"


def luminance(colour: str) -> float:
    parts = [int(colour[number : number + 2], 16) / 255 for number in (1, 3, 5)]
    r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_enough_contrast_in_both_schemes(page: str, scheme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", page, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", blocks[scheme]))
    for ground in ("paper", "raised"):
        for name in ("ink", "soft", "faint", "red", "green", "amber"):
            light, dark = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


@pytest.mark.parametrize(
    ("value_s", "text"),
    [(None, "not known"), (0, "0 s"), (0.0021, "2.1 ms"), (0.0998, "100 ms"), (0.9996, "1.00 s"), (9.996, "10.0 s"), (172, "2 min 52 s"), (99.96, "1 min 40 s"), (7260, "2 h 1 min")],
)  # fmt: skip
def test_spans_read_as_people_say_them(value_s: float | None, text: str) -> None:
    assert words.span(value_s) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(1, "creates", "1 create"), (0, "faults", "0 faults"), (1, "processes", "1 process"), (1, "s", "1.00 s"), (0.5, "share", "50 %"), (None, "s", "not known")],
)  # fmt: skip
def test_measured_values_have_their_unit_in_the_right_number(
    value: float | None, unit: str, text: str
) -> None:
    assert words.measured(value, unit) == text


def test_instants_round_without_a_sixtieth_second() -> None:
    assert words.moment(59_970_000_000) == "1:00.0"
    assert words.moment(None) == "not known"
    assert words.clock_time(3725) == "1:02:05"


def test_every_closed_set_has_words() -> None:
    from harness.judge.blame import NAMES
    from harness.judge.findings import Limit

    assert set(words.OUTCOMES) >= {outcome.value for outcome in Outcome}
    assert set(words.CAUSES) == set(NAMES)
    assert set(words.PHASES) == set(Phase)
    assert set(words.LIMITS) == set(Limit)
    assert set(words.STATUS_SIGN) == set(Status)


def test_the_limit_is_not_said_to_be_unbroken_where_it_is_not_known() -> None:
    run: RunInfo = run_info()
    page = Reader(render_page(nothing(), run, "x")).words
    assert "not seen broken" not in page


def test_own_requests_have_a_table_of_their_own(findings: Findings) -> None:
    assert 'id="own"' not in render_page(findings, run_info(), "reports/tour")
    row = RequestRow(
        type="GET", name="/<channels>", count=1234, failed=2, p50_s=0.01, p95_s=0.2, p99_s=0.35, max_s=1.5,
        rate_per_s=20.56, errors={"HTTPError 503": 2},
    )  # fmt: skip
    feed = FeedFinding(
        file="rows.jsonl", order="round_robin", rows=7, taken=9, different=5, users={"Taker": 9}
    )
    own = OwnFinding(count=1234, failed=2, requests=(row,), feed=feed)
    page = render_page(msgspec.structs.replace(findings, own=own), run_info(), "reports/tour")
    section = page[page.index('id="own"') : page.index("</section>", page.index('id="own"'))]
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", section))
    assert "GET /&lt;channels&gt;" in text
    assert "20.6HTTPError 503 (2)" in text
    assert "5 of 7 rows of the feed rows.jsonl were used (round robin), 9 times in all: 9 by Taker." in text
    assert "2 of them failed" in page
