"""The Focus Server as a client sees it: requests, tolerant answers, the stream's frames, and how calls end.

The engine plays windows with it; doctor, watchers and people use `FocusServerAPI`. Nothing here retries. The load process
imports `endpoint` and `seam` from this package, so neither HTTP nor gRPC libraries are imported until they are asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.focus.answers import ConfigureResponse
    from harness.focus.api import AsyncFocusServerAPI, FocusServerAPI
    from harness.focus.endpoint import Endpoint
    from harness.focus.request import ConfigureRequest

_HOMES = {
    "AsyncFocusServerAPI": "api",
    "ConfigureRequest": "request",
    "ConfigureResponse": "answers",
    "Endpoint": "endpoint",
    "FocusServerAPI": "api",
}

__all__ = ["AsyncFocusServerAPI", "ConfigureRequest", "ConfigureResponse", "Endpoint", "FocusServerAPI"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415  (on demand: a gevent process must be able to import this package)

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
