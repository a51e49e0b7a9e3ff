"""leftovers: faults of ours that nobody took back: undo entries in the cluster and marked objects. What a live run does is no leftover."""

from harness.cluster import Object, labels_of, live_run, name_of
from harness.cluster.kinds import KINDS, annotations_of
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


def look(sight: Sight) -> CheckResult:
    """Look for marks, kind by kind."""
    world = sight.reach()
    kubernetes = sight.kubernetes
    marks: list[str] = []
    living: list[str] = []
    unseen: list[str] = []
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
                (living if live and _run(obj) == live else marks).append(f"{_words(kind, obj)}")
    evidence = Evidence(
        f"objects with the label {ENTRY_LABEL}",
        ", ".join(marks) or "none" + (f"; of the live run {live}: {len(living)}" if living else ""),
        {"marks": marks, "live_run": live, "of_the_live_run": living, "not_seen": unseen},
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


def _words(kind: str, obj: Object) -> str:
    if kind == "configmaps" and name_of(obj).startswith(COPY_PREFIX):
        return f"entry {(obj.get('data') or {}).get('fault', name_of(obj))}"
    return f"{kind.removesuffix('s')} {name_of(obj)}"
