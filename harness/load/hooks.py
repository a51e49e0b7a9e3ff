"""Tie a `Session` to a Locust environment: it begins when the test starts and ends when it stops.

Every listener is ours to guard: Locust swallows what they raise. The exit code is ours too: refusals are what a campaign is
about, so they do not fail the process; what went wrong with the load itself does.
"""

import signal
import sys
from collections.abc import Callable
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

from harness.errors import Exit, HarnessError, gravest
from harness.load.plan import LoadPlan
from harness.load.requested import OURS
from harness.load.session import Session
from harness.load.shape import CampaignShape
from harness.load.users import Persona, PlannedArrivals

PlanMaker = Callable[[Any], LoadPlan]


class Hooks:
    """The listeners of one Locust environment. `plan` is called at each start, `ended` after each end with the exit code.

    `leave` is told when this load has to end, if it is part of a larger one that decides.
    """

    def __init__(
        self,
        environment: Any,
        plan: PlanMaker,
        ended: Callable[[Exit, str], None] | None = None,
        also_wanted: Callable[[], int] = lambda: 0,
        leave: Callable[[str], None] | None = None,
    ) -> None:
        self._environment = environment
        self._plan = plan
        self._ended = ended
        self._also_wanted = also_wanted
        self._leave = leave
        self._endings = [Exit.OK]
        self._reason = "planned"
        self._one_end = BoundedSemaphore(1)
        environment.process_exit_code = 0
        # gevent counts timers from its loop's last look at the clock, which was before the imports: `-t 4s` became 1 s.
        gevent.get_hub().loop.update_now()
        environment.events.test_start.add_listener(self._guarded(self._start))
        environment.events.test_stop.add_listener(self._guarded(self._stop))
        environment.events.quitting.add_listener(self._guarded(self._quit))
        environment.events.request.add_listener(self.requested)

    @property
    def session(self) -> Session | None:
        """The load that is playing."""
        return getattr(self._environment, "focus_session", None)

    @property
    def ending(self) -> Exit:
        """The exit code as far as it is known."""
        return gravest(self._endings)

    def requested(self, context: Any = None, **request: Any) -> None:
        """Write down a request of somebody's own user class."""
        session = self.session
        if session is not None and context is not OURS:
            self._guarded(lambda: session.requested.heard(**request))()

    def end_users(self, reason: str) -> None:
        """Stop all users soon, and the process with them unless a web page is there to start them again."""
        self._reason = reason
        runner = self._environment.runner
        if self._leave is not None:
            self._leave(reason)
        elif runner is not None:
            gevent.spawn(runner.stop if self._environment.web_ui else runner.quit)

    def because(self, reason: str) -> None:
        """Say why the load that plays is about to end."""
        self._reason = reason

    def on_sigterm(self) -> None:
        """End the load on SIGTERM, also while a shape keeps Locust from listening to it (Locust 2.47)."""
        gevent.signal_handler(signal.SIGTERM, self.end_users, "stopped (SIGTERM)")

    def _start(self) -> None:
        environment = self._environment
        self._reason = "planned"
        environment.focus_session = Session(
            self._plan(environment),
            fire=environment.events.request.fire,
            stop=self.end_users,
            wanted=self._wanted,
        )

    def _stop(self) -> None:
        with self._one_end:  # Locust may stop twice at once, and exit after the second
            session = self.session
            if session is None:
                return
            self._endings.append(session.end())
            self._environment.focus_session = None
            if self._ended is not None:
                self._ended(session.ending, self._reason)

    def _quit(self) -> None:
        """Locust is about to exit: it reads the exit code after this, and stops the users only later."""
        runner = self._environment.runner
        if runner is not None and self.session is not None:
            runner.stop()
        self._stop()
        self._environment.process_exit_code = int(self.ending)

    def _wanted(self) -> int:
        return self._wanted_of_ours() + self._also_wanted()

    def _wanted_of_ours(self) -> int:
        shape = self._environment.shape_class
        wanted = shape.wanted() if isinstance(shape, CampaignShape) else None
        if wanted is not None:
            return int(wanted)
        runner = self._environment.runner
        if runner is None:
            return 0
        others = {user.__name__ for user in runner.user_classes if not issubclass(user, Persona)}
        if not others - {PlannedArrivals.__name__}:
            return int(runner.target_user_count)
        return sum(count for name, count in runner.user_classes_count.items() if name not in others)

    def _guarded(self, job: Callable[[], None]) -> Callable[..., None]:
        def listener(**_: Any) -> None:
            try:
                job()
            except Exception as error:
                session = self.session
                if session is not None:
                    session.failed(error)
                else:
                    complain(error)
                self._endings.append(error.code if isinstance(error, HarnessError) else Exit.INTERNAL)
                self._environment.process_exit_code = int(self.ending)
                self.end_users(str(error))

        return listener


def complain(error: BaseException) -> None:
    """Say on stderr what is wrong, as the command line does."""
    sys.stderr.write(f"{error}\n")


def refused(job: Callable[[], Any]) -> Any:
    """Return what `job` returns, or end the process with the right code and a plain message where a file, an option or the target is wrong."""
    try:
        return job()
    except HarnessError as error:
        complain(error)
        sys.exit(int(error.code))
