"""Faults that each break one promise; the suite has to find every one."""

from dataclasses import replace
from typing import Any, ClassVar

import msgspec

from harness.chaos.faults.alteration import Altered, Creation
from harness.chaos.faults.cordon_worker import CordonArguments, CordonWorker
from harness.chaos.faults.drop_network import DropNetwork
from harness.chaos.faults.fault import Case, Reading, Signature, take_back
from harness.chaos.faults.handmade import Reached
from harness.chaos.world import Site
from harness.cluster import Right

Cordoning = Case[CordonArguments, Altered]


class LooksTooHard(CordonWorker):
    """Writes while it looks."""

    kind = "looks-too-hard"

    def look(self, site: Site, arguments: CordonArguments) -> Altered:
        found = super().look(site, arguments)
        site.world.patch("nodes", found.changes[0].ref.name, {"metadata": {"annotations": {"seen": None}}})
        return found


class Refuses(CordonWorker):
    """Raises what nobody expects before it is injected."""

    kind = "refuses"

    def describe(self, case: Cordoning) -> str:
        raise KeyError("nodes")


class Forgets(CordonWorker):
    """Remembers what cannot be written down."""

    kind = "forgets"

    def look(self, site: Site, arguments: CordonArguments) -> Altered:
        return msgspec.structs.replace(super().look(site, arguments), facts={"pair": (1, 2)})


class Presumes(CordonWorker):
    """Names no rights."""

    kind = "presumes"

    def rights(self, site: Site) -> tuple[Right, ...]:
        return (Right("list", "nodes"), Right("patch", "nodes"))


class UndoesTooMuch(CordonWorker):
    """Undoes what was never done."""

    kind = "undoes-too-much"

    def undo(self, site: Site, case: Cordoning) -> None:
        super().undo(site, case)
        site.world.patch("nodes", "master-node", {"metadata": {"labels": {"undone": "true"}}})


class Insists(CordonWorker):
    """Writes whatever has happened meanwhile."""

    kind = "insists"

    def inject(self, site: Site, case: Cordoning) -> None:
        for altered in case.before.changes:
            site.world.patch(
                "nodes",
                altered.ref.name,
                {**altered.there, "metadata": {"labels": {"focus-harness/entry": case.entry}}},
            )


class Blindfolded(CordonWorker):
    """Sees its effect once, and never again."""

    kind = "blindfolded"
    looked = 0

    def is_active(self, site: Site, case: Cordoning) -> bool:
        type(self).looked += 1
        return type(self).looked == 2 and super().is_active(site, case)


class Slow(CordonWorker):
    """Promises more than it keeps, both ways."""

    kind = "slow"
    signature: ClassVar[Signature] = replace(CordonWorker.signature, within_s=-2.0, gone_within_s=-2.0)


class Unmarked(CordonWorker):
    """Takes its mark off at once."""

    kind = "unmarked"

    def inject(self, site: Site, case: Cordoning) -> None:
        super().inject(site, case)
        site.world.patch(
            "nodes", case.before.changes[0].ref.name, {"metadata": {"labels": {"focus-harness/entry": None}}}
        )

    def undo(self, site: Site, case: Cordoning) -> None:
        for altered in case.before.changes:
            site.world.patch("nodes", altered.ref.name, altered.back)


class OutOfReach(CordonWorker):
    """Makes something where no sweep looks."""

    kind = "out-of-reach"

    def look(self, site: Site, arguments: CordonArguments) -> Altered:
        body = {"metadata": {"name": "focus-harness-secret"}, "stringData": {"a": "b"}}
        return msgspec.structs.replace(super().look(site, arguments), creations=(Creation("secrets", body),))

    def rights(self, site: Site) -> tuple[Right, ...]:
        ours = site.kubernetes.harness_namespace
        return (
            *super().rights(site),
            *(Right(verb, "secrets", ours) for verb in ("create", "list", "delete")),
        )


class NeverDone(CordonWorker):
    """Reads a difference that nobody can mend."""

    kind = "never-done"

    def reading(self, site: Site, case: Cordoning) -> Reading:
        return Reading(("the light is on",), "light")


class Forgetful(CordonWorker):
    """Takes its mark off a node, and leaves it cordoned."""

    kind = "forgetful"

    def undo(self, site: Site, case: Cordoning) -> None:
        for altered in case.before.changes:
            take_back(site, case, altered.ref, lambda _found: {})


class OnlyOnce(CordonWorker):
    """Changes something when it is undone again."""

    kind = "only-once"

    def undo(self, site: Site, case: Cordoning) -> None:
        injected = any(
            "unschedulable" in node["spec"]
            for node in site.world.objects("nodes", selector="focus-harness/entry")
        )
        super().undo(site, case)
        if injected:
            site.world.patch("nodes", "master-node", {"metadata": {"annotations": {"undone-before": "true"}}})
        elif "undone-before" in (site.world.objects("nodes")[0]["metadata"].get("annotations") or {}):
            site.world.patch("nodes", "master-node", {"metadata": {"labels": {"undone-twice": "true"}}})


class LeavesAnEntry(CordonWorker):
    """Leaves an object of its own behind that it takes for nobody's."""

    kind = "leaves-an-entry"

    def inject(self, site: Site, case: Cordoning) -> None:
        super().inject(site, case)
        labels = {"focus-harness/entry": case.entry}
        site.world.create("configmaps", {"metadata": {"name": "left-behind", "labels": labels}})


class Ticking(DropNetwork):
    """Never forgets its timer."""

    kind = "ticking"

    def settle(self, site: Site, case: Case[Any, Reached]) -> None:
        pass


class Breaks(CordonWorker):
    """Raises what nobody expects while it is held."""

    kind = "breaks"

    def sustain(self, site: Site, case: Cordoning) -> None:
        raise RuntimeError("no")


WRONG: tuple[tuple[type, str], ...] = (
    (Refuses, "it_can_be_tried"),
    (Breaks, "it_can_be_tried"),
    (LooksTooHard, "reading_changes_nothing"),
    (Forgets, "the_journal_remembers"),
    (Presumes, "it_names_its_rights"),
    (UndoesTooMuch, "undo_without_injection_changes_nothing"),
    (Insists, "a_late_request_does_not_last"),
    (Blindfolded, "it_becomes_effective"),
    (Slow, "it_becomes_effective"),
    (Slow, "undo_is_verified"),
    (Unmarked, "what_it_touches_is_marked"),
    (OutOfReach, "what_it_touches_is_marked"),
    (NeverDone, "undo_is_verified"),
    (Forgetful, "undo_brings_the_declared_state_back"),
    (OnlyOnce, "undoing_twice_changes_nothing"),
    (LeavesAnEntry, "nothing_is_left"),
    (Ticking, "timers_are_disarmed"),
)
