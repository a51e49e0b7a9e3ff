"""`connect(target)` and the `Cluster` it returns: typed calls that send and return plain JSON objects.

Called by faults, guard, watchers, doctor and preflight. Every request has a timeout; nothing is retried; nobody's default
context is used; a cluster whose kube-system uid differs from the target file's identity is refused before anything else.
"""

import json
import os
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from threading import Event
from typing import Any, Literal
from urllib.parse import urlencode

import urllib3
from kubernetes import config
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException

from harness.cluster.errors import ClusterRefused, Conflict, Missing, ours, refusal
from harness.cluster.execute import Ran, run_in_pod
from harness.cluster.kinds import KINDS, Object, uid_of
from harness.cluster.place import Inside, Place, Reachable
from harness.cluster.watch import Change, watch
from harness.errors import AccessDenied, IdentityMismatch, TargetError

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 8.0
ANSWER_TIMEOUT_S = 1.0
BRISK_TIMEOUT_S, BRISK_CONNECT_S = 2.5, 1.0
PAGE = 500
_PATCH = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


def connect(target: Reachable, *, check_identity: bool = True) -> "Cluster":
    """Connect to the target's cluster, authenticated and recognised.

    Raises TargetError (`kube: none`, broken kubeconfig), Unreachable, AccessDenied, IdentityMismatch.
    """
    kubernetes = target.kubernetes
    if kubernetes == "none":
        raise TargetError(
            f"target {target.name!r} has `kube: none`: it can be loaded, but faults and cluster watchers need a cluster"
        )
    if not kubernetes.kubeconfig and not kubernetes.context:
        raise TargetError(
            f"target {target.name!r} names neither kubeconfig nor context; a default context is not consent"
        )
    cluster = Cluster(_client(kubernetes, target.name), kubernetes)
    if check_identity:
        cluster.check_identity(target.name)
    return cluster


def _client(kubernetes: Place, target_name: str) -> ApiClient:
    settings = Configuration()
    settings.retries = urllib3.Retry(0, redirect=0)
    settings.connection_pool_maxsize = 16
    with ours(f"target {target_name!r}"):
        config.load_kube_config(
            config_file=kubernetes.kubeconfig,
            context=kubernetes.context,
            client_configuration=settings,
            persist_config=False,
        )
        return ApiClient(configuration=settings)


def connect_inside(harness_namespace: str) -> "Cluster":
    """Connect to the cluster this process runs in, as its pod's service account; `KUBECONFIG` is taken where it is set.

    Raises TargetError outside of a pod.
    """
    settings = Configuration()
    settings.retries = urllib3.Retry(0, redirect=0)
    with ours("the cluster this pod runs in"):
        if kubeconfig := os.environ.get("KUBECONFIG"):
            config.load_kube_config(kubeconfig, client_configuration=settings, persist_config=False)
        else:
            config.load_incluster_config(client_configuration=settings)
        return Cluster(ApiClient(configuration=settings), Inside(harness_namespace))


