"""Writes: defaults, rules, allocation, quotas, status, deletion, as one would see them from outside."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from plane_parts import Parts, pod

from harness.sandbox.api import SYNCED, ApiStatus, Obj
from harness.sandbox.controlplane import deletion
from harness.sandbox.controlplane.resources import BY_KEY
from harness.sandbox.controlplane.verbs import Ask

GPU = "nvidia.com/gpu.shared"


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


def _refusal(parts: Parts, key: str, obj: Obj, **ask: Any) -> ApiStatus:
    with pytest.raises(ApiStatus) as refused:
        parts.verbs.create(BY_KEY[key], "default", obj, Ask(**ask))
    return refused.value


def _causes(refusal: ApiStatus) -> list[tuple[str, str]]:
    return [(c["field"], c["reason"]) for c in refusal.body["details"]["causes"]]


def test_a_pod_gets_its_defaults_its_account_and_its_tolerations(parts: Parts) -> None:
    obj = parts.make("pods", pod()).obj
    spec, box = obj["spec"], obj["spec"]["containers"][0]
    assert (spec["restartPolicy"], spec["serviceAccountName"], spec["priority"]) == ("Always", "default", 0)
    assert (box["imagePullPolicy"], obj["status"]["phase"], obj["status"]["qosClass"]) == (
        "IfNotPresent",
        "Pending",
        "BestEffort",
    )
    assert {t["key"] for t in spec["tolerations"]} == {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    }
    assert box["volumeMounts"][0]["name"] == spec["volumes"][0]["name"]


def test_requests_follow_limits_in_pods_and_not_in_templates(parts: Parts) -> None:
    limits = {"limits": {GPU: 2, "cpu": "1500m"}}
    boxes = [{"name": "c", "image": "i", "resources": limits}]
    assert parts.make("pods", pod(containers=boxes)).obj["spec"]["containers"][0]["resources"][
        "requests"
    ] == {GPU: "2", "cpu": "1500m"}
    job = {
        "metadata": {"name": "j"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": boxes}}},
    }
    template = parts.make("jobs.batch", job).obj["spec"]["template"]
    assert "requests" not in template["spec"]["containers"][0]["resources"]


@pytest.mark.parametrize(
    ("key", "obj", "causes"),
    [
        ("pods", pod(containers=[]), [("spec.containers", "FieldValueRequired")]),
        ("pods", pod("Bad_Name"), [("metadata.name", "FieldValueInvalid")]),
        ("pods", pod(restartPolicy="Odd"), [("spec.restartPolicy", "FieldValueNotSupported")]),
        (
            "pods",
            pod(containers=[{"name": "c", "image": "i", "resources": {"requests": {GPU: "1"}}}]),
            [("spec.containers[0].resources.limits", "FieldValueRequired")],
        ),
        (
            "pods",
            pod(
                containers=[{"name": "c", "image": "i", "volumeMounts": [{"name": "no", "mountPath": "/x"}]}]
            ),
            [("spec.containers[0].volumeMounts[0].name", "FieldValueNotFound")],
        ),
        (
            "services",
            {"metadata": {"name": "1st"}, "spec": {"ports": [{"port": 1}]}},
            [("metadata.name", "FieldValueInvalid")],
        ),
        ("services", {"metadata": {"name": "s"}, "spec": {}}, [("spec.ports", "FieldValueRequired")]),
        (
            "nodes",
            {"metadata": {"name": "n"}, "spec": {"taints": [{"key": "k", "effect": "Odd"}]}},
            [("spec.taints[0].effect", "FieldValueNotSupported")],
        ),
        (
            "leases.coordination.k8s.io",
            {"metadata": {"name": "l"}, "spec": {"leaseDurationSeconds": 0}},
            [("spec.leaseDurationSeconds", "FieldValueInvalid")],
        ),
    ],
)
def test_what_breaks_a_rule_is_refused_with_its_field(
    parts: Parts, key: str, obj: Obj, causes: list[tuple[str, str]]
) -> None:
    refusal = _refusal(parts, key, obj)
    assert (refusal.code, _causes(refusal)) == (422, causes)


def test_unknown_fields_are_refused_warned_about_or_dropped(parts: Parts) -> None:
    obj = pod(nosuch=1)
    assert 'unknown field "spec.nosuch"' in _refusal(parts, "pods", obj, validation="Strict").message
    ask = Ask(validation="Warn")
    record = parts.verbs.create(BY_KEY["pods"], "default", obj, ask)
    assert ask.warnings == ['unknown field "spec.nosuch"']
    assert "nosuch" not in record.obj["spec"]


@pytest.mark.parametrize(
    "obj", [pod(terminationGracePeriodSeconds="soon"), pod(containers={}), pod(containers=[{"name": 1}])]
)
def test_a_value_of_another_type_is_a_bad_request(parts: Parts, obj: Obj) -> None:
    assert _refusal(parts, "pods", obj).code == 400


def test_a_dry_run_leaves_nothing_behind(parts: Parts) -> None:
    version = parts.store.version
    assert "resourceVersion" not in parts.make("pods", pod(), dry_run=True).obj["metadata"]
    assert (parts.store.version, parts.store.get("pods", ("default", "p"))) == (version, None)


def test_ports_and_addresses_are_given_once_and_free_again_after_the_service(parts: Parts) -> None:
    def service(name: str, **port: int) -> Obj:
        return {"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [{"port": 80, **port}]}}

    first = parts.make("services", service("a")).obj["spec"]
    number = first["ports"][0]["nodePort"]
    refusal = _refusal(parts, "services", service("b", nodePort=number))
    assert f"Invalid value: {number}: provided port is already allocated" in refusal.message
    far = _refusal(parts, "services", service("b", nodePort=40000))
    assert "provided port is not in the valid range. The range of valid ports is 12300-32767" in far.message
    parts.verbs.delete(BY_KEY["services"], "default", "a", deletion.Options(), Ask())
    assert parts.make("services", service("b", nodePort=number)).obj["spec"]["clusterIP"] != "None"


def test_a_put_of_a_service_without_address_keeps_the_address(parts: Parts) -> None:
    made = parts.make("services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}).obj
    body = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 81}]}}
    record, _ = parts.verbs.update(BY_KEY["services"], "default", "s", body, Ask())
    assert record.obj["spec"]["clusterIP"] == made["spec"]["clusterIP"]


def test_a_quota_refuses_what_is_too_much_and_counts_the_rest(parts: Parts) -> None:
    parts.make(
        "resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {f"requests.{GPU}": "1", "pods": "5"}}}
    )
    boxes = [{"name": "c", "image": "i", "resources": {"limits": {GPU: 1}}}]
    parts.make("pods", pod("a", containers=boxes))
    refusal = _refusal(parts, "pods", pod("b", containers=boxes))
    wanted = (
        f"exceeded quota: q, requested: requests.{GPU}=1, used: requests.{GPU}=1, limited: requests.{GPU}=1"
    )
    assert (refusal.code, refusal.message.endswith(wanted)) == (403, True)
    quota = parts.store.get("resourcequotas", ("default", "q"))
    assert quota is not None
    assert quota.obj["status"]["used"] == {f"requests.{GPU}": "1", "pods": "1"}


def test_status_and_the_rest_are_written_apart(parts: Parts) -> None:
    parts.make("pods", pod())
    pods = BY_KEY["pods"]
    patch = {"status": {"phase": "Running"}, "spec": {"nodeName": "x"}, "metadata": {"labels": {"new": "1"}}}
    record, _ = parts.verbs.patch(pods, "default", "p", "merge", patch, Ask(), "status")
    assert (record.obj["status"]["phase"], "nodeName" in record.obj["spec"]) == ("Running", False)
    record, _ = parts.verbs.patch(pods, "default", "p", "merge", {"status": {"phase": "Failed"}}, Ask())
    assert record.obj["status"]["phase"] == "Running"


def test_generation_counts_changes_of_the_spec_alone(parts: Parts) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    body = {
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    parts.make("deployments.apps", body)
    kind = BY_KEY["deployments.apps"]

    def after(patch: Obj, sub: str = "") -> int:
        record, _ = parts.verbs.patch(kind, "default", "d", "merge", patch, Ask(), sub)
        return int(record.obj["metadata"]["generation"])

    assert after({"metadata": {"labels": {"x": "y"}}}) == 1
    assert after({"status": {"replicas": 1}}, "status") == 1
    assert after({"spec": {"replicas": 3}}) == 2


def test_a_write_that_changes_nothing_keeps_the_version(parts: Parts) -> None:
    before = parts.make("configmaps", {"metadata": {"name": "c"}, "data": {"k": "v"}})
    record, _ = parts.verbs.update(BY_KEY["configmaps"], "default", "c", before.copy(), Ask())
    assert record.version == before.version


def test_a_stale_write_is_a_conflict(parts: Parts) -> None:
    old = parts.make("configmaps", {"metadata": {"name": "c"}, "data": {"k": "1"}}).copy()
    parts.verbs.patch(BY_KEY["configmaps"], "default", "c", "merge", {"data": {"k": "2"}}, Ask())
    with pytest.raises(ApiStatus) as refused:
        parts.verbs.update(BY_KEY["configmaps"], "default", "c", old, Ask())
    assert (refused.value.code, "the object has been modified" in refused.value.message) == (409, True)


def _delete(parts: Parts, key: str, name: str, **options: Any) -> bool:
    return parts.verbs.delete(BY_KEY[key], "default", name, deletion.Options(**options), Ask())[1]


def test_a_pod_on_a_node_stays_until_its_kubelet_lets_it_go(parts: Parts) -> None:
    parts.make("pods", pod(nodeName="node-1"))
    assert not _delete(parts, "pods", "p")
    going = parts.store.get("pods", ("default", "p"))
    assert going is not None
    assert going.obj["metadata"]["deletionGracePeriodSeconds"] == 30
    assert not _delete(parts, "pods", "p", grace_s=5)
    assert _delete(parts, "pods", "p", grace_s=0)


def test_a_pod_no_node_has_goes_at_once(parts: Parts) -> None:
    parts.make("pods", pod())
    assert _delete(parts, "pods", "p")


def test_finalizers_hold_an_object_until_the_last_one_is_taken(parts: Parts) -> None:
    parts.make("configmaps", {"metadata": {"name": "c", "finalizers": ["a.b/c"]}})
    assert not _delete(parts, "configmaps", "c")
    with pytest.raises(ApiStatus, match="no new finalizers can be added"):
        parts.verbs.patch(
            BY_KEY["configmaps"],
            "default",
            "c",
            "merge",
            {"metadata": {"finalizers": ["a.b/c", "d.e/f"]}},
            Ask(),
        )
    parts.verbs.patch(
        BY_KEY["configmaps"], "default", "c", "merge", {"metadata": {"finalizers": None}}, Ask()
    )
    assert parts.store.get("configmaps", ("default", "c")) is None


def test_a_deletion_with_a_wrong_precondition_deletes_nothing(parts: Parts) -> None:
    parts.make("configmaps", {"metadata": {"name": "c"}})
    for wrong in ({"uid": "other"}, {"resource_version": "1"}):
        with pytest.raises(ApiStatus) as refused:
            _delete(parts, "configmaps", "c", **wrong)
        assert refused.value.code == 409


def test_nothing_new_is_made_in_a_namespace_that_goes(parts: Parts) -> None:
    parts.make("namespaces", {"metadata": {"name": "going"}})
    parts.verbs.delete(BY_KEY["namespaces"], "", "going", deletion.Options(), Ask())
    with pytest.raises(ApiStatus) as refused:
        parts.make("configmaps", {"metadata": {"name": "late"}}, "going")
    assert (refused.value.code, _causes(refused.value)) == (
        403,
        [("metadata.namespace", "NamespaceTerminating")],
    )


def test_eviction_spends_a_budget_and_is_refused_when_it_is_spent(parts: Parts) -> None:
    budgets = "poddisruptionbudgets.policy"
    parts.make(
        budgets,
        {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}},
    )
    status = {
        "observedGeneration": 1,
        "disruptionsAllowed": 1,
        "currentHealthy": 2,
        "desiredHealthy": 1,
        "expectedPods": 2,
    }
    parts.verbs.patch(BY_KEY[budgets], "default", "b", "merge", {"status": status}, Ask(), "status")
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    for name in ("p", "q"):
        obj = pod(name)
        obj["metadata"]["labels"] = {"app": "p"}
        parts.make("pods", obj)
        parts.verbs.patch(BY_KEY["pods"], "default", name, "merge", {"status": ready}, Ask(), "status")
    parts.subresources.evict("default", "p", {}, Ask())
    with pytest.raises(ApiStatus) as refused:
        parts.subresources.evict("default", "q", {}, Ask())
    assert (refused.value.code, parts.store.get("pods", ("default", "p"))) == (429, None)


def test_the_in_process_watch_tells_enter_change_and_leave(parts: Parts) -> None:
    async def story() -> list[tuple[str, str]]:
        seen = []
        watch = parts.local.watch("configmaps", "default", labels="x=1")
        seen.append((await anext(watch))[0])
        await parts.local.create("configmaps", {"metadata": {"name": "c", "labels": {"x": "1"}}}, "default")
        await parts.local.patch("configmaps", "c", {"data": {"k": "v"}}, "default")
        await parts.local.patch("configmaps", "c", {"metadata": {"labels": {"x": "2"}}}, "default")
        for _ in range(3):
            kind, obj = await anext(watch)
            seen.append(f"{kind} {obj['metadata']['name']}")
        return seen

    assert asyncio.run(story()) == [SYNCED, "ADDED c", "MODIFIED c", "DELETED c"]


def test_a_watcher_that_fell_behind_the_window_ends_with_the_true_state(tmp_path: Path) -> None:
    parts = Parts(tmp_path, window=5)

    async def story() -> dict[str, str]:
        known: dict[str, str] = {}
        watch = parts.local.watch("configmaps", "default")
        while (await anext(watch))[0] != SYNCED:
            pass
        for number in range(40):
            await parts.local.create(
                "configmaps", {"metadata": {"name": f"c{number}"}, "data": {"k": "1"}}, "default"
            )
        for number in range(39):
            await parts.local.delete("configmaps", f"c{number}", "default")
        while True:
            kind, obj = await anext(watch)
            name = obj["metadata"]["name"]
            if kind == "DELETED":
                known.pop(name, None)
            else:
                known[name] = kind
            if name == "c39":
                return known

    assert set(asyncio.run(story())) - {"kube-root-ca.crt"} == {"c39"}
