"""Gather what `run.json` says about a run: the plan, the target as it was found, and this host."""

import platform
import socket
from datetime import UTC, datetime

from msgspec.structs import replace

import harness
from harness import chaos
from harness.cluster import Cluster, name_of, operator
from harness.conduct.folder import RunFolder
from harness.conduct.orders import Prepared
from harness.errors import TargetError
from harness.history.run import GatePlan, PlannedStep, RunInfo


def wall_time() -> str:
    """Return the wall clock, for people."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def run_facts(prepared: Prepared, folder: RunFolder, cluster: Cluster | None) -> RunInfo:
    """Return what is known about the run before it starts."""
    target, planned = prepared.target, prepared.plan
    run = RunInfo(
        run_id=folder.run_id,
        harness_version=harness.__version__,
        campaign=planned.campaign.name,
        plan_hash=planned.digest,
        seed=planned.campaign.seed,
        overrides=prepared.order.overrides,
        operator=operator(),
        labels=prepared.order.labels,
        target=target.name,
        target_url=target.url,
        max_windows=target.window_limit,
        max_windows_text=str(target.max_windows),
        sandbox=prepared.order.sandbox or ("yes" if target.is_sandbox else ""),
        host=f"{socket.gethostname()} ({platform.platform(terse=True)})",
        python=platform.python_version(),
        insecure_tls=target.tls.insecure,
        guard_only=bool(prepared.order.guard_only and planned.moments and not target.is_sandbox),
        unverified=chaos.unverified_actions(prepared.experiments.values()),
        wall_start=wall_time(),
        planned_s=planned.duration_s,
        leak_gate=planned.campaign.leaks.gate,
        validity=dict(planned.campaign.validity),
        gates=tuple(
            GatePlan(
                name=gate.title,
                measure=gate.measure,
                op=gate.op,
                limit=gate.limit,
                during=gate.during,
                min_samples=gate.min_samples,
                of=gate.of,
            )
            for gate in planned.gates
        ),
        steps=tuple(
            PlannedStep(
                experiment=moment.experiment,
                at_s=moment.inject_s,
                hold_s=moment.undo_s - moment.inject_s,
                refusal_expected=moment.refuses,
            )
            for moment in planned.moments
        ),
    )
    return run if cluster is None else _as_found(run, prepared, cluster)


def _as_found(run: RunInfo, prepared: Prepared, cluster: Cluster) -> RunInfo:
    """Add what the cluster says of itself; rights for all of it are not required, what is missing stays empty."""
    run = replace(run, target_identity=cluster.identity(), kubernetes_version=cluster.version())
    resource = prepared.target.gpu_resource
    try:
        shares = sum(
            int(node["status"].get("allocatable", {}).get(resource, 0)) for node in cluster.workers()
        )
        run = replace(run, gpu_shares=shares, nodes=tuple(sorted(name_of(node) for node in cluster.nodes())))
        images = {
            container["name"]: container["image"]
            for workload in (*cluster.deployments(), *cluster.statefulsets())
            for container in workload["spec"]["template"]["spec"]["containers"]
        }
        return replace(run, images=images, fighters=_fighters(prepared, cluster))
    except TargetError:
        return run


def _fighters(prepared: Prepared, cluster: Cluster) -> tuple[str, ...]:
    return chaos.fighters(prepared.target, cluster) if prepared.plan.moments else ()
