"""What the Kubernetes client library raises becomes ours here, the original chained.

Called by the client and the watch only. A status becomes a meaning (missing, conflict, refused, denied); anything that never
became a status is `Unreachable`, and for a write that means: unknown whether it happened.
"""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3.exceptions
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException

from harness.errors import AccessDenied, TargetError, Unreachable


class ClusterRefused(TargetError):
    """The API server answered and said no; `status` is the HTTP status."""

    def __init__(self, message: str, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Missing(ClusterRefused):
    """The object does not exist (404)."""


class Conflict(ClusterRefused):
    """The object exists already, or has changed since it was read (409)."""


class Gone(ClusterRefused):
    """The resourceVersion asked for is too old (410): list again."""


def refusal(status: int, body: str, what: str) -> TargetError:
    """Return the error that stands for an answer of `status` to the request `what`."""
    reason, message = "", body[:200]
    try:
        parsed = json.loads(body)
        reason, message = str(parsed.get("reason", "")), str(parsed.get("message", message))
    except (ValueError, AttributeError):
        pass
    text = f"{what}: {status} {reason}: {message}".replace("  ", " ")
    if status == 401:
        return AccessDenied(f"{text}; the credentials in the kubeconfig are missing, wrong or expired")
    if status == 403:
        return AccessDenied(f"{text}; grant the right, or use a context that has it")
    if status in {500, 502, 503, 504}:
        return Unreachable(text)
    by_status = {404: Missing, 409: Conflict, 410: Gone}
    return by_status.get(status, ClusterRefused)(text, status, reason)


@contextmanager
def ours(what: str) -> Iterator[None]:
    """Turn whatever the library raises inside into our errors; `what` names the request."""
    try:
        yield
    except ApiException as error:
        raise refusal(error.status or 0, str(error.body or error.reason or ""), what) from error
    except ConfigException as error:
        raise TargetError(f"{what}: {error}; check `kubeconfig` and `context` in the target file") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        # The library tries once, and still wraps what came of it in "max retries".
        reason = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) else error
        if _is_about_a_certificate(reason):
            raise AccessDenied(
                f"{what}: the server's certificate is not accepted: {reason}; correct certificate-authority in the kubeconfig, "
                "or the server's name"
            ) from error
        raise Unreachable(f"{what}: no answer: {error}") from error


def _is_about_a_certificate(reason: object) -> bool:
    """Say whether TLS failed on who somebody is; a connection cut during the handshake is no answer like any other."""
    if not isinstance(reason, (urllib3.exceptions.SSLError, ssl.SSLError)):
        return False
    text = str(reason).lower()
    return "certificate" in text or "unknown ca" in text
