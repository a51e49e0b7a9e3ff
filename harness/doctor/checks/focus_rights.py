"""focus-rights: can Focus Server itself use the Kubernetes API. Cause of a 503: kubernetes_unreachable, by rights or by the network.

First from its own pod (`kubectl` there, where exec is allowed and the image has it), then by asking the API server what its service
account may do. Where neither is allowed the answer is unknown.
"""

from typing import Any

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


def look(sight: Sight) -> CheckResult:
    """Ask both ways."""
    from_pod, reached, forbidden = _from_its_pod(sight)
    refused, reviews = _reviews(sight)
    evidence = (from_pod, reviews)
    if refused:
        summary = f"its service account {sight.account()} may not {', '.join(refused)}"
        advice = (Advice("restore-binding", "its service account has lost its rights"),)
        return found(NAME, summary, *evidence, cause=CAUSE, refuses=True, advice=advice)
    if reached is False and forbidden:
        advice = (Advice("restore-binding", "the API server refuses it"),)
        return found(
            NAME, "the API server refuses Focus Server", *evidence, cause=CAUSE, refuses=True, advice=advice
        )
    if reached is False:
        advice = (Advice("restart-focus-server", "once the network is mended"),)
        summary = "Focus Server's pod cannot reach the API server"
        return found(NAME, summary, *evidence, cause=CAUSE, refuses=True, advice=advice)
    if reached is None and refused is None:
        return unknown(NAME, "neither exec in its pod nor an access review is possible here", *evidence)
    how = "from its pod" if reached else "by its service account's rights; its network was not seen"
    return fine(NAME, f"may do what a window takes ({how})", *evidence)


def _from_its_pod(sight: Sight) -> tuple[Evidence, bool | None, bool]:
    """Return the evidence, whether the API was reached (None: could not look), and whether it said no."""
    argv = ["kubectl", "get", "nodes", "-o", "name", "--request-timeout=3s"]
    asked = f"exec in its pod: {' '.join(argv)}"
    pod = next((name_of(pod) for pod in sight.pods_of(RoleName.FOCUS_SERVER) if is_ready(pod)), "")
    if not pod:
        return Evidence(asked, "no pod of it is ready"), None, False
    try:
        ran = sight.asking.execute(pod, argv, EXEC_S)
    except (HarnessError, NoAnswer) as error:
        return Evidence(asked, f"not possible: {error}"), None, False
    said = (ran.err.strip() or ran.out.strip())[:200]
    data: dict[str, Any] = {"exec_code": ran.code}
    if ran.code == 0:
        return Evidence(asked, f"answered: {len(ran.out.split())} nodes", data), True, False
    if ran.code in {126, 127, None} or "executable file not found" in said:
        return Evidence(asked, f"no answer from it: {said or 'no kubectl there'}", data), None, False
    return Evidence(asked, f"ended with {ran.code}: {said}", data), False, "orbidden" in said


def _reviews(sight: Sight) -> tuple[list[str] | None, Evidence]:
    """Return what its account may not do (None: we may not ask), and the evidence."""
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
        return None, Evidence(asked, "we may not ask")
    told = f"refused: {', '.join(refused)}" if refused else "allowed"
    return refused, Evidence(asked, told, {"account": account, "refused": refused, "not_asked": unasked})


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
