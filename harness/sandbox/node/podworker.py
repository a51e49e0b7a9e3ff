"""One pod's life on a node: address, containers in order, restarts, probes, its end, and what is reported of it.

The kubelet makes one worker per pod and tells it when the pod's object changed. The worker is the only writer of
its pod's status. It decides as Kubernetes does; delays come from the settings. It never looks at other pods.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from harness.sandbox.api import Api, ApiStatus, Obj
from harness.sandbox.node.addresses import NoAddress, PodAddresses
from harness.sandbox.node.kubeconfig import write_kubeconfig
from harness.sandbox.node.podenv import ConfigError, References, expand, resolve_env, volume_of
from harness.sandbox.node.podstatus import ContainerState, Terminated, conditions_of, phase_of, quality_of
from harness.sandbox.node.probes import Findings, Prober, watch_container
from harness.sandbox.node.runtime import Process, Runtime
from harness.sandbox.pods import needs_kubeconfig, program_for, program_of
from harness.sandbox.pods.context import PodContext
from harness.sandbox.recorder import NORMAL, WARNING, Recorder, now
from harness.sandbox.state import Sandbox

START_AFTER = "sandbox.focus-harness/start-after-s"
"""Annotation of a pod that replaces a killed one: how long its absence shall be felt."""
PULL_BACKOFF_S = 10.0
PULL_BACKOFF_MAX_S = 300.0
ADDRESS_RETRY_S = 2.0


class Node(Protocol):
    """What a worker needs of its kubelet."""

    api: Api
    sandbox: Sandbox
    name: str
    runtime: Runtime
    recorder: Recorder
    addresses: PodAddresses

    async def token(self, pod: Obj) -> str:
        """Return a token of the pod's service account, "" if it shall have none."""
        ...

    def refusal(self, pod: Obj) -> tuple[str, str] | None:
        """Say why the node cannot take the pod (reason, message); None if it can."""
        ...

    async def run_command(self, worker: PodWorker, container: str, argv: list[str], timeout_s: float) -> str:
        """Run a command in a container's surroundings; give "" or why it failed."""
        ...

    def forget(self, worker: PodWorker) -> None:
        """Drop a worker that has ended."""
        ...


