"""The web app: pages, REST and the schedule in one process on 127.0.0.1.

from unibody.web import serve
serve(backbone, 8420)          # prints a link that signs in once, within a minute
"""

from __future__ import annotations

import getpass
import logging
import os
import socket
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

import unibody
from unibody import api
from unibody.backbone import Backbone, pages, watched
from unibody.backbone.pages import Reader
from unibody.backbone.up import keep_schedule
from unibody.errors import SetupError, UnibodyError
from unibody.web.session import CODE_SECONDS, LOGIN_PAGE, SESSION_SECONDS, WRONG_MAX, Guard, Sessions

FOLDER = Path(__file__).parent
SCHEDULE_SECONDS = 30.0


class Code(BaseModel):
    """The one-time code of the link."""

    code: str = Field(max_length=200)


def build(reader: Reader, sessions: Sessions, port: int) -> tuple[FastAPI, Guard]:
    """The application without its pages: sign-in, health, style, REST; and the gate before it."""
    app = FastAPI(
        title="Unibody",
        version=unibody.__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    guard = Guard(app, sessions, port)

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/login", include_in_schema=False)
    def login_page() -> HTMLResponse:
        return HTMLResponse(LOGIN_PAGE)

    @app.post("/login", include_in_schema=False)
    async def login(body: Code) -> JSONResponse:  # async: two at once cannot both have the code
        session = sessions.exchange(body.code)
        if session is None:
            what = f"This link was used already or is older than {CODE_SECONDS} seconds, or {WRONG_MAX} wrong ones were tried. Press Enter in the terminal of `unibody up` for a new one."
            return JSONResponse(
                {"error": {"where": "/login", "what": what}}, 200 if len(body.code) < 200 else 400
            )
        answer = JSONResponse({"ok": True})
        answer.set_cookie(
            guard.cookie, session, max_age=SESSION_SECONDS, httponly=True, samesite="strict", path="/"
        )
        return answer

    @app.get("/favicon.ico", include_in_schema=False)
    def favicon() -> HTMLResponse:
        drawing = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect x="4" y="8" width="24" height="16" rx="8" fill="#0b6bcb"/></svg>'
        return HTMLResponse(drawing, media_type="image/svg+xml")

    app.mount("/static", StaticFiles(directory=FOLDER), name="static")
    app.include_router(api.routes(reader, sessions.by))
    api.answer_errors(app)
    return app, guard


def serve(backbone: Backbone, port: int) -> None:
    """Serve until interrupted. Port 0: any free one. Raises SetupError where the port is taken."""
    door = _bind(port)
    port = door.getsockname()[1]
    # NiceGUI keeps a storage folder that nothing of ours uses; not in the user's working folder
    os.environ.setdefault(
        "NICEGUI_STORAGE_PATH", str(Path(tempfile.gettempdir()) / f"unibody-nicegui-{os.getpid()}")
    )
    import uvicorn
    from nicegui import core, ui

    from unibody.web import data, decisions, home, investigate, loop, usecases
    from unibody.web.shell import Web

    logging.getLogger("nicegui").setLevel(logging.ERROR)
    sessions, reader = Sessions(getpass.getuser()), Reader(backbone)
    web = Web(reader, sessions.by)
    app, guard = build(reader, sessions, port)
    for room in (home, decisions, loop, investigate, data, usecases):
        room.add(web)
    core.sio.eio.cors_allowed_origins = []  # no CORS headers at all; the gate has checked the Origin
    ui.run_with(
        app, title="Unibody", favicon="/favicon.ico", dark=False, language="en-US", tailwind=False, show_welcome_message=False,
        gzip_middleware_factory=None, reconnect_timeout=10.0,
    )  # fmt: skip
    stop = threading.Event()

    def link() -> None:
        print(f"http://127.0.0.1:{port}/#code={sessions.new_code()}", flush=True)

    server = uvicorn.Server(
        uvicorn.Config(
            guard,
            log_level="error",
            ws_max_size=1024 * 1024,
            timeout_graceful_shutdown=2,
            server_header=False,
        )
    )
    threads: list[tuple[Any, tuple[Any, ...]]] = [
        (_schedule, (web, backbone, stop)),
        (_warm, (reader,)),
        (_announce, (server, link, stop)),
    ]
    for target, args in threads:
        threading.Thread(target=target, args=args, daemon=True).start()
    try:
        server.run(sockets=[door])
    finally:
        stop.set()
        reader.close()


def _bind(port: int) -> socket.socket:
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind(("127.0.0.1", port))
    except OSError as e:
        door.close()
        raise SetupError(
            f"port {port} on 127.0.0.1 cannot be used: {e.strerror}; choose another with --port"
        ) from e
    return door


def _schedule(web: Any, backbone: Backbone, stop: threading.Event) -> None:
    """Keep the schedule; what failed is shown on Home."""
    seen: dict[str, int] = {}
    while not stop.wait(SCHEDULE_SECONDS):
        try:
            web.failed = keep_schedule(backbone, seen)
            watched.keep_looking(backbone)
        except Exception as e:  # whatever a user's solution raises must not end the schedule
            web.failed = {
                "schedule": f"{type(e).__name__}: {e}" if not isinstance(e, UnibodyError) else str(e)
            }
        web.reader.forget()


def _warm(reader: Reader) -> None:
    """Ask once what Home asks, so that the first visitor does not wait for imports."""
    with suppress(UnibodyError):  # Home says so
        reader.get(pages.overview)


def _announce(server: Any, link: Any, stop: threading.Event) -> None:
    """Print the sign-in link once the server answers, and a new one at each Enter."""
    while not server.started:
        if stop.wait(0.02):
            return
    link()
    if not sys.stdin or not sys.stdin.isatty():
        return
    for _ in sys.stdin:
        link()
