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
    pod: CheckResult | None = None
    blind = ""
    try:
        if not uri and sight.workload(RoleName.BROKER) is None:
            return fine(
                NAME, "this target has no broker", Evidence("the broker's workload and URI", "there are none")
            )
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
        advice = (Advice("restart-broker", "its pod is ready and it takes no connection"),)
        return found(
            NAME, f"takes no connection: {error}", *evidence, asked, cause=CAUSE, refuses=True, advice=advice
        )
    return fine(
        NAME, "ready and takes connections", *evidence, Evidence("a connection with credentials", "taken")
    )
