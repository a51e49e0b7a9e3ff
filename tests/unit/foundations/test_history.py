"""The history loses nothing that was written, cuts what was torn, and says so."""

import socket
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import RecordUnusable
from harness.history.events import KINDS, AnyEvent, Note, Outcome, Phase, Record, WindowClosed
from harness.history.live import LiveReceiver, LiveSender, Second
from harness.history.reader import read_history
from harness.history.run import RunInfo, read_run, write_run
from harness.history.samples import ATTEMPTS, FRAMES
from harness.history.writer import HistoryWriter, redacted


def note(at_ns: int, text: str = "x") -> Note:
    return Note(at_ns=at_ns, level="info", text=text)


def test_events_come_back_in_the_order_of_their_instants(tmp_path: Path) -> None:
    for name, instants in (("a", (5, 1)), ("b", (3,))):
        writer = HistoryWriter(tmp_path, name)
        for at_ns in instants:
            writer.event(note(at_ns))
        writer.close()
    assert [(r.event.at_ns, r.writer) for r in read_history(tmp_path).events] == [
        (1, "a"),
        (3, "b"),
        (5, "a"),
    ]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_event_survives_its_own_encoding(kind: str) -> None:
    cls = KINDS[kind]
    hints = msgspec.structs.fields(cls)
    values = {str: "text", int: 3, float: 0.5, bool: True, float | None: 0.5}
    given_values = {
        f.name: values.get(f.type, next(iter(f.type)) if isinstance(f.type, type(Phase)) else ())
        for f in hints
    }
    event: AnyEvent = cls(**given_values)  # type: ignore[assignment]
    record = Record(writer="w", seq=1, event=event)
    assert msgspec.json.decode(msgspec.json.encode(record), type=Record) == record


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(min_value=0, max_value=10_000))
def test_a_history_torn_anywhere_keeps_every_complete_line(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    writer = HistoryWriter(folder, "w")
    for at_ns in range(40):
        writer.event(note(at_ns))
    writer.close()
    file = folder / "w.events.jsonl"
    data = file.read_bytes()[: cut % (file.stat().st_size + 1)]
    file.write_bytes(data)
    history = read_history(folder)
    assert len(history.events) == data.count(b"\n")
    assert bool(history.damage) == (not data.endswith(b"\n") and bool(data))


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(min_value=1, max_value=5_000), blocks=st.integers(min_value=1, max_value=5))
def test_samples_torn_anywhere_keep_every_complete_block(
    cut: int, blocks: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    writer = HistoryWriter(folder, "w")
    writer.event(note(0))
    frames = writer.samples(FRAMES)
    sizes = []
    file = folder / "w.frames.samples"
    for block in range(blocks):
        for row in range(10):
            frames.add((block * 10 + row, 1, 0, row, 1, 100, 0))
        writer.flush()
        sizes.append(file.stat().st_size)
    writer.close()
    kept = max(file.stat().st_size - cut, 0)
    file.write_bytes(file.read_bytes()[:kept])
    history = read_history(folder)
    assert len(history.samples["frames"].rows) == 10 * sum(size <= kept for size in sizes)


def test_a_flipped_bit_in_a_block_is_damage_and_not_data(tmp_path: Path) -> None:
    writer = HistoryWriter(tmp_path, "w")
    writer.event(note(0))
    writer.samples(FRAMES).add((1, 1, 0, 0, 1, 100, 0))
    writer.close()
    file = tmp_path / "w.frames.samples"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    history = read_history(tmp_path)
    assert len(history.samples["frames"].rows) == 0
    assert [damage.file for damage in history.damage] == ["w.frames.samples"]


def test_strings_of_several_writers_keep_their_meaning_when_merged(tmp_path: Path) -> None:
    for name, outcomes in (("a", ("accepted", "read_timeout")), ("b", ("unavailable_503", "accepted"))):
        writer = HistoryWriter(tmp_path, name)
        writer.event(note(0))
        attempts = writer.samples(ATTEMPTS)
        for index, outcome in enumerate(outcomes):
            attempts.add(
                (
                    index,
                    index,
                    index + 1,
                    1,
                    attempts.text("configure"),
                    attempts.text(outcome),
                    200,
                    1,
                    attempts.text(""),
                    9,
                )
            )
        writer.close()
    samples = read_history(tmp_path).samples["attempts"]
    assert sorted(samples.texts[number] for number in samples.column("outcome")) == [
        "accepted", "accepted", "read_timeout", "unavailable_503",
    ]  # fmt: skip
    assert {samples.texts[number] for number in samples.column("operation")} == {"configure"}


def test_a_missing_line_is_reported(tmp_path: Path) -> None:
    writer = HistoryWriter(tmp_path, "w")
    for at_ns in range(3):
        writer.event(note(at_ns))
    writer.close()
    file = tmp_path / "w.events.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[2])
    assert "sequence 3 where 2 was due" in read_history(tmp_path).damage[0].what


def test_a_newer_schema_is_refused_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "w.events.jsonl").write_text(
        '{"schema":2,"writer":"w","seq":1,"event":{"kind":"dream","at_ns":1}}\n'
    )
    with pytest.raises(RecordUnusable, match="schema 2"):
        read_history(tmp_path)


