"""People's own users: the classes of a locustfile of theirs, in a Locust environment of their own beside ours.

Their environment has Locust's global `events`, so the file's listeners work as they do under `locust -f`; ours has its own. Neither
counts, stops or shares out the other's users. Only imported where gevent has patched the process.
"""

import hashlib
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import locust
import msgspec
from locust import LoadTestShape, User
from locust.argument_parser import get_parser
from locust.env import Environment
from locust.util.load_locustfile import load_locustfile

from harness.errors import FileProblems, InputError, Problem
from harness.load.plan import LoadPlan, OwnPlan, OwnSeen
from harness.load.session import Session
from harness.load.shape import OwnShape
from harness.load.users import OURS, PlannedArrivals, Viewer

STOP_S = 4.0
"""The file's `test_stop` and `quitting` listeners may take so long."""
ERRORS_TOLD = 5


def read_own(file: Path) -> tuple[dict[str, type[User]], dict[str, LoadTestShape]]:
    """Import a locustfile as Locust does; return its user classes (ours, which it may import, too) and shapes by name.

    Raises `FileProblems` for what goes wrong in it, with the line of the file at which it does.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        users, shapes = load_locustfile(str(file.resolve()))
    except SyntaxError as error:
        raise FileProblems(
            [Problem(error.filename or str(file), error.lineno or 1, f"not Python: {error.msg}")]
        ) from error
    except (Exception, SystemExit) as error:
        lines = [one.lineno for one in traceback.extract_tb(error.__traceback__) if _is(one.filename, file)]
        text = f"cannot be imported: {type(error).__name__}: {error}"
        raise FileProblems([Problem(str(file), (lines or [None])[-1] or 1, text)]) from error
    users.pop(PlannedArrivals.__name__, None)
    if not users:
        raise FileProblems([Problem(str(file), 1, "has no user class (a subclass of User, not abstract)")])
    return users, {type(shape).__name__: shape for shape in shapes if type(shape) is not OwnShape}


def look(file: Path) -> OwnSeen:
    """Say what is in a locustfile, or what is wrong with it."""
    try:
        users, shapes = read_own(file)
    except FileProblems as error:
        return OwnSeen(problems=tuple((one.file, one.line, one.text) for one in error.problems))
    return OwnSeen(users=tuple(users), shapes=tuple(shapes))


class OwnUsers:
    """The users of one locustfile, from the beginning of a load to its end."""

    def __init__(self, plan: LoadPlan, own: OwnPlan) -> None:
        """Import the file and make its environment; raises `InputError` for what cannot be played."""
        self._own = own
        self._session: Session | None = None
        self._errors: Counter[str] = Counter()
        if plan.endpoint.ca_file:  # HttpUser's client reads it from here
            os.environ.setdefault("REQUESTS_CA_BUNDLE", plan.endpoint.ca_file)
        users, shapes = read_own(Path(own.file))
        chosen = _chosen(own, users)
        named = all(user.host is None for user in chosen if hasattr(user, "host"))
        for user in chosen:
            if getattr(user, "host", None) is None:
                user.host = plan.endpoint.url
        shape = _shape(own, shapes) if own.shape else OwnShape.of(plan)()
        self.environment = Environment(
            user_classes=chosen,
            shape_class=shape,
            events=locust.events,
            host=plan.endpoint.url if named else None,  # Locust gives it to every class
            tags=list(own.tags) or None,
            exclude_tags=list(own.exclude_tags) or None,
            locustfile=Path(own.file).name,
            parsed_locustfiles=[own.file],
            parsed_options=_options(plan.endpoint.url, own),
            available_user_classes=users,
            available_shape_classes=shapes,
            stop_timeout=0,
        )
        if not self.environment.user_classes:
            raise InputError(f"{own.file}: every user class has weight 0: nobody would play")
        self._runner = self.environment.create_local_runner()
        self.environment.events.user_error.add_listener(self._user_failed)
        self.environment.events.init.fire(environment=self.environment, runner=self._runner, web_ui=None)

    def begin(self, session: Session | None, requested: Callable[..., None]) -> None:
        """Start the users, once the session is there for them; `requested` hears of every request."""
        if session is None:
            return
        self._session = self.environment.focus_session = session
        self.environment.events.request.add_listener(requested)
        digest = hashlib.sha256(Path(self._own.file).read_bytes()).hexdigest()[:16]
        names = ", ".join(sorted(user.__name__ for user in self.environment.user_classes))
        how = f"; shape {self._own.shape}" if self._own.shape else ""
        session.note("info", f"own users of {Path(self._own.file).name} (sha256 {digest}) play: {names}{how}")
        self._runner.start_shape()

    def end(self, **_: Any) -> None:
        """Stop the users and fire the file's last events, within bounds; safe to call twice."""
        session, self._session = self._session, None
        if session is None:
            return
        done = False
        with gevent.Timeout(STOP_S, False):
            self._runner.quit()
            self.environment.events.quitting.fire(environment=self.environment, reverse=True)
            self.environment.events.quit.fire(exit_code=self.environment.process_exit_code or 0)
            done = True
        if not done:
            session.note("warning", f"own users or their listeners did not stop within {STOP_S:g} s")
        if code := self.environment.process_exit_code:
            session.note(
                "warning", f"the locustfile set exit code {code}; a run's exit code comes from its gates"
            )
        for error, count in self._errors.most_common(ERRORS_TOLD):
            session.note("warning", f"own users raised {count} times: {error}")
        self.environment.focus_session = None

    def windows(self) -> int:
        """Return how many windows own users want open now: one for each that is a `Viewer`."""
        viewers = {user.__name__ for user in self.environment.user_classes if issubclass(user, Viewer)}
        return sum(count for name, count in self._runner.user_classes_count.items() if name in viewers)

    def _user_failed(self, user_instance: Any, exception: BaseException, **_: Any) -> None:
        user = getattr(user_instance, "user", user_instance)  # a task set tells itself
        text = f"{type(user).__name__}: {type(exception).__name__}: {exception}"[:200]
        if text in self._errors or len(self._errors) < 100:
            self._errors[text] += 1


def _chosen(own: OwnPlan, users: dict[str, type[User]]) -> list[type[User]]:
    if missing := [name for name in own.users if name not in users]:
        raise InputError(f"{own.file} has no user class {', '.join(missing)}; it has {', '.join(users)}")
    if own.users:
        return [users[name] for name in own.users]
    found = [user for user in users.values() if user not in OURS]
    if not found:
        raise InputError(f"{own.file} has no user class of its own; name those it imports in `users`")
    return found


def _shape(own: OwnPlan, shapes: dict[str, LoadTestShape]) -> LoadTestShape:
    if own.shape not in shapes:
        raise InputError(f"{own.file} has no shape {own.shape}; it has {', '.join(shapes) or 'none'}")
    return shapes[own.shape]


def _options(url: str, own: OwnPlan) -> Any:
    """Return Locust's options as if nothing but the host was given; options of the file's own have their defaults."""
    options = get_parser(default_config_files=[]).parse_args([])
    options.host, options.headless, options.only_summary = url, True, True
    options.tags, options.exclude_tags = list(own.tags) or None, list(own.exclude_tags) or None
    return options


def _is(name: str, file: Path) -> bool:
    return Path(name).resolve() == file.resolve()


def show(file: Path) -> int:
    """Print what is in a locustfile as one line of JSON; whatever the file prints goes to stderr."""
    out, sys.stdout = sys.stdout, sys.stderr
    out.write(msgspec.json.encode(look(file)).decode() + "\n")
    out.flush()
    return 0
