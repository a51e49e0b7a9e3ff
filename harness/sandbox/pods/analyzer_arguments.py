"""The command line of a window's stream program: written into the Job by Focus Server, read back by the program.

The flags are the ones seen in the field (`--roi`, `-sg`, `--sg-range`, `--grpc-streams-num`, `--queue-name`,
`--time-start`, `--time-end`, `--time-zone`; the times for historic windows only). What the field passes in files
comes as environment: row time, recorded rows, PRR and decimation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.sandbox.pods.derived import View

COMMAND = ("python", "-m", "baby_analyzer")


@dataclass(frozen=True)
class Assignment:
    """One window as its stream program gets it; times in epoch seconds, both None when live."""

    job_id: str
    view: View
    time_start: int | None = None
    time_end: int | None = None
    recorded_rows: int = 0
    made_s: int = 0
    """Epoch seconds of the create; part of a queue's name."""

    @property
    def historic(self) -> bool:
        """Return whether the window shows recordings."""
        return self.time_start is not None

    @property
    def queue(self) -> str:
        """Return the name of the window's data queue."""
        return f"focus_baby.{self.job_id}"

    def args(self) -> list[str]:
        """Return the program's arguments."""
        view = self.view
        times = []
        if self.historic:
            times = [
                *("--time-start", str(self.time_start)),
                *("--time-end", str(self.time_end)),
                *("--time-zone", "UTC"),
            ]
        return [
            *times,
            *("--roi", str(view.first_channel), str(view.last_channel)),
            *("-sg", str(view.nfft)),
            *("--sg-range", f"{view.frequency_min:g}", f"{view.frequency_max:g}"),
            *("--grpc-streams-num", str(view.streams)),
            *("--queue-name", self.queue),
        ]

    def env(self) -> dict[str, str]:
        """Return the program's environment."""
        return {
            "FOCUS_LINES_DT": repr(self.view.lines_dt_s),
            "FOCUS_PRR": repr(self.view.prr),
            "FOCUS_DECIMATION": str(self.view.decimation),
            "FOCUS_RECORDED_ROWS": str(self.recorded_rows),
        }


def parse(args: tuple[str, ...], env: Mapping[str, str]) -> Assignment:
    """Return what `Assignment.args` and `.env` said; ValueError names a missing flag."""

    def after(flag: str, count: int = 1) -> tuple[str, ...]:
        if flag not in args:
            raise ValueError(f"the stream program misses {flag}")
        at = args.index(flag) + 1
        return args[at : at + count]

    first, last = after("--roi", 2)
    low, high = after("--sg-range", 2)
    historic = "--time-start" in args
    return Assignment(
        job_id=after("--queue-name")[0].removeprefix("focus_baby."),
        view=View(
            first_channel=int(first),
            last_channel=int(last),
            nfft=int(after("-sg")[0]),
            frequency_min=float(low),
            frequency_max=float(high),
            lines_dt_s=float(env.get("FOCUS_LINES_DT", "0.1")),
            streams=int(after("--grpc-streams-num")[0]),
            prr=float(env.get("FOCUS_PRR", "2000")),
            decimation=int(env.get("FOCUS_DECIMATION", "1")),
        ),
        time_start=int(after("--time-start")[0]) if historic else None,
        time_end=int(after("--time-end")[0]) if historic else None,
        recorded_rows=int(env.get("FOCUS_RECORDED_ROWS", "0")),
    )