def test_two_writers_of_one_name_are_refused(tmp_path: Path) -> None:
    HistoryWriter(tmp_path, "w").close()
    with pytest.raises(RecordUnusable, match="writer already"):
        HistoryWriter(tmp_path, "w")


def test_a_full_disk_is_said_once_and_what_is_lost_is_counted() -> None:
    writer = HistoryWriter.__new__(HistoryWriter)
    writer.lost = 0
    with Path("/dev/full").open("wb", buffering=0) as full:
        with pytest.raises(RecordUnusable, match="free space"):
            writer._write(full, b"line\n")
        writer._write(full, b"line\n")
    assert writer.lost == 2


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("mongodb://user:secret@host/db", "mongodb://user:***@host/db"),
        ('{"password": "abc"}', '{"password": "***"}'),
        ("token=abc123, next", "token=***, next"),
        ("mongodb://user:p@ssw0rd@host/db, x@y", "mongodb://user:***@host/db, x@y"),
        ("https://t0ken@host/x", "https://***@host/x"),
        ("https://host/at/a@b", "https://host/at/a@b"),
        ('{"url": "https://host/x", "to": "a@b"}', '{"url": "https://host/x", "to": "a@b"}'),
        ("Authorization: Bearer abc.def-123 was sent", "Authorization: Bearer *** was sent"),
        ('{"Authorization": "Basic dXNlcg=="}', '{"Authorization": "Basic ***"}'),
        ("bearer eyJhbGciOi.x", "bearer ***"),
        ("plain words", "plain words"),
    ],
)
def test_credentials_never_reach_the_record(text: str, clean: str, tmp_path: Path) -> None:
    assert redacted(text) == clean
    writer = HistoryWriter(tmp_path, "w")
    writer.event(note(0, text))
    writer.close()
    event = read_history(tmp_path).events[0].event
    assert isinstance(event, Note)
    assert event.text == clean


def test_the_live_path_carries_events_and_the_aggregate_of_each_block(tmp_path: Path) -> None:
    receiver = LiveReceiver(tmp_path / "live.sock")
    sender = LiveSender(tmp_path / "live.sock")
    writer = HistoryWriter(tmp_path / "history", "w", sender)
    writer.event(WindowClosed(at_ns=4, window=1, job_id="1-1", outcome=Outcome.STREAMING))
    attempts = writer.samples(ATTEMPTS)
    for latency_ms in (4, 20, 20):
        attempts.add(
            (
                0,
                0,
                latency_ms * 10**6,
                1,
                attempts.text("configure"),
                attempts.text("accepted"),
                200,
                1,
                attempts.text(""),
                9,
            )
        )
    writer.close()
    first, second = receiver.receive(1.0), receiver.receive(1.0)
    assert isinstance(first, Record)
    assert first.event.at_ns == 4
    assert isinstance(second, Second)
    (count,) = second.attempts
    assert (count.operation, count.outcome, count.count, count.buckets[:3]) == (
        "configure",
        "accepted",
        3,
        (1, 0, 2),
    )
    assert count.latency_sum_s == pytest.approx(0.044)
    receiver.close()
    sender.close()


def test_losing_the_live_path_loses_no_record(tmp_path: Path) -> None:
    sender = LiveSender(tmp_path / "nobody.sock")
    writer = HistoryWriter(tmp_path / "history", "w", sender)
    for at_ns in range(10):
        writer.event(note(at_ns))
    writer.close()
    sender.close()
    assert sender.lost == 10
    assert len(read_history(tmp_path / "history").events) == 10


def test_a_full_live_socket_never_makes_a_writer_wait(tmp_path: Path) -> None:
    quiet = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    quiet.bind(str(tmp_path / "full.sock"))
    sender = LiveSender(tmp_path / "full.sock")
    for _ in range(2_000):
        sender.send(b"x" * 4_000)
    quiet.close()
    sender.close()
    assert sender.lost > 0


def test_run_json_survives_writing_and_reading(tmp_path: Path) -> None:
    run = RunInfo(
        run_id="r",
        harness_version="0",
        campaign="c",
        plan_hash="h",
        seed=1,
        target="t",
        target_url="u",
        wall_start="now",
    )
    write_run(tmp_path, run)
    assert read_run(tmp_path) == run
    with pytest.raises(RecordUnusable, match="not the folder of a run"):
        read_run(tmp_path / "elsewhere")


def test_credentials_in_a_target_s_url_never_reach_run_json(tmp_path: Path) -> None:
    run = RunInfo(
        run_id="r", harness_version="0", campaign="c", plan_hash="h", seed=1, target="t",
        target_url="https://me:secret@host/focus-server", wall_start="now",
    )  # fmt: skip
    write_run(tmp_path, run)
    assert read_run(tmp_path).target_url == "https://me:***@host/focus-server"
