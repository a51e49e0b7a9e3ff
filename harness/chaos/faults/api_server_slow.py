"""api-server-slow: every answer of the Kubernetes API comes late. Cause of a 503: kubernetes unreachable, once it is too late."""

import re
import time
from typing import ClassVar

import msgspec

from harness.chaos.faults.api_server import ApiServerFault
from harness.chaos.faults.fault import Case, Signature
from harness.chaos.faults.handmade import Reached
from harness.chaos.world import Site
from harness.errors import InputError

FELT_SHARE = 0.5


class SlowApiArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`delay` of every answer, such as `1500ms`."""

    delay: str = "1500ms"


class ApiServerSlow(ApiServerFault[SlowApiArguments]):
    """Slow the API server down."""

    kind: ClassVar[str] = "api-server-slow"
    there: ClassVar[str] = "slow"
    title: ClassVar[str] = (
        "delays every answer of the API server by the target's `hands.api` command (`slow`)"
    )
    undo_text: ClassVar[str] = (
        "takes the delay away (`up`); only the guard, the timer or a person can, nothing inside the cluster"
    )
    signature: ClassVar[Signature] = Signature(
        seen="answers of the API take the delay longer; 503 kubernetes_unreachable where it is longer than the server waits (1 s)",
        where="readyz, POST /configure and how long it takes",
        within_s=3.0,
        gone_within_s=10.0,
    )
    arguments = SlowApiArguments

    def look(self, site: Site, arguments: SlowApiArguments) -> Reached:
        """Read the delay."""
        delay_s(arguments.delay)
        return super().look(site, arguments)

    def amount(self, arguments: SlowApiArguments) -> str:
        """Return the delay."""
        return arguments.delay

    def is_active(self, site: Site, case: Case[SlowApiArguments, Reached]) -> bool:
        """An answer takes at least half of the delay, or more than we wait."""
        asked = time.monotonic()
        answered = site.world.answers()
        return not answered or time.monotonic() - asked >= FELT_SHARE * delay_s(case.arguments.delay)


def delay_s(text: str) -> float:
    """Return a time such as `1500ms` in seconds; raises InputError for anything else, and above 3 s."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", text)
    seconds = float(match[1]) / (1000 if match[2] == "ms" else 1) if match else 0.0
    if not 0 < seconds <= 3:
        raise InputError(
            f"delay: {text!r} is not a time up to 3s, such as 1500ms; for longer, use api-server-down"
        )
    return seconds
