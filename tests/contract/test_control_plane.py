"""The control plane as a process, seen by the official Python client and the chaostoolkit-kubernetes extension."""

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
from kubernetes import client, config, dynamic, watch
from kubernetes.client import ApiException
from kubernetes.stream import stream
from played_kubelet import NODE, Plane, PlayedKubelet

from harness.sandbox.api import RestApi
from harness.sandbox.controlplane.identity import Tokens

WINDOW = 60

# The official client leaves its connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect what a test left while the mark above holds."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    plane = Plane(tmp_path_factory.mktemp("plane"), "--window", str(WINDOW))
    kubelet = PlayedKubelet(plane)
    yield plane
    kubelet.stop()
    plane.stop()
    gc.collect()


@pytest.fixture(scope="module")
def api(plane: Plane) -> Iterator[client.ApiClient]:
    api = config.new_client_from_config(str(plane.kubeconfig))
    yield api
    api.close()
    gc.collect()


@pytest.fixture
def core(api: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api)


@pytest.fixture
def space(core: client.CoreV1Api, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    name = f"t-{abs(hash(request.node.name)) % 10**8}"
    core.create_namespace({"metadata": {"name": name}})
    return name


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "pause:1"}], **spec},
    }


def until(look: Callable[[], Any], seconds: float = 10.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.05)
    return found


def refused(call: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(ApiException) as error:
        call()
    return error.value.status, json.loads(error.value.body)["reason"]


def as_account(plane: Plane, core: client.CoreV1Api, space: str) -> client.ApiClient:
    """A client with the token of the namespace's default service account."""
    body = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[]))
    token = core.create_namespaced_service_account_token("default", space, body).status.token
    settings = client.Configuration(host=plane.url)
    settings.ssl_ca_cert = str(plane.state / "ca.pem")
    settings.api_key = {"authorization": f"Bearer {token}"}
    return client.ApiClient(settings)


def test_a_pod_lives_from_create_over_running_to_gone(core: client.CoreV1Api, space: str) -> None:
    core.create_namespaced_pod(space, pod("p"))
    assert refused(lambda: core.create_namespaced_pod(space, pod("p"))) == (409, "AlreadyExists")
    until(lambda: core.read_namespaced_pod("p", space).status.phase == "Running")
    going = core.delete_namespaced_pod("p", space)
    assert going.metadata.deletion_grace_period_seconds == 30
    until(lambda: not core.list_namespaced_pod(space).items)


def test_a_watch_tells_every_change_in_order_and_ends_at_its_time(core: client.CoreV1Api, space: str) -> None:
    version = core.list_namespaced_config_map(space).metadata.resource_version

    def act() -> None:
        core.create_namespaced_config_map(space, {"metadata": {"name": "c"}, "data": {"k": "1"}})
        core.patch_namespaced_config_map("c", space, {"data": {"k": "2"}})
        core.delete_namespaced_config_map("c", space)

    thread = threading.Thread(target=act)
    thread.start()
    follow = watch.Watch().stream(
        core.list_namespaced_config_map, space, resource_version=version, timeout_seconds=2
    )
    seen = [(e["type"], e["object"].data["k"]) for e in follow if e["object"].metadata.name == "c"]
    thread.join()
    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


def test_a_watch_from_before_the_window_is_gone(core: client.CoreV1Api, space: str) -> None:
    core.create_namespaced_config_map(space, {"metadata": {"name": "c"}})
    old = core.list_namespaced_config_map(space).metadata.resource_version
    for number in range(2 * WINDOW + 1):
        core.patch_namespaced_config_map("c", space, {"data": {"k": str(number)}})
    with pytest.raises(ApiException) as gone:
        for _ in watch.Watch().stream(
            core.list_namespaced_config_map, space, resource_version=old, timeout_seconds=2
        ):
            pass
    assert gone.value.status == 410


def test_pages_show_the_state_of_the_first_one(core: client.CoreV1Api, space: str) -> None:
    for number in range(5):
        core.create_namespaced_secret(space, {"metadata": {"name": f"s{number}"}})
    first = core.list_namespaced_secret(space, limit=2)
    core.delete_namespaced_secret("s3", space)
    core.create_namespaced_secret(space, {"metadata": {"name": "s9"}})
    rest = core.list_namespaced_secret(space, limit=10, _continue=first.metadata._continue)
    assert [s.metadata.name for s in (*first.items, *rest.items)] == ["s0", "s1", "s2", "s3", "s4"]
    assert first.metadata.remaining_item_count == 3


