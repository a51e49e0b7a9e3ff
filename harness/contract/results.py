"""What a session measured, as one JSON file for people and CI."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from harness import __version__
from harness.contract.promises import broken
from harness.contract.trial import Trial
from harness.history.events import FaultStep

SCHEMA = 1


def write_results(file: Path, target: str, trials: Iterable[Trial]) -> None:
    """Write per fault: the seconds to effective and to verified beside what its signature names, and what was broken."""
    document = {
        "schema": SCHEMA,
        "harness_version": __version__,
        "target": target,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "faults": {trial.fault.kind: _result(trial) for trial in trials},
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _result(trial: Trial) -> dict[str, object]:
    signature = trial.fault.signature
    if trial.skipped:
        return {"skipped": trial.skipped}
    return {
        "effective_s": _rounded(trial.took_s(FaultStep.INJECTED, FaultStep.EFFECTIVE)),
        "within_s": signature.within_s,
        "verified_s": _rounded(trial.took_s(FaultStep.UNDONE, FaultStep.VERIFIED)),
        "gone_within_s": signature.gone_within_s,
        "broken": broken(trial),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
