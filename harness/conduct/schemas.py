"""JSON schemas of the files people and CI meet, for editors and parsers."""

import json

import msgspec

from harness.campaign import Campaign
from harness.doctor import DoctorDocument
from harness.errors import InputError
from harness.judge.verdict import VerdictDocument
from harness.target import Target


def schema_of(of: str) -> str:
    """Return the JSON schema of `campaign`, `target`, `verdict` or `doctor`, indented."""
    if of == "campaign":
        schema = Campaign.model_json_schema(by_alias=True)
    elif of == "target":
        schema = Target.model_json_schema(by_alias=True)
    elif of == "verdict":
        schema = msgspec.json.schema(VerdictDocument)
    elif of == "doctor":
        schema = msgspec.json.schema(DoctorDocument)
    else:
        raise InputError(f"no schema {of!r}: campaign, target, verdict or doctor")
    return json.dumps(schema, indent=2, ensure_ascii=False)