def test_the_dynamic_client_finds_every_kind_and_applies(api: client.ApiClient, space: str) -> None:
    found = dynamic.DynamicClient(api)
    maps = found.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}}
    maps.server_side_apply(body=body, namespace=space, field_manager="one")
    del body["data"]["b"]
    applied = maps.server_side_apply(body=body, namespace=space, field_manager="one")
    assert dict(applied.data) == {"a": "1"}
    body["data"]["a"] = "other"
    with pytest.raises(dynamic.exceptions.ConflictError):
        maps.server_side_apply(body=body, namespace=space, field_manager="two")


def test_an_event_is_one_object_in_both_of_its_groups(
    api: client.ApiClient, core: client.CoreV1Api, space: str
) -> None:
    body = {
        "metadata": {"name": "e"},
        "eventTime": "2026-11-23T10:00:00.000000Z",
        "regarding": {"kind": "Pod", "name": "p", "namespace": space},
        "reason": "Tested",
        "note": "first",
        "type": "Normal",
        "action": "Testing",
        "reportingController": "tests",
        "reportingInstance": "one",
    }
    events = client.EventsV1Api(api)
    events.create_namespaced_event(space, body)
    found = core.list_namespaced_event(space, field_selector="involvedObject.name=p").items
    assert [(e.message, e.reporting_component) for e in found] == [("first", "tests")]
    core.patch_namespaced_event("e", space, {"message": "second"})
    assert events.read_namespaced_event("e", space).note == "second"


def test_logs_come_from_the_kubelet_with_their_options(core: client.CoreV1Api, space: str) -> None:
    core.create_namespaced_pod(space, pod("p"))
    until(lambda: core.read_namespaced_pod("p", space).status.phase == "Running")
    text = core.read_namespaced_pod_log("p", space, tail_lines=5, timestamps=True)
    assert text.splitlines() == [
        "container=c",
        f"namespace={space}",
        "pod=p",
        "tailLines=5",
        "timestamps=true",
    ]


def test_exec_gives_output_passes_input_and_tells_the_exit_code(core: client.CoreV1Api, space: str) -> None:
    core.create_namespaced_pod(space, pod("p"))
    until(lambda: core.read_namespaced_pod("p", space).status.phase == "Running")
    call = core.connect_get_namespaced_pod_exec
    assert stream(call, "p", space, command=["echo", "hello"], stdout=True, stderr=True) == "echo hello\n"
    line = stream(
        call, "p", space, command=["cat"], stdin=True, stdout=True, stderr=True, _preload_content=False
    )
    line.write_stdin("typed\n")
    line.run_forever(timeout=5)
    assert line.read_stdout() == "cat\ntyped\n"
    line.close()
    line = stream(call, "p", space, command=["exit", "3"], stdout=True, stderr=True, _preload_content=False)
    line.run_forever(timeout=5)
    assert line.returncode == 3
    line.close()


