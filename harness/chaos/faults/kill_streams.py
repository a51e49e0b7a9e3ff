"""kill-streams: a share of the running stream pods is deleted without grace. Their windows end; nobody starts them again."""

import math
from typing import ClassVar

import msgspec

from harness.chaos.faults.alteration import Alteration, Altered, serves
from harness.chaos.faults.fault import Case, Loss, Signature, ref_of
from harness.chaos.world import Site
from harness.cluster import Object, Right, name_of, uid_of
from harness.errors import InjectionFailed, InputError, TargetError

STREAM_PREFIX = "grpc-job-"
OVER = ("Succeeded", "Failed")


class KillStreamsArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`share`: a percentage of the stream pods that run."""

    share: str = "50%"


class KillStreams(Alteration[KillStreamsArguments]):
    """Kill stream pods."""

    kind: ClassVar[str] = "kill-streams"
    title: ClassVar[str] = "deletes a `share` of the running stream pods with grace 0, once"
    undo_text: ClassVar[str] = "nothing comes back: windows have a backoffLimit of 0"
    blast_radius: ClassVar[str] = "`limits.max_pods`; own and foreign windows alike"
    losses: ClassVar[tuple[Loss, ...]] = (
        Loss("streams", "the windows whose pods are killed, whoever opened them"),
    )
    signature: ClassVar[Signature] = Signature(
        seen="streams break before their end; their slots come back after cleanup",
        where="streams, grpc pods",
        within_s=3.0,
        gone_within_s=30.0,
    )
    arguments = KillStreamsArguments

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Read, fence and delete the pods."""
        return tuple(
            Right(verb, "pods", site.kubernetes.namespace) for verb in ("get", "list", "patch", "delete")
        )

    def look(self, site: Site, arguments: KillStreamsArguments) -> Altered:
        """Choose the oldest of the running ones."""
        share = percentage(arguments.share, "share")
        running = sorted((pod for pod in stream_pods(site) if serves(pod)), key=_age)
        if not running:
            raise InjectionFailed("no stream pod runs; there is nothing to kill")
        chosen = running[: max(1, math.floor(len(running) * share / 100))]
        limit = site.target.limits.max_pods
        if len(chosen) > limit:
            raise TargetError(
                f"kill-streams would end {len(chosen)} of {len(running)} stream pods, the target allows {limit} "
                "(limits.max_pods); raise it in the target file, or take a smaller share"
            )
        return Altered(
            f"{len(chosen)} of {len(running)} stream pods", ended=tuple(ref_of("pods", pod) for pod in chosen)
        )

    def is_active(self, site: Site, case: Case[KillStreamsArguments, Altered]) -> bool:
        """None of them runs any more; what is over may stay until its Job has counted it. One list tells it, however many they were."""
        running = {uid_of(pod) for pod in stream_pods(site) if pod["status"].get("phase") not in OVER}
        return not any(pod.uid in running for pod in case.before.ended)

    def mend(self, site: Site, case: Case[KillStreamsArguments, Altered]) -> str:
        """Return the line that shows what is left."""
        return f"kubectl -n {site.kubernetes.namespace} get jobs (killed windows end by themselves)"


def stream_pods(site: Site) -> list[Object]:
    """Return the windows' pods: they carry no label in common, so it is their names that tell."""
    return [pod for pod in site.world.objects("pods") if name_of(pod).startswith(STREAM_PREFIX)]


def percentage(text: str, key: str) -> float:
    """Return a percentage from above 0% to 100%; raises InputError for anything else."""
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not text.endswith("%") or not 0 < percent <= 100:
        raise InputError(f"{key}: {text!r} is not a percentage from above 0% to 100%")
    return percent


def _age(pod: Object) -> tuple[str, str]:
    return str(pod["metadata"].get("creationTimestamp", "")), name_of(pod)