class PodWorker:
    """Leads one pod from its binding to its end."""

    def __init__(self, node: Node, pod: Obj) -> None:
        self.pod = pod
        self.node = node
        self.ip = ""
        self.processes: dict[str, Process] = {}
        self.contexts: dict[str, PodContext] = {}
        self.phase = ""
        spec = pod["spec"]
        self.inits = [_state(one, pod) for one in spec.get("initContainers") or []]
        self.containers = [_state(one, pod) for one in spec["containers"]]
        self._policy = spec.get("restartPolicy") or "Always"
        self._changed = asyncio.Event()
        self._dirty = asyncio.Event()
        self._rejected: tuple[str, str] | None = None
        self._published: Obj = {}
        self._started_at = now()

    @property
    def uid(self) -> str:
        """The pod's uid."""
        return str(self.pod["metadata"]["uid"])

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.pod["metadata"]["namespace"], self.pod["metadata"]["name"]

    @property
    def directory(self) -> Path:
        """The pod's own directory on the node."""
        return self.node.sandbox.node_dir(self.node.name) / "pods" / self.uid

    def log_file(self, container: str, restart: int) -> Path:
        """Where the output of one start of a container is kept."""
        return self.directory / "logs" / container / f"{restart}.log"

    def update(self, pod: Obj) -> None:
        """Take over a newer object of the pod."""
        self.pod = pod
        if self._published and _readiness(pod.get("status") or {}) != _readiness(self._published):
            # Somebody else (the node lifecycle, while we were silent) said it for us; say it again ourselves.
            self._published = {}
            self._dirty.set()
        self._changed.set()

    def state_of(self, container: str) -> ContainerState | None:
        """Return what is known of a container."""
        return next((one for one in (*self.inits, *self.containers) if one.name == container), None)

    async def run(self) -> None:
        """Lead the pod until its object may go."""
        if not self._was_over():
            publisher = asyncio.create_task(self._publish_for_ever())
            life = asyncio.create_task(self._live())
            deletion = asyncio.create_task(self._deletion())
            try:
                await asyncio.wait((life, deletion), return_when=asyncio.FIRST_COMPLETED)
                if life.done():
                    life.result()
                    self._dirty.set()
                    self.node.addresses.give_back(self.uid)
                    await deletion
                life.cancel()
                await asyncio.gather(life, return_exceptions=True)
                await self._end_containers()
            finally:
                for task in (publisher, life, deletion):
                    task.cancel()
                await asyncio.gather(publisher, life, deletion, return_exceptions=True)
                self.kill()  # a container that was just being started when the pod vanished
            await self._publish()
        else:
            await self._deletion()
        self.node.addresses.give_back(self.uid)
        await self._remove()

    def kill(self) -> None:
        """Kill every container at once."""
        for process in self.processes.values():
            self.node.runtime.signal(process, signal.SIGKILL)

    def vanish(self) -> None:
        """End at once: the object is gone from the server."""
        self.kill()
        self.node.addresses.give_back(self.uid)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _was_over(self) -> bool:
        status = self.pod.get("status") or {}
        self.phase = status.get("phase") or "Pending"
        return self.phase in ("Succeeded", "Failed")

    async def _deletion(self) -> None:
        while not self.pod["metadata"].get("deletionTimestamp"):
            self._changed.clear()
            await self._changed.wait()

    async def _remove(self) -> None:
        namespace, name = self.key
        while True:
            try:
                await self.node.api.delete("pods", name, namespace, grace_s=0, uid=self.uid)
                break
            except ApiStatus as refusal:
                if refusal.code in (404, 409):
                    break
            await asyncio.sleep(0.5)
        shutil.rmtree(self.directory, ignore_errors=True)
        self.node.forget(self)

    # ------------------------------------------------------------------------------------------ living

    async def _live(self) -> None:
        self._rejected = self.node.refusal(self.pod)
        if self._rejected:
            self._warn(*self._rejected)
            self._dirty.set()
            return
        self._after_node_failure()
        self._dirty.set()
        delay_s = self.node.sandbox.settings.pod_start_delay_s
        replaced = (self.pod["metadata"].get("annotations") or {}).get(START_AFTER)
        await asyncio.sleep(max(delay_s, float(replaced or 0)))
        await self._take_address()
        self._dirty.set()
        for spec, state in zip(self.pod["spec"].get("initContainers") or [], self.inits, strict=True):
            policy = "OnFailure" if self._policy == "Always" else self._policy
            if await self._keep(spec, state, policy) != 0:
                return
        specs = self.pod["spec"]["containers"]
        async with asyncio.TaskGroup() as group:
            for spec, state in zip(specs, self.containers, strict=True):
                group.create_task(self._keep(spec, state, self._policy))

    def _after_node_failure(self) -> None:
        """Containers that ran before this kubelet started are dead: their node failed."""
        for said in (self.pod.get("status") or {}).get("containerStatuses") or []:
            state = self.state_of(said["name"])
            if state is None or not said.get("containerID"):
                continue
            state.restarts = said.get("restartCount", 0)
            state.container_id = said["containerID"]
            began = (said["state"].get("running") or {}).get("startedAt", "")
            if began:
                state.ended(
                    Terminated(
                        137,
                        "ContainerStatusUnknown",
                        began,
                        now(),
                        state.container_id,
                        "The container could not be located when the pod was terminated",
                    )
                )
                state.restarts += self._policy != "Never"

    async def _take_address(self) -> None:
        while not self.ip:
            try:
                self.ip = self.node.addresses.take(self.uid)
            except NoAddress as error:
                self._warn(
                    "FailedCreatePodSandBox",
                    f"Failed to create pod sandbox: rpc error: code = Unknown desc = {error}",
                )
                await asyncio.sleep(ADDRESS_RETRY_S)

    async def _keep(self, spec: Obj, state: ContainerState, policy: str) -> int:
        """Start a container, and again as its restart policy says; give its last exit code."""
        settings = self.node.sandbox.settings
        delay_s = settings.restart_delay_s
        if state.terminated is not None and policy == "Never":
            return state.terminated.code
        loop = asyncio.get_running_loop()
        while True:
            program = await self._image(spec, state)
            began = loop.time()
            code = await self._run_once(spec, state, program)
            if policy == "Never" or (policy == "OnFailure" and code == 0):
                return code
            if loop.time() - began > settings.restart_reset_s:
                delay_s = settings.restart_delay_s
            await self._back_off(state, delay_s)
            delay_s = min(2 * delay_s, settings.restart_delay_max_s)
            state.restarts += 1

    async def _back_off(self, state: ContainerState, delay_s: float) -> None:
        """Wait before the next start; what ended stays visible for a moment as in Kubernetes."""
        namespace, name = self.key
        await asyncio.sleep(min(0.5, delay_s / 4))
        text = f"restarting failed container={state.name} pod={name}_{namespace}({self.uid})"
        state.waits("CrashLoopBackOff", f"back-off {_span(delay_s)} {text}")
        self._warn("BackOff", f"Back-off {text}", state)
        self._dirty.set()
        await asyncio.sleep(delay_s - min(0.5, delay_s / 4))

    async def _image(self, spec: Obj, state: ContainerState) -> str:
        """Return the program of the container's image; an unknown image is tried for ever."""
        image = spec.get("image") or ""
        program = program_of(image)
        delay_s = PULL_BACKOFF_S
        while program is None:
            self._say("Pulling", f'Pulling image "{image}"', state)
            missing = f"failed to resolve reference: {image}: not found"
            why = f'rpc error: code = NotFound desc = failed to pull and unpack image "{image}": {missing}'
            self._warn("Failed", f'Failed to pull image "{image}": {why}', state)
            self._warn("Failed", "Error: ErrImagePull", state)
            state.waits("ErrImagePull", why)
            self._dirty.set()
            await asyncio.sleep(2)
            self._say("BackOff", f'Back-off pulling image "{image}"', state)
            self._warn("Failed", "Error: ImagePullBackOff", state)
            state.waits("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {why}')
            self._dirty.set()
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, PULL_BACKOFF_MAX_S)
        self._say("Pulled", f'Container image "{image}" already present on machine', state)
        return program

    async def _run_once(self, spec: Obj, state: ContainerState, program: str) -> int:
        context = await self._context(spec, state)
        program = program_for(program, [expand(word, context.env) for word in spec.get("command") or ()])
        if needs_kubeconfig(program):
            file = write_kubeconfig(context, self.directory / f"kubeconfig-{state.name}")
            context = replace(context, env={"KUBECONFIG": str(file), **context.env})
        self._say("Created", f"Created container: {state.name}", state)
        log = self.log_file(state.name, state.restarts)
        self.log_file(state.name, state.restarts - 2).unlink(missing_ok=True)
        starting = asyncio.create_task(self.node.runtime.start(program, context, log))
        try:
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            self.processes[state.name] = await starting
            raise
        self.processes[state.name] = process
        self.contexts[state.name] = context
        self.node.runtime.on_change()
        began = now()
        state.runs(began, f"sandbox://{process.id}")
        self._say("Started", f"Started container {state.name}", state)
        probing = asyncio.create_task(watch_container(spec, self._prober(state), self._findings(state)))
        self._dirty.set()
        try:
            code = await asyncio.shield(process.ended)
        finally:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)
        self._over(state, code)
        return code

    def _over(self, state: ContainerState, code: int) -> None:
        self.processes.pop(state.name, None)
        reason = "Completed" if code == 0 else "Error"
        state.ended(Terminated(code, reason, state.running_since or now(), now(), state.container_id))
        self._dirty.set()

    async def _context(self, spec: Obj, state: ContainerState) -> PodContext:
        """Resolve what the container gets; while something is missing it waits."""
        sandbox, node = self.node.sandbox, self.node.name
        namespace, name = self.key
        meta, host_ip = self.pod["metadata"], sandbox.node_ip(node)
        facts = {"status.podIP": self.ip, "status.hostIP": host_ip, "spec.nodeName": node}
        while True:
            try:
                env = await resolve_env(spec, self.pod, facts, References(self.node.api, namespace))
                token = await self.node.token(self.pod)
                break
            except (ConfigError, ApiStatus) as error:
                state.waits("CreateContainerConfigError", str(error))
                self._warn("Failed", f"Error: {error}", state)
                self._dirty.set()
                await asyncio.sleep(2)
        args = [expand(str(word), env) for word in (*(spec.get("command") or ()), *(spec.get("args") or ()))]
        self.log_file(state.name, 0).parent.mkdir(parents=True, exist_ok=True)
        return PodContext(
            name=name, namespace=namespace, uid=self.uid, node=node, ip=self.ip, node_ip=host_ip,
            image=spec.get("image") or "", container=state.name, args=tuple(args), env=env,
            volume=volume_of(self.pod, sandbox.volumes_dir, self.directory / "own"),
            api_url=sandbox.api_url, ca_file=sandbox.ca_file, token=token, settings=sandbox.settings,
            truth_dir=sandbox.truth_dir, labels=dict(meta.get("labels") or {}), restarts=state.restarts,
        )  # fmt: skip

    def _prober(self, state: ContainerState) -> Prober:
        ports = {
            port["name"]: port["containerPort"]
            for one in self.pod["spec"]["containers"]
            for port in one.get("ports") or []
            if "name" in port
        }

        async def run(argv: list[str], timeout_s: float) -> str:
            return await self.node.run_command(self, state.name, argv, timeout_s)

        return Prober(self.ip, ports, run)

    def _findings(self, state: ContainerState) -> Findings:
        def started() -> None:
            state.started = True
            self._dirty.set()

        def ready(is_ready: bool) -> None:
            state.ready = is_ready
            self._dirty.set()

        def unhealthy(kind: str, why: str) -> None:
            self._warn("Unhealthy", f"{kind} probe failed: {why}", state)

        return Findings(started, ready, unhealthy, partial(self._must_die, state))

    def _must_die(self, state: ContainerState, kind: str) -> None:
        self._say("Killing", f"Container {state.name} failed {kind} probe, will be restarted", state)
        process = self.processes.get(state.name)
        if process is not None:
            self.node.runtime.signal(process, signal.SIGTERM)
            kill: Callable[[], None] = partial(self.node.runtime.signal, process, signal.SIGKILL)
            asyncio.get_running_loop().call_later(self._grace_s(), kill)

    # ------------------------------------------------------------------------------------------ ending

    def _grace_s(self) -> float:
        """The grace of a deletion, or else the spec's."""
        given = self.pod["metadata"].get("deletionGracePeriodSeconds")
        if given is None:
            given = self.pod["spec"].get("terminationGracePeriodSeconds", 30)
        return float(given)

    async def _end_containers(self) -> None:
        """SIGTERM to all, then, after the grace that may be shortened meanwhile, SIGKILL."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        ending = dict(self.processes)
        for name, process in ending.items():
            self._say("Killing", f"Stopping container {name}", self.state_of(name))
            self.node.runtime.signal(process, signal.SIGTERM)
        left = {process.ended for process in ending.values()}
        while left:
            rest_s = began + self._grace_s() - loop.time()
            if rest_s <= 0:
                break
            self._changed.clear()
            changed = asyncio.create_task(self._changed.wait())
            watched: set[asyncio.Future[Any]] = {*left, changed}
            await asyncio.wait(watched, timeout=rest_s, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            left = {ended for ended in left if not ended.done()}
        for name, process in ending.items():
            self.node.runtime.signal(process, signal.SIGKILL)
            code = await process.ended
            state = self.state_of(name)
            if state is not None:
                self._over(state, code)

    # ------------------------------------------------------------------------------------------ saying

    def _say(self, reason: str, message: str, state: ContainerState | None = None) -> None:
        self.node.recorder.record(self.pod, NORMAL, reason, message, _path(state))

    def _warn(self, reason: str, message: str, state: ContainerState | None = None) -> None:
        self.node.recorder.record(self.pod, WARNING, reason, message, _path(state))

    def status(self) -> Obj:
        """Return the status to report now."""
        if self._rejected:
            reason, message = self._rejected
            self.phase = "Failed"
            return {
                "phase": "Failed",
                "reason": reason,
                "message": f"Pod was rejected: {message}",
                "startTime": self._started_at,
            }
        self.phase = phase_of(self._policy, self.inits, self.containers)
        old = (self.pod.get("status") or {}).get("conditions") or []
        said: Obj = {
            "phase": self.phase,
            "conditions": conditions_of(
                old,
                self.phase,
                addressed=bool(self.ip),
                inits=self.inits,
                containers=self.containers,
                stamp=now(),
            ),
            "hostIP": self.node.sandbox.node_ip(self.node.name),
            "hostIPs": [{"ip": self.node.sandbox.node_ip(self.node.name)}],
            "startTime": (self.pod.get("status") or {}).get("startTime") or self._started_at,
            "qosClass": quality_of(self.pod),
            "containerStatuses": [one.obj() for one in self.containers],
        }
        if self.inits:
            said["initContainerStatuses"] = [one.obj() for one in self.inits]
        if self.ip:
            said |= {"podIP": self.ip, "podIPs": [{"ip": self.ip}]}
        return said

    async def _publish_for_ever(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            if not await self._publish():
                self._dirty.set()
                await asyncio.sleep(0.5)

    async def _publish(self) -> bool:
        """Report the status if it changed; say whether the server has it now."""
        status = self.status()
        if status == self._published:
            return True
        namespace, name = self.key
        patch = {"metadata": {"uid": self.uid}, "status": status}
        try:
            await self.node.api.patch("pods", name, patch, namespace, subresource="status")
        except ApiStatus as refusal:
            return refusal.code in (404, 409)
        self._published = status
        return True


def _state(spec: Obj, pod: Obj) -> ContainerState:
    first = "PodInitializing" if pod["spec"].get("initContainers") else "ContainerCreating"
    return ContainerState(spec["name"], spec.get("image") or "", first)


def _readiness(status: Obj) -> list[str]:
    return [one["status"] for one in status.get("conditions") or [] if one["type"] == "Ready"]


def _path(state: ContainerState | None) -> str:
    return f"spec.containers{{{state.name}}}" if state else ""


def _span(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"
