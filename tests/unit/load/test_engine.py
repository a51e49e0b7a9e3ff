"""One window after the other against a scripted Focus Server: every ending has its outcome, and the record says so."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_focus import NO_RECORDING, FakeFocus, Script

from harness.engine.purse import Purse
from harness.engine.record import Recorder
from harness.engine.watermark import Watermarks
from harness.engine.window import Stage, Window
from harness.focus.api import AsyncFocusServerAPI
from harness.focus.endpoint import Endpoint, Timeouts
from harness.focus.seam import Begin, Budget, Ended, Payload, Play, Style, Told, Transport
from harness.history.events import (
    FirstFrame,
    Outcome,
    WindowAccepted,
    WindowClosed,
    WindowReady,
    WindowUnknown,
)
from harness.history.reader import History, read_history

QUICK = Timeouts(connect_s=1.5, read_s=1.0, total_s=4.0, ready_s=1.2, first_frame_s=1.0)
PAYLOAD = Payload(duration_s=1, height=50, channels=9)


carried_by: list[Transport] = ["reference"]


@pytest.fixture(autouse=True, params=["reference", "lean"])
def transport(request: pytest.FixtureRequest) -> None:
    """Every window is played over both transports, and must end alike."""
    carried_by[0] = request.param


class Played:
    """What one engine run left behind."""

    def __init__(self, told: list[Told], history: History) -> None:
        self.told = told
        self.history = history

    @property
    def ended(self) -> Ended:
        (one,) = [told for told in self.told if isinstance(told, Ended)]
        return one

    def of(self, kind: type[Any]) -> list[Any]:
        return [record.event for record in self.history.events if isinstance(record.event, kind)]

    @property
    def attempts(self) -> list[tuple[str, str, int]]:
        samples = self.history.samples["attempts"]
        return [
            (samples.texts[row["operation"]], samples.texts[row["outcome"]], int(row["status"]))
            for row in samples.rows
        ]


def recorder(folder: Path, endpoint: Endpoint) -> Recorder:
    begin = Begin(
        endpoint=endpoint,
        budget=Budget(),
        payload=PAYLOAD,
        creates_in_flight=5,
        history=str(folder),
        writer="engine-1",
        clock_start_ns=time.monotonic_ns(),
    )
    return Recorder(begin, lambda error: pytest.fail(str(error)))


def play(
    folder: Path,
    script: Script,
    *,
    ask: Play | None = None,
    url: str | None = None,
    timeouts: Timeouts = QUICK,
    close_after_s: float | None = None,
    look: Callable[[FakeFocus], None] | None = None,
    full_checks: float = 0.0,
) -> Played:
    async def run() -> list[Told]:
        told: list[Told] = []
        async with FakeFocus(script) as fake:
            endpoint = Endpoint(url=url or fake.url, timeouts=timeouts)
            record = recorder(folder, endpoint)
            async with AsyncFocusServerAPI(endpoint, lambda seen: record.attempt(seen, seen.about)) as api:
                stage = Stage(
                    api=api,
                    payload=PAYLOAD,
                    purse=Purse(Budget(), time.monotonic_ns()),
                    marks=Watermarks(PAYLOAD),
                    record=record,
                    creates=asyncio.Semaphore(5),
                    tell=told.append,
                    grace_s=0.2,
                    transport=carried_by[0],
                    full_checks=full_checks,
                )
                window = Window(ask or Play(window=1, hold_s=0.2), stage)
                task = window.start()
                if close_after_s is not None:
                    await asyncio.sleep(close_after_s)
                    window.close()
                    window.close()  # a second one must not interrupt the clean end
                await task
                if look is not None:
                    look(fake)
                assert (record.creates, record.opening, record.streaming) == (0, 0, 0)
                assert stage.purse.open == 0
            record.close(0)
        return told

    told = asyncio.run(run())
    return Played(told, read_history(folder))


def test_a_live_window_streams_and_is_closed_as_planned(tmp_path: Path) -> None:
    played = play(tmp_path, Script())
    assert played.ended.outcome is Outcome.STREAMING
    assert played.ended.detail == ""
    (accepted,), (ready,), (first,) = (played.of(kind) for kind in (WindowAccepted, WindowReady, FirstFrame))
    (closed,) = played.of(WindowClosed)
    assert accepted.streams == 3
    assert accepted.at_ns <= ready.at_ns <= first.at_ns <= closed.at_ns
    frames = played.history.samples["frames"].rows
    assert closed.frames == len(frames) == closed.rows > 12
    assert set(frames["stream"]) == {0, 1, 2}
    assert frames["bytes"].sum() == closed.bytes
    assert played.attempts == [("configure", "accepted", 200)]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("503 ", Outcome.UNAVAILABLE_503),
        ("500 boom", Outcome.SERVER_5XX),
        ("500 Error parsing configuration", Outcome.PARSE_500),
        ("502 <html>", Outcome.INGRESS_502_504),
        ("504 <html>", Outcome.INGRESS_502_504),
        ("404 " + NO_RECORDING, Outcome.NO_RECORDING_404),
        ('404 {"detail":"Not Found"}', Outcome.NOT_FOUND_404),
        ("422 ", Outcome.VALIDATION_422),
        ("418 teapot", Outcome.OTHER_STATUS),
        ("301 ", Outcome.OTHER_STATUS),
    ],
)
def test_every_refusal_has_its_outcome_and_is_sent_once(
    tmp_path: Path, answer: str, outcome: Outcome
) -> None:
    posts: list[int] = []
    played = play(tmp_path, Script(answer=answer), look=lambda fake: posts.append(len(fake.requests)))
    assert played.ended.outcome is outcome
    assert not played.ended.accepted
    assert played.attempts == [("configure", outcome.value, int(answer[:3]))]
    assert posts == [1]
    assert not played.of(WindowClosed)
    assert bool(played.of(WindowUnknown)) is (outcome is Outcome.INGRESS_502_504)


@pytest.mark.parametrize(
    ("answer", "outcome", "status"),
    [
        ("hang", Outcome.READ_TIMEOUT, 0),
        ("drop", Outcome.UNKNOWN, 0),
        ("bad_json", Outcome.BROKEN_ANSWER, 200),
        ("truncated", Outcome.BROKEN_ANSWER, 200),
        ("no_job", Outcome.BROKEN_ANSWER, 200),
    ],
)
def test_a_create_whose_answer_is_lost_is_possibly_open(
    tmp_path: Path, answer: str, outcome: Outcome, status: int
) -> None:
    posts: list[int] = []
    played = play(tmp_path, Script(answer=answer), look=lambda fake: posts.append(len(fake.requests)))
    assert played.ended.outcome is outcome
    assert played.attempts == [("configure", outcome.value, status)]
    (unknown,) = played.of(WindowUnknown)
    assert (unknown.window, unknown.outcome) == (1, outcome)
    assert len(unknown.request_id) == 32
    assert posts == [1]


def test_a_refused_connection_is_connect_failed_and_opens_nothing(tmp_path: Path) -> None:
    played = play(tmp_path, Script(), url="http://127.0.0.1:9/focus-server")
    assert played.ended.outcome is Outcome.CONNECT_FAILED
    assert played.attempts == [("configure", "connect_failed", 0)]
    assert not played.of(WindowUnknown)


def test_an_unanswered_connect_is_connect_timeout(tmp_path: Path) -> None:
    import socket

    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:  # fill the queue of connections nobody accepts: the next SYN stays unanswered
                one.setblocking(False)
                one.connect_ex(full.getsockname())
            played = play(tmp_path, Script(), url=f"http://127.0.0.1:{full.getsockname()[1]}")
        finally:
            for one in waiting:
                one.close()
    assert played.ended.outcome is Outcome.CONNECT_TIMEOUT
    assert not played.of(WindowUnknown)


@pytest.mark.parametrize(
    ("stream", "outcome"),
    [
        ("never", Outcome.PENDING_NO_START),
        ("silent", Outcome.STREAM_NO_FRAME),
        ("break_before", Outcome.STREAM_BROKEN_BEFORE_DATA),
        ("end_before", Outcome.STREAM_NO_FRAME),
        ("foreign", Outcome.FOREIGN_STREAM),
        ("turns_foreign", Outcome.FOREIGN_STREAM),
        ("late_rows", Outcome.FOREIGN_STREAM),
        ("other_width", Outcome.FOREIGN_STREAM),
        ("falling_maximum", Outcome.FOREIGN_STREAM),
        ("rows_back", Outcome.FOREIGN_STREAM),
        ("break", Outcome.STREAM_BROKEN),
        ("end", Outcome.STREAM_BROKEN),
    ],
)
def test_every_way_a_live_stream_goes_wrong_has_its_outcome(
    tmp_path: Path, stream: str, outcome: Outcome
) -> None:
    played = play(tmp_path, Script(stream=stream, frames=0 if outcome is Outcome.STREAM_NO_FRAME else 6))
    assert played.ended.outcome is outcome, played.ended
    (closed,) = played.of(WindowClosed)
    assert closed.outcome is outcome
    assert closed.detail
    ready = stream != "never"
    assert bool(played.of(WindowReady)) is ready is played.ended.ready
    if stream in ("foreign", "late_rows", "other_width"):
        assert not played.of(FirstFrame)
        assert closed.frames == len(played.history.samples["frames"].rows) == 0
    if stream == "break":
        assert closed.frames == len(played.history.samples["frames"].rows) > 0


@pytest.mark.parametrize(
    ("share", "outcome"),
    [(0.0, Outcome.STREAMING), (0.5, Outcome.STREAM_BROKEN), (1.0, Outcome.STREAM_BROKEN)],
)
def test_a_corrupt_message_is_seen_where_frames_are_looked_at_row_by_row(
    tmp_path: Path, share: float, outcome: Outcome
) -> None:
    played = play(tmp_path, Script(stream="corrupt"), ask=Play(window=1, hold_s=1.2), full_checks=share)
    (closed,) = played.of(WindowClosed)
    assert closed.outcome is outcome
    assert ("a corrupt message: row" in closed.detail) is (share > 0)
    seen = closed.frames + (share > 0)  # the one that broke it was looked at as well
    # Each of the three streams may break in the same moment, and what broke it counts as checked, not as a frame.
    assert seen * share - 1 <= closed.checked <= seen * share + 3 * (share > 0)
    assert (closed.checked > 0) is (share > 0)


@pytest.mark.parametrize("end", ["end", "goaway"])
def test_a_historic_window_is_complete_when_its_stream_ends_after_data(tmp_path: Path, end: str) -> None:
    ask = Play(window=1, hold_s=5, start_s=1000, end_s=1040)
    played = play(tmp_path, Script(stream=end, frames=8), ask=ask)
    assert played.ended.outcome is Outcome.COMPLETE, played.ended
    (closed,) = played.of(WindowClosed)
    assert (closed.frames, closed.rows) == (24, 24)
    assert not played.history.samples["frames"].rows["lag_ns"].any()


def test_a_historic_window_whose_connection_breaks_is_not_complete(tmp_path: Path) -> None:
    ask = Play(window=1, hold_s=5, start_s=1000, end_s=1040)
    assert play(tmp_path, Script(stream="break", frames=8), ask=ask).ended.outcome is Outcome.STREAM_BROKEN


@pytest.mark.parametrize(
    ("job_field", "outcome"), [("slot", "streaming"), ("counter", "streaming"), ("wrong", "foreign_stream")]
)
def test_a_frame_that_names_its_job_is_believed(tmp_path: Path, job_field: str, outcome: str) -> None:
    assert play(tmp_path, Script(job_field=job_field)).ended.outcome == outcome


def test_closing_a_streaming_window_early_is_still_streaming(tmp_path: Path) -> None:
    played = play(tmp_path, Script(), ask=Play(window=1, hold_s=60), close_after_s=0.5)
    assert played.ended.outcome is Outcome.STREAMING


def test_closing_a_window_that_is_not_ready_is_cancelled(tmp_path: Path) -> None:
    played = play(tmp_path, Script(stream="never"), close_after_s=0.2)
    assert played.ended.outcome is Outcome.CANCELLED
    assert not played.of(WindowUnknown)


def test_closing_a_window_whose_create_is_on_its_way_leaves_it_possibly_open(tmp_path: Path) -> None:
    patient = Timeouts(connect_s=5, read_s=9, total_s=9)
    played = play(tmp_path, Script(answer="hang"), close_after_s=0.2, timeouts=patient)
    assert played.ended.outcome is Outcome.CANCELLED
    (unknown,) = played.of(WindowUnknown)
    assert unknown.outcome is Outcome.CANCELLED
    assert played.attempts == [("configure", "cancelled", 0)]


def test_an_invalid_create_that_our_own_stop_cuts_off_is_cancelled_not_failed(tmp_path: Path) -> None:
    async def run() -> None:
        async with FakeFocus(Script(latency_s=60)) as fake:
            endpoint = Endpoint(url=fake.url, timeouts=Timeouts(connect_s=5, read_s=9, total_s=9))
            record = recorder(tmp_path, endpoint)
            async with AsyncFocusServerAPI(endpoint, lambda seen: record.attempt(seen, seen.about)) as api:
                errand = asyncio.create_task(api.configure_invalid(b"{"))
                await asyncio.sleep(0.2)
                errand.cancel()
                await asyncio.gather(errand, return_exceptions=True)
            record.close(0)

    asyncio.run(run())
    assert Played([], read_history(tmp_path)).attempts == [("configure_invalid", "cancelled", 0)]


def test_closing_a_window_waits_a_little_for_the_answer_of_its_create(tmp_path: Path) -> None:
    played = play(tmp_path, Script(latency_s=0.2), close_after_s=0.1)
    assert played.ended.outcome is Outcome.CANCELLED
    assert not played.of(WindowUnknown)
    assert played.attempts == [("configure", "accepted", 200)]
    assert [event.outcome for event in played.of(WindowClosed)] == [Outcome.CANCELLED]


def test_quirks_of_an_answer_are_recorded_as_drift_once(tmp_path: Path) -> None:
    from harness.history.events import Drift

    played = play(tmp_path, Script(port_as_text=True))
    assert played.ended.outcome is Outcome.STREAMING
    assert [event.quirk for event in played.of(Drift)] == ["stream_port_str"]


def styled(**style: Any) -> Play:
    return Play(window=1, hold_s=0.5, style=Style(persona="p", **style))


def test_an_abandoned_window_is_accepted_and_never_connected_to(tmp_path: Path) -> None:
    def never_read(fake: FakeFocus) -> None:
        (job,) = fake.jobs.values()
        assert job.readers == 0

    played = play(tmp_path, Script(), ask=styled(reading="never"), look=never_read)
    assert played.ended.outcome is Outcome.ABANDONED
    (accepted,), (closed,) = played.of(WindowAccepted), played.of(WindowClosed)
    assert (accepted.persona, closed.frames) == ("p", 0)
    assert closed.at_ns - accepted.at_ns > 400_000_000
    assert not played.of(WindowReady)


def test_a_zombie_takes_one_frame_of_each_stream_and_keeps_its_connection(tmp_path: Path) -> None:
    played = play(tmp_path, Script(), ask=styled(reading="stop"))
    assert (played.ended.outcome, played.ended.frames) == (Outcome.STREAMING, 3)
    assert "not read after the first frames" in played.ended.detail


def test_a_slow_reader_reads_at_its_own_pace_and_is_late_by_nobodys_fault(tmp_path: Path) -> None:
    played = play(tmp_path, Script(), ask=styled(reading="slow", pause_s=0.2))
    assert played.ended.outcome is Outcome.STREAMING
    frames = played.history.samples["frames"].rows
    assert 3 * 2 <= len(frames) <= 3 * 4, (
        "a frame every 0.2 s of 0.5 s and stream, where one comes every 0.02 s"
    )
    assert set(frames["lag_ns"]) == {0}


def test_a_single_channel_is_one_stream_of_one_channel(tmp_path: Path) -> None:
    played = play(tmp_path, Script(), ask=styled(view_type="1", channels=1))
    assert played.ended.outcome is Outcome.STREAMING
    (accepted,) = played.of(WindowAccepted)
    assert accepted.streams == 1
    assert set(played.history.samples["frames"].rows["stream"]) == {0}


def test_a_waterfall_is_asked_for_as_it_must_be_and_what_the_server_does_is_its_outcome(
    tmp_path: Path,
) -> None:
    asked: list[bytes] = []
    played = play(
        tmp_path,
        Script(),
        ask=styled(view_type="2", bare=True),
        look=lambda fake: asked.extend(body for _, _, _, body in fake.requests),
    )
    assert played.ended.outcome is Outcome.PARSE_500
    (body,) = asked
    assert b"displayTimeAxisDuration" not in body
    assert b"frequencyRange" not in body
    assert b'"nfftSelection":1' in body
