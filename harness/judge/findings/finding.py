"""What every finding is made of: frozen values, counts between two bounds. Read by the modules beside it."""

from enum import StrEnum

import msgspec


class Limit(StrEnum):
    """Where the open windows stood against MaxWindows while a request was being decided."""

    AT_LIMIT = "at_limit"
    """Certainly at or above MaxWindows."""
    PERHAPS = "perhaps"
    """Possibly at MaxWindows, not certainly."""
    BELOW = "below"
    """Certainly below MaxWindows."""
    NO_LIMIT = "no_limit"
    """The target has no limit, or it is not known."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What every finding is: a frozen value."""


class Interval(Finding, frozen=True, kw_only=True):
    """A count that lies between two bounds: certainly at least `certain`, possibly as many as `possible`."""

    certain: int
    possible: int
