"""What a sandbox's parameters are drawn from, run by run. Fixed before any rule was tuned; the rules may not be fitted to them.

Detection delays, grace periods, the order of the server's checks, the bodies it and the ingress answer with, latencies and patience.
"""

import random
from dataclasses import dataclass

CHECKS = (
    "focus_server_down",
    "kubernetes_unreachable",
    "gpu_exhausted",
    "worker_unavailable",
    "max_windows",
    "mongodb_unavailable",
    "broker_unavailable",
    "waiting_for_fibre",
)


@dataclass(frozen=True)
class Range:
    """A setting is drawn evenly between two values, or among some."""

    low: float = 0.0
    high: float = 0.0
    among: tuple[str, ...] = ()
    whole: bool = False

    def draw(self, chance: random.Random) -> str:
        """Return one value as `--sandbox-option` takes it."""
        if self.among:
            return chance.choice(self.among)
        value = chance.uniform(self.low, self.high)
        return str(round(value)) if self.whole else f"{value:.3g}"


RANGES: dict[str, Range] = {
    "node_grace_s": Range(8, 14),  # silence of a node until it is NotReady
    "node_monitor_s": Range(0.5, 2),
    "pod_eviction_s": Range(8, 20),
    "restart_delay_s": Range(3, 8),
    "pod_start_delay_s": Range(0.05, 0.4),
    "ready_delay_s": Range(0.5, 1.5),
    "ready_delay_median_s": Range(1.5, 2),
    "ready_delay_p95_s": Range(2, 3),
    "probe_period_s": Range(1, 2, whole=True),
    "check_reuse_s": Range(0.02, 0.3),
    "mongodb_timeout_s": Range(0.6, 1.5),
    "broker_timeout_s": Range(0.6, 1.5),
    "kubernetes_timeout_s": Range(0.6, 1.4),
    "feed_stale_s": Range(2, 4),
    "cleanup_period_s": Range(1.5, 2.5),
    "cleanup_low_readings": Range(4, 6, whole=True),
    "latency_median_s": Range(0.005, 0.12),
    "latency_p95_s": Range(0.12, 0.3),
    "refusal_body": Range(among=("json", "text", "error", "empty")),
    "ingress_dialect": Range(among=("nginx", "haproxy", "envoy")),
    "ingress_connect_timeout_s": Range(1, 4),
}


def drawn(seed: int, mode: str) -> dict[str, str]:
    """Return the settings of one run; the same seed draws the same."""
    chance = random.Random(f"{seed}-{mode}")
    values = {name: range_.draw(chance) for name, range_ in RANGES.items()}
    order = list(CHECKS)
    chance.shuffle(order)
    values["check_order"] = ",".join(order)
    values["node_heartbeat_s"] = "2"
    if mode == "field":  # there a missing MongoDB is waited for, and the site has a latency of its own
        values["mongodb_timeout_s"] = f"{chance.uniform(2, 4):.3g}"
    return {"mode": mode, **values}
