"""focus-rights: can Focus Server itself use the Kubernetes API. Cause of a 503: kubernetes_unreachable, by rights or by the network.

First from its own pod (`kubectl` there, where exec is allowed and the image has it), then by asking the API server what its service
account may do. Where neither is allowed, or its kubectl does not end in time, the answer is unknown.
"""

from typing import Any, Literal

from harness.cluster import is_ready, name_of
from harness.doctor.asking import NoAnswer
from harness.doctor.result import Advice, CannotLook, CheckResult, Evidence, fine, found, unknown
from harness.doctor.sight import Sight
from harness.errors import HarnessError
from harness.target import RoleName

NAME = "focus-rights"
ASKS = "Focus Server's own access to the API: kubectl in its pod, and what its service account may do"
EXEC_S = 5.0
NEEDS = (("create", "batch", "jobs", True), ("create", "", "services", True), ("list", "", "nodes", False))
"""Verb, group, resource, in the namespace or not: what a window takes."""
CAUSE = "kubernetes_unreachable"
FromPod = Literal["reached", "forbidden", "cut off", "silent", "not asked"]


def look(sight: Sight) -> CheckResult:
    """Ask both ways."""
    from_pod, said = _from_its_pod(sight)
    refused, unasked, reviews = _reviews(sight)
    evidence = (from_pod, reviews)
    if refused:
        summary = f"its service account {sight.account()} may not {', '.join(refused)}"
        advice = (Advice("restore-binding", "its service account has lost its rights"),)
        return found(NAME, summary, *evidence, cause=CAUSE, refuses=True, advice=advice)
    if said == "forbidden":
        advice = (Advice("restore-binding", "the API server refuses it"),)
        return found(
            NAME, "the API server refuses Focus Server", *evidence, cause=CAUSE, refuses=True, advice=advice
        )
    if said == "cut off":
        advice = (Advice("restart-focus-server", "once the network is mended"),)
        summary = "Focus Server's pod cannot reach the API server"
        return found(NAME, summary, *evidence, cause=CAUSE, refuses=True, advice=advice)
    if said == "silent":
        return unknown(NAME, f"kubectl in its pod did not answer within {EXEC_S:.0f} s", *evidence)
    if said == "reached":
        rights = "may do what a window takes" if not unasked else "reaches the API server and lists nodes"
        return fine(NAME, f"{rights} (from its pod)", *evidence)
    if len(unasked) == len(NEEDS):
        return unknown(NAME, "neither exec in its pod nor an access review is possible here", *evidence)
    if unasked:
        return unknown(NAME, f"nobody here can ask whether it may {', '.join(unasked)}", *evidence)
    how = "by its service account's rights; its network was not seen"
    return fine(NAME, f"may do what a window takes ({how})", *evidence)


def _from_its_pod(sight: Sight) -> tuple[Evidence, FromPod]:
    """Return the evidence, and how its own kubectl ended."""
    argv = ["kubectl", "get", "nodes", "-o", "name", "--request-timeout=3s"]
    asked = f"exec in its pod: {' '.join(argv)}"
    pod = next((name_of(pod) for pod in sight.pods_of(RoleName.FOCUS_SERVER) if is_ready(pod)), "")
    if not pod:
        return Evidence(asked, "no pod of it is ready"), "not asked"
    try:
        ran = sight.asking.execute(pod, argv, EXEC_S)
    except (HarnessError, NoAnswer) as error:
        return Evidence(asked, f"not possible: {error}"), "not asked"
    said = (ran.err.strip() or ran.out.strip())[:200]
    data: dict[str, Any] = {"exec_code": ran.code}
    if ran.code == 0:
        return Evidence(asked, f"answered: {len(ran.out.split())} nodes", data), "reached"
    if ran.code is None:
        words = f"did not answer within {EXEC_S:.0f} s" + (f": {said}" if said else "")
        return Evidence(asked, words, data), "silent"
    if ran.code in {126, 127} or "executable file not found" in said:
        return Evidence(asked, f"no answer from it: {said or 'no kubectl there'}", data), "not asked"
    how: FromPod = "forbidden" if "orbidden" in said else "cut off"
    return Evidence(asked, f"ended with {ran.code}: {said}", data), how


def _reviews(sight: Sight) -> tuple[list[str], list[str], Evidence]:
    """Return what its account may not do, what we may not ask about, and the evidence."""
    namespace, account = sight.namespace, sight.account()
    user = f"system:serviceaccount:{namespace}:{account}"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    asked = f"access reviews for {user}"
    refused, unasked = [], []
    for verb, group, resource, inside in NEEDS:
        attributes = {
            "verb": verb,
            "group": group,
            "resource": resource,
            "namespace": namespace if inside else "",
        }
        spec = {"user": user, "groups": groups, "resourceAttributes": attributes}
        words = f"{verb} {resource}"
        answer = _review(sight, {"spec": spec}, namespace if inside else "")
        if answer is None:
            unasked.append(words)
        elif not answer:
            refused.append(words)
    if len(unasked) == len(NEEDS):
        return [], unasked, Evidence(asked, "we may not ask")
    told = f"refused: {', '.join(refused)}" if refused else "allowed"
    if unasked:
        told += f"; we may not ask about: {', '.join(unasked)}"
    data = {"account": account, "refused": refused, "not_asked": unasked}
    return refused, unasked, Evidence(asked, told, data)


def _review(sight: Sight, body: dict[str, Any], namespace: str) -> bool | None:
    """Return what one review says; None if we may not ask it."""
    kinds = ["subjectaccessreviews", *(["localsubjectaccessreviews"] if namespace else [])]
    for kind in kinds:
        where = {"namespace": namespace} if kind.startswith("local") else {}
        try:
            answer = sight.reach().create(kind, {**body, "metadata": where})
        except CannotLook:
            raise
        except HarnessError:
            continue
        return bool(answer.get("status", {}).get("allowed"))
    return None
