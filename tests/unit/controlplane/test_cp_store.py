"""The store counts versions, keeps a bounded past, and comes back from its journal."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.sandbox.controlplane.journal import Journal
from harness.sandbox.controlplane.store import Store, VersionGone, VersionTaken

FEW = settings(max_examples=40, deadline=None)


def _store(window: int = 5) -> Store:
    store = Store(window=window)
    store.open_shelf("configmaps", "ConfigMap", "v1")
    return store


def _put(store: Store, name: str, value: int = 0) -> None:
    key = ("ns", name)
    store.put(
        "configmaps",
        key,
        {"metadata": {"name": name, "namespace": "ns"}, "v": value},
        store.get("configmaps", key),
    )


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30)


def _play(store: Store, steps: list[tuple[str, bool]]) -> dict[int, set[str]]:
    """Puts and removes; gives the names present at every version."""
    seen = {store.version: set[str]()}
    for count, (name, put) in enumerate(steps):
        before = store.get("configmaps", ("ns", name))
        if put:
            _put(store, name, count)
        elif before is not None:
            store.remove("configmaps", ("ns", name), before)
        seen[store.version] = {key[1] for key in store.shelf("configmaps").records}
    return seen


@given(STEPS)
@FEW
def test_the_past_is_told_as_it_was_or_refused(steps: list[tuple[str, bool]]) -> None:
    store = _store()
    for version, names in _play(store, steps).items():
        try:
            past = store.shelf("configmaps").at(version)
        except VersionGone:
            assert version < store.shelf("configmaps").oldest
            continue
        assert {key[1] for key in past} == names


@given(STEPS)
@FEW
def test_following_the_changes_from_any_version_ends_with_the_state(steps: list[tuple[str, bool]]) -> None:
    store = _store(window=1000)
    for version, names in _play(store, steps).items():
        shelf, present = store.shelf("configmaps"), set(names)
        versions = []
        for change in shelf.since(shelf.number_after(version)):
            versions.append(change.version)
            (present.discard if change.kind == "DELETED" else present.add)(change.key[1])
        assert present == {key[1] for key in shelf.records}
        assert versions == sorted(set(versions))


def test_a_version_that_fell_out_of_the_window_is_gone() -> None:
    store = _store(window=3)
    first = store.version
    for value in range(10):
        _put(store, "a", value)
    with pytest.raises(VersionGone, match="too old resource version"):
        store.shelf("configmaps").number_after(first)
    assert len(store.shelf("configmaps").changes) < 6


def test_a_write_over_an_old_state_is_refused() -> None:
    store = _store()
    _put(store, "a")
    old = store.get("configmaps", ("ns", "a"))
    _put(store, "a", 1)
    with pytest.raises(VersionTaken):
        store.put("configmaps", ("ns", "a"), {"metadata": {"name": "a"}}, old)


def test_kind_and_version_come_first_in_the_json_and_the_copy_is_an_own_one() -> None:
    store = _store()
    _put(store, "a")
    record = store.get("configmaps", ("ns", "a"))
    assert record is not None
    assert record.raw.startswith(b'{"kind":"ConfigMap","apiVersion":"v1",')
    record.copy()["v"] = 9
    assert msgspec.json.decode(record.raw)["v"] == 0


def test_a_bell_rings_for_every_change() -> None:
    async def ring() -> None:
        store, bell = _store(), asyncio.Event()
        store.shelf("configmaps").bells.add(bell)
        _put(store, "a")
        assert bell.is_set()

    asyncio.run(ring())


@given(STEPS, st.integers(0, 60))
@FEW
def test_a_journal_brings_back_what_was_written_however_its_last_line_was_torn(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, bool]], torn: int
) -> None:
    file = tmp_path_factory.mktemp("journal") / "store.jsonl"
    store = _store()
    journal = Journal(file, store)
    journal.load()
    journal.follow()
    _play(store, steps)
    journal.close()
    with file.open("ab") as f:
        f.write(b'{"version":99999,"shelf":"configmaps","obj":{"metadata":{"name":"torn"'[:torn])
    back = _store()
    count = Journal(file, back).load()
    was, now = store.shelf("configmaps").records, back.shelf("configmaps").records
    assert {key: r.raw for key, r in was.items()} == {key: r.raw for key, r in now.items()}
    assert count == len(was)
    if file.read_bytes().strip() and was:
        assert back.version > store.version


def test_after_a_restart_watches_from_before_are_refused(tmp_path: Path) -> None:
    store = _store()
    journal = Journal(tmp_path / "s", store)
    journal.follow()
    _put(store, "a")
    journal.close()
    back = _store()
    Journal(tmp_path / "s", back).load()
    with pytest.raises(VersionGone):
        back.shelf("configmaps").number_after(store.version)


def test_a_journal_that_has_grown_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.sandbox.controlplane.journal.LEAST_COMPACTED", 2000)
    store = _store()
    journal = Journal(tmp_path / "s", store)
    journal.follow()
    for value in range(200):
        _put(store, "a", value)
    journal.close()
    assert (tmp_path / "s").stat().st_size < 2500
