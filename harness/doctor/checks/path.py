"""path: the way a client takes, step by step (name, connection, TLS, HTTP), and the way around it to the server itself.

Tells the path from the server: when the server answers directly and not through its URL, the ingress, DNS or a proxy is broken.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

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
    direct = _directly(sight)
    around = tuple(
        Evidence(f"GET {one.url}", one.words, {f"direct_{index}": one.status})
        for index, one in enumerate(direct.asked)
    )
    try:
        reply = sight.asking.get(url)
    except NoAnswer as error:
        if error.step == "uri":  # ours is wrong, and nobody was asked
            raise CannotLook(f"the target's {error}") from error
        evidence = Evidence(f"GET {shown(url)}", str(error), {"step": error.step})
        summary = f"{IN_WORDS.get(error.step, error.step)} fails: {error}"
        down = error.step in {"connect", "http"} and direct.down
        if down:
            summary += "; the server itself does not answer either"
        cause = "focus_server_down" if down else "path"
        return found(NAME, summary, evidence, *around, cause=cause, refuses=True)
    evidence = Evidence(
        f"GET {shown(url)}", _told(reply), {"status": reply.status, "took_ms": round(reply.took_s * 1000)}
    )
    if reply.status < 400:
        return fine(NAME, f"/ack answers {reply.status} in {reply.took_s * 1000:.0f} ms", evidence, *around)
    if reply.status < 500:
        summary = f"/ack answers {reply.status}: is {shown(sight.target.url)} Focus Server's URL?"
        return found(NAME, summary, evidence, *around, cause="path", refuses=True)
    summary = f"/ack answers {reply.status}"
    if direct.works:
        summary += ", while the server itself answers: the way to it is broken (ingress, proxy)"
    cause = "path" if direct.works or reply.status != 503 else "focus_server_down"
    return found(NAME, summary, evidence, *around, cause=cause, refuses=True)


@dataclass(frozen=True, slots=True)
class Asked:
    """One direct address that was asked, the status it answered (None: none), and that in words."""

    url: str
    status: int | None
    words: str
    refused: bool = False
    """Whether the connection was refused: somebody was reached, and nobody listens there."""


@dataclass(frozen=True, slots=True)
class Directly:
    """The way around: what the direct addresses answered, and whether a pod is ready (None: not seen)."""

    asked: tuple[Asked, ...]
    ready: bool | None

    @property
    def works(self) -> bool:
        """Whether the server answers directly."""
        return any(one.status is not None and one.status < 500 for one in self.asked)

    @property
    def down(self) -> bool:
        """Whether the server was seen not to answer; addresses that cannot be reached from here say nothing."""
        if self.works:
            return False
        return self.ready is False or any(one.refused or one.status is not None for one in self.asked)


def _directly(sight: Sight) -> Directly:
    """Ask every direct address, side by side: from outside of the cluster most answer nothing."""
    addresses, ready = _addresses(sight)
    with ThreadPoolExecutor(max_workers=4) as pool:
        asked = pool.map(lambda one: _ask(sight, f"http://{one[0]}:{one[1]}/ack"), addresses)
        return Directly(tuple(asked), ready)


def _ask(sight: Sight, url: str) -> Asked:
    try:
        reply = sight.asking.get(url)
    except NoAnswer as error:
        refused = error.step == "connect" and "refused" in str(error).lower()
        return Asked(url, None, f"cannot be reached from here: {error}", refused)
    return Asked(url, reply.status, _told(reply))


def _addresses(sight: Sight) -> tuple[list[tuple[str, int]], bool | None]:
    """Return the Service's and a ready pod's address, and whether a pod is ready (None: not seen)."""
    try:
        role = sight.role(RoleName.FOCUS_SERVER)
        service = sight.find("services", role.service) if role.service else None
        pods = [pod for pod in sight.pods_of(RoleName.FOCUS_SERVER) if is_ready(pod)]
    except CannotLook:
        return [], None
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
    return found, bool(pods)


def _told(reply: Reply) -> str:
    by = f" by {reply.server}" if reply.server else ""
    return f"{reply.status}{by} in {reply.took_s * 1000:.0f} ms"
