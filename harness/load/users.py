"""The users: people at the desktop client, as Locust plays them. Each wants one window open, always.

They know no network: each asks the session to have a window played and waits until it is over. After a refusal they wait, as
people do; the session tells a suspended scenario to hold back. Killing a user closes its window.
"""

import random
import time
from typing import Any, ClassVar

import gevent
from gevent.event import Event
from locust import User, constant, task
from locust.exception import StopUser

from harness.focus.answers import Span
from harness.focus.seam import Ended
from harness.load.link import EngineGone
from harness.load.plan import pauses
from harness.load.session import SUCCESSES, Session


class Viewer(User):  # type: ignore[misc]  # Locust is typed in part
    """Somebody with a window: what the scenarios have in common."""

    abstract = True
    wait_time = constant(0)
    started: ClassVar[int] = 0

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        type(self).started += 1
        self._number = type(self).started
        self._random: random.Random | None = None

    @property
    def session(self) -> Session:
        """The load this user belongs to; without one (its start failed) the user goes."""
        session = getattr(self.environment, "focus_session", None)
        if not isinstance(session, Session):
            raise StopUser
        return session

    @property
    def random(self) -> random.Random:
        """The user's own random numbers, the same in every run with the same seed."""
        if self._random is None:
            self._random = pauses(self.session.plan, type(self).__name__, self._number)
        return self._random

    def watch(self, hold_s: float, start_s: int | None = None, end_s: int | None = None) -> None:
        """Have one window played, and wait as people do when it did not work."""
        try:
            ended: Ended = self.session.play(type(self).__name__, hold_s, start_s, end_s)
        except EngineGone as error:
            raise StopUser from error
        if ended.outcome not in SUCCESSES:
            self.pause()

    def pause(self) -> None:
        """Wait before asking again: `after_refusal`, half more or less."""
        gevent.sleep(self.session.plan.after_refusal_s * self.random.uniform(0.5, 1.5))


class LiveViewer(Viewer):
    """Watches the fibre live: opens a window, looks at it for a while, closes it, opens the next."""

    @task  # type: ignore[untyped-decorator]
    def look(self) -> None:
        """Watch one live window."""
        self.watch(self.random.uniform(*self.session.plan.hold_s))


class HistoricAnalyst(Viewer):
    """Looks at what was recorded: asks for recordings first, then plays one until it ends."""

    @task  # type: ignore[untyped-decorator]
    def look(self) -> None:
        """Watch one recording."""
        plan = self.session.plan
        now_s = int(time.time())
        try:
            found = self.session.link.recordings(now_s - int(plan.historic_back_s), now_s)
        except EngineGone as error:
            raise StopUser from error
        whole = playable(found.spans)
        if not whole:
            self.pause()
            return
        start_s, end_s = self.random.choice(whole)
        self.watch(plan.historic_hold_s, start_s, end_s)


class PlannedArrivals(User):  # type: ignore[misc]  # Locust is typed in part
    """No person, but the plan of open arrivals: windows asked for at their instants, whatever became of those before.

    One user plays them all: how many come is the plan's business (`arrivals`), not that of Locust's user count.
    """

    wait_time = constant(0)
    fixed_count = 1

    @task  # type: ignore[untyped-decorator]
    def arrive(self) -> None:
        """Play the plan, and stay until the load ends: a user that goes would be replaced."""
        session = getattr(self.environment, "focus_session", None)
        if not isinstance(session, Session):
            raise StopUser
        try:
            session.arrive()
        except EngineGone as error:
            raise StopUser from error
        Event().wait()


def playable(spans: tuple[Span, ...]) -> list[tuple[int, int]]:
    """Return finished recordings as whole seconds that lie inside them."""
    return [
        (start_s, end_s)
        for start_s, end_s in ((-int(-span.start_s // 1), int(span.end_s)) for span in spans if span.end_s)
        if end_s > start_s
    ]
