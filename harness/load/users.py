"""The users: people at the desktop client, as Locust plays them. Each wants one window open, always.

They know no network: each asks the session to have a window played and waits until it is over. After a refusal they wait, as
people do; the session tells a suspended scenario to hold back. Killing a user closes its window.
"""

import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import gevent
import msgspec
from gevent.event import Event
from locust import User, constant, task
from locust.exception import StopUser

from harness.focus.seam import PLAIN, Ended, Style
from harness.load.feed import Row
from harness.load.link import EngineGone
from harness.load.plan import pauses
from harness.load.session import SUCCESSES, Session


class Rows:
    """The load's feed, as one user sees it."""

    def __init__(self, user: Any) -> None:
        self._user = user

    def next(self) -> Row:
        """Return the next row; the user stops where there is none left."""
        session = getattr(self._user.environment, "focus_session", None)
        row = session.row(type(self._user).__name__) if isinstance(session, Session) else None
        if row is None:
            raise StopUser
        return row


class Fed:
    """Gives any user class rows of the load's feed: `class Mine(Fed, HttpUser)`, and `self.feed.next()` in a task."""

    @property
    def feed(self) -> Rows:
        """The load's feed."""
        return Rows(self)


class Persona(Fed, User):  # type: ignore[misc]  # Locust is typed in part
    """Somebody who asks something of Focus Server: what all kinds of users have in common."""

    abstract = True
    persona: ClassVar[str] = ""
    """Its name in the record, and for ours in campaigns (`load.personas`); the class's name where it is empty."""
    wait_time = constant(0)
    started: ClassVar[int] = 0

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        type(self).started += 1
        self._number = type(self).started
        self._random: random.Random | None = None
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        """The load this user belongs to; without one (its start failed) the user goes."""
        if self._session is None:
            session = getattr(self.environment, "focus_session", None)
            if not isinstance(session, Session):
                raise StopUser
            self._session = session
        return self._session

    @property
    def random(self) -> random.Random:
        """The user's own random numbers, the same in every run with the same seed."""
        if self._random is None:
            self._random = pauses(self.session.plan, type(self).__name__, self._number)
        return self._random

    def pause(self) -> None:
        """Wait before asking again: `after_refusal`, half more or less."""
        if usually_s := self.session.plan.after_refusal_s:
            gevent.sleep(usually_s * self.random.uniform(0.5, 1.5))


@lru_cache(maxsize=256)
def styled(style: Style, persona: str) -> Style:
    """Return how a kind of user looks at its windows, with its name."""
    return msgspec.structs.replace(style, persona=persona)


class Viewer(Persona):
    """Somebody with a window: opens one, looks at it for a while, closes it, opens the next."""

    abstract = True
    style: ClassVar[Style] = PLAIN

    def hold_s(self) -> float:
        """Return how long the next window is looked at: as the plan says."""
        return self.random.uniform(*self.session.plan.hold_s)

    @task  # type: ignore[untyped-decorator]
    def look(self) -> None:
        """Watch one window."""
        self.watch(self.hold_s())

    def watch(self, hold_s: float, start_s: int | None = None, end_s: int | None = None) -> None:
        """Have one window played, and wait as people do when it did not work."""
        style = styled(self.style, self.persona or type(self).__name__)
        try:
            ended: Ended = self.session.play(type(self).__name__, hold_s, start_s, end_s, style)
        except EngineGone as error:
            raise StopUser from error
        if ended.outcome not in SUCCESSES:
            self.pause()


class LiveViewer(Viewer):
    """Watches the fibre live."""

    persona = "live_viewer"


class WaterfallWatcher(Viewer):
    """Wants a waterfall, as its view must be asked for (no duration, no frequencies); most builds answer that with 500."""

    persona = "waterfall_watcher"
    style = Style(view_type="2", bare=True)


class SingleChannel(Viewer):
    """Looks at one channel, which is one stream of one row."""

    persona = "single_channel"
    style = Style(view_type="1", channels=1)


