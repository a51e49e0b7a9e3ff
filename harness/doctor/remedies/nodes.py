"""restart-kubelet, uncordon: bring workers back. A kubelet is reached by the target's `hands.node`; no API reaches one.

A cordon of a fault of ours is the business of `undo-sweep`, and `limits.max_nodes` holds for kubelets as it does for faults.
"""

import shlex

from harness.cluster import is_ready, name_of, uid_of
from harness.doctor.remedies.plan import Plan, Refusal, Remedy, Touch, kubectl
from harness.doctor.sight import Sight, marked

VERBS = ("thaw", "start")
"""What brings a kubelet back, whatever has become of it; taking back what is not there succeeds."""


def restart_kubelet(sight: Sight) -> Plan:
    """Plan the hand's verbs for each worker that is not Ready."""
    command = sight.target.hands.node
    silent = [node for node in sight.workers() if not is_ready(node)]
    if not command:
        why = "the target file names no hands.node; on the node itself: systemctl restart kubelet (k3s: k3s-agent)"
        return Plan(refused=tuple(Refusal(f"node {name_of(node)}", why) for node in silent))
    touches: list[Touch] = []
    refused: list[Refusal] = []
    most = sight.target.limits.max_nodes
    for index, node in enumerate(silent):
        name = name_of(node)
        if marked(node):
            why = "a fault of ours is on it: harness undo --sweep takes it back"
            refused.append(Refusal(f"node {name}", why))
            continue
        if index >= most:
            refused.append(
                Refusal(f"node {name}", f"the target allows {most} nodes at once (limits.max_nodes)")
            )
            continue
        for verb in VERBS:
            line = command.format(node=shlex.quote(name), verb=verb)
            touches.append(
                Touch(
                    "hand",
                    "nodes",
                    name,
                    f"its kubelet is silent: {verb}",
                    line,
                    uid=uid_of(node),
                    body=verb,
                )
            )
    return Plan(tuple(touches), tuple(refused), wait_s=20)


def uncordon(sight: Sight) -> Plan:
    """Plan the uncordoning of each cordoned worker."""
    touches: list[Touch] = []
    refused: list[Refusal] = []
    for node in sight.workers():
        name = name_of(node)
        if not node.get("spec", {}).get("unschedulable"):
            continue
        if marked(node):
            refused.append(
                Refusal(f"node {name}", "a fault of ours has cordoned it: harness undo --sweep takes it back")
            )
            continue
        line = kubectl(sight, "uncordon", name, namespace="")
        body = {"spec": {"unschedulable": None}}
        touches.append(Touch("patch", "nodes", name, "it is cordoned", line, uid=uid_of(node), body=body))
    return Plan(tuple(touches), tuple(refused), wait_s=5)


REMEDIES = (
    Remedy(
        "restart-kubelet",
        "bring silent kubelets back by the target's hands.node",
        ("nodes",),
        restart_kubelet,
        90,
    ),
    Remedy("uncordon", "let new pods on cordoned workers again", ("nodes", "gpu"), uncordon, 30),
)
