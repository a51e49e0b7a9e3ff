"""What experiment files may take as steady state: Chaos Toolkit probes that answer True or False and never hang.

They read; a cluster that does not answer makes them raise, which Chaos Toolkit takes for "not met".
"""

from harness.chaos.actions import current_play
from harness.chaos.faults.alteration import PLURAL
from harness.chaos.world import Site
from harness.cluster import connect
from harness.target import RoleName, find_target, load_target


def workload_is_ready(role: str = "focus_server") -> bool:
    """Say whether the workload of a role has as many ready replicas as it wants, and at least one."""
    play = current_play()
    if play is not None:
        return _is_ready(play.site, RoleName(role))
    target = load_target(find_target(None))
    cluster = connect(target)
    try:
        return _is_ready(Site(cluster, target), RoleName(role))
    finally:
        cluster.close()


def nothing_is_left() -> bool:
    """Say whether no fault failed and everything injected so far is undone and verified."""
    play = current_play()
    return play is None or (not play.failures and not play.open_entries)


def _is_ready(site: Site, role_name: RoleName) -> bool:
    role = site.role(role_name)
    workload = site.world.find(PLURAL[role.kind], role.name)
    if workload is None:
        return False
    wanted = int(workload.get("spec", {}).get("replicas", 1))
    ready = int(workload.get("status", {}).get("readyReplicas") or 0)
    return 0 < wanted <= ready
