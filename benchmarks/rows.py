"""One measured value, and how rows are printed and kept."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """A value with its unit; `peer` is the same measured for `peer_is` in the same run, `ratio` is value by peer."""

    measure: str
    value: float
    unit: str
    command: str
    reach: str = ""
    """What was to be reached, in words."""
    peer_is: str = ""
    peer: float | None = None

    @property
    def ratio(self) -> float | None:
        """Value by peer."""
        return None if not self.peer else self.value / self.peer


def table(rows: Iterable[Row]) -> str:
    """Return the rows as an aligned table."""
    head = ("measure", "value", "unit", "to reach", "peer", "ratio")
    body = [
        (
            row.measure,
            f"{row.value:.4g}",
            row.unit,
            row.reach,
            "" if row.peer is None else f"{row.peer:.4g} ({row.peer_is})",
            "" if row.ratio is None else f"{row.ratio:.2f}",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (head, *body)) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (head, *body)
    )


def keep(rows: Iterable[Row], file: Path) -> None:
    """Write the rows as JSON: measure, value, unit, peer, ratio, command."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([{**asdict(row), "ratio": row.ratio} for row in rows], indent=2) + "\n")
