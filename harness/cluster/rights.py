"""Ask the API server who may do what, before doing any of it: we ourselves, or a service account of the system under test.

Called by preflight, the doctor and the watcher of Focus Server's rights. It changes nothing.
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
    """Return those of `rights` that the API server would refuse us."""
    return tuple(right for right in sorted(set(rights)) if not _allowed(cluster, right, ""))


def missing_rights_of(cluster: "Cluster", user: str, rights: Iterable[Right]) -> tuple[Right, ...]:
    """Return those of `rights` that the API server would refuse `user`; needs the right to create subjectaccessreviews."""
    return tuple(right for right in sorted(set(rights)) if not _allowed(cluster, right, user))


def service_account(namespace: str, name: str) -> str:
    """Return the user name by which the API server knows a service account."""
    return f"system:serviceaccount:{namespace}:{name}"


def _allowed(cluster: "Cluster", right: Right, user: str) -> bool:
    attributes: Object = {
        "verb": right.verb,
        "group": KINDS[right.kind].group,
        "resource": right.kind,
        "subresource": right.subresource,
        "namespace": right.namespace,
    }
    spec: Object = {"resourceAttributes": attributes}
    kind = "selfsubjectaccessreviews"
    if user:
        namespace = user.split(":")[2]
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
        spec |= {"user": user, "groups": groups}
        kind = "subjectaccessreviews"
    return bool(cluster.create(kind, {"metadata": {}, "spec": spec})["status"].get("allowed"))
