"""nodes: are the workers Ready and schedulable. Cause of a 503: worker_unavailable, if none of those left has a free share."""

from harness.cluster import Object, is_ready, name_of
from harness.cluster.kinds import condition
from harness.doctor.result import Advice, CheckResult, Evidence, fine, found
from harness.doctor.shares import count_shares, keeps_off
from harness.doctor.sight import Sight

NAME = "nodes"
ASKS = "the workers: Ready, cordoned, tainted"
CAUSE = "worker_unavailable"
TOLD_OTHERWISE = tuple(f"node.kubernetes.io/{key}:" for key in ("unschedulable", "not-ready", "unreachable"))
"""Taints that say what cordoned and NotReady say already."""


def look(sight: Sight) -> CheckResult:
    """Look at every worker; what is left decides whether it is a cause."""
    workers = sorted(sight.workers(), key=name_of)
    if not workers:
        told = Evidence(f"nodes with {sight.kubernetes.worker_selector}", "none")
        return found(NAME, "no node matches the target's worker_selector", told, cause=CAUSE, refuses=True)
    silent = [name_of(node) for node in workers if not is_ready(node)]
    cordoned = [name_of(node) for node in workers if node.get("spec", {}).get("unschedulable")]
    evidence = Evidence(
        f"nodes with {sight.kubernetes.worker_selector}",
        "; ".join(f"{name_of(node)}: {_state(node)}" for node in workers),
        {"not_ready": silent, "cordoned": cordoned, "workers": [name_of(node) for node in workers]},
    )
    amiss = {name_of(node): _state(node) for node in workers if _state(node) != "Ready"}
    if not amiss:
        return fine(NAME, f"{len(workers)} workers Ready and schedulable", evidence)
    shares = count_shares(sight)
    left = f"{shares.free_sound} free shares left on sound workers"
    refuses = (shares.free_sound == 0 and shares.free > 0) or len(amiss) == len(workers)
    advice = tuple(
        Advice(remedy, f"{', '.join(names)}: {why}")
        for remedy, names, why in (
            ("restart-kubelet", silent, "not Ready"),
            ("uncordon", cordoned, "cordoned"),
        )
        if names
    )
    states = "; ".join(f"{name} {state}" for name, state in amiss.items())
    summary = f"{states}; {left}" + ("" if refuses else ": no cause of a 503 yet")
    return found(NAME, summary, evidence, cause=CAUSE if refuses else "", refuses=refuses, advice=advice)


def _state(node: Object) -> str:
    words = []
    if not is_ready(node):
        words.append(f"NotReady (Ready is {condition(node, 'Ready')})")
    if node.get("spec", {}).get("unschedulable"):
        words.append("cordoned")
    words += [f"tainted {taint}" for taint in keeps_off(node) if not taint.startswith(TOLD_OTHERWISE)]
    return ", ".join(words) or "Ready"
