"""api-access: does the API server answer us, and may we see what the other checks look at.

Without it most checks are blind; when the API server is away for everybody it is the cause kubernetes_unreachable.
"""

from concurrent.futures import ThreadPoolExecutor

from harness.cluster import Right
from harness.cluster.kinds import KINDS
from harness.doctor.result import CannotLook, CheckResult, Evidence, fine, found, unknown
from harness.doctor.sight import Sight
from harness.errors import HarnessError, Unreachable
from harness.history.writer import redacted

NAME = "api-access"
ASKS = "the API server: does it answer us, and may we list what the checks look at"


def wanted(namespace: str) -> tuple[Right, ...]:
    """Return the rights that the checks need."""
    return (
        *(
            Right("list", kind, namespace)
            for kind in ("pods", "jobs", "services", "endpointslices", "events")
        ),
        Right("list", "nodes"),
        Right("get", "pods", namespace, "log"),
    )


def look(sight: Sight) -> CheckResult:
    """Ask for our rights, side by side: a slow API server is no reason not to know them."""
    if sight.unreachable:
        return _silent("the API server does not answer us", sight.blind)
    world = sight.reach()
    rights = wanted(sight.namespace)
    try:
        with ThreadPoolExecutor(max_workers=len(rights)) as pool:
            allowed = list(pool.map(lambda right: _may(world, right), rights))
    except Unreachable as error:
        return _silent("the API server does not answer us in time, though it was reached", str(error))
    except HarnessError as error:
        raise CannotLook(f"the API server does not say what we may: {error}") from error
    missing = [str(right) for right, may in zip(rights, allowed, strict=True) if not may]
    evidence = Evidence(
        "selfsubjectaccessreviews: " + ", ".join(map(str, rights)),
        f"refused: {', '.join(missing)}" if missing else "all allowed",
        {"missing_rights": missing},
    )
    if missing:
        return unknown(NAME, f"we may not {'; '.join(missing)}", evidence)
    return fine(NAME, "answers, and we may see everything", evidence)


def _silent(words: str, how: str) -> CheckResult:
    evidence = Evidence("the API server", redacted(how))
    return found(NAME, words, evidence, cause="kubernetes_unreachable", refuses=True)


def _may(world: object, right: Right) -> bool:
    attributes = {
        "verb": right.verb,
        "group": KINDS[right.kind].group,
        "resource": right.kind,
        "subresource": right.subresource,
        "namespace": right.namespace,
    }
    review = {"metadata": {}, "spec": {"resourceAttributes": attributes}}
    answer = world.create("selfsubjectaccessreviews", review)  # type: ignore[attr-defined]
    return bool(answer["status"].get("allowed"))
