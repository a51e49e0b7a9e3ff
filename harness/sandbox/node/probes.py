"""Probes of a running container: is it started, alive, ready?

The pod worker runs one `watch_container` per start of a container. A probe is a real HTTP request or TCP
connection to the pod's address. It restarts nothing itself: it tells what it found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from harness.sandbox.api import Obj


@dataclass(frozen=True)
class Probe:
    """One probe with Kubernetes' defaults filled in."""

    spec: Obj
    initial_delay_s: float
    period_s: float
    timeout_s: float
    failures: int
    successes: int

    @classmethod
    def of(cls, spec: Obj | None) -> Probe | None:
        """Read a probe's spec; None for none."""
        if not spec:
            return None
        return cls(
            spec,
            spec.get("initialDelaySeconds") or 0,
            spec.get("periodSeconds") or 10,
            spec.get("timeoutSeconds") or 1,
            spec.get("failureThreshold") or 3,
            spec.get("successThreshold") or 1,
        )


Exec = Callable[[list[str], float], Awaitable[str]]
"""Runs a command in the container; gives "" or why it failed."""


@dataclass(frozen=True)
class Prober:
    """Asks one container at the pod's address."""

    ip: str
    ports: dict[str, int]
    run: Exec

    async def ask(self, probe: Probe) -> str:
        """Return "" when the probe succeeds, else what it saw."""
        try:
            async with asyncio.timeout(probe.timeout_s):
                if "httpGet" in probe.spec:
                    return await self._http(probe.spec["httpGet"])
                if "tcpSocket" in probe.spec:
                    return await self._tcp(probe.spec["tcpSocket"])
        except TimeoutError:
            return f"Get {self.ip}: context deadline exceeded (after {probe.timeout_s:g}s)"
        if "exec" in probe.spec:
            return await self.run(list(probe.spec["exec"]["command"]), probe.timeout_s)
        return ""

    def _port(self, port: int | str) -> int:
        return port if isinstance(port, int) else self.ports.get(port, 0)

    async def _tcp(self, spec: Obj) -> str:
        port = self._port(spec["port"])
        try:
            _, writer = await asyncio.open_connection(spec.get("host") or self.ip, port)
        except OSError as error:
            return f"dial tcp {self.ip}:{port}: connect: {(error.strerror or str(error)).lower()}"
        writer.close()
        return ""

    async def _http(self, spec: Obj) -> str:
        port, path = self._port(spec["port"]), spec.get("path") or "/"
        url = f"http://{self.ip}:{port}{path}"
        try:
            reader, writer = await asyncio.open_connection(spec.get("host") or self.ip, port)
            try:
                head = f"GET {path} HTTP/1.1\r\nHost: {self.ip}:{port}\r\nUser-Agent: kube-probe/1.36\r\n"
                writer.write(f"{head}Accept: */*\r\nConnection: close\r\n\r\n".encode())
                line = await reader.readline()
            finally:
                writer.close()
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            return f'Get "{url}": dial tcp {self.ip}:{port}: connect: {why}'
        try:
            code = int(line.split()[1])
        except (IndexError, ValueError):
            return f'Get "{url}": EOF'
        return "" if 200 <= code < 400 else f"HTTP probe failed with statuscode: {code}"


@dataclass(frozen=True)
class Findings:
    """What to call when a probe changes its mind."""

    started: Callable[[], None]
    ready: Callable[[bool], None]
    unhealthy: Callable[[str, str], None]
    """kind of probe ("Readiness", ...) and what it saw; said for every failure."""
    must_die: Callable[[str], None]
    """kind of probe whose failures reached the threshold."""


async def watch_container(container: Obj, prober: Prober, findings: Findings) -> None:
    """Probe a container from its start until cancelled."""
    startup, liveness, readiness = (
        Probe.of(container.get(word)) for word in ("startupProbe", "livenessProbe", "readinessProbe")
    )
    if startup is not None and not await _started(startup, prober, findings):
        return
    findings.started()
    if readiness is None:
        findings.ready(True)
    loops = [_live(liveness, prober, findings)] if liveness else []
    if readiness:
        loops.append(_ready(readiness, prober, findings))
    await asyncio.gather(*loops)


async def _started(probe: Probe, prober: Prober, findings: Findings) -> bool:
    await asyncio.sleep(probe.initial_delay_s)
    failed = 0
    while why := await prober.ask(probe):
        findings.unhealthy("Startup", why)
        failed += 1
        if failed >= probe.failures:
            findings.must_die("startup")
            return False
        await asyncio.sleep(probe.period_s)
    return True


async def _live(probe: Probe, prober: Prober, findings: Findings) -> None:
    await asyncio.sleep(probe.initial_delay_s)
    failed = 0
    while True:
        why = await prober.ask(probe)
        failed = failed + 1 if why else 0
        if why:
            findings.unhealthy("Liveness", why)
        if failed >= probe.failures:
            findings.must_die("liveness")
            return
        await asyncio.sleep(probe.period_s)


async def _ready(probe: Probe, prober: Prober, findings: Findings) -> None:
    await asyncio.sleep(probe.initial_delay_s)
    ready, failed, passed = False, 0, 0
    while True:
        why = await prober.ask(probe)
        failed, passed = (failed + 1, 0) if why else (0, passed + 1)
        if why:
            findings.unhealthy("Readiness", why)
        if ready and failed >= probe.failures:
            ready = False
            findings.ready(False)
        elif not ready and passed >= probe.successes:
            ready = True
            findings.ready(True)
        # Until a container is ready for the first time it is asked often, so that starting is not slowed down.
        await asyncio.sleep(
            probe.period_s if ready or failed > 20 else min(probe.period_s, 0.25 * max(failed, 1))
        )
