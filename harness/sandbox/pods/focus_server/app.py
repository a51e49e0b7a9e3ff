"""The HTTP face of Focus Server: routes, error shapes and nothing else.

Built by the pod's program around one `Windows`. Absent endpoints (`/health`, `DELETE /job/...`, the task API) give
FastAPI's own 404. No route authenticates, limits rates or says why something is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from harness.sandbox.pods.focus_server import answers
from harness.sandbox.pods.focus_server.fibre import Fibre
from harness.sandbox.pods.focus_server.requests import ConfigureBody, Refused, TimeRange, understand
from harness.sandbox.pods.focus_server.site import Site
from harness.sandbox.pods.focus_server.store import Store, StoreError
from harness.sandbox.pods.focus_server.windows import Windows
from harness.sandbox.settings import Settings

log = logging.getLogger("pz.focus_server")
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

NGINX_PAGES = {502: "502 Bad Gateway", 504: "504 Gateway Time-out"}


def make_app(
    settings: Settings, windows: Windows, store: Store, fibre: Fibre, lifespan: Lifespan | None = None
) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Focus Server", version=settings.image_tag, lifespan=lifespan)
    app.add_exception_handler(Refused, _answer_refused)
    app.add_exception_handler(RequestValidationError, _answer_unparsed)
    _add_reads(app, settings, windows, store, fibre)
    _add_configure(app, settings, windows)
    if settings.legacy_task_api:
        _add_legacy(app, settings)
    return app


def _add_configure(app: FastAPI, settings: Settings, windows: Windows) -> None:
    site = Site(settings)

    @app.post("/configure")
    async def configure(body: ConfigureBody, request: Request) -> Response:
        wish = understand(body, settings)
        request_id = request.headers.get("x-request-id", "")
        async with site.create() as fate:
            if not fate.creates:
                assert fate.status is not None
                windows.overloaded(request_id, fate)
                return _site_error(fate.status)
            answer = await windows.open(wish, request_id)
        if fate.status is None:
            return JSONResponse(answer)
        windows.overloaded(request_id, fate)
        return _site_error(fate.status)


def _add_reads(app: FastAPI, settings: Settings, windows: Windows, store: Store, fibre: Fibre) -> None:
    @app.get("/ack")
    async def ack() -> Response:
        return JSONResponse({})

    @app.get("/channels")
    async def channels() -> Response:
        return JSONResponse(answers.channels(settings))

    @app.get("/live_metadata")
    async def live_metadata() -> Response:
        return JSONResponse(answers.live_metadata(fibre.metadata, settings))

    @app.get("/metadata/{job_id}")
    async def metadata(job_id: str) -> Response:
        known = windows.metadata(job_id)
        return JSONResponse(answers.INVALID_JOB, 404) if known is None else JSONResponse(known)

    @app.post("/recordings_in_time_range")
    async def recordings_in_time_range(body: TimeRange) -> Response:
        return JSONResponse(await _recordings(store, settings, body.start_time, body.end_time))

    @app.get("/get_recordings_timeline")
    async def get_recordings_timeline() -> Response:
        return HTMLResponse(answers.timeline_page(await _recordings(store, settings, 0, 2**33)))


async def _recordings(store: Store, settings: Settings, start: int, end: int) -> list[tuple[float, float]]:
    try:
        return await store.recordings(start, end)
    except StoreError as error:
        log.warning("%s", error)
        if settings.mongodb_check:
            raise Refused(503, answers.UNAVAILABLE[settings.refusal_body]) from error
        raise Refused(500, "Internal Server Error") from error


def _add_legacy(app: FastAPI, settings: Settings) -> None:
    """The older task API, as far as it was ever seen: accepted configurations that never have rows."""
    tasks: set[str] = set()

    @app.get("/sensors")
    async def sensors() -> Response:
        return JSONResponse({"sensors": list(range(settings.highest_channel + 1))})

    @app.post("/config/{task_id}")
    async def config(task_id: str, request: Request) -> Response:
        try:
            await request.json()
        except ValueError:
            return PlainTextResponse("Error parsing configuration", 500)
        tasks.add(task_id)
        return JSONResponse({"status": "Config received successfully"})

    @app.get("/waterfall/{task_id}/{row_count}")
    async def waterfall(task_id: str, row_count: int) -> Response:
        if row_count <= 0:
            return JSONResponse({"error": "Invalid row_count"}, 400)
        return JSONResponse({}, 200 if task_id in tasks else 404)


def _answer_refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    if isinstance(error.body, str):
        return PlainTextResponse(error.body, error.status)
    return JSONResponse(error.body, error.status)


def _answer_unparsed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    detail: list[Any] = [
        {key: problem[key] for key in ("type", "loc", "msg") if key in problem} for problem in error.errors()
    ]
    return JSONResponse({"detail": detail}, 422)


def _site_error(status: int) -> Response:
    if status not in NGINX_PAGES:
        return PlainTextResponse("Internal Server Error", status)
    title = NGINX_PAGES[status]
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return HTMLResponse(page, status)
