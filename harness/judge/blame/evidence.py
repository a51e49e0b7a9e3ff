"""Which records show a cause: identities (`writer:seq`) for one create, in the words of the record itself.

Called by the rules in `causes/` and by the grouping of findings.
"""

from collections.abc import Callable

from harness.judge.blame.creates import POLL_NS, WATCH_NS, Creates
from harness.judge.sightings import DOWN, Seen

Evidence = Callable[[Creates, int], tuple[str, ...]]


def of_dependencies(*names: str) -> Evidence:
    """Show that a dependency did not answer: the question that failed, the pod that was not ready."""

    def find(creates: Creates, index: int) -> tuple[str, ...]:
        world = creates.world
        told = [world.dependencies[name] for name in names]
        told += [world.ready_pods[name] for name in names if name in world.ready_pods]
        return _shown(told, int(creates.sent_ns[index]), int(creates.done_ns[index]) + POLL_NS)

    return find


def of_role(role: str) -> Evidence:
    """Show how the pods of a role stood, and whether they answered."""

    def find(creates: Creates, index: int) -> tuple[str, ...]:
        world = creates.world
        told = [world.ready_pods[role]]
        if role in world.dependencies:
            told.append(world.dependencies[role])
        return _shown(told, int(creates.sent_ns[index]), int(creates.done_ns[index]) + POLL_NS)

    return find


def of_shares(creates: Creates, index: int) -> tuple[str, ...]:
    """Show the count of free shares."""
    at_ns = int(creates.done_ns[index]) + WATCH_NS
    shown = (creates.world.spare_shares.evidence(at_ns), creates.world.spare_schedulable.evidence(at_ns))
    return tuple(dict.fromkeys(identity for identity in shown if identity))


def of_slots(creates: Creates, index: int) -> tuple[str, ...]:
    """Show the count of held slots."""
    identity = creates.world.slots_seen.evidence(int(creates.done_ns[index]) + WATCH_NS)
    return (identity,) if identity else ()


def _shown(told: list[Seen], from_ns: int, to_ns: int) -> tuple[str, ...]:
    """Return the records that say `down` first; without any, those that hold at the end."""
    down = [seen.evidence_of(DOWN, from_ns, to_ns) for seen in told]
    found = [identity for identity in down if identity] or [seen.evidence(to_ns) for seen in told]
    return tuple(dict.fromkeys(identity for identity in found if identity))
