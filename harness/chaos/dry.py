"""Say exactly what an experiment would do to a target: every object and every call, with nothing written.

`harness run --dry-run` calls it. Victims are chosen as they would be now, from the real cluster; writes go into a world that remembers
them as lines and hands back what a cluster would have answered.
"""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from harness.chaos.faults import Case, fault_named
from harness.chaos.faults.fault import refuse_losses
from harness.chaos.play import longest
from harness.chaos.story import planned_faults, read_story
from harness.chaos.world import Site, hand_command
from harness.cluster import Cluster, Object
from harness.cluster.kinds import KINDS
from harness.errors import HarnessError, InjectionFailed
from harness.target import Target


class DryWorld:
    """A cluster that is read, and whose writes become lines."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.lines: list[str] = []
        self._made: dict[tuple[str, str], Object] = {}

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Read an object, or one that would have been made."""
        return self._made.get((kind, name)) or self._cluster.find(kind, name, namespace)

    def objects(
        self, kind: str, namespace: str | None = None, selector: str = "", fields: str = ""
    ) -> list[Object]:
        """Read objects."""
        return self._cluster.objects(kind, namespace, selector, fields)

    def create(self, kind: str, obj: Object, namespace: str | None = None) -> Object:
        """Remember a POST."""
        self._note("POST", kind, "", namespace, obj)
        name = str(obj["metadata"].get("name", ""))
        self._made[kind, name] = {**obj, "metadata": {**obj["metadata"], "uid": "dry-run"}}
        return self._made[kind, name]

    def patch(
        self,
        kind: str,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        resource_version: str | None = None,
        how: Literal["merge", "json", "strategic"] = "merge",
    ) -> Object:
        """Remember a PATCH."""
        self._note("PATCH", kind, name, namespace, patch)
        return self.find(kind, name, namespace) or {"metadata": {"name": name}}

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        grace_s: int | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] | None = None,
    ) -> bool:
        """Remember a DELETE."""
        self._note(
            "DELETE", kind, name, namespace, None if grace_s is None else {"gracePeriodSeconds": grace_s}
        )
        return True

    def evict(self, pod: str, namespace: str | None = None, *, uid: str, resource_version: str) -> bool:
        """Remember an eviction."""
        self._note("POST", "pods", f"{pod}/eviction", namespace, None)
        return True

    def answers(self) -> bool:
        """Ask the real one."""
        return self._cluster.answers()

    def _note(self, verb: str, kind: str, name: str, namespace: str | None, body: Any) -> None:
        known = KINDS[kind]
        path = known.path(namespace or self._cluster.namespace, name or None)
        said = "" if body is None else " " + json.dumps(body, separators=(",", ":"))
        self.lines.append(f"{verb} {path}{said}")


def calls_of(
    target: Target, cluster: Cluster, experiment: Path, settings: Mapping[str, str], hold_s: float
) -> list[str]:
    """Return the lines of what each fault of an experiment would do now, and how it would be undone.

    A fault that would be refused now says so instead; raises only what reading the file raises.
    """
    lines: list[str] = []
    for kind, arguments in planned_faults(read_story(experiment), settings, target.faults):
        fault = fault_named(kind, target.faults)
        world = DryWorld(cluster)

        def hand(of: Target, name: str, fills: dict[str, str], into: list[str] = world.lines) -> None:
            into.append("RUN " + " ".join(hand_command(of, name, fills)))

        def window(_target: Target, into: list[str] = world.lines) -> str:
            into.append(f"POST {target.url}/configure (as often as windows are wanted)")
            raise InjectionFailed("not asked for in a dry run")

        site = Site(world, target, hand, window)
        entry = f"{kind}-{secrets.token_hex(4)}"
        try:
            refuse_losses(fault, target)
            case = Case(
                entry,
                arguments,
                fault.look(site, arguments),
                owner_uid="dry-run",
                max_hold_s=longest(fault, target, hold_s),
                waits=False,
            )
            lines.append(f"{kind} on {fault.describe(case)}")
            world.lines.append(
                f"POST (undo entry) ConfigMap {site.kubernetes.harness_namespace}/undo-{entry}"
            )
            try:
                fault.inject(site, case)
            except InjectionFailed as stopped:
                world.lines.append(f"({stopped})")
            lines += [f"  {line}" for line in world.lines]
            lines.append(f"  undone by hand: {fault.mend(site, case)}")
        except HarnessError as error:
            lines.append(f"{kind}: would be refused now: {error}")
    return lines
