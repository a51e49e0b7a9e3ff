"""What the API server fills in when a client leaves it out, per kind.

Called by the verbs on create and update, before admission and validation; changes the object in place. Allocation of
ports and addresses is `addresses`, identity and tolerations of pods are `admission`.
"""

import base64
from collections.abc import Callable
from typing import Any

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import quantity

RBAC = "rbac.authorization.k8s.io"


def _fill(obj: Obj, **values: Any) -> None:
    """Set what is missing; an empty text is missing too."""
    for key, value in values.items():
        if obj.get(key) in (None, ""):
            obj[key] = value


def container(box: Obj) -> None:
    """Defaults of one container."""
    image = box.get("image", "")
    tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
    pinned = "@" in image or tag not in ("", "latest")
    _fill(
        box,
        resources={},
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        imagePullPolicy="IfNotPresent" if pinned else "Always",
    )
    for port in box.get("ports") or []:
        _fill(port, protocol="TCP")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in box:
            _probe(box[probe])
    for hook in (box.get("lifecycle") or {}).values():
        if isinstance(hook, dict):
            _http_get(hook)
    for variable in box.get("env") or []:
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            _fill(reference, apiVersion="v1")


def _http_get(action: Obj) -> None:
    if "httpGet" in action:
        _fill(action["httpGet"], path="/", scheme="HTTP")


def _probe(probe: Obj) -> None:
    _fill(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    _http_get(probe)
    if "grpc" in probe:
        _fill(probe["grpc"], service="")


def _volume(volume: Obj) -> None:
    if len(volume) == 1:
        volume["emptyDir"] = {}
    for source in ("configMap", "secret", "projected", "downwardAPI"):
        if source in volume:
            _fill(volume[source], defaultMode=420)
    for source in (volume.get("projected") or {}).get("sources") or []:
        if "serviceAccountToken" in source:
            _fill(source["serviceAccountToken"], expirationSeconds=3600)
    if "hostPath" in volume:
        _fill(volume["hostPath"], type="")


def pod_spec(spec: Obj) -> None:
    """Defaults of a pod's spec, in a pod and in a template alike."""
    _fill(
        spec,
        restartPolicy="Always",
        dnsPolicy="ClusterFirst",
        terminationGracePeriodSeconds=30,
        schedulerName="default-scheduler",
        securityContext={},
    )
    for key in ("initContainers", "containers"):
        for box in spec.get(key) or []:
            container(box)
    for volume in spec.get("volumes") or []:
        _volume(volume)
    if "serviceAccountName" in spec:
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]


def pod(obj: Obj) -> None:
    """A Pod: its spec, and requests that follow limits."""
    spec = obj.setdefault("spec", {})
    pod_spec(spec)
    _fill(spec, enableServiceLinks=True)
    for key in ("initContainers", "containers"):
        for box in spec.get(key) or []:
            limits = box["resources"].get("limits")
            if limits:
                requests = box["resources"].setdefault("requests", {})
                for name, amount in limits.items():
                    requests.setdefault(name, amount)


def qos_class(spec: Obj) -> str:
    """Guaranteed, Burstable or BestEffort, from cpu and memory alone."""
    guaranteed, any_set = True, False
    for box in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        resources = box.get("resources") or {}
        requests = resources.get("requests") or {}
        limits = resources.get("limits") or {}
        for name in ("cpu", "memory"):
            asked, limit = requests.get(name), limits.get(name)
            any_set |= asked is not None or limit is not None
            if limit is None or quantity.parse(limit) != quantity.parse(asked or limit):
                guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _template(spec: Obj) -> None:
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    pod_spec(template.setdefault("spec", {}))


def deployment(obj: Obj) -> None:
    """A Deployment."""
    spec = obj.setdefault("spec", {})
    _template(spec)
    _fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = spec.setdefault("strategy", {})
    _fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _fill(strategy.setdefault("rollingUpdate", {}), maxUnavailable="25%", maxSurge="25%")


def replica_set(obj: Obj) -> None:
    """A ReplicaSet."""
    spec = obj.setdefault("spec", {})
    _template(spec)
    _fill(spec, replicas=1)


def stateful_set(obj: Obj) -> None:
    """A StatefulSet."""
    spec = obj.setdefault("spec", {})
    _template(spec)
    _fill(
        spec,
        replicas=1,
        serviceName="",
        revisionHistoryLimit=10,
        podManagementPolicy="OrderedReady",
        persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Retain"},
    )
    strategy = spec.setdefault("updateStrategy", {})
    _fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _fill(strategy.setdefault("rollingUpdate", {}), partition=0)
    for claim in spec.get("volumeClaimTemplates") or []:
        _fill(claim, kind="PersistentVolumeClaim", apiVersion="v1")
        volume_claim(claim)


