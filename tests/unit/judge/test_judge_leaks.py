"""The gate on leaks: what is proven to be ours fails it, what may be ours and what nobody saw keep it from passing, the rest is foreign."""

import pytest
from run_story import Story

from harness.errors import Exit
from harness.history.events import AuditSeen, LeftoverSeen, Phase, WatcherState
from harness.judge.findings import Findings, GateFinding, Status


def story(*owners: str, seeing: bool = True, unseen: str = "", looked: bool = True) -> Story:
    told = Story(max_windows=30).begin()
    told.phase(1, Phase.BASELINE)
    told.phase(25, Phase.DRAIN)
    for second in range(2, 20):
        told.window(second, second + 0.9, frame_s=second + 0.5, gone_s=second + 2)
    if looked:
        told.say(WatcherState(at_ns=told.at(28), watcher="leftovers", seeing=seeing))
        for kind in ("Service", "queue"):
            told.say(
                AuditSeen(
                    at_ns=told.at(28),
                    object_kind=kind,
                    before=0,
                    after=len(owners),
                    later=len(owners) if kind == "Service" else 0,
                    seen=kind != unseen,
                    detail="no right" if kind == unseen else "",
                )
            )
    for number, owner in enumerate(owners):
        name = f"grpc-service-{number}-1"
        told.say(
            LeftoverSeen(
                at_ns=told.at(28), object_kind="Service", name=name, owner=owner, made_by=f"{owner} one"
            )
        )
    told.end(30)
    return told


def gate_of(findings: Findings) -> GateFinding:
    [gate] = [gate for gate in findings.gates if gate.measure == "leaks"]
    return gate


@pytest.mark.parametrize(
    ("owners", "seeing", "unseen", "status"),
    [
        ((), True, "", Status.PASSED),
        (("foreign",), True, "", Status.PASSED),
        (("own",), True, "", Status.FAILED),
        (("fault", "foreign"), True, "", Status.FAILED),
        (("unknown",), True, "", Status.UNJUDGED),
        (("unknown", "own"), True, "", Status.FAILED),
        ((), True, "queue", Status.UNJUDGED),
        (("own",), True, "queue", Status.FAILED),
        ((), False, "Service", Status.UNJUDGED),
        (("own",), False, "queue", Status.FAILED),
    ],
)
def test_only_what_is_ours_fails_and_only_what_was_seen_passes(
    owners: tuple[str, ...], seeing: bool, unseen: str, status: Status
) -> None:
    findings = story(*owners, seeing=seeing, unseen=unseen).judged()
    assert gate_of(findings).status == status
    if "fault" in owners:
        assert findings.verdict.exit_code == Exit.BROKEN
    elif status is Status.UNJUDGED:
        assert findings.verdict.exit_code == Exit.UNJUDGED


def test_the_gate_names_what_is_left_with_its_maker_and_what_nobody_could_look_for() -> None:
    reason = gate_of(story("unknown", "own", unseen="queue").judged()).reason
    assert (
        "Service grpc-service-1-1, made by own one; Service grpc-service-0-1, made by unknown one" in reason
    )
    assert "nobody could look for: queue (no right)" in reason


def test_the_table_counts_what_is_ours_at_the_last_look() -> None:
    rows = {row.object_kind: row for row in story("own", "foreign", "unknown").judged().audit}
    service = rows["Service"]
    assert (service.before, service.after, service.later, service.ours) == (0, 3, 3, 1)


def test_a_target_without_a_cluster_has_no_such_gate() -> None:
    assert all(gate.measure != "leaks" for gate in story(looked=False).judged().gates)
