"""Ask the API server whether we may do what we are about to do (SelfSubjectAccessReview), before doing any of it.

Called by preflight and the doctor. It changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.cluster.kinds import KINDS, Object

if TYPE_CHECKING:
    from harness.cluster.client import Cluster


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One permission: a verb on a kind, in a namespace (empty for kinds that have none)."""

    verb: str
    kind: str
    namespace: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        what = f"{self.kind}/{self.subresource}" if self.subresource else self.kind
        return f"{self.verb} {what}" + (f" in {self.namespace}" if self.namespace else "")


def missing_rights(cluster: "Cluster", rights: Iterable[Right]) -> tuple[Right, ...]:
    """Return those of `rights` that the API server would refuse."""
    return tuple(right for right in sorted(set(rights)) if not _allowed(cluster, right))


def _allowed(cluster: "Cluster", right: Right) -> bool:
    attributes: Object = {
        "verb": right.verb,
        "group": KINDS[right.kind].group,
        "resource": right.kind,
        "subresource": right.subresource,
        "namespace": right.namespace,
    }
    review = {"metadata": {}, "spec": {"resourceAttributes": attributes}}
    return bool(cluster.create("selfsubjectaccessreviews", review)["status"].get("allowed"))
