"""A Lease as the target's lock: one run at a time, and everybody can see whose it is.

The conductor (or an experiment played alone) takes it before the first write and renews it as it makes progress; nobody
renews it from a side thread, so a hang loses it. It refuses (TargetBusy) while another holder is alive, judged by a renewal
seen to change or dated within its duration; a holder on this host whose process is gone is not alive. Anybody with kubectl
ends the run that holds it: by the annotation `focus-harness/halt`, or by deleting the Lease.
"""

import getpass
import hashlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

from harness.clock import boot_seconds
from harness.cluster.errors import Conflict, Missing
from harness.cluster.kinds import Object, annotations_of, version_of
from harness.errors import Stopped, TargetBusy

if TYPE_CHECKING:
    from harness.cluster.client import Cluster

LEASE_NAME = "focus-harness"
RUN_ANNOTATION = "focus-harness/run"
HALT_ANNOTATION = "focus-harness/halt"
DURATION_S = 6
"""Not renewed for this long, the run counts as dead: the reverter undoes its faults, and it injects nothing more itself."""
_POLL_S = 1.0
_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def holder_of_this_process() -> str:
    """Return `host/pid/start`: a name that tells whether its process still lives, if it was one of this host."""
    return f"{_host()}/{os.getpid()}/{_process_start(os.getpid())}"


