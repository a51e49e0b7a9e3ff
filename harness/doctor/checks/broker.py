"""broker: is its pod there, and does it take a connection. Cause of a 503, or of live windows without frames: broker_unavailable."""

from harness.doctor.asking import NoAnswer
from harness.doctor.checks.focus_server import look_at
from harness.doctor.result import Advice, CannotLook, CheckResult, Evidence, Result, fine, found, unknown
from harness.doctor.sight import Sight
from harness.target import RoleName

NAME = "broker"
ASKS = "the broker's pod, and a connection with credentials"
CAUSE = "broker_unavailable"


def look(sight: Sight) -> CheckResult:
    """Look at the pod, then connect."""
    uri = sight.target.broker_uri
    if not uri and not _named(sight):
        nothing = Evidence("kube.roles.broker and broker_uri in the target file", "neither is named")
        return fine(NAME, "this target has no broker", nothing)
    pod: CheckResult | None = None
    blind = ""
    try:
        pod = look_at(sight, RoleName.BROKER, NAME, CAUSE, ("restart-broker", "restart-broker"))
    except CannotLook as error:
        blind = str(error)
    evidence = pod.evidence if pod else (Evidence("its pods", blind),)
    if pod is not None and pod.result is Result.FOUND:
        return pod
    if not uri:
        why = "no broker_uri in the target file, so no connection"
        return unknown(NAME, f"its pod is ready; {why}" if pod else f"{blind}; {why}", *evidence)
    try:
        sight.asking.broker(uri, ())
    except NoAnswer as error:
        asked = Evidence("a connection with credentials", str(error))
        if pod is None:
            return unknown(
                NAME, f"it does not answer from here, and its pods cannot be seen: {error}", *evidence, asked
            )
        if error.not_theirs:  # by our own URI, way or credentials: no reason to touch it
            told = error.from_here("broker_uri")
            return unknown(NAME, f"its pod is ready, and more cannot be seen: {told}", *evidence, asked)
        advice = (Advice("restart-broker", "its pod is ready and it takes no connection"),)
        return found(
            NAME, f"takes no connection: {error}", *evidence, asked, cause=CAUSE, refuses=True, advice=advice
        )
    seen = "ready and takes connections" if pod else "takes connections from here"
    return fine(NAME, seen, *evidence, Evidence("a connection with credentials", "taken"))


def _named(sight: Sight) -> bool:
    """Say whether the target has a broker, as far as its file says; a target without a cluster does not say."""
    kubernetes = sight.target.kubernetes
    if kubernetes == "none":
        return True
    role = kubernetes.roles.get(RoleName.BROKER)
    return role is not None and bool(role.name)
