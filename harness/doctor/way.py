"""The way to whoever is asked: what may be wrong on it before anybody could answer, told step by step and without credentials.

Used by `asking`; the checks read from a `NoAnswer` whether it speaks of the one who was asked, or of us.
"""

import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from harness.history.writer import redacted

NOT_THEIRS = frozenset({"uri", "dns", "connect", "tls", "credentials", "read"})
"""Steps that went wrong on our side or on the way: they say nothing of whether whoever was asked is well."""
UNREADABLE = (
    "cannot be read as a URI; in user name and password write %2F for /, %40 for @, %3A for : and %25 for %"
)


class NoAnswer(Exception):
    """Somebody did not answer as they should; `step` says where on the way it went wrong, the text how."""

    def __init__(self, step: str, text: str) -> None:
        super().__init__(redacted(text))
        self.step = step

    @property
    def not_theirs(self) -> bool:
        """Whether it went wrong before anybody could have answered: by our URI, name, way or credentials."""
        return self.step in NOT_THEIRS

    def from_here(self, field: str) -> str:
        """Return it in words, with what to correct where `field` of the target file may be wrong."""
        hint = (
            "" if self.step == "read" else f"; correct {field} in the target file, or open the way from here"
        )
        return f"{self}{hint}"


def shown(url: str) -> str:
    """Return a URL as it may be printed: without user name and password."""
    return re.sub(r"://\S*@", "://***@", url)


def parts_of(url: str) -> tuple[bool, str, int, str]:
    """Return whether a URL is HTTPS, its host, port and path; raises NoAnswer."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:  # its text may show a part of the password
        raise NoAnswer("uri", f"url {UNREADABLE}") from error
    secure = parts.scheme == "https"
    return secure, parts.hostname or "", port or (443 if secure else 80), parts.path or "/"


def connected(host: str, port: int, within_s: float) -> socket.socket:
    """Return a connection to the first address of a name that takes one; raises NoAnswer."""
    try:
        return socket.create_connection((host, port), timeout=within_s)
    except (socket.gaierror, UnicodeError) as error:
        raise NoAnswer("dns", f"{host} does not resolve: {error}") from error
    except OSError as error:
        raise NoAnswer("connect", f"{host}:{port}: {error}") from error


def reach(hosts: Iterable[tuple[str, int | None]], within_s: float) -> None:
    """Look whether one of `hosts` takes a connection from here; raises NoAnswer. A driver's own error does not tell that from silence."""
    failed: NoAnswer | None = None
    for host, port in hosts:
        if port is None:  # a local socket
            return
        try:
            connected(host, port, within_s).close()
        except NoAnswer as error:
            failed = error
        else:
            return
    if failed is not None:
        raise failed
