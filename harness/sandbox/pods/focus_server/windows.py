"""The seed's flow for one window: check resources, take a slot, create the objects, write the task, declare queues.

Used by the application's `POST /configure`. What is refused for want of something is a Refused 503 whose body says
nothing; the truth log keeps every cause that held. If a step fails half way, everything made before it is deleted,
now or as soon as the API lets it, and only then is the slot free again. Never retries a step.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from harness.sandbox.api import Api, ApiStatus
from harness.sandbox.pods import amqp, feed
from harness.sandbox.pods.analyzer_arguments import COMMAND, Assignment
from harness.sandbox.pods.focus_server import answers, objects
from harness.sandbox.pods.focus_server.dependencies import Dependencies
from harness.sandbox.pods.focus_server.fibre import Fibre
from harness.sandbox.pods.focus_server.requests import Refused, Wish
from harness.sandbox.pods.focus_server.site import Fate
from harness.sandbox.pods.focus_server.store import Store, StoreError, accepted, recorded_rows
from harness.sandbox.pods.focus_server.world import World
from harness.sandbox.settings import Settings
from harness.sandbox.truth import Cause, TruthLog, in_order

log = logging.getLogger("pz.focus_server")
ROLLBACK_S = 60.0
T = TypeVar("T")
LOG_QUEUE_ENV = "LOG_QUEUE"


@dataclass(frozen=True)
class _Made:
    """One thing made for a window and the way to delete it."""

    what: str
    undo: Callable[[], Awaitable[Any]]


class StepFailed(Exception):
    """A step of a create failed; the cause is the dependency, the text the client's."""

    def __init__(self, cause: Cause, text: str) -> None:
        self.cause = cause
        super().__init__(text)


