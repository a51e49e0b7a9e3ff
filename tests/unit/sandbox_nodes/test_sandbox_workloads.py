from pathlib import Path

from small_cluster import DEPLOYMENTS, NS, REPLICASETS, SETS, SLICES, Cluster, play, workload

from harness.sandbox.node.podworker import START_AFTER

ROLLING = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_a_deployment_rolls_over_without_ever_having_too_few_ready_pods(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.node("one")
        await c.api.create(DEPLOYMENTS, workload("Deployment", replicas=2, strategy=ROLLING), NS)
        old = await c.some_pods(2)
        for pod in old:
            await c.play(pod, "Running")
        await c.field(DEPLOYMENTS, "web", lambda d: d.get("status", {}).get("availableReplicas") == 2)
        restart = {"spec": {"template": {"metadata": {"annotations": {"restartedAt": "now"}}}}}
        await c.api.patch(DEPLOYMENTS, "web", restart, NS)
        for left in (1, 0):
            fresh = await c.until(lambda: fresh_pods(c, old))
            assert len([pod for pod in await c.pods() if ready(pod)]) == 2
            await c.play(fresh[0], "Running")
            names = {pod["metadata"]["name"] for pod in old}

            async def shrunk(names: set[str] = names, left: int = left) -> bool:
                now_there = {pod["metadata"]["name"] for pod in await c.pods()}
                return len(names & now_there) == left

            await c.until(shrunk)
        done = await c.field(DEPLOYMENTS, "web", lambda d: d["status"].get("updatedReplicas") == 2)
        assert done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
        assert len((await c.api.list(REPLICASETS, NS))[0]) == 2

    async def fresh_pods(c: Cluster, old: list[dict]) -> list[dict]:
        known = {pod["metadata"]["uid"] for pod in old}
        return [pod for pod in await c.pods() if pod["metadata"]["uid"] not in known and not ready(pod)]

    def ready(pod: dict) -> bool:
        return any(
            one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", [])
        )

    play(tmp_path, scenario)


def test_scaling_to_zero_and_back_starts_pods_at_once_and_a_killed_pod_is_missed_for_a_while(
    tmp_path: Path,
) -> None:
    async def scenario(c: Cluster) -> None:
        await c.node("one")
        await c.api.create(DEPLOYMENTS, workload("Deployment"), NS)
        (first,) = await c.some_pods(1)
        await c.play(first, "Running")
        await c.api.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 0}}, NS, "scale")
        await c.some_pods(0)
        await c.api.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 1}}, NS, "scale")
        (second,) = await c.some_pods(1)
        assert START_AFTER not in second["metadata"].get("annotations", {})
        await c.play(second, "Running")
        await c.api.delete("pods", second["metadata"]["name"], NS, grace_s=0)
        (third,) = await c.some_pods(1)
        assert third["metadata"]["annotations"][START_AFTER] == "7"

    play(tmp_path, scenario, restart_delay_s=7.0)


def test_pods_of_a_stateful_set_come_in_order_go_in_reverse_and_keep_their_names(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.node("one")
        await c.api.create(SETS, workload("StatefulSet", "db", replicas=2), NS)
        (zero,) = await c.some_pods(1)
        assert zero["metadata"]["name"] == "db-0"
        await c.play(zero, "Running")
        _, one = await c.some_pods(2)
        assert one["metadata"]["name"] == "db-1"
        await c.play(one, "Running")
        await c.api.delete("pods", "db-0", NS, grace_s=0)

        def anew(pod: dict) -> bool:
            return bool(pod["metadata"]["uid"] != zero["metadata"]["uid"])

        again, _ = await c.some_pods(2)
        assert anew(again)
        await c.play(again, "Running")
        await c.api.patch(SETS, "db", {"spec": {"replicas": 1}}, NS)
        (left,) = await c.some_pods(1)
        assert left["metadata"]["name"] == "db-0"

    play(tmp_path, scenario)


def test_an_endpoint_is_a_pod_that_is_ready_and_stays(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.node("one")
        await c.api.create(DEPLOYMENTS, workload("Deployment"), NS)
        service = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
        await c.api.create("services", service, NS)
        (pod,) = await c.some_pods(1)
        assert await endpoints(c) == []
        await c.field("pods", pod["metadata"]["name"], lambda p: p["spec"].get("nodeName"))
        await c.play(pod, "Running", ip="127.99.0.7")

        async def served() -> bool:
            return [one["addresses"] for one in await endpoints(c)] == [["127.99.0.7"]]

        await c.until(served)
        await c.field("endpoints", "web", lambda e: e["subsets"][0]["addresses"][0]["ip"] == "127.99.0.7")
        await c.api.delete("pods", pod["metadata"]["name"], NS)

        async def ending() -> bool:
            return [one["conditions"]["ready"] for one in await endpoints(c)] == [False]

        await c.until(ending)
        await c.api.delete("services", "web", NS)
        await c.until(lambda: c.gone("endpoints", "web"))

    async def endpoints(c: Cluster) -> list[dict]:
        slices, _ = await c.api.list(SLICES, NS, labels="kubernetes.io/service-name=web")
        return [one for slice_ in slices for one in slice_.get("endpoints") or []]

    play(tmp_path, scenario)


def test_a_deployment_takes_everything_with_it(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.api.create(DEPLOYMENTS, workload("Deployment", replicas=3), NS)
        await c.some_pods(3)
        await c.api.delete(DEPLOYMENTS, "web", NS, propagation="Foreground")
        await c.until(lambda: c.gone(DEPLOYMENTS, "web"))
        assert (await c.api.list(REPLICASETS, NS))[0] == []
        assert await c.pods() == []

    play(tmp_path, scenario)


def test_a_namespace_goes_when_it_is_empty(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.api.create("namespaces", {"metadata": {"name": "gone"}})
        held = {"metadata": {"name": "held", "finalizers": ["test/hold"]}}
        await c.api.create("configmaps", held, "gone")
        await c.api.delete("namespaces", "gone")

        async def emptied() -> bool:
            left, _ = await c.api.list("configmaps", "gone")
            return [one["metadata"]["name"] for one in left] == ["held"]

        await c.until(emptied)
        await c.api.patch("configmaps", "held", {"metadata": {"finalizers": None}}, "gone")

        async def gone() -> bool:
            return "gone" not in [one["metadata"]["name"] for one in (await c.api.list("namespaces"))[0]]

        await c.until(gone)

    play(tmp_path, scenario)


def test_a_budget_says_how_many_pods_may_go(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.node("one")
        await c.api.create(DEPLOYMENTS, workload("Deployment", replicas=2), NS)
        budget = {
            "metadata": {"name": "b"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
        }
        await c.api.create("poddisruptionbudgets.policy", budget, NS)
        for pod in await c.some_pods(2):
            await c.play(pod, "Running")
        seen = await c.field(
            "poddisruptionbudgets.policy", "b", lambda b: b.get("status", {}).get("disruptionsAllowed") == 1
        )
        assert (seen["status"]["currentHealthy"], seen["status"]["desiredHealthy"]) == (2, 1)

    play(tmp_path, scenario)
