"""Who may come in: a one-time code becomes a cookie, and every request passes one gate.

The gate is plain ASGI, so that the websocket is guarded by the same lines as pages and REST. It refuses a Host that is
not ours (DNS rebinding), an Origin that is not ours on anything but a read, and whoever has no session.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import quote

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CODE_SECONDS = 60
SESSION_SECONDS = 12 * 3600
WRONG_MAX = 10
BODY_BYTES_MAX = 64 * 1024
SOCKET_BYTES_MAX = 1024 * 1024
#: Where a whole file may come in; everything else is a form's size.
LARGE = {"/investigate/table": 65 * 1024 * 1024}
READS = ("GET", "HEAD")
SOCKET = "/_nicegui_ws/"
#: Open to all: no data behind them.
OPEN = ("/login", "/healthz", "/favicon.ico")
OPEN_BELOW = ("/static/",)
NICEGUI = ("static", "libraries", "components", "esm", "resources")


@dataclass
class Sessions:
    """Codes given out and sessions open, in memory: a restart signs everybody out."""

    by: str
    _code: str = ""
    _issued: float = 0.0
    _wrong: int = 0
    _open: dict[bytes, float] = field(default_factory=dict)

    def new_code(self) -> str:
        """A code that is good once, for a minute; the one before it is void."""
        self._code, self._issued, self._wrong = secrets.token_urlsafe(24), time.monotonic(), 0
        return self._code

    def exchange(self, code: str) -> str | None:
        """A session id for the right code; None for a wrong, used or old one, and after ten wrong ones."""
        if self._wrong >= WRONG_MAX:
            return None
        right = bool(self._code) and hmac.compare_digest(code.encode(), self._code.encode())
        if not right or time.monotonic() - self._issued > CODE_SECONDS:
            self._wrong += 1
            return None
        self._code = ""
        session = secrets.token_urlsafe(32)
        now = time.monotonic()
        self._open = {k: until for k, until in self._open.items() if until > now}
        self._open[_digest(session)] = now + SESSION_SECONDS
        return session

    def valid(self, session: str | None) -> bool:
        """Is this session open? Looked up by its hash, so the time taken tells nothing."""
        return session is not None and self._open.get(_digest(session), 0.0) > time.monotonic()

    def end(self, session: str | None) -> None:
        """Sign out."""
        if session is not None:
            self._open.pop(_digest(session), None)


def _digest(session: str) -> bytes:
    return sha256(session.encode()).digest()


class Guard:
    """The gate before everything; also sets the headers that keep a browser from being fooled."""

    def __init__(self, app: App, sessions: Sessions, port: int) -> None:
        self.app = app
        self.sessions = sessions
        self.cookie = f"unibody_{port}"
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"} | (
            {"127.0.0.1", "localhost"} if port == 80 else set()
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        refused = self._refusal(scope, headers)
        if scope["type"] == "websocket":
            if refused:
                await send({"type": "websocket.close", "code": 1008, "reason": refused[1]})
                return
            await self.app(scope, self._while_valid(receive, session_of(headers, self.cookie)), send)
            return
        if refused:
            await self._answer(scope, send, *refused)
            return
        limit = _bytes_max(scope["path"])
        # a client that claims to sit behind a proxy is not believed: nothing of ours does
        scope["headers"] = [(k, v) for k, v in scope["headers"] if not k.lower().startswith(b"x-forwarded")]
        await self.app(scope, _bounded(receive, limit), _Headers(send, self.hosts))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        path, host = scope["path"], headers.get("host", "")
        if host not in self.hosts:
            return 421, "this server answers to 127.0.0.1 and localhost only"
        write = scope["type"] == "websocket" or scope["method"] not in READS
        if (write or "origin" in headers) and headers.get("origin") != f"http://{host}":
            return 403, "the request comes from another site"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > _bytes_max(path):
            return 413, f"the body is larger than {_bytes_max(path):,} bytes"
        if not _is_open(path) and not self.sessions.valid(session_of(headers, self.cookie)):
            return 401, "not signed in; open the link that `unibody up` printed"
        return None

    async def _answer(self, scope: Scope, send: Send, status: int, what: str) -> None:
        path = scope["path"]
        page = (
            status == 401 and scope["method"] == "GET" and not path.startswith(("/api/", SOCKET, "/_nicegui"))
        )
        if page:
            asked = path + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")
            extra = [(b"location", f"/login?next={quote(asked, safe='')}".encode())]
            await _Headers(send, self.hosts)({"type": "http.response.start", "status": 303, "headers": extra})
            await send({"type": "http.response.body", "body": b""})
            return
        body = json.dumps({"error": {"where": path[:200], "what": what}}).encode()
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await _Headers(send, self.hosts)({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})

    def _while_valid(self, receive: Receive, session: str | None) -> Receive:
        async def checked() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and not self.sessions.valid(session):
                return {"type": "websocket.disconnect", "code": 1008}
            return message

        return checked


def session_of(headers: dict[str, str], cookie: str) -> str | None:
    """The session id that a request brings."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(cookie)
    except CookieError:
        return None
    return found.value if found else None