class Windows:
    """Makes windows; holds the counter and the answers of windows that are open."""

    def __init__(
        self,
        settings: Settings,
        api: Api,
        world: World,
        dependencies: Dependencies,
        store: Store,
        fibre: Fibre,
        truth: TruthLog,
    ) -> None:
        self._settings = settings
        self._api = api
        self._world = world
        self._dependencies = dependencies
        self._store = store
        self._fibre = fibre
        self._truth = truth
        # A restarted server goes on far above its old ids unless the mode says that it begins again.
        self._counter = 0 if settings.counter_resets else int(time.time() * 10) % 1_000_000
        self._answers: dict[str, tuple[float, dict[str, Any]]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._chance = random.Random()

    async def open(self, wish: Wish, request_id: str) -> dict[str, Any]:
        """Open a window and return the answer; Refused says what is answered otherwise."""
        settings = self._settings
        if self._chance.random() < settings.whim_share:
            self._refuse({Cause.WHIM}, request_id)
        if self._fibre.metadata is None and not wish.historic:
            log.error("Cannot configure job: missing required fiber metadata fields: prr")
            self._refuse({Cause.WAITING_FOR_FIBER}, request_id)
        await self._world.wait_synced(settings.kubernetes_timeout_s)
        failing = await self._dependencies.failing()
        rows = 0
        if not failing & {Cause.MONGODB, Cause.KUBERNETES_API}:
            rows = await self._recorded_rows(wish, request_id)
        # From here to the promise nothing is awaited: two creates cannot take the same slot or share.
        causes = failing | self._short_of()
        if causes:
            self._refuse(causes, request_id)
        slot = self._world.free_slot()
        self._counter += 1
        assignment = Assignment(
            f"{slot}-{self._counter}", wish.view, wish.start_time, wish.end_time, rows, int(time.time())
        )
        self._world.promise(assignment.job_id)
        self._truth.write("slot_granted", slot=slot, job_id=assignment.job_id, request_id=request_id)
        await self._make(assignment, slot, wish, request_id)
        host = self._world.worker_address
        port = settings.node_port_base + self._told_slot(slot)
        answer = answers.configured(wish, assignment, host, port, settings)
        self._answers[assignment.job_id] = (time.monotonic(), answer)
        return answer

    def _told_slot(self, slot: int) -> int:
        """Return the slot whose port is answered: the window's own, or by mistake another one's."""
        others = [held for held in self._world.held() if held != slot]
        wrong = bool(others) and self._chance.random() < self._settings.misdirected_share
        return self._chance.choice(others) if wrong else slot

    def overloaded(self, request_id: str, fate: Fate) -> None:
        """Take note that a create failed because of others beside it."""
        self._truth.write("overload", status=fate.status, parallel=fate.parallel, request_id=request_id)

    def metadata(self, job_id: str) -> dict[str, Any] | None:
        """Return the answer of an open window once it is old enough; None otherwise."""
        held = set(self._world.held().values())
        self._answers = {known: kept for known, kept in self._answers.items() if known in held}
        kept = self._answers.get(job_id)
        delay_s = self._settings.metadata_delay_s
        if kept is None or delay_s < 0 or time.monotonic() - kept[0] < delay_s:
            return None
        return kept[1]

    def _short_of(self) -> set[Cause]:
        """Return which of slots and shares are missing now; nothing when the mode admits everything."""
        settings = self._settings
        found: set[Cause] = set()
        if not settings.admission:
            return found
        if not self._world.synced:
            return {Cause.STARTING}
        shares = self._world.shares()
        if shares.registered <= 0:
            found.add(Cause.GPU_EXHAUSTED)
        elif shares.available <= 0:
            found.add(Cause.WORKER_UNAVAILABLE)
        if settings.max_windows and len(self._world.held()) >= settings.max_windows:
            found.add(Cause.MAX_WINDOWS)
        return found

    def _refuse(self, causes: set[Cause], request_id: str, job_id: str = "") -> NoReturn:
        ordered = in_order(causes, self._settings.check_order)
        held = len(self._world.held())
        self._truth.write(
            "refusal", status=503, primary=ordered[0], causes=ordered, request_id=request_id, held=held,
            **({"job_id": job_id} if job_id else {}),
        )  # fmt: skip
        raise Refused(503, answers.UNAVAILABLE[self._settings.refusal_body])

    async def _recorded_rows(self, wish: Wish, request_id: str) -> int:
        """Return the rows a historic window will have; Refused 404 when there is no recording."""
        if wish.start_time is None or wish.end_time is None:
            return 0
        settings = self._settings
        try:
            spans = await self._store.recordings(wish.start_time, wish.end_time)
        except StoreError as error:
            log.warning("%s", error)
            if not settings.mongodb_check:
                self._truth.write("server_error", causes=[Cause.MONGODB], request_id=request_id)
                raise Refused(500, "Internal Server Error") from error
            self._refuse({Cause.MONGODB}, request_id)
        in_future = not settings.basic_validation and wish.start_time > time.time()
        found = accepted(spans, wish.start_time, settings.historic_rule, settings.historic_index_delay_s)
        if not found and not in_future:
            raise Refused(404, answers.NO_RECORDING)
        return recorded_rows(spans, wish.start_time, wish.end_time, wish.view.lines_dt_s)

    async def _make(self, assignment: Assignment, slot: int, wish: Wish, request_id: str) -> None:
        made: list[_Made] = []
        log.info("got configuration: %s", wish.payload)
        try:
            await self._create_objects(assignment, slot, made)
            await _all(self._task(assignment.job_id, slot, wish, made), self._queues(assignment, made))
        except StepFailed as error:
            log.warning("%s", error)
            await self._give_up(assignment.job_id, made)
            if self._settings.admission:
                causes = {error.cause} | await self._dependencies.failing()
                self._refuse(causes, request_id, assignment.job_id)
            self._truth.write(
                "server_error", causes=[error.cause], request_id=request_id, job_id=assignment.job_id
            )
            raise Refused(500, "Internal Server Error") from error
        line = " ".join([*COMMAND, *assignment.args()])
        log.info("Running RPC command: %s", line)
        log.info("Applied YAML from %s.yaml", assignment.job_id)

    async def _create_objects(self, assignment: Assignment, slot: int, made: list[_Made]) -> None:
        settings = self._settings
        env, log_queue = {}, {}
        if self._dependencies.has_broker:
            env = {feed.BROKER_ENV: settings.broker_name}
            log_queue = {LOG_QUEUE_ENV: _log_queue(assignment)}
        job = objects.grpc_job(assignment, settings, {} if assignment.historic else env)
        uid = (await self._create("jobs.batch", job, made))["metadata"]["uid"]
        cleanup = objects.cleanup_job(assignment, settings, {**env, **log_queue})
        service = objects.service(assignment, slot, settings, uid if settings.service_owned else "")
        await _all(self._create("jobs.batch", cleanup, made), self._create("services", service, made))

    async def _create(self, resource: str, obj: dict[str, Any], made: list[_Made]) -> dict[str, Any]:
        name = obj["metadata"]["name"]
        undo = _Made(f"{resource}/{name}", lambda: self._delete(resource, name))
        return await self._step(self._api.create(resource, obj, self._settings.namespace), undo, made)

    async def _task(self, job_id: str, slot: int, wish: Wish, made: list[_Made]) -> None:
        if self._settings.task_in_mongodb:
            task = {"slot": slot, "status": "configured", "payload": wish.payload}
            undo = _Made("task", lambda: self._store.remove_task(job_id))
            await self._step(self._store.add_task(job_id, task), undo, made)

    async def _queues(self, assignment: Assignment, made: list[_Made]) -> None:
        if not self._dependencies.has_broker:
            return
        queues = (assignment.queue, _log_queue(assignment))

        async def declare() -> None:
            link = await self._dependencies.link()
            await link.make_queues(queues, feed.EXCHANGE, feed.LIVE_KEY)

        async def undo() -> None:
            link = await self._dependencies.link()
            for queue in queues:
                await link.delete_queue(queue)

        try:
            await self._step(declare(), _Made("queues", undo), made)
        except StepFailed:
            # In the field a live window is accepted without a broker and stays without frames.
            if self._settings.broker_check:
                raise

    @staticmethod
    async def _step(doing: Awaitable[T], made: _Made, so_far: list[_Made]) -> T:
        """Do one step. It counts as made even when it fails: a lost answer may hide a success."""
        so_far.append(made)
        try:
            return await doing
        except ApiStatus as error:
            if 400 <= error.code < 500:
                so_far.pop()
            raise StepFailed(Cause.KUBERNETES_API, str(error)) from error
        except StoreError as error:
            raise StepFailed(Cause.MONGODB, str(error)) from error
        except amqp.BrokerError as error:
            raise StepFailed(Cause.BROKER, str(error)) from error

    async def _give_up(self, job_id: str, made: list[_Made]) -> None:
        """Delete what was made, newest first; what cannot be deleted now is tried again in the background."""
        left = await self._undo(made)
        if not left:
            self._world.settle(job_id)
            self._truth.write("rolled_back", job_id=job_id)
            return
        task = asyncio.create_task(self._undo_later(job_id, left))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _undo(self, made: list[_Made]) -> list[_Made]:
        left = []
        for thing in reversed(made):
            try:
                await thing.undo()
            except (ApiStatus, StoreError, amqp.BrokerError):
                left.append(thing)
        return left[::-1]

    async def _undo_later(self, job_id: str, left: list[_Made]) -> None:
        until_s = time.monotonic() + ROLLBACK_S
        while left and time.monotonic() < until_s:
            self._world.promise(job_id)
            await asyncio.sleep(0.5)
            left = await self._undo(left)
        self._world.settle(job_id)
        self._truth.write("rolled_back", job_id=job_id, left=[thing.what for thing in left])

    async def _delete(self, resource: str, name: str) -> None:
        try:
            await self._api.delete(
                resource, name, self._settings.namespace, grace_s=0, propagation="Background"
            )
        except ApiStatus as error:
            if error.code != 404:
                raise


def _log_queue(assignment: Assignment) -> str:
    """Return the name of a window's second queue, by which the field's cleanup looks for it."""
    return f"grpc-job-{assignment.job_id}-{assignment.made_s}"


async def _all(*steps: Awaitable[Any]) -> None:
    """Do steps at once and wait for each; raise the first failure only when none is under way any more."""
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
