"""The run folder of a load that nobody conducts: `run.json`, and the few events that frame its history.

Called at each start and end of Locust alone, so that `harness judge` reads such a run like any other.
"""

import datetime as dt
import getpass
import platform
from collections.abc import Callable
from pathlib import Path

import msgspec

import harness
from harness.clock import Instant, SystemClock
from harness.errors import Exit, RecordUnusable
from harness.history.events import Event, Phase, PhaseChanged, RunEnded, RunStarted
from harness.history.run import RunInfo, write_run
from harness.history.writer import HistoryWriter
from harness.load.plan import LoadPlan
from harness.target import Target

WRITER = "locust"


class OwnRun:
    """One run folder from its start to its end; `plan` is the given one with history and clock filled in."""

    def __init__(self, reports: Path, plan: LoadPlan, target: Target | None) -> None:
        clock = SystemClock.inherited()
        began = _now()
        self.folder = _fresh(reports, f"{began:%Y%m%d-%H%M%S}-locust")
        self.plan = msgspec.structs.replace(
            plan, history=str(self.folder.resolve() / "history"), clock_start_ns=clock.start_ns
        )
        self._run = RunInfo(
            run_id=self.folder.name,
            harness_version=harness.__version__,
            campaign=WRITER,
            plan_hash="",
            seed=plan.seed,
            operator=_operator(),
            target=target.name if target else "",
            target_url=plan.endpoint.url,
            max_windows=plan.max_windows,
            max_windows_text=str(target.max_windows) if target else "unknown",
            host=platform.node(),
            python=platform.python_version(),
            insecure_tls=plan.endpoint.unverified,
            wall_start=began.isoformat(timespec="milliseconds"),
        )
        write_run(self.folder, self._run)
        self._clock = clock
        self._writer = HistoryWriter(self.folder / "history", WRITER)
        self._writer.event(
            RunStarted(at_ns=clock.now(), run_id=self._run.run_id, campaign=WRITER, target=plan.endpoint.url)
        )
        self._writer.event(PhaseChanged(at_ns=clock.now(), phase=Phase.BASELINE))

    def write(self, event: Callable[[Instant], Event]) -> None:
        """Append an event to the run's record; it is made for the present instant."""
        self._writer.event(event(self._clock.now()))

    def end(self, code: Exit, reason: str) -> None:
        """Write how the run ended."""
        self._writer.event(RunEnded(at_ns=self._clock.now(), reason=reason))
        self._writer.close()
        write_run(
            self.folder,
            msgspec.structs.replace(
                self._run,
                wall_end=_now().isoformat(timespec="milliseconds"),
                exit_code=int(code),
                exit_reason=reason,
            ),
        )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _fresh(reports: Path, name: str) -> Path:
    for number in range(1, 1000):
        folder = reports / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise RecordUnusable(f"cannot make the run's folder {folder}: {error}") from error
        return folder
    raise RecordUnusable(f"{reports} has a thousand runs of this second; use another --reports folder")


def _operator() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