@lru_cache(maxsize=1)
def _host() -> str:
    """Return a name of this machine, as booted now and as far as its processes see each other: clones share a hostname."""
    told = []
    try:
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        told.append(str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        pass  # not Linux: the hostname has to do
    digest = hashlib.sha256("".join(told).encode()).hexdigest()[:8]
    return f"{socket.gethostname()}-{digest}" if told else socket.gethostname()


def is_dead_here(holder: str) -> bool:
    """Say whether `holder` (see `holder_of_this_process`) was a process of this host that is gone."""
    host, _, rest = holder.partition("/")
    pid, _, start = rest.partition("/")
    if host != _host() or not pid.isdigit():
        return False
    return _process_start(int(pid)) != start


def operator() -> str:
    """Return who runs this: `HARNESS_OPERATOR`, or user and host."""
    if told := os.environ.get("HARNESS_OPERATOR"):
        return told
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as containers have
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def halt_line(namespace: str) -> str:
    """Return the kubectl line that ends whatever run holds the lock."""
    return f"kubectl -n {namespace} annotate lease {LEASE_NAME} {HALT_ANNOTATION}=now --overwrite"


class Lease:
    """The lock, held by this process from `acquire` to `release`; usable as `with Lease.acquire(...)`."""

    def __init__(self, cluster: "Cluster", holder: str, run_id: str, obj: Object) -> None:
        self._cluster = cluster
        self.holder = holder
        self.run_id = run_id
        self._obj = obj
        self._renewed = boot_seconds()

    @classmethod
    def acquire(
        cls,
        cluster: "Cluster",
        run_id: str,
        holder: str | None = None,
        *,
        ends: str = "",
        wait_s: float = 0.0,
        pause: Callable[[float], object] = time.sleep,
        waiting: Callable[[TargetBusy], object] | None = None,
    ) -> "Lease":
        """Take the lock; raise `TargetBusy` with holder and run if another live holder has it for longer than `wait_s`.

        Takes up to 6 s more where the last holder ended without releasing it on another host. `ends` is the planned end, for
        people; `pause` waits between two looks, and says True if it is time to give up (then `Stopped` is raised); `waiting`
        is told once by whom the target is held, when the waiting begins.
        """
        until = time.monotonic() + wait_s
        while True:
            try:
                return cls._take_now(cluster, run_id, holder or holder_of_this_process(), ends)
            except TargetBusy as busy:
                if time.monotonic() >= until:
                    raise
                if waiting is not None:
                    waiting(busy)
                    waiting = None
            if pause(_POLL_S) is True:
                raise Stopped("stopped while waiting for the lock; nothing was injected")

    @classmethod
    def _take_now(cls, cluster: "Cluster", run_id: str, holder: str, ends: str) -> "Lease":
        facts = {
            "run": run_id,
            "operator": operator(),
            "ends": ends,
            "stop": halt_line(cluster.harness_namespace),
        }
        annotations = {f"focus-harness/{key}": value for key, value in facts.items()}
        cluster.ensure_harness_namespace()
        while True:
            current = cluster.find("leases", LEASE_NAME, cluster.harness_namespace)
            try:
                if current is None:
                    body = {"metadata": {"name": LEASE_NAME, "annotations": annotations}}
                    obj = cluster.create("leases", {**body, "spec": _spec(holder)}, cluster.harness_namespace)
                else:
                    _refuse_if_alive(cluster, current, holder)
                    obj = _take(cluster, current, holder, annotations)
            except (Conflict, Missing):
                continue  # another one was faster, or somebody deleted it: look again
            return cls(cluster, holder, run_id, obj)

    @property
    def unrenewed_s(self) -> float:
        """How long ago the lock was renewed for the last time, sleep of the machine included."""
        return boot_seconds() - self._renewed

    def renew(self, *, may_have_run_out: bool = False) -> None:
        """Renew the lock; call at least every 2 s, or with `may_have_run_out` as long as nothing has been injected.

        Raises `TargetBusy` if it was lost to another holder, and `Stopped` if somebody has halted the run, or if it has run out:
        by then the reverter may have undone everything, so nothing may go on as if nothing had been.
        """
        if self.unrenewed_s > DURATION_S and not may_have_run_out:
            raise Stopped(
                f"the lock ran out: not renewed for {self.unrenewed_s:.0f} s (this process stood still, or was cut off from the "
                "API server); nothing more is injected"
            )
        namespace = self._cluster.harness_namespace
        patch = {"spec": {"renewTime": _now()}}
        version = version_of(self._obj)
        try:
            self._obj = self._cluster.patch("leases", LEASE_NAME, patch, namespace, resource_version=version)
        except Missing:
            raise Stopped("halted: somebody deleted the Lease") from None
        except Conflict:
            found = self._cluster.find("leases", LEASE_NAME, namespace)
            if found is None:
                raise Stopped("halted: somebody deleted the Lease") from None
            if found["spec"].get("holderIdentity") != self.holder:
                raise TargetBusy(f"the lock was lost to {_who(found)}; nothing more is injected") from None
            self._obj = found  # touched by a person (an annotation), still ours
            self.renew(may_have_run_out=may_have_run_out)
        self._renewed = boot_seconds()
        halted = annotations_of(self._obj).get(HALT_ANNOTATION)
        if halted is not None:
            raise Stopped(f"halted: somebody annotated the Lease {HALT_ANNOTATION}={halted}")

    def wait_for_api(self) -> None:
        """Let the lock not run out while we ourselves have taken the API server away; the reverter does not see either."""
        self._renewed = boot_seconds()

    def release(self) -> None:
        """Give the lock back; a lock that is another's by now is left alone."""
        found = self._cluster.find("leases", LEASE_NAME, self._cluster.harness_namespace)
        if found is None or found["spec"].get("holderIdentity") != self.holder:
            return
        try:
            patch = {"spec": {"holderIdentity": None, "renewTime": _now()}}
            self._cluster.patch(
                "leases",
                LEASE_NAME,
                patch,
                self._cluster.harness_namespace,
                resource_version=version_of(found),
            )
        except Conflict:
            pass  # taken over in between

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def refuse_if_in_use(cluster: "Cluster") -> None:
    """Raise `TargetBusy` if a live process other than this one holds the lock; takes it from nobody."""
    current = cluster.find("leases", LEASE_NAME, cluster.harness_namespace)
    if current is not None:
        _refuse_if_alive(cluster, current, holder_of_this_process())


def _refuse_if_alive(cluster: "Cluster", current: Object, holder: str) -> None:
    other = current["spec"].get("holderIdentity")
    if not other or other == holder or is_dead_here(str(other)):
        return
    duration_s = float(current["spec"].get("leaseDurationSeconds") or DURATION_S)
    busy = TargetBusy(
        f"the target is in use by {_who(current)}; wait until it ends, "
        f"or if it is gone for good: kubectl -n {cluster.harness_namespace} delete lease {LEASE_NAME}"
    )
    if _age_s(current) < duration_s:
        raise busy
    # Its date looks old, but clocks differ: it is dead only if it does not change under our eyes.
    until = time.monotonic() + duration_s
    while time.monotonic() < until:
        time.sleep(_POLL_S)
        seen = cluster.find("leases", LEASE_NAME, cluster.harness_namespace)
        if seen is None or not seen["spec"].get("holderIdentity"):
            return
        if seen["spec"].get("renewTime") != current["spec"].get("renewTime"):
            raise busy


def halt(cluster: "Cluster", why: str) -> str | None:
    """Ask whatever run holds the lock to end; return who that is, None if nobody does."""
    current = cluster.find("leases", LEASE_NAME, cluster.harness_namespace)
    if current is None or not current["spec"].get("holderIdentity"):
        return None
    patch = {"metadata": {"annotations": {HALT_ANNOTATION: why}}}
    try:
        return _who(cluster.patch("leases", LEASE_NAME, patch, cluster.harness_namespace))
    except Missing:
        return None


def live_run(cluster: "Cluster") -> str:
    """Return the run that holds the lock, empty if nobody does or its holder was a process of this host that is gone."""
    current = cluster.find("leases", LEASE_NAME, cluster.harness_namespace)
    holder = str((current or {"spec": {}})["spec"].get("holderIdentity") or "")
    if current is None or not holder or is_dead_here(holder):
        return ""
    return annotations_of(current).get(RUN_ANNOTATION, "")


def holds_now(cluster: "Cluster", who: str) -> bool:
    """Say whether that holder (as `halt` returns it) still has the lock."""
    current = cluster.find("leases", LEASE_NAME, cluster.harness_namespace)
    return current is not None and bool(current["spec"].get("holderIdentity")) and _who(current) == who


def _take(cluster: "Cluster", current: Object, holder: str, facts: Mapping[str, str]) -> Object:
    spec = {
        **_spec(holder),
        "leaseTransitions": int(current["spec"].get("leaseTransitions") or 0) + 1,
    }
    patch = {"metadata": {"annotations": {**facts, HALT_ANNOTATION: None}}, "spec": spec}
    return cluster.patch(
        "leases",
        LEASE_NAME,
        patch,
        cluster.harness_namespace,
        resource_version=version_of(current),
    )


def _spec(holder: str) -> Object:
    now = _now()
    return {
        "holderIdentity": holder,
        "leaseDurationSeconds": DURATION_S,
        "acquireTime": now,
        "renewTime": now,
    }


def _now() -> str:
    return datetime.now(UTC).strftime(_FORMAT)


def _age_s(lease: Object) -> float:
    try:
        renewed = datetime.strptime(lease["spec"]["renewTime"], _FORMAT).replace(tzinfo=UTC)
    except (KeyError, TypeError, ValueError):
        return 0.0
    return abs((datetime.now(UTC) - renewed).total_seconds())


def _who(lease: Object) -> str:
    run = annotations_of(lease).get(RUN_ANNOTATION, "")
    return f"{lease['spec'].get('holderIdentity')}" + (f" (run {run})" if run else "")


def _process_start(pid: int) -> str:
    """Return when the process started, in the kernel's ticks, so that a reused pid is not taken for it."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
            return "gone" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "gone"
    except OSError:
        pass
    return "0"
