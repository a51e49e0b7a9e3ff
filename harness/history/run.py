"""`run.json`: what a run was, written at its start and again at its end.

The judge needs nothing else beside the history files. Written by the conductor, or by an entrance that is used alone.
"""

import os
from pathlib import Path

import msgspec

from harness.errors import RecordUnusable
from harness.history.writer import redacted

RUN_FILE = "run.json"


class GatePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A gate as the campaign states it (see docs/campaigns.md)."""

    name: str
    measure: str
    op: str
    limit: float
    during: tuple[str, ...] = ()
    min_samples: int = 1
    of: str = ""
    """Narrows the measure: an outcome, or the name of an experiment."""


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment on the timeline."""

    experiment: str
    at_s: float
    hold_s: float
    refusal_expected: bool = False


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a run that is not an event."""

    schema: int = 1
    run_id: str
    harness_version: str
    campaign: str
    plan_hash: str
    seed: int
    overrides: dict[str, str] = {}
    operator: str = ""
    labels: dict[str, str] = {}
    target: str
    target_url: str
    target_identity: str = ""
    kubernetes_version: str = ""
    max_windows: int | None = None
    """None where the server has no limit or it is not known; `max_windows_text` says which."""
    max_windows_text: str = ""
    nodes: tuple[str, ...] = ()
    gpu_shares: int | None = None
    images: dict[str, str] = {}
    sandbox: str = ""
    host: str = ""
    python: str = ""
    insecure_tls: bool = False
    reverter: str = ""
    """Version of the reverter that answered before the start; empty if none was asked."""
    guard_only: bool = False
    """Played off the sandbox without a reverter, because somebody said so."""
    unverified: tuple[str, ...] = ()
    """Actions that nobody undoes, as `experiment: action`."""
    fighters: tuple[str, ...] = ()
    """Who will put changed objects back, in words."""
    wall_start: str
    wall_end: str = ""
    planned_s: float = 0.0
    gates: tuple[GatePlan, ...] = ()
    steps: tuple[PlannedStep, ...] = ()
    leak_gate: bool = True
    """Whether things of ours that are left behind fail the run."""
    validity: dict[str, float] = {}
    """Bounds of the run's validity that the campaign has set otherwise, by the check's name."""
    exit_code: int | None = None
    exit_reason: str = ""


def write_run(folder: Path, run: RunInfo) -> None:
    """Write `run.json` atomically."""
    run = msgspec.structs.replace(run, target_url=redacted(run.target_url))
    temporary = folder / f"{RUN_FILE}.{os.getpid()}.new"
    try:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n")
        temporary.replace(folder / RUN_FILE)
    except OSError as error:
        raise RecordUnusable(f"cannot write {folder / RUN_FILE}: {error}") from error


def read_run(folder: Path) -> RunInfo:
    """Read `run.json` of a run's folder."""
    try:
        return msgspec.json.decode((folder / RUN_FILE).read_bytes(), type=RunInfo)
    except FileNotFoundError as error:
        raise RecordUnusable(f"{folder} is not the folder of a run: it has no {RUN_FILE}") from error
    except msgspec.MsgspecError as error:
        raise RecordUnusable(f"{folder / RUN_FILE} cannot be read: {error}") from error