def _bytes_max(path: str) -> int:
    return SOCKET_BYTES_MAX if path.startswith(SOCKET) else LARGE.get(path, BODY_BYTES_MAX)


def _is_open(path: str) -> bool:
    if path in OPEN or path.startswith(OPEN_BELOW):
        return ".." not in path
    parts = path.split("/")
    return len(parts) > 4 and parts[1] == "_nicegui" and parts[3] in NICEGUI and ".." not in parts


def _bounded(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        # a body that is longer than it said, or did not say: hang up
        return {"type": "http.disconnect"} if seen > limit else message

    return counted


class _Headers:
    """Adds the security headers; gives each inline script of a page the nonce that its policy asks for.

    NiceGUI starts a page by inline scripts and compiles its components in the browser ('unsafe-eval'); text out of
    data is escaped in them, so a script tag in the page's HTML is always NiceGUI's or ours.
    """

    def __init__(self, send: Send, hosts: set[str]) -> None:
        self.send, self.hosts = send, hosts
        self.nonce = secrets.token_urlsafe(16)
        self.start: Message | None = None
        self.page = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(k, v) for k, v in message["headers"] if not k.lower().startswith(b"access-control-")]
            html = any(k.lower() == b"content-type" and v.startswith(b"text/html") for k, v in kept)
            message = {**message, "headers": kept + self._ours(kept)}
            if html:
                self.start = message
                return
        elif self.start is not None and message["type"] == "http.response.body":
            self.page += message.get("body", b"")
            if message.get("more_body"):
                return
            body = self.page.replace(b"<script", f'<script nonce="{self.nonce}"'.encode())
            head = [(k, v) for k, v in self.start["headers"] if k.lower() != b"content-length"]
            await self.send({**self.start, "headers": [*head, (b"content-length", str(len(body)).encode())]})
            message = {"type": "http.response.body", "body": body}
            self.start = None
        await self.send(message)

    def _ours(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        sockets = " ".join(f"ws://{h}" for h in sorted(self.hosts))
        policy = (
            "default-src 'none'; "
            f"script-src 'self' 'nonce-{self.nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
            f"img-src 'self' data:; font-src 'self'; connect-src 'self' {sockets}; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
        )
        ours = {
            b"content-security-policy": policy.encode(),
            b"x-content-type-options": b"nosniff",
            b"referrer-policy": b"no-referrer",
            b"x-frame-options": b"DENY",
            b"cross-origin-opener-policy": b"same-origin",
            b"cross-origin-resource-policy": b"same-origin",
            b"permissions-policy": b"camera=(), microphone=(), geolocation=()",
        }
        if not any(k.lower() == b"cache-control" for k, _ in headers):
            ours[b"cache-control"] = b"no-store"
        return list(ours.items())


LOGIN_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sign in · Unibody</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/static/style.css"><script src="/static/login.js" defer></script></head>
<body class="login"><main><h1>Unibody</h1>
<p id="say">Open the link that <code>unibody up</code> printed in your terminal.</p>
<p class="muted">A link is good once and for a minute. For a new one press Enter in that terminal, or run
<code>unibody up</code> again.</p></main></body></html>"""
