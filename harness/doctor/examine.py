"""Run all checks side by side, each within its time, and put what they say together. Nothing here changes anything.

Called by the command and by `mend`, which looks again afterwards. A check that fails, hangs or may not look is `unknown`; none keeps
another from answering.
"""

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from harness.cluster import Cluster, connect
from harness.doctor.asking import RealAsking
from harness.doctor.checks import CHECKS, Check
from harness.doctor.result import CannotLook, CheckResult, unknown
from harness.doctor.sight import Sight
from harness.errors import HarnessError, Unreachable
from harness.history.writer import redacted
from harness.target import Target

CHECK_S = 9.0
"""When a check that has not answered is given up."""


def look_at(target: Target, older_than_s: float, source: str = "") -> Sight:
    """Connect and return a sight of the target; one without a world where the API server does not answer.

    Raises what connecting raises for a cluster that is another one, or refuses us.
    """
    if target.kubernetes == "none":
        return Sight(
            target,
            None,
            RealAsking(target, None),
            "the target has `kube: none`: the cluster cannot be seen",
            older_than_s=older_than_s,
            source=source,
        )
    try:
        cluster = connect(target)
    except Unreachable as error:
        return Sight(
            target,
            None,
            RealAsking(target, None),
            str(error),
            unreachable=True,
            older_than_s=older_than_s,
            source=source,
        )
    cluster.be_brisk()
    return Sight(
        target,
        cluster,
        RealAsking(target, cluster),
        older_than_s=older_than_s,
        ahead_s=_ahead_s(cluster),
        source=source,
    )


def _ahead_s(cluster: Cluster) -> float:
    """Return how much later our clock is than the API server's, or up to a second more: its date is of whole seconds."""
    try:
        theirs = cluster.server_time()
    except HarnessError:
        return 0.0
    return 0.0 if theirs is None else (datetime.now(UTC) - theirs).total_seconds()


def examine(sight: Sight, checks: Sequence[Check] = CHECKS, within_s: float = CHECK_S) -> list[CheckResult]:
    """Return every check's answer, in the order of `checks`."""
    answers: dict[str, CheckResult] = {}
    until = time.monotonic() + within_s
    threads = [
        (check, threading.Thread(target=_ask, args=(check, sight, answers), daemon=True)) for check in checks
    ]
    for _, thread in threads:
        thread.start()
    results = []
    for check, thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
        late = unknown(check.name, f"no answer within {within_s:g} s")
        results.append(answers.get(check.name, late))
    return results


def _ask(check: Check, sight: Sight, answers: dict[str, CheckResult]) -> None:
    try:
        answers[check.name] = check.look(sight)
    except CannotLook as error:
        answers[check.name] = unknown(check.name, redacted(str(error), 300))
    except HarnessError as error:
        answers[check.name] = unknown(check.name, redacted(f"cannot look: {error}", 300))
    except Exception as error:  # an object of an unforeseen shape: this check is blind, the others are not
        answers[check.name] = unknown(
            check.name, redacted(f"cannot look: {type(error).__name__}: {error}", 300)
        )
