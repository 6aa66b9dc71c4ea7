"""Who is told, in the tests: an HTTP receiver that honours the key, and an SMTP server; both real, on loopback."""

from __future__ import annotations

import json
import socketserver
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


class Receiver:
    """Takes what is posted; the effect of a key happens once, however often it comes."""

    def __init__(
        self, answer: Callable[[int], Answer] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.answer = answer or (lambda _: (201, {}, b'{"number": "WO-1"}'))
        self.lock, self.requests = threading.Lock(), 0
        self.effects: dict[str, Any] = {}  # key -> body, as first seen
        self.order: list[str] = []
        self.came: list[tuple[dict[str, str], bytes]] = []  # every request, repeats too
        self.differing: list[str] = []  # keys that came back with another body

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:
                self._take(handler)

            def do_GET(handler) -> None:
                self._take(handler)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/orders"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", "0")))
        with self.lock:
            self.requests += 1
            status, headers, said = self.answer(self.requests)
            self.came.append((dict(handler.headers.items()), body))
            if 200 <= status < 300:
                key = handler.headers["Idempotency-Key"]
                if key not in self.effects:
                    self.effects[key] = json.loads(body)
                    self.order.append(key)
                elif self.effects[key] != json.loads(body):
                    self.differing.append(key)
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(said)))
        handler.end_headers()
        handler.wfile.write(said)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Postbox:
    """An SMTP server (RFC 5321, as much as a client needs) that keeps what it takes; `refuse` answers a command so."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], bytes]] = []
        self.commands: list[str] = []
        self.refuse: dict[str, str] = {}

        class Handler(socketserver.StreamRequestHandler):
            def handle(handler) -> None:
                self._talk(handler)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.server.daemon_threads = self.server.allow_reuse_address = True
        self.server.server_bind()
        self.server.server_activate()
        self.port = self.server.server_address[1]
        self.url = f"smtp://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def _talk(self, handler: socketserver.StreamRequestHandler) -> None:
        def say(text: str) -> None:
            handler.wfile.write(f"{text}\r\n".encode())

        say("220 postbox")
        sender, to = "", list[str]()
        while line := handler.rfile.readline().decode("utf-8", "replace").strip():
            word = line.split()[0].split(":")[0].upper()
            self.commands.append(line)
            if word in self.refuse:
                say(self.refuse[word])
            elif word == "EHLO":
                say("250-postbox\r\n250 8BITMIME")
            elif word == "MAIL":
                sender = line.partition("<")[2].partition(">")[0]
                say("250 ok")
            elif word == "RCPT":
                to.append(line.partition("<")[2].partition(">")[0])
                say("250 ok")
            elif word == "DATA":
                say("354 go on")
                lines = []
                while (part := handler.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(part[1:] if part.startswith(b"..") else part)
                self.mails.append((sender, to, b"".join(lines)))
                say(self.refuse.get("END", "250 queued as 7"))
            elif word == "QUIT":
                say("221 bye")
                return
            else:
                say("502 what?")

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
