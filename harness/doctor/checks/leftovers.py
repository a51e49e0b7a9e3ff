"""leftovers: faults of ours that nobody took back: undo entries in the cluster and marked objects. What a live run does is no leftover.

A run lives as long as it renews its Lease, whoever holds it; and what it does lives until its planned end.
"""

import time

from harness.cluster import Object, labels_of, live_run, name_of
from harness.cluster.kinds import KINDS, annotations_of
from harness.cluster.lease import DURATION_S, LEASE_NAME
from harness.doctor.result import Advice, CannotLook, CheckResult, Evidence, fine, found, unknown
from harness.doctor.sight import COPY_PREFIX, ENTRY_LABEL, RUN_ANNOTATION, Sight
from harness.errors import HarnessError

NAME = "leftovers"
ASKS = "marks of faults (focus-harness/entry) and undo entries that belong to no live run"
KINDS_MARKED = (
    "clusterrolebindings",
    "rolebindings",
    "nodes",
    "deployments",
    "statefulsets",
    "services",
    "jobs",
    "pods",
    "networkpolicies",
    "configmaps",
)
LOOK_AGAIN_S = 0.5
ENDS = "focus-harness/ends"


class Lock:
    """The lock's Lease as it was first seen, so that a second look tells whether somebody renews it."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._where = sight.kubernetes.harness_namespace
        self._first = self._renewed()
        self._seen = time.monotonic()

    def is_dead(self) -> bool:
        """Say whether its holder has stopped renewing it: its date is old, and does not change under our eyes.

        Clocks differ, so the date alone tells nothing; a live holder renews three times within the Lease's duration.
        """
        renewed, duration_s = self._first
        if self._sight.since_s(renewed) <= duration_s:
            return False
        while self._renewed()[0] == renewed:
            if time.monotonic() - self._seen >= duration_s / 2:
                return True
            time.sleep(LOOK_AGAIN_S)
        return False

    def told(self) -> str:
        """Return in words since when nobody renews it, and what to type where nothing else takes it away."""
        return (
            f"not renewed for {self._sight.since_s(self._first[0]):.0f} s; if undo leaves its marks alone: "
            f"kubectl -n {self._where} delete lease {LEASE_NAME}"
        )

    def _renewed(self) -> tuple[str, float]:
        lease = self._sight.find("leases", LEASE_NAME, self._where) or {"spec": {}}
        spec = lease["spec"]
        return str(spec.get("renewTime") or ""), float(spec.get("leaseDurationSeconds") or DURATION_S)


def look(sight: Sight) -> CheckResult:
    """Look for marks, kind by kind."""
    world = sight.reach()
    kubernetes = sight.kubernetes
    marks: list[str] = []
    ours: list[str] = []
    unseen: list[str] = []
    lock = Lock(sight)
    try:
        live = live_run(world)  # type: ignore[arg-type]
    except HarnessError as error:
        raise CannotLook(f"cannot read the lock: {error}") from error
    for kind in KINDS_MARKED:
        places = (kubernetes.namespace, kubernetes.harness_namespace) if KINDS[kind].namespaced else ("",)
        for namespace in places:
            try:
                seen = world.objects(kind, namespace or None, ENTRY_LABEL)
            except HarnessError:
                unseen.append(f"{kind} in {namespace}" if namespace else kind)
                continue
            for obj in seen:
                held = live and _run(obj) == live and not _over(sight, obj)
                (ours if held else marks).append(_words(kind, obj))
    dead = bool(ours) and lock.is_dead()
    living, marks = ([], marks + ours) if dead else (ours, marks)
    lost = f"; the lock of run {live}, which is gone: {lock.told()}" if dead else ""
    evidence = Evidence(
        f"objects with the label {ENTRY_LABEL}",
        (", ".join(marks) or "none") + (f"; of the live run {live}: {len(living)}" if living else "") + lost,
        {"marks": marks, "live_run": "" if dead else live, "of_the_live_run": living, "not_seen": unseen},
    )
    if marks:
        return found(
            NAME,
            f"faults of ours were not taken back: {', '.join(marks[:4])}"
            + (f" and {len(marks) - 4} more" if len(marks) > 4 else ""),
            evidence,
            advice=(Advice("undo-sweep", "what faults left is taken back by its marks"),),
        )
    if unseen:
        return unknown(NAME, f"may not look at {', '.join(unseen)}", evidence)
    if living:
        return fine(NAME, f"run {live} is playing faults now ({len(living)} marks)", evidence)
    return fine(NAME, "no mark of a fault", evidence)


def _run(obj: Object) -> str:
    return annotations_of(obj).get(RUN_ANNOTATION) or labels_of(obj).get(RUN_ANNOTATION, "")


def _over(sight: Sight, obj: Object) -> bool:
    """Say whether the planned end of what the mark stands for has passed."""
    ends = annotations_of(obj).get(ENDS) or (obj.get("data") or {}).get("ends-latest") or ""
    return sight.since_s(str(ends)) > 0


def _words(kind: str, obj: Object) -> str:
    if kind == "configmaps" and name_of(obj).startswith(COPY_PREFIX):
        return f"entry {(obj.get('data') or {}).get('fault', name_of(obj))}"
    return f"{kind.removesuffix('s')} {name_of(obj)}"
