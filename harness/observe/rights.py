"""Ask whether the system's own service accounts may still do what windows need: Focus Server make them, cleanup remove them.

Called by `probes`. Rights are taken away without any object of the system changing, and our own stay as they are, so somebody has to
ask (SubjectAccessReview). Where that may not be asked the watcher says it cannot see.
"""

import time

from harness.cluster import Cluster, Object, Right, missing_rights_of, service_account
from harness.errors import TargetError
from harness.observe.probes import CannotSee, NoAnswer, Probe
from harness.target import Kubernetes
from harness.target.model import RoleName

SERVER_RIGHTS, CLEANUP_RIGHTS = "server_rights", "cleanup_rights"
ACCOUNT_KEPT_S = 30.0
"""A workload's service account is read again after this time: it changes with a rollout at most."""
_KINDS = {"Deployment": "deployments", "StatefulSet": "statefulsets"}


def rights_probes(cluster: Cluster, kubernetes: Kubernetes) -> list[Probe]:
    """Return the probes of the rights of Focus Server and of its cleanup."""
    brisk = cluster.seen_as(cluster.kubernetes)
    brisk.be_brisk()
    return [
        Probe(SERVER_RIGHTS, ServerRights(brisk, kubernetes).ask),
        Probe(CLEANUP_RIGHTS, CleanupRights(brisk, kubernetes).ask),
    ]


class ServerRights:
    """Focus Server's rights to read nodes and to create Jobs and Services."""

    def __init__(self, cluster: Cluster, kubernetes: Kubernetes) -> None:
        self._cluster = cluster
        self._kubernetes = kubernetes
        self._account = ""
        self._read_at = float("-inf")

    def ask(self) -> None:
        """Raise NoAnswer if a right is missing, CannotSee if nobody can tell."""
        namespace = self._cluster.namespace
        wanted = (
            Right("list", "nodes"),
            Right("create", "jobs", namespace),
            Right("create", "services", namespace),
        )
        try:
            if time.monotonic() - self._read_at > ACCOUNT_KEPT_S:
                self._account, self._read_at = self._read(), time.monotonic()
            _must_have(self._cluster, self._account, wanted)
        except TargetError as error:
            raise CannotSee(str(error)) from error

    def _read(self) -> str:
        role = self._kubernetes.roles.get(RoleName.FOCUS_SERVER)
        if role is None:
            raise CannotSee("the target names no role focus_server, so nobody knows its service account")
        workload: Object = self._cluster.get(_KINDS[role.kind], role.name)
        return str(workload["spec"]["template"]["spec"].get("serviceAccountName") or "default")


class CleanupRights:
    """The rights of the windows' cleanup jobs to delete what a window leaves."""

    def __init__(self, cluster: Cluster, kubernetes: Kubernetes) -> None:
        self._cluster = cluster
        self._account = kubernetes.cleanup_account

    def ask(self) -> None:
        """Raise NoAnswer if a right is missing, CannotSee if nobody can tell."""
        namespace = self._cluster.namespace
        try:
            _must_have(
                self._cluster,
                self._account,
                (Right("delete", "jobs", namespace), Right("delete", "services", namespace)),
            )
        except TargetError as error:
            raise CannotSee(str(error)) from error


def _must_have(cluster: Cluster, account: str, wanted: tuple[Right, ...]) -> None:
    missing = missing_rights_of(cluster, service_account(cluster.namespace, account), wanted)
    if missing:
        raise NoAnswer(f"{account} may not {', '.join(str(right) for right in missing)}")
