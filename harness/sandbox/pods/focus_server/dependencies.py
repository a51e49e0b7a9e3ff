"""The calls Focus Server makes to find out whether what it depends on would answer now.

Each dependency has one shared check: requests that arrive while a check is under way wait for that one, and an
answer younger than the reuse time is used again, so that hundreds of refusals per second cost a handful of calls.
Every failure carries the client's own exception text, which is all the log ever says about it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from harness.sandbox.api import ApiStatus, RestApi
from harness.sandbox.pods import amqp
from harness.sandbox.pods.context import PodContext
from harness.sandbox.pods.focus_server.store import Store, StoreError
from harness.sandbox.truth import Cause, TruthLog

log = logging.getLogger("pz.focus_server")


class CheckFailed(Exception):
    """A dependency did not answer as it should; the text is the client's."""


@dataclass
class Check:
    """One dependency's shared check."""

    cause: Cause
    call: Callable[[], Awaitable[None]]
    timeout_s: float
    reuse_s: float
    truth: TruthLog
    _under_way: asyncio.Task[bool] | None = None
    _answered_s: float = float("-inf")
    _answer: bool = True

    async def holds(self) -> bool:
        """Return whether the dependency answers now."""
        if self._under_way is None:
            if time.monotonic() - self._answered_s <= self.reuse_s:
                return self._answer
            self._under_way = asyncio.create_task(self._run())
        return await asyncio.shield(self._under_way)

    async def _run(self) -> bool:
        try:
            await asyncio.wait_for(self.call(), self.timeout_s)
            error = ""
        except TimeoutError:
            error = f"TimeoutError: no answer within {self.timeout_s:g} s"
        except (CheckFailed, StoreError, amqp.BrokerError, ApiStatus) as failure:
            error = str(failure)
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
        finally:
            self._under_way = None
        self._answered_s, self._answer = time.monotonic(), not error
        if self.truth.write_change("dependency", self.cause, answers=not error) and error:
            log.warning("%s", error)
        return not error


class Dependencies:
    """The control plane, MongoDB and, where one exists, the broker."""

    def __init__(self, pod: PodContext, api: RestApi, store: Store, truth: TruthLog, *, broker: bool) -> None:
        settings = pod.settings
        self._pod = pod
        self._api = api
        self._truth = truth
        self._link: amqp.Link | None = None
        self.has_broker = broker
        reuse_s = settings.check_reuse_s
        self.kubernetes = Check(
            Cause.KUBERNETES_API, self._ask_kubernetes, settings.kubernetes_timeout_s, reuse_s, truth
        )
        self.mongodb = Check(Cause.MONGODB, store.ping, settings.mongodb_timeout_s + 0.2, reuse_s, truth)
        self.broker = Check(Cause.BROKER, self._ask_broker, settings.broker_timeout_s + 0.2, reuse_s, truth)
        self._checks = [
            check
            for check, wanted in (
                (self.kubernetes, settings.kubernetes_check),
                (self.mongodb, settings.mongodb_check),
                (self.broker, settings.broker_check and broker),
            )
            if wanted
        ]

    async def failing(self) -> set[Cause]:
        """Return the causes of all dependencies that do not answer now."""
        answers = await asyncio.gather(*(check.holds() for check in self._checks))
        return {check.cause for check, holds in zip(self._checks, answers, strict=True) if not holds}

    async def watch(self) -> None:
        """Look at everything once a second, for ever, so that the truth log knows of changes without requests."""
        checks = [self.kubernetes, self.mongodb, *([self.broker] if self.has_broker else [])]
        while True:
            await asyncio.gather(*(check.holds() for check in checks))
            await asyncio.sleep(1.0)

    async def link(self) -> amqp.Link:
        """Return the open link to the broker; BrokerError when there is none."""
        if self._link is None or self._link.closed.done():
            self._link = await amqp.connect(self._pod, self._api)
        return self._link

    async def _ask_broker(self) -> None:
        link = await self.link()
        await link.ping(self._pod.settings.broker_timeout_s)

    async def _ask_kubernetes(self) -> None:
        """See that the API answers and that this account may still read nodes and create jobs and services."""
        namespace = self._pod.namespace
        await asyncio.gather(
            self._api.request("GET", "/api/v1/nodes", params={"limit": "1"}),
            *(self._may("create", group, plural, namespace) for group, plural in RIGHTS),
        )

    async def _may(self, verb: str, group: str, plural: str, namespace: str) -> None:
        asked = {"verb": verb, "group": group, "resource": plural, "namespace": namespace}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        answer = await self._api.request(
            "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review
        )
        allowed = bool(answer.get("status", {}).get("allowed"))
        self._truth.write_change("right", f"{verb} {plural}", allowed=allowed)
        if not allowed:
            raise CheckFailed(
                f'{plural}.{group or "core"} is forbidden: cannot {verb} in namespace "{namespace}"'
            )


RIGHTS = (("batch", "jobs"), ("", "services"))
