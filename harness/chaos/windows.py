"""Ask a Focus Server for one window, as any user would: what fill-windows does. Streams nothing, retries nothing."""

from harness.errors import TargetError
from harness.target import Target


class Refused(TargetError):
    """The server gave no window; the text says why."""


def open_window(target: Target) -> str:
    """Ask for a live window of a few channels and return its job id; raise Refused if there was none."""
    # An HTTP client is slow to import, and guard, reverter and most chaos processes never ask for a window.
    from harness.focus.api import FocusServerAPI  # noqa: PLC0415
    from harness.focus.endpoint import endpoint_of  # noqa: PLC0415
    from harness.focus.outcomes import CallFailed  # noqa: PLC0415
    from harness.focus.request import ConfigureRequest  # noqa: PLC0415

    with FocusServerAPI(endpoint_of(target)) as server:
        try:
            return server.configure_streaming_job(ConfigureRequest(channel_min=1, channel_max=3)).job_id
        except CallFailed as error:
            raise Refused(str(error)) from error