def test_an_account_may_what_it_was_given_and_no_more(
    plane: Plane, core: client.CoreV1Api, api: client.ApiClient, space: str
) -> None:
    theirs = client.CoreV1Api(as_account(plane, core, space))
    assert refused(lambda: theirs.list_namespaced_pod(space)) == (403, "Forbidden")
    rbac = client.RbacAuthorizationV1Api(api)
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    rbac.create_namespaced_role(space, {"metadata": {"name": "r"}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": space}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    rbac.create_namespaced_role_binding(
        space, {"metadata": {"name": "b"}, "roleRef": ref, "subjects": [subject]}
    )
    assert theirs.list_namespaced_pod(space).items == []
    assert refused(lambda: theirs.delete_collection_namespaced_pod(space)) == (403, "Forbidden")
    assert refused(theirs.list_node) == (403, "Forbidden")
    review = {"spec": {"resourceAttributes": {"namespace": space, "verb": "list", "resource": "pods"}}}
    assert (
        client.AuthorizationV1Api(theirs.api_client).create_self_subject_access_review(review).status.allowed
    )
    theirs.api_client.close()


def test_wrong_and_missing_credentials_are_told_apart(plane: Plane) -> None:
    settings = client.Configuration(host=plane.url)
    settings.ssl_ca_cert = str(plane.state / "ca.pem")
    with client.ApiClient(settings) as nobody:
        assert refused(client.CoreV1Api(nobody).list_node) == (403, "Forbidden")
        assert client.VersionApi(nobody).get_code().major == "1"
    settings.api_key = {"authorization": "Bearer wrong"}
    with client.ApiClient(settings) as wrong:
        assert refused(client.CoreV1Api(wrong).list_node) == (401, "Unauthorized")


def test_a_token_ends_with_its_account(plane: Plane, core: client.CoreV1Api, space: str) -> None:
    until(lambda: core.read_namespaced_service_account("default", space))
    theirs = client.CoreV1Api(as_account(plane, core, space))
    assert refused(lambda: theirs.list_namespaced_pod(space)) == (403, "Forbidden")
    core.delete_namespaced_service_account("default", space)
    assert refused(lambda: theirs.list_namespaced_pod(space)) == (401, "Unauthorized")
    theirs.api_client.close()


def test_pod_metrics_are_what_the_kubelet_wrote(
    plane: Plane, api: client.ApiClient, core: client.CoreV1Api, space: str
) -> None:
    core.create_namespaced_pod(space, pod("p"))
    boxes = [{"name": "c", "usage": {"cpu": "5m", "memory": "12Mi"}}]
    meta = {"name": "p", "namespace": space}
    body = {"metadata": meta, "containers": boxes, "timestamp": "2026-01-01T00:00:00Z", "window": "15s"}

    async def write() -> None:
        token = Tokens.load(plane.state).node_token(NODE)
        async with RestApi(plane.url, token, plane.state / "ca.pem") as kubelet:
            await kubelet.replace("pods.metrics.k8s.io", body)
            await kubelet.replace("pods.metrics.k8s.io", body)

    asyncio.run(write())
    found = client.CustomObjectsApi(api).list_namespaced_custom_object(
        "metrics.k8s.io", "v1beta1", space, "pods"
    )
    assert [(m["metadata"]["name"], m["containers"]) for m in found["items"]] == [("p", boxes)]


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # it leaves its connections open
def test_the_chaos_toolkit_extension_cordons_scales_and_looks(
    plane: Plane, api: client.ApiClient, core: client.CoreV1Api, space: str
) -> None:
    from chaosk8s.deployment.actions import scale_deployment
    from chaosk8s.deployment.probes import deployment_fully_available
    from chaosk8s.node.actions import cordon_node, uncordon_node
    from chaosk8s.pod.actions import terminate_pods
    from chaosk8s.pod.probes import pods_in_phase

    secrets = {"KUBERNETES_CONTEXT": "sandbox"}
    template = {
        "metadata": {"labels": {"app": "d"}},
        "spec": {"containers": [{"name": "c", "image": "pause:1"}]},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "d"}}, "template": template}
    client.AppsV1Api(api).create_namespaced_deployment(space, {"metadata": {"name": "d"}, "spec": spec})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(plane.kubeconfig))
        patch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(plane.kubeconfig))
        assert deployment_fully_available("d", space, timeout=10, secrets=secrets)
        scale_deployment("d", 2, space, secrets=secrets)
        until(lambda: len(core.list_namespaced_pod(space).items) == 2)
        until(lambda: all(p.status.phase == "Running" for p in core.list_namespaced_pod(space).items))
        assert pods_in_phase(label_selector="app=d", phase="Running", ns=space, secrets=secrets)
        names = {p.metadata.name for p in core.list_namespaced_pod(space).items}
        terminate_pods(label_selector="app=d", ns=space, qty=1, secrets=secrets)
        until(lambda: names != {p.metadata.name for p in core.list_namespaced_pod(space).items})
        cordon_node(name=NODE, secrets=secrets)
        assert core.read_node(NODE).spec.unschedulable
        uncordon_node(name=NODE, secrets=secrets)
        assert not core.read_node(NODE).spec.unschedulable


def test_a_killed_control_plane_comes_back_with_everything_but_its_old_watches(tmp_path: Path) -> None:
    plane = Plane(tmp_path / "own", "--no-controllers")
    with config.new_client_from_config(str(plane.kubeconfig)) as api:
        core = client.CoreV1Api(api)
        core.create_namespaced_config_map("default", {"metadata": {"name": "c"}, "data": {"k": "v"}})
        old = core.list_namespaced_config_map("default").metadata.resource_version
        plane.kill()
        plane.start()
        found = until(lambda: core.read_namespaced_config_map("c", "default"))
        assert found.data == {"k": "v"}
        assert found.metadata.resource_version == old
        with pytest.raises(ApiException) as gone:
            for _ in watch.Watch().stream(
                core.list_namespaced_config_map, "default", resource_version=old, timeout_seconds=2
            ):
                pass
        assert gone.value.status == 410
    plane.stop()
