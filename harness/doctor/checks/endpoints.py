"""endpoints: does the Service in front of Focus Server lead to a ready pod. Cause of a 503: focus_server_down, by the ingress."""

from harness.cluster import labels_of
from harness.doctor.result import Advice, CannotLook, CheckResult, Evidence, fine, found
from harness.doctor.sight import Sight
from harness.target import RoleName

NAME = "endpoints"
ASKS = "the EndpointSlices of Focus Server's Service: addresses that are ready"


def look(sight: Sight) -> CheckResult:
    """Count ready addresses."""
    service = sight.role(RoleName.FOCUS_SERVER).service
    if not service:
        raise CannotLook("the target file names no `service` for the role focus_server")
    if sight.find("services", service) is None:
        gone = Evidence(f"service {service}", "there is none")
        return found(NAME, f"Service {service} does not exist", gone, cause="focus_server_down", refuses=True)
    ready: list[str] = []
    waiting: list[str] = []
    for piece in sight.objects("endpointslices"):
        if labels_of(piece).get("kubernetes.io/service-name") != service:
            continue
        for endpoint in piece.get("endpoints") or ():
            is_ready = (endpoint.get("conditions") or {}).get("ready", True)
            (ready if is_ready else waiting).extend(endpoint.get("addresses") or ())
    evidence = Evidence(
        f"endpointslices of service {service}",
        f"ready: {', '.join(ready) or 'none'}" + (f"; not ready: {', '.join(waiting)}" if waiting else ""),
        {"ready_addresses": ready, "waiting_addresses": waiting},
    )
    if ready:
        return fine(NAME, f"{len(ready)} ready", evidence)
    return found(
        NAME,
        f"Service {service} has no ready endpoint: its ingress answers 503",
        evidence,
        cause="focus_server_down",
        refuses=True,
        advice=(Advice("restart-focus-server", "no pod is ready behind its Service"),),
    )
