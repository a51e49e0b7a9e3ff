"""path: the way a client takes, step by step (name, connection, TLS, HTTP), and the way around it to the server itself.

Tells the path from the server: when the server answers directly and not through its URL, the ingress, DNS or a proxy is broken.
"""

from harness.cluster import is_ready
from harness.doctor.asking import NoAnswer, Reply
from harness.doctor.result import CannotLook, CheckResult, Evidence, fine, found
from harness.doctor.sight import Sight
from harness.doctor.way import shown
from harness.target import RoleName

NAME = "path"
ASKS = "GET /ack through the target's URL, and directly from the Service or a pod where that can be reached"
IN_WORDS = {"dns": "name", "connect": "connection", "tls": "TLS", "http": "HTTP"}


def look(sight: Sight) -> CheckResult:
    """Ask both ways and compare."""
    url = f"{sight.target.url}/ack"
    around = _directly(sight)
    direct_works = any(status is not None and status < 500 for _, status, _ in around)
    direct = tuple(
        Evidence(f"GET {where}", words, {f"direct_{index}": status})
        for index, (where, status, words) in enumerate(around)
    )
    try:
        reply = sight.asking.get(url)
    except NoAnswer as error:
        evidence = Evidence(f"GET {shown(url)}", str(error), {"step": error.step})
        return found(
            NAME,
            f"{IN_WORDS.get(error.step, error.step)} fails: {error}",
            evidence,
            *direct,
            cause="path",
            refuses=True,
        )
    evidence = Evidence(
        f"GET {shown(url)}", _told(reply), {"status": reply.status, "took_ms": round(reply.took_s * 1000)}
    )
    if reply.status < 400:
        return fine(NAME, f"/ack answers {reply.status} in {reply.took_s * 1000:.0f} ms", evidence, *direct)
    if reply.status < 500:
        summary = f"/ack answers {reply.status}: is {shown(sight.target.url)} Focus Server's URL?"
        return found(NAME, summary, evidence, *direct, cause="path", refuses=True)
    summary = f"/ack answers {reply.status}"
    if direct_works:
        summary += ", while the server itself answers: the way to it is broken (ingress, proxy)"
    cause = "path" if direct_works or reply.status != 503 else "focus_server_down"
    return found(NAME, summary, evidence, *direct, cause=cause, refuses=True)


def _directly(sight: Sight) -> list[tuple[str, int | None, str]]:
    """Return each direct address that was asked, the status it answered, and that in words."""
    asked: list[tuple[str, int | None, str]] = []
    for host, port in _addresses(sight):
        url = f"http://{host}:{port}/ack"
        try:
            reply = sight.asking.get(url)
        except NoAnswer as error:
            asked.append((url, None, f"cannot be reached from here: {error}"))
        else:
            asked.append((url, reply.status, _told(reply)))
    return asked


def _addresses(sight: Sight) -> list[tuple[str, int]]:
    try:
        role = sight.role(RoleName.FOCUS_SERVER)
        service = sight.find("services", role.service) if role.service else None
        pods = [pod for pod in sight.pods_of(RoleName.FOCUS_SERVER) if is_ready(pod)]
    except CannotLook:
        return []
    ports = (service or {}).get("spec", {}).get("ports") or ()
    found = []
    address = (service or {}).get("spec", {}).get("clusterIP")
    if ports and address and address != "None":
        found.append((str(address), int(ports[0]["port"])))
    target = ports[0].get("targetPort", ports[0]["port"]) if ports else 5000
    found += [
        (str(pod["status"]["podIP"]), target if isinstance(target, int) else 5000)
        for pod in pods[:1]
        if pod.get("status", {}).get("podIP")
    ]
    return found


def _told(reply: Reply) -> str:
    by = f" by {reply.server}" if reply.server else ""
    return f"{reply.status}{by} in {reply.took_s * 1000:.0f} ms"
