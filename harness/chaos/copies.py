"""The copy of an undo entry in the cluster: a ConfigMap in the harness' namespace, there before the fault is.

It says to anybody with kubectl what is going on and how to end it, survives the machine the run was started on, and owns every
object the fault creates. Written by whoever injects; removed once the entry is verified. No write, no fault.
"""

import msgspec

from harness.chaos.faults.fault import ENTRY_LABEL, MANAGED_BY, MANAGED_SELECTOR
from harness.chaos.journal import Entry, Header
from harness.chaos.world import Site
from harness.cluster import Conflict, Missing, Object, name_of, uid_of
from harness.cluster.kinds import labels_of

COPY_SELECTOR = f"{MANAGED_SELECTOR},{ENTRY_LABEL}"
COPY_PREFIX = "undo-"
RUN_LABEL = "focus-harness/run"


def copy_name(entry_id: str) -> str:
    """Return the name of an entry's ConfigMap."""
    return f"{COPY_PREFIX}{entry_id}"


def write_copy(site: Site, header: Header, entry: Entry, mend: str) -> str:
    """Write the entry into the cluster and return the ConfigMap's uid; raises what the cluster answers."""
    ensure_namespace(site)
    body: Object = {
        "metadata": {
            "name": copy_name(entry.id),
            "labels": {**MANAGED_BY, ENTRY_LABEL: entry.id, RUN_LABEL: header.run_id},
        },
        "data": {
            "fault": entry.fault,
            "victims": entry.what,
            "run": header.run_id,
            "operator": header.operator,
            "ends-latest": entry.expires_wall,
            "undo": f"harness undo --target {site.target.name}, or by hand: {mend}",
            "header": msgspec.json.encode(header).decode(),
            "entry": msgspec.json.encode(entry).decode(),
        },
    }
    return uid_of(site.world.create("configmaps", body, site.kubernetes.harness_namespace))


def is_written(site: Site, entry_id: str) -> bool:
    """Say whether the entry still stands in the cluster; if not, somebody has undone it."""
    return site.world.find("configmaps", copy_name(entry_id), site.kubernetes.harness_namespace) is not None


def remove_copy(site: Site, entry_id: str) -> None:
    """Remove the entry's ConfigMap; what it owns goes with it."""
    site.world.delete(
        "configmaps", copy_name(entry_id), site.kubernetes.harness_namespace, propagation="Background"
    )


def copies(site: Site) -> list[tuple[Header, Entry]]:
    """Return the entries written in the cluster, whoever wrote them; unreadable ones are left out."""
    try:
        found = site.world.objects("configmaps", site.kubernetes.harness_namespace, COPY_SELECTOR)
    except Missing:
        return []
    readable: list[tuple[Header, Entry]] = []
    for item in found:
        data = item.get("data") or {}
        try:
            header = msgspec.json.decode(data["header"], type=Header)
            readable.append((header, msgspec.json.decode(data["entry"], type=Entry)))
        except (KeyError, msgspec.MsgspecError):
            continue
    return readable


def copies_in_words(site: Site) -> list[str]:
    """Return a line for each entry in the cluster."""
    namespace = site.kubernetes.harness_namespace
    lines: list[str] = []
    for item in site.world.objects("configmaps", namespace, COPY_SELECTOR):
        data = item.get("data") or {}
        run = labels_of(item).get(RUN_LABEL, "?")
        lines.append(f"{data.get('fault', name_of(item))} on {data.get('victims', '?')} (run {run})")
    return lines


def ensure_namespace(site: Site) -> None:
    """Create our namespace if it is missing."""
    name = site.kubernetes.harness_namespace
    if site.world.find("namespaces", name) is None:
        try:
            site.world.create("namespaces", {"metadata": {"name": name, "labels": MANAGED_BY}})
        except Conflict:
            pass  # somebody made it in between