def job(obj: Obj) -> None:
    """A Job; its selector and labels are made in `prepare_job`."""
    spec = obj.setdefault("spec", {})
    _template(spec)
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    _fill(
        spec,
        parallelism=1,
        backoffLimit=6,
        completionMode="NonIndexed",
        suspend=False,
        manualSelector=False,
        podReplacementPolicy="TerminatingOrFailed",
    )


def prepare_job(obj: Obj) -> None:
    """Give a new Job the selector and the template labels its uid makes."""
    spec, meta = obj["spec"], obj["metadata"]
    if spec.get("manualSelector"):
        return
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    labels.update(
        {
            "batch.kubernetes.io/controller-uid": meta["uid"],
            "batch.kubernetes.io/job-name": meta["name"],
            "controller-uid": meta["uid"],
            "job-name": meta["name"],
        }
    )
    if not spec.get("selector"):
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": meta["uid"]}}


def service(obj: Obj) -> None:
    """A Service, up to what must be allocated."""
    spec = obj.setdefault("spec", {})
    _fill(spec, type="ClusterIP", sessionAffinity="None")
    for port in spec.get("ports") or []:
        _fill(port, protocol="TCP")
        if port.get("targetPort") in (None, "", 0) and "port" in port:
            port["targetPort"] = port["port"]
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _fill(spec, externalTrafficPolicy="Cluster")
    if spec["type"] != "ExternalName":
        _fill(spec, internalTrafficPolicy="Cluster", ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
    if spec["sessionAffinity"] == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        _fill(config, timeoutSeconds=10800)
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def namespace(obj: Obj) -> None:
    """A Namespace."""
    name = obj["metadata"].get("name")
    if name:
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name
    obj.setdefault("spec", {})
    obj.setdefault("status", {})


def secret(obj: Obj) -> None:
    """A Secret: stringData becomes data."""
    _fill(obj, type="Opaque")
    plain = obj.pop("stringData", None)
    if plain:
        data = obj.setdefault("data", {})
        data.update({key: base64.b64encode(value.encode()).decode() for key, value in plain.items()})


def volume_claim(obj: Obj) -> None:
    """A PersistentVolumeClaim."""
    _fill(obj.setdefault("spec", {}), volumeMode="Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def role_binding(obj: Obj) -> None:
    """A RoleBinding or ClusterRoleBinding: API groups of role and subjects."""
    _fill(obj.setdefault("roleRef", {}), apiGroup=RBAC)
    for subject in obj.get("subjects") or []:
        if subject.get("kind") in ("User", "Group"):
            _fill(subject, apiGroup=RBAC)


def network_policy(obj: Obj) -> None:
    """A NetworkPolicy: its types follow from its rules."""
    spec = obj.setdefault("spec", {})
    _fill(spec, policyTypes=["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    spec.setdefault("podSelector", {})
    for rule in [*(spec.get("ingress") or []), *(spec.get("egress") or [])]:
        for port in rule.get("ports") or []:
            _fill(port, protocol="TCP")


def endpoints(obj: Obj) -> None:
    """An Endpoints object: protocols."""
    for subset in obj.get("subsets") or []:
        for port in subset.get("ports") or []:
            _fill(port, protocol="TCP")


def endpoint_slice(obj: Obj) -> None:
    """An EndpointSlice: protocols and names of ports."""
    for port in obj.get("ports") or []:
        _fill(port, protocol="TCP", name="")


def priority_class(obj: Obj) -> None:
    """A PriorityClass."""
    _fill(obj, preemptionPolicy="PreemptLowerPriority")


def storage_class(obj: Obj) -> None:
    """A StorageClass."""
    _fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


DEFAULTS: dict[str, Callable[[Obj], None]] = {
    "Pod": pod,
    "Deployment": deployment,
    "ReplicaSet": replica_set,
    "StatefulSet": stateful_set,
    "Job": job,
    "Service": service,
    "Namespace": namespace,
    "Secret": secret,
    "PersistentVolumeClaim": volume_claim,
    "RoleBinding": role_binding,
    "ClusterRoleBinding": role_binding,
    "NetworkPolicy": network_policy,
    "Endpoints": endpoints,
    "EndpointSlice": endpoint_slice,
    "PriorityClass": priority_class,
    "StorageClass": storage_class,
}
