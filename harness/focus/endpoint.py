"""Where a Focus Server is and how it is spoken to, as a value that travels between processes.

Built from a target file by load, doctor and conductor; read by the REST client and the engine. Opens nothing.
"""

import ssl
from typing import Protocol

import msgspec

from harness.errors import InputError


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long each step may take; nothing is ever tried again when it takes longer."""

    connect_s: float = 5.0
    read_s: float = 60.0
    """Silence on an open connection, the wait for an answer included."""
    total_s: float = 65.0
    ready_s: float = 60.0
    """From a window's 200 to a ready stream channel."""
    first_frame_s: float = 45.0
    """From a ready channel to the first frame."""

    def __post_init__(self) -> None:
        wrong = [name for name in self.__struct_fields__ if not getattr(self, name) > 0]
        if wrong:
            raise InputError(f"timeouts must be longer than 0 s: {', '.join(wrong)}")


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A Focus Server's base URL (prefix included), how its certificate is verified, its timeouts and extra headers."""

    url: str
    ca_file: str | None = None
    insecure: bool = False
    timeouts: Timeouts = Timeouts()
    headers: dict[str, str] = {}

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InputError(f"{self.url!r} is not a URL; write http:// or https:// in front of it")
        if self.insecure and self.ca_file:
            raise InputError("`insecure` and `ca_file` exclude each other: verify, or do not")

    def at(self, path: str) -> str:
        """Return the URL of `path` (which starts with a slash)."""
        return self.url.rstrip("/") + path

    def __hash__(self) -> int:
        return hash((self.url, self.ca_file, self.insecure))

    @property
    def unverified(self) -> bool:
        """Whether TLS is spoken without knowing to whom."""
        return self.insecure and self.url.startswith("https://")


class _Tls(Protocol):
    ca_file: str | None
    insecure: bool


class _Times(Protocol):
    connect_s: float
    read_s: float
    total_s: float
    ready_s: float


class Served(Protocol):
    """What a target file says of its Focus Server; spelled out because this package does not see target files."""

    url: str
    headers: dict[str, str]

    @property
    def tls(self) -> _Tls:
        """How HTTPS is verified."""
        ...

    @property
    def timeouts(self) -> _Times:
        """How long each step may take."""
        ...


def endpoint_of(target: Served) -> Endpoint:
    """Return where a target's Focus Server is and how it is spoken to."""
    times = target.timeouts
    return Endpoint(
        url=target.url,
        ca_file=target.tls.ca_file,
        insecure=target.tls.insecure,
        timeouts=Timeouts(
            connect_s=times.connect_s, read_s=times.read_s, total_s=times.total_s, ready_s=times.ready_s
        ),
        headers=target.headers,
    )


INSECURE_WARNING = (
    "WARNING: TLS certificates of {url} are NOT verified (insecure: true): anybody on the way can answer. "
    "Name the server's CA instead: tls: {{ca_file: ...}}"
)


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return how TLS is verified; raise `InputError` when the CA file cannot be used."""
    if endpoint.insecure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        return ssl.create_default_context(cafile=endpoint.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"ca_file {endpoint.ca_file!r} cannot be used: {error}") from error