class Abandoner(Viewer):
    """Asks for a window and never connects to it: it holds its slot until cleanup takes it for idle."""

    persona = "abandoner"
    style = Style(reading="never")


class Churner(Viewer):
    """Opens a window, looks for a moment, closes it, opens the next: a tenth of the plan's `hold`, at most two seconds."""

    persona = "churner"

    def hold_s(self) -> float:
        """Return a moment."""
        return min(2.0, super().hold_s() / 10)


class SlowReader(Viewer):
    """Reads one frame per second and stream, however many come; buffers on the way fill up, and the server's with them."""

    persona = "slow_reader"
    style = Style(reading="slow", pause_s=1.0)


class Zombie(Viewer):
    """Connects, takes a first frame of each stream and never reads again, while its connection stays."""

    persona = "zombie"
    style = Style(reading="stop")


class HistoricAnalyst(Viewer):
    """Looks at what was recorded: one question for recordings, then plays one after the other until each ends."""

    persona = "historic_analyst"

    @task  # type: ignore[untyped-decorator]
    def look(self) -> None:
        """Watch one recording."""
        try:
            whole = self.session.recordings()
        except EngineGone as error:
            raise StopUser from error
        if not whole:
            self.pause()
            return
        start_s, end_s = self.random.choice(whole)
        self.watch(self.session.plan.historic_hold_s, start_s, end_s)


class MetadataPoller(Persona):
    """Asks twice a second what the server knows of the fibre and of its channels, and opens nothing."""

    persona = "metadata_poller"

    @task  # type: ignore[untyped-decorator]
    def poll(self) -> None:
        """Ask both questions."""
        for what in ("live_metadata", "channels"):
            try:
                self.session.link.errand(what)
            except EngineGone as error:
                raise StopUser from error
        gevent.sleep(self.random.uniform(0.3, 0.7))


class InvalidClient(Persona):
    """Sends creates that no server may accept; anything but a 4xx is reported, an acceptance most of all."""

    persona = "invalid_client"

    @task  # type: ignore[untyped-decorator]
    def knock(self) -> None:
        """Send one of them."""
        try:
            self.session.link.errand("configure_invalid", self.random.choice(INVALID))
        except EngineGone as error:
            raise StopUser from error
        self.pause()


INVALID = (
    b"{",
    b"[]",
    b"{}",
    b'{"channels": {"min": 1, "max": 5}, "view_type": "0"}',
    b'{"displayTimeAxisDuration": 10, "nfftSelection": 1024, "displayInfo": {"height": "tall"}, "channels": {"min": 1, "max": 5}, "view_type": "0"}',
    b'{"displayTimeAxisDuration": 10, "nfftSelection": 1024, "displayInfo": {"height": 100}, "channels": {"min": "one", "max": 5}, "view_type": "0"}',
    b'{"displayTimeAxisDuration": 10, "nfftSelection": 1024, "displayInfo": {"height": 100}, "channels": {"min": 1, "max": 5}, "view_type": "multichannel"}',
)
"""Not JSON, no object, and objects without what is required or with the wrong type in it: refused with 422 by the field's server."""


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


PERSONAS: dict[str, type[Persona]] = {
    user.persona: user
    for user in (
        LiveViewer,
        HistoricAnalyst,
        WaterfallWatcher,
        SingleChannel,
        Abandoner,
        Churner,
        SlowReader,
        Zombie,
        MetadataPoller,
        InvalidClient,
    )
}
"""Every kind of user by its name in campaigns."""
OURS: frozenset[type[User]] = frozenset((*PERSONAS.values(), PlannedArrivals))
"""All that are ours, as against those of people's own locustfiles."""


def chosen(personas: Mapping[str, float]) -> list[type[Persona]]:
    """Return the users that a plan wants, with their weights."""
    users = []
    for name, weight in personas.items():
        if weight > 0:
            PERSONAS[name].weight = weight
            users.append(PERSONAS[name])
    return users
