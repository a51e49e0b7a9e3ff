"""Who wrote an error's body: the server itself, something in front of it, or nobody can tell.

Called by the rules. Only what a known piece of software writes counts as known: a body is a hint, never a proof.
"""

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

UNTOLD, SERVER, FRONT, LOCAL = 0, 1, 2, 3
"""Nobody can tell; the server's application; an ingress, proxy or gateway before it; our own machine."""

_FRONT = re.compile(
    r"<center>nginx|nginx/|openresty|No server is available to handle this request"  # nginx, HAProxy
    r"|no healthy upstream|upstream connect error|upstream request timeout"  # Envoy
    r"|no available server|Bad Gateway|Gateway Time-?out"  # Traefik, and the pages of most
    r"|<html|<!doctype",
    re.IGNORECASE,
)
_LOCAL = re.compile(
    r"Too many open files|Cannot assign requested address|No buffer space|Cannot allocate memory",
    re.IGNORECASE,
)


def writer_of(body: str) -> int:
    """Return who wrote a body, as far as it can be told from its first hundred characters."""
    if _LOCAL.search(body):
        return LOCAL
    if _FRONT.search(body):
        return FRONT
    return SERVER if body.lstrip().startswith("{") else UNTOLD


def writers_of(bodies: Iterable[str]) -> NDArray[np.int8]:
    """Return who wrote each of many bodies."""
    return np.fromiter((writer_of(body) for body in bodies), dtype=np.int8)
