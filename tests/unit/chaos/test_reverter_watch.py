"""When the reverter acts: by what it saw change, by its own clock, and never for time in which it could not see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.chaos.deployment import reverter_objects
from harness.chaos.reverter import LAPSE_S, SPARE_S, Watch

ENTRY = {"cordon-1": ("run-1", 60.0)}


def see(watch: Watch, *moments: tuple[float, str]) -> list[float]:
    """Show the watch a Lease's token at each instant; return the instants at which the entry was due."""
    return [now for now, token in moments if watch.saw(now, token, "run-1", ENTRY)]


def test_a_lease_that_changes_keeps_its_faults_for_ever() -> None:
    assert see(Watch(), *[(n * 0.5, str(n)) for n in range(100)]) == []


def test_a_lease_that_does_not_change_for_longer_than_the_lapse_is_dead() -> None:
    due = see(Watch(), *[(n * 0.5, "same") for n in range(20)])
    assert due[0] == LAPSE_S + 0.5


def test_time_in_which_nothing_could_be_seen_counts_for_nothing() -> None:
    watch = Watch()
    assert see(watch, (0.0, "1"), (0.5, "1")) == []
    watch.blind()  # the API server is away for half a minute
    assert see(watch, (30.0, "1"), (30.0 + LAPSE_S, "1")) == []
    assert see(watch, (30.5 + LAPSE_S, "1")) == [30.5 + LAPSE_S]


def test_a_lease_renewed_right_after_the_api_server_is_back_is_alive() -> None:
    watch = Watch()
    see(watch, (0.0, "1"))
    watch.blind()
    assert see(watch, (30.0, "1"), (31.0, "2"), (36.5, "3"), (42.0, "4")) == []


def test_the_longest_hold_is_the_end_although_the_lease_is_alive() -> None:
    watch = Watch()
    moments = [(n * 0.5, str(n)) for n in range(200)]
    due = see(watch, *moments)
    assert due[0] == 60.0 + SPARE_S + 0.5


def test_an_entry_of_a_run_that_no_longer_holds_the_lock_is_due() -> None:
    watch = Watch()
    due = [now for now in range(20) if watch.saw(float(now), str(now), "run-2", ENTRY)]
    assert due[0] == LAPSE_S + 1


def test_a_lock_that_nobody_holds_is_no_run() -> None:
    """Released while an entry stands: it is the Lease that no longer changes, not another run."""
    watch = Watch()
    assert not watch.saw(0.0, "1", "", ENTRY)
    assert not watch.saw(LAPSE_S, "1", "", ENTRY)
    assert watch.saw(LAPSE_S + 0.1, "1", "", ENTRY)


def test_an_entry_is_left_in_peace_for_the_lapse_even_if_the_lease_was_still_before_it_came() -> None:
    watch = Watch()
    for now in range(30):
        watch.saw(float(now), "old", "", {})
    assert not watch.saw(30.0, "old", "run-1", ENTRY)


@given(
    st.lists(st.tuples(st.floats(0.1, 3.0), st.integers(0, 2), st.booleans()), min_size=1, max_size=40),
    st.floats(-1e6, 1e6),
)
def test_shifting_all_times_changes_nothing_and_nothing_is_due_before_the_lapse(
    steps: list[tuple[float, int, bool]], shift: float
) -> None:
    here, there = Watch(), Watch()
    now, still_since, last = 0.0, None, ""
    for pause, change, blind in steps:
        now += pause
        if blind:
            here.blind()
            there.blind()
            still_since = None
            continue
        token = last if change == 0 and last else f"{now}"
        if token != last or still_since is None:
            last, still_since = token, now
        due = bool(here.saw(now, token, "run-1", ENTRY))
        assert (
            due == bool(there.saw(now + shift, token, "run-1", ENTRY))
            or abs(now - still_since - LAPSE_S) < 1e-3
        )
        assert not due or now - still_since > LAPSE_S - 1e-6 or now > 60.0


def test_its_rights_are_those_of_undoing() -> None:
    rules = [rule for _, obj in reverter_objects() for rule in obj.get("rules", ())]
    assert rules
    created = [rule for rule in rules if "create" in rule["verbs"]]
    assert [rule["resources"] for rule in created] == [["events"]], "it makes nothing but events"
    assert not any("*" in rule["verbs"] or "*" in rule["resources"] for rule in rules)


@pytest.mark.parametrize("given_selector", [{}, {"kubernetes.io/hostname": "master"}])
def test_it_tolerates_everything_and_runs_where_it_is_told(given_selector: dict[str, str]) -> None:
    objects = dict(reverter_objects(image="r/x:1", pull_policy="Never", node_selector=given_selector))
    spec = objects["deployments"]["spec"]["template"]["spec"]
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec.get("nodeSelector", {}) == given_selector
    container = spec["containers"][0]
    assert (container["image"], container["imagePullPolicy"]) == ("r/x:1", "Never")
