"""log: what Focus Server's own log said lately. Lines are evidence; they become a finding only where nobody else could look."""

import re
from datetime import UTC, datetime

from harness.cluster import name_of
from harness.doctor.result import CannotLook, CheckResult, Evidence, fine
from harness.doctor.sight import Sight
from harness.errors import HarnessError
from harness.history.writer import redacted
from harness.target import RoleName

NAME = "log"
ASKS = "the last five minutes of Focus Server's log: known lines"
SINCE_S = 300
TAIL = 2000
FRESH_S = 30.0
KNOWN = (
    (
        "waiting_for_fibre",
        re.compile(r"missing.{0,20}\bprr\b|\bprr\b.{0,20}missing|waiting for fiber", re.IGNORECASE),
    ),
    ("mongodb_unavailable", re.compile(r"ServerSelectionTimeout|pymongo\.errors|AutoReconnect")),
    (
        "kubernetes_unreachable",
        re.compile(r"is forbidden|Forbidden|\b403\b.*kube|kube.*Connection refused|api.*Max retries"),
    ),
    ("port_taken", re.compile(r"already allocated")),
    ("configure_failed", re.compile(r"Cannot configure")),
)
"""Known lines: the cause they tell of, and how they are recognised."""
QUEUE = re.compile(r"focus_baby\.(\d+-\d+)")


def look(sight: Sight) -> CheckResult:
    """Read the log of every pod and count known lines."""
    pods = sight.pods_of(RoleName.FOCUS_SERVER)
    if not pods:
        raise CannotLook("there is no pod whose log could be read")
    seen: dict[str, list[tuple[float, str]]] = {}
    windows: set[str] = set()
    lines = 0
    for pod in pods:
        for line in _lines(sight, name_of(pod)):
            lines += 1
            windows.update(QUEUE.findall(line))
            cause = next((cause for cause, known in KNOWN if known.search(line)), "")
            if cause:
                seen.setdefault(cause, []).append((_age_s(sight.now, line), line))
    evidence = [
        Evidence(
            f"log of the last {SINCE_S} s",
            f"{lines} lines, {sum(map(len, seen.values()))} of them known",
            {
                "windows": sorted(windows),
                "hints": {cause: min(told)[0] for cause, told in seen.items()},
            },
        )
    ]
    for cause, told in seen.items():
        age_s, line = min(told)
        evidence.append(
            Evidence(
                f"lines that tell of {cause}",
                f"{len(told)}, the last {age_s:.0f} s ago: {redacted(line, 160)}",
            )
        )
    words = ", ".join(f"{cause} x{len(told)}" for cause, told in seen.items())
    return fine(NAME, f"{lines} lines in {SINCE_S} s: {words or 'none that tells of a cause'}", *evidence)


def _lines(sight: Sight, pod: str) -> list[str]:
    try:
        return sight.reach().logs(pod, since_s=SINCE_S, tail_lines=TAIL, timestamps=True).splitlines()
    except HarnessError as error:
        raise CannotLook(f"cannot read the log of {pod}: {error}") from error


def _age_s(now: datetime, line: str) -> float:
    stamp = re.sub(r"(\.\d{6})\d+", r"\1", line.split(" ", 1)[0])
    try:
        return max(0.0, (now - datetime.fromisoformat(stamp).astimezone(UTC)).total_seconds())
    except ValueError:
        return 0.0
