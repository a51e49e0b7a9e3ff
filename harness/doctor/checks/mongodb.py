"""mongodb: is its pod there, does it answer a ping with credentials, and are recordings where Focus Server looks. Cause: mongodb_unavailable."""

import re

from harness.doctor.asking import NoAnswer
from harness.doctor.checks.focus_server import look_at
from harness.doctor.result import Advice, CannotLook, CheckResult, Evidence, Result, fine, found, unknown
from harness.doctor.sight import Sight
from harness.errors import HarnessError
from harness.target import RoleName

NAME = "mongodb"
ASKS = "MongoDB's pod, a ping with credentials, and its base_paths against the configured storage path"
CAUSE = "mongodb_unavailable"
CONFIG = "prisma-config"
STORAGE = re.compile(r"storage_mount_path\s*[=:]\s*[\"']([^\"']+)[\"']")


def look(sight: Sight) -> CheckResult:
    """Look at the pod, then ask."""
    pod: CheckResult | None = None
    blind = ""
    try:
        pod = look_at(sight, RoleName.MONGODB, NAME, CAUSE, ("restart-mongodb", "restart-mongodb"))
    except CannotLook as error:
        blind = str(error)
    evidence = pod.evidence if pod else (Evidence("its pods", blind),)
    if pod is not None and pod.result is Result.FOUND:
        return pod
    uri = sight.target.mongodb_uri
    if not uri:
        why = "no mongodb_uri in the target file, so no ping"
        return unknown(NAME, f"its pod is ready; {why}" if pod else f"{blind}; {why}", *evidence)
    try:
        paths = sight.asking.mongodb(uri)
    except NoAnswer as error:
        ping = Evidence("ping with credentials", str(error))
        if pod is None:
            return unknown(
                NAME, f"it does not answer from here, and its pods cannot be seen: {error}", *evidence, ping
            )
        if error.not_theirs:  # by our own URI, way or credentials: no reason to touch it
            told = error.from_here("mongodb_uri")
            return unknown(NAME, f"its pod is ready, and more cannot be seen: {told}", *evidence, ping)
        advice = (Advice("restart-mongodb", "its pod is ready and it does not answer"),)
        return found(
            NAME, f"it does not answer: {error}", *evidence, ping, cause=CAUSE, refuses=True, advice=advice
        )
    known = [str(one.get("base_path", "")) for one in paths]
    ping = Evidence("ping with credentials", "answers", {"base_paths": known})
    storage = _storage_path(sight)
    if storage and known and storage not in known:
        where = Evidence(f"storage_mount_path in ConfigMap {CONFIG}", storage, {"storage_path": storage})
        summary = f"answers, but no base_path is {storage}: historic windows find no recording (404)"
        return found(NAME, summary, *evidence, ping, where, cause="no_recording")
    seen = "ready and answers" if pod else "answers from here"
    return fine(NAME, f"{seen} with credentials", *evidence, ping)


def _storage_path(sight: Sight) -> str:
    """Return where Focus Server looks for recordings; empty where that cannot be read."""
    try:
        config = sight.reach().find("configmaps", CONFIG)
    except (HarnessError, CannotLook):
        return ""
    for text in ((config or {}).get("data") or {}).values():
        if match := STORAGE.search(str(text)):
            return match[1]
    return ""