class Cluster:
    """One cluster; safe to use from several threads. `namespace` is the system's, `harness_namespace` ours."""

    def __init__(self, client: ApiClient, kubernetes: Place) -> None:
        self._client = client
        self.kubernetes = kubernetes
        self.namespace = kubernetes.namespace
        self.harness_namespace = kubernetes.harness_namespace
        self.timeout_s = READ_TIMEOUT_S
        self.connect_timeout_s = CONNECT_TIMEOUT_S
        self._progress: Callable[[], object] = lambda: None

    def be_brisk(self, progress: Callable[[], object] = lambda: None) -> None:
        """Wait less for each answer from here on, and call `progress` before each request: for processes whose silence is death."""
        self.timeout_s = BRISK_TIMEOUT_S
        self.connect_timeout_s = BRISK_CONNECT_S
        self._progress = progress

    def seen_as(self, kubernetes: Place) -> "Cluster":
        """Return the same connection with a target's names for things."""
        other = Cluster(self._client, kubernetes)
        other.timeout_s, other.connect_timeout_s = self.timeout_s, self.connect_timeout_s
        return other

    # --- any kind ---------------------------------------------------------------------------------

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object:
        """Return one object; raise `Missing` if there is none."""
        return self._json("GET", self._path(kind, namespace, name))

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Return one object, or None if there is none."""
        try:
            return self.get(kind, name, namespace)
        except Missing:
            return None

    def objects(
        self, kind: str, namespace: str | None = None, selector: str = "", fields: str = ""
    ) -> list[Object]:
        """Return all objects that match; `namespace` defaults to the system's, `*` means all of them."""
        return self.objects_at(kind, namespace, selector, fields)[0]

    def objects_at(
        self, kind: str, namespace: str | None = None, selector: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        """Return all objects that match and the resourceVersion at which they did."""
        items: list[Object] = []
        query = {"labelSelector": selector, "fieldSelector": fields, "limit": str(PAGE), "continue": ""}
        while True:
            page = self._json("GET", self._path(kind, namespace), query)
            items += page.get("items") or []
            query["continue"] = page["metadata"].get("continue") or ""
            if not query["continue"]:
                return items, str(page["metadata"].get("resourceVersion", ""))

    def create(self, kind: str, obj: Object, namespace: str | None = None) -> Object:
        """Create an object and return it as stored; raise `Conflict` if the name is taken."""
        known = KINDS[kind]
        body = {"apiVersion": known.api_version, "kind": known.name, **obj}
        return self._json("POST", self._path(kind, namespace), body=body)

    def replace(self, kind: str, obj: Object, namespace: str | None = None) -> Object:
        """Replace an object; raise `Conflict` if it has changed since its resourceVersion."""
        return self._json("PUT", self._path(kind, namespace, obj["metadata"]["name"]), body=obj)

    def patch(
        self,
        kind: str,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        resource_version: str | None = None,
        how: Literal["merge", "json", "strategic"] = "merge",
    ) -> Object:
        """Patch an object; with `resource_version`, raise `Conflict` if it has changed since then."""
        if resource_version is not None:
            metadata = {**patch.get("metadata", {}), "resourceVersion": resource_version}
            patch = {**patch, "metadata": metadata}
        path = self._path(kind, namespace, name)
        return self._json("PATCH", path, body=patch, content_type=_PATCH[how])

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        grace_s: int | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] | None = None,
    ) -> bool:
        """Delete an object and return True; False if it is gone already, or `uid` is no longer its uid.

        With `resource_version`, raise `Conflict` if it has changed since then.
        """
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if uid is not None or resource_version is not None:
            body["preconditions"] = {key: value for key, value in preconditions.items() if value is not None}
        if propagation is not None:
            body["propagationPolicy"] = propagation
        try:
            self._json("DELETE", self._path(kind, namespace, name), body=body)
        except Missing:
            return False
        except Conflict:
            if uid is None or resource_version is not None:
                raise
            return False
        return True

    def evict(self, pod: str, namespace: str | None = None, *, uid: str, resource_version: str) -> bool:
        """Ask for a pod's eviction; False if a disruption budget refuses it now.

        Raises `Conflict` if the pod has changed since `resource_version`; a pod that is gone is evicted.
        """
        where = namespace or self.namespace
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": where},
            "deleteOptions": {"preconditions": {"uid": uid, "resourceVersion": resource_version}},
        }
        try:
            self._json("POST", self._path("pods", where, pod, "eviction"), body=body)
        except Missing:
            return True
        except ClusterRefused as error:
            if error.status == 429:
                return False
            raise
        return True

    def answers(self) -> bool:
        """Say whether the API server is there and ready; never raises."""
        try:
            response = self.open("GET", "/readyz", {}, None, "application/json", ANSWER_TIMEOUT_S)
            try:
                response.read()
            finally:
                response.release_conn()
        except (ApiException, urllib3.exceptions.HTTPError, OSError):
            return False
        return response.status < 500

    def scale(self, kind: str, name: str, replicas: int, namespace: str | None = None) -> Object:
        """Set the replica count of a deployment or statefulset."""
        path = self._path(kind, namespace, name, "scale")
        return self._json("PATCH", path, body={"spec": {"replicas": replicas}}, content_type=_PATCH["merge"])

    def watch(
        self,
        kind: str,
        stop: Event,
        on_change: Callable[[Change], None],
        on_gap: Callable[[bool, str], None],
        *,
        namespace: str | None = None,
        selector: str = "",
        fields: str = "",
    ) -> None:
        """List, then watch until `stop` is set; see `harness.cluster.watch.watch`."""
        watch(self, kind, stop, on_change, on_gap, namespace=namespace, selector=selector, fields=fields)

    # --- the kinds everybody asks for -------------------------------------------------------------

    def nodes(self, selector: str = "") -> list[Object]:
        """Return the nodes."""
        return self.objects("nodes", selector=selector)

    def workers(self) -> list[Object]:
        """Return the nodes that the target's `worker_selector` names."""
        return self.nodes(self.kubernetes.worker_selector)

    def pods(self, selector: str = "", namespace: str | None = None) -> list[Object]:
        """Return pods; `namespace="*"` for all namespaces."""
        return self.objects("pods", namespace, selector)

    def jobs(self, selector: str = "") -> list[Object]:
        """Return the system's jobs."""
        return self.objects("jobs", selector=selector)

    def services(self, selector: str = "") -> list[Object]:
        """Return the system's services."""
        return self.objects("services", selector=selector)

    def deployments(self, selector: str = "") -> list[Object]:
        """Return the system's deployments."""
        return self.objects("deployments", selector=selector)

    def statefulsets(self, selector: str = "") -> list[Object]:
        """Return the system's statefulsets."""
        return self.objects("statefulsets", selector=selector)

    def events(self, fields: str = "", namespace: str | None = None) -> list[Object]:
        """Return Kubernetes Events."""
        return self.objects("events", namespace, fields=fields)

    def logs(
        self,
        pod: str,
        *,
        namespace: str | None = None,
        container: str = "",
        since_s: int | None = None,
        tail_lines: int | None = None,
        timestamps: bool = False,
        previous: bool = False,
    ) -> str:
        """Return a pod's log text."""
        query = {
            "container": container,
            "sinceSeconds": "" if since_s is None else str(since_s),
            "tailLines": "" if tail_lines is None else str(tail_lines),
            "timestamps": "true" if timestamps else "",
            "previous": "true" if previous else "",
        }
        return self._send("GET", self._path("pods", namespace, pod, "log"), query).decode(errors="replace")

    def execute(self, pod: str, argv: list[str], namespace: str | None = None, *, within_s: float) -> Ran:
        """Run a command in a pod; see `harness.cluster.execute`."""
        where = namespace or self.namespace
        return run_in_pod(self._client.configuration, where, pod, argv, within_s=within_s)

    @property
    def host(self) -> str:
        """The API server's address."""
        return str(self._client.configuration.host)

    # --- who and where ----------------------------------------------------------------------------

    def identity(self) -> str:
        """Return the uid of kube-system: the one thing that tells clusters apart."""
        return uid_of(self.get("namespaces", "kube-system"))

    def check_identity(self, target_name: str) -> None:
        """Raise `IdentityMismatch` unless this is the cluster the target file names."""
        found, wanted = self.identity(), self.kubernetes.identity
        if found != wanted:
            raise IdentityMismatch(
                f"target {target_name!r} names the cluster {wanted}, but the context reaches {found} "
                f"at {self._client.configuration.host}; correct `context`, or `identity` if this is the one you mean "
                "(kubectl get namespace kube-system -o jsonpath={.metadata.uid})"
            )
        user = self.whoami()
        if user == "system:anonymous":
            raise AccessDenied(
                f"target {target_name!r}: requests arrive as system:anonymous; the credentials were not sent"
            )

    def whoami(self) -> str:
        """Return the user name the API server sees, empty where it cannot tell."""
        try:
            answer = self.create("selfsubjectreviews", {"metadata": {}})
        except (Missing, AccessDenied):
            return ""
        return str(answer.get("status", {}).get("userInfo", {}).get("username", ""))

    def version(self) -> str:
        """Return the server's version, such as `v1.36.2`."""
        return str(self._json("GET", "/version")["gitVersion"])

    def server_time(self) -> datetime | None:
        """Return what the server's clock says, to the second; None if its answer has no date."""
        with ours("GET /version"):
            response = self.open("GET", "/version", {}, None, "", self.timeout_s)
            response.drain_conn()
            response.release_conn()
        try:
            return parsedate_to_datetime(response.headers.get("Date", ""))
        except ValueError:
            return None

    def ensure_harness_namespace(self) -> None:
        """Create our namespace if it is missing."""
        if self.find("namespaces", self.harness_namespace) is None:
            labels = {"app.kubernetes.io/managed-by": "focus-harness"}
            try:
                self.create("namespaces", {"metadata": {"name": self.harness_namespace, "labels": labels}})
            except Conflict:
                pass  # somebody made it in between

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    # --- the wire ---------------------------------------------------------------------------------

    def _path(
        self, kind: str, namespace: str | None, name: str | None = None, subresource: str | None = None
    ) -> str:
        where = None if namespace == "*" else namespace or self.namespace
        return KINDS[kind].path(where, name, subresource)

    def _json(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Object:
        answer: Object = json.loads(self._send(method, path, query, body, content_type))
        return answer

    def _send(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> bytes:
        what = f"{method} {path}"
        self._progress()
        with ours(what):
            response = self.open(method, path, query or {}, body, content_type, self.timeout_s)
            try:
                data: bytes = response.read(decode_content=True)
            finally:
                response.release_conn()
        if not 200 <= response.status <= 299:
            raise refusal(response.status, data.decode(errors="replace"), what)
        return data

    def open(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        body: Any,
        content_type: str,
        read_timeout_s: float,
    ) -> urllib3.BaseHTTPResponse:
        """Send a request and return the response unread; raises what the library raises (for `watch`)."""
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type
        parameters: list[tuple[str, str]] = []
        self._client.update_params_for_auth(headers, parameters, ["BearerToken"], path, method, body)
        sent = urlencode({key: value for key, value in query.items() if value})
        url = f"{self._client.configuration.host}{path}{'?' + sent if sent else ''}"
        answer = self._client.rest_client.request(
            method, url, headers, body, _request_timeout=(self.connect_timeout_s, read_timeout_s)
        )
        response: urllib3.BaseHTTPResponse = answer.response
        return response
