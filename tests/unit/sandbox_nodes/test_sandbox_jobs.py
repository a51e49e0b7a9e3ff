from pathlib import Path

from small_cluster import JOBS, NS, Cluster, job, play


def conditions(job_: dict) -> set[str]:
    return {c["type"] for c in job_.get("status", {}).get("conditions", []) if c["status"] == "True"}


def test_a_job_is_complete_when_its_pod_succeeds(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.api.create(JOBS, job(), NS)
        (pod,) = await c.some_pods(1)
        await c.play(pod, "Succeeded")
        done = await c.field(JOBS, "work", lambda j: "Complete" in conditions(j))
        assert done["status"]["succeeded"] == 1
        assert "active" not in done["status"]
        assert done["status"]["completionTime"]
        assert await c.events("work", "Completed") == ["Job completed"]

    play(tmp_path, scenario)


def test_a_job_without_retries_fails_with_its_first_pod_also_when_that_is_deleted(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        for name, fate in (("fails", "failed"), ("loses", "deleted")):
            await c.api.create(JOBS, job(name, backoffLimit=0), NS)
            (pod,) = await c.some_pods(1, **{"job-name": name})
            if fate == "failed":
                await c.play(pod, "Failed")
            else:
                await c.api.delete("pods", pod["metadata"]["name"], NS)
            failed = await c.field(JOBS, name, lambda j: "Failed" in conditions(j))
            assert failed["status"]["failed"] == 1
            assert await c.events(name, "BackoffLimitExceeded")
        for pod in await c.pods():
            assert "finalizers" not in pod["metadata"], pod

    play(tmp_path, scenario)


def test_every_end_is_counted_once_however_many_pods_end_at_once(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.api.create(JOBS, job(completions=6, parallelism=3), NS)
        for round_ in (1, 2):
            pods = [pod for pod in await c.some_pods(3 * round_) if pod["status"]["phase"] == "Pending"]
            for pod in pods:
                await c.play(pod, "Succeeded")
        done = await c.field(JOBS, "work", lambda j: "Complete" in conditions(j))
        assert done["status"]["succeeded"] == 6
        assert len(await c.pods()) == 6

    play(tmp_path, scenario)


def test_a_finished_job_goes_with_its_pods_when_its_time_is_over(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.api.create(JOBS, job(ttlSecondsAfterFinished=0), NS)
        (pod,) = await c.some_pods(1)
        await c.play(pod, "Succeeded")
        await c.until(lambda: c.gone(JOBS, "work"))
        assert await c.until(lambda: c.gone("pods", pod["metadata"]["name"]))

    play(tmp_path, scenario)


def test_a_suspended_job_has_no_pods_and_goes_on_when_resumed(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.api.create(JOBS, job(suspend=True), NS)
        await c.field(JOBS, "work", lambda j: "Suspended" in conditions(j))
        assert await c.pods() == []
        await c.api.patch(JOBS, "work", {"spec": {"suspend": False}}, NS)
        await c.some_pods(1)
        await c.api.patch(JOBS, "work", {"spec": {"suspend": True}}, NS)
        await c.some_pods(0)

    play(tmp_path, scenario)


def test_a_job_that_outlives_its_deadline_fails_and_loses_its_pods(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.api.create(JOBS, job(activeDeadlineSeconds=1), NS)
        await c.some_pods(1)
        failed = await c.field(JOBS, "work", lambda j: "Failed" in conditions(j))
        assert "DeadlineExceeded" in {one["reason"] for one in failed["status"]["conditions"]}
        await c.some_pods(0)

    play(tmp_path, scenario)


def test_pods_of_an_orphaned_job_are_free_of_it(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.api.create(JOBS, job(), NS)
        (pod,) = await c.some_pods(1)
        await c.api.delete(JOBS, "work", NS, propagation="Orphan")
        await c.until(lambda: c.gone(JOBS, "work"))

        def free(p: dict) -> bool:
            return "ownerReferences" not in p["metadata"] and "finalizers" not in p["metadata"]

        await c.field("pods", pod["metadata"]["name"], free)

    play(tmp_path, scenario)
