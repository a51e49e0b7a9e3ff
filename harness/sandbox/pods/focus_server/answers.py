"""The bodies Focus Server answers with: the view's derived values, fibre metadata, recording metadata.

Used by the application's routes. Key order and quirks are those seen in the field; dialect settings choose between
builds. Pure; it says nothing about why something was refused.
"""

from __future__ import annotations

from typing import Any

from harness.sandbox.pods.analyzer_arguments import Assignment
from harness.sandbox.pods.fibre import DX
from harness.sandbox.pods.focus_server.requests import Wish
from harness.sandbox.settings import Settings

WAITING = "waiting for fiber"
UNAVAILABLE: dict[str, Any] = {
    "json": {"detail": "Service Unavailable"},
    "text": "Service Unavailable",
    "error": {"error": "unavailable", "status": 503},
    "empty": "",
}
"""What a refusal says, by dialect: never why."""
NO_RECORDING = {"error": "No recording found in given time range"}
INVALID_JOB = {"error": "Invalid job_id"}


def configured(
    wish: Wish, assignment: Assignment, host: str, port: int, settings: Settings
) -> dict[str, Any]:
    """Return the 200 of `POST /configure`."""
    view = assignment.view
    frequencies = view.frequencies
    answer: dict[str, Any] = {
        "status": settings.status_text,
        "frequencies_list": {} if settings.dialect_strings else frequencies,
        "lines_dt": view.lines_dt_s,
        "channel_to_stream_index": view.channel_to_stream,
        "stream_amount": view.streams,
        "job_id": assignment.job_id,
        "frequencies_amount": len(frequencies),
        "channel_amount": 1 if wish.view_type == 1 else view.channels,
        "stream_port": str(port) if settings.dialect_strings else port,
        "stream_url": f"{settings.stream_url_scheme}{host}",
        "view_type": str(wish.view_type) if settings.dialect_strings else wish.view_type,
    }
    if wish.historic:
        answer["metadata"] = recording_metadata(settings)
    return answer


def channels(settings: Settings) -> dict[str, int]:
    """Return the 200 of `GET /channels`."""
    return {"lowest_channel": 1, "highest_channel": settings.highest_channel}


def live_metadata(known: dict[str, Any] | None, settings: Settings) -> dict[str, Any]:
    """Return the 200 of `GET /live_metadata`: what is known of the fibre, or that it is waited for."""
    if known is not None:
        return known
    return {
        "dx": 0.0,
        "prr": 0.0,
        "fiber_start_meters": None,
        "fiber_length_meters": None,
        "sw_version": WAITING,
        "number_of_channels": settings.highest_channel,
        "fiber_description": WAITING,
    }


def recording_metadata(settings: Settings) -> dict[str, Any]:
    """Return the metadata tree of a historic window: the recorder's layer and its parent."""
    parent = {
        "layer_type": "prp2_recording",
        "uuid": "6f0f6a52-8a0e-4a57-9c5f-27d6d9a4f3b1",
        "dx": DX,
        "prr": int(settings.prr),
        "num_traces": 2048,
        "num_samples_per_trace": settings.number_of_channels,
        "fast_time_pixels": None,
        "slow_time_pixels": None,
        "fiber_start_meters": 0,
        "fiber_length_meters": 10000,
        "gauge_length_meters": 10 * DX,
        "late_t_axis_decimation": 4,
        "fiber_description": "Sandbox_fiber",
        "decimation_factor_x": 4,
        "recording_timezone": "UTC",
        "recording_machine_name": "panda-panda-preprocessor",
        "n_features": 1,
        "preprocessor_version": "11",
        "preprocessor_calculation_version": "8",
    }
    return {
        "layer_type": "smart_recorder",
        "uuid": "c2a3d7f4-51c3-4a62-8e4b-3f6a55d2f0aa",
        "sw_version": None,
        "cmd": None,
        "processors": [],
        "version": "TLV-1.3",
        "num_traces": 10000,
        "parent": parent,
    }


def timeline_page(spans: list[tuple[float, float]]) -> str:
    """Return the page of `GET /get_recordings_timeline`: one table row per recording."""
    rows = "".join(f"<tr><td>{start:.3f}</td><td>{end:.3f}</td></tr>" for start, end in spans)
    return (
        "<!DOCTYPE html><html><head><title>Recordings timeline</title></head><body><table>"
        f"<tr><th>start</th><th>end</th></tr>{rows}</table></body></html>"
    )
