"""Samples: the many small measurements of a run, as fixed-width rows.

One numpy dtype per kind; the dtypes are public (`schema` 1). Strings are not stored in rows: a row holds the number of a
string in the file's dictionary. No I/O here; `writer.py` and `reader.py` put rows in checksummed blocks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class SampleKind:
    """A kind of sample: its name, its row layout, and which columns are numbers of dictionary strings."""

    name: str
    dtype: np.dtype[np.void]
    text: tuple[str, ...] = ()


ATTEMPTS = SampleKind(
    "attempts",
    np.dtype(
        [
            ("intended_ns", "<i8"),  # when the plan wanted it sent; equal to sent_ns for closed users
            ("sent_ns", "<i8"),
            ("done_ns", "<i8"),  # last byte of the answer, or the instant it was given up
            ("window", "<i8"),  # 0 for requests that open no window
            ("operation", "<u4"),  # text: configure, ack, channels, live_metadata, ...
            (
                "outcome",
                "<u4",
            ),  # text: an Outcome for configure (`accepted` for a 200), ok/failed/cancelled else
            ("status", "<i4"),  # HTTP status, 0 without an answer
            ("bytes", "<i4"),
            ("body", "<u4"),  # text: start of an error answer's body, redacted and capped, else empty
            ("request_id", "<u8"),  # low 64 bits of X-Request-ID
        ]
    ),
    ("operation", "outcome", "body"),
)
"""One row per HTTP attempt. Nothing is retried, so an attempt is a request."""

FRAMES = SampleKind(
    "frames",
    np.dtype(
        [
            ("at_ns", "<i8"),
            ("window", "<i8"),
            ("stream", "<i4"),
            ("first_row", "<i4"),
            ("rows", "<i4"),
            ("bytes", "<i4"),
            (
                "lag_ns",
                "<i8",
            ),  # how much later than lines_dt x rows after the stream's earliest pace; 0 for historic
        ]
    ),
)
"""One row per gRPC message of a stream."""

ARRIVALS = SampleKind(
    "arrivals",
    np.dtype(
        [
            ("intended_ns", "<i8"),
            ("sent_ns", "<i8"),  # 0 where it was not offered
            ("window", "<i8"),  # the first one, where it stands for several
            ("count", "<i8"),  # how many planned arrivals in a row it stands for; 1 where it was sent
            ("fate", "<u4"),  # text: `sent`, or why it was not offered
        ]
    ),
    ("fate",),
)
"""What became of planned arrivals: every one is in exactly one row."""

REQUESTS = SampleKind(
    "requests",
    np.dtype(
        [
            ("sent_ns", "<i8"),
            ("took_ns", "<i8"),  # as whoever made the request measured it
            ("bytes", "<i8"),
            ("type", "<u4"),  # text: GET, POST, or whatever its maker calls it
            ("name", "<u4"),  # text; capped in number, further ones are `OTHER`
            (
                "error",
                "<u4",
            ),  # text: the exception's class and, where there is one, the status; empty for a success
        ]
    ),
    ("type", "name", "error"),
)
"""Requests of people's own user classes, one row each."""

FEED = SampleKind(
    "feed",
    np.dtype(
        [
            ("at_ns", "<i8"),
            ("row", "<i8"),  # its line in the feed's file, from 1
            ("user", "<u4"),  # text: the class of the user that took it
        ]
    ),
    ("user",),
)
"""Rows of a feed that were handed to users."""

KINDS: dict[str, SampleKind] = {kind.name: kind for kind in (ATTEMPTS, FRAMES, ARRIVALS, REQUESTS, FEED)}

OTHER = "(other)"
"""What names beyond a cap are counted under."""

SENT = "sent"
"""The `fate` of an arrival that was sent, on time or late."""
ACCEPTED = "accepted"
"""The `outcome` text of an attempt that was answered 200."""
