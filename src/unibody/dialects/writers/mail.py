"""Mail: SMTP, encrypted but on this machine, one message a recipient, its Message-ID made of the key.

The server stands in the settings: `smtp = "smtp://host:587"` (STARTTLS, refused where not offered), "smtps://host:465",
or "smtp://localhost:25"; `smtp_user` with the secret SMTP, `mail_from`.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import Any
from urllib.parse import urlsplit

from unibody.dialects.writers import ANSWER_CHARACTERS_KEPT, Outcome, Parcel, loopback, secret, within
from unibody.errors import SetupError

SUBJECT_CHARACTERS_MAX = 200
#: One plain address. RFC 5321 allows more; what it allows beyond this is where injections live.
ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,10}")


def check(recipient: str, options: Mapping[str, Any]) -> None:
    """SetupError where this is not one plain address, or the settings name no server or sender."""
    _address(recipient, "to")
    _address(str(options.get("mail_from") or ""), "mail_from")
    _server(str(options.get("smtp") or ""))


def send(parcel: Parcel) -> Outcome:
    """Hand it to the server once. 250: sent (nobody says it was read). 4xx, no answer: again. 5xx: refused."""
    try:
        check(parcel.recipient, parcel.options)
        scheme, host, port = _server(str(parcel.options["smtp"]))
        user = str(parcel.options.get("smtp_user") or "")
        password = secret("SMTP") if user else ""
        message = letter(parcel)
    except SetupError as e:
        return Outcome("again", error=str(e))
    held: list[smtplib.SMTP] = []
    try:
        with within(parcel.seconds_max, lambda: held[0].sock if held else None):
            kind = _SMTPS if scheme == "smtps" else _SMTP
            server = kind(held, host, port, parcel.seconds_max)
            server.ehlo_or_helo_if_needed()
            if scheme == "smtp" and not loopback(host):
                server.starttls(context=ssl.create_default_context())
                server.ehlo()
            if user:
                server.login(user, password)
            steps: tuple[Callable[[], tuple[int, bytes]], ...] = (
                lambda: server.mail(str(parcel.options["mail_from"])),
                lambda: server.rcpt(parcel.recipient),
                lambda: server.data(message.as_bytes()),
            )
            for step in steps:
                code, said = step()
                if not 200 <= code < 300:
                    return _no(code, said)
            with_what = said.decode("utf-8", "replace")[:ANSWER_CHARACTERS_KEPT].replace("\0", "")
            return Outcome(
                "sent", {"code": code, "answer": with_what, "message_id": str(message["Message-ID"])}
            )
    except smtplib.SMTPResponseException as e:  # of DATA, STARTTLS or the login
        return _no(e.smtp_code, e.smtp_error)
    except (smtplib.SMTPException, OSError) as e:
        return Outcome("again", error=f"{scheme}://{host}:{port}: {type(e).__name__}: {e}")
    finally:
        for each in held:
            each.close()


class _SMTP(smtplib.SMTP):
    """A client that is known from before its first byte, so that a greeting without end can be hung up on."""

    sock: socket.socket | None

    def __init__(self, held: list[smtplib.SMTP], host: str, port: int, seconds: float) -> None:
        held.append(self)
        super().__init__(host, port, timeout=seconds)


class _SMTPS(smtplib.SMTP_SSL):
    """The same, encrypted from the first byte."""

    sock: socket.socket | None

    def __init__(self, held: list[smtplib.SMTP], host: str, port: int, seconds: float) -> None:
        held.append(self)
        super().__init__(host, port, timeout=seconds, context=ssl.create_default_context())


def letter(parcel: Parcel) -> EmailMessage:
    """The mail as it leaves: the body's `subject` and `text`; a line break in a subject is a blank, never a header."""
    body = parcel.body if isinstance(parcel.body, dict) else {}
    subject = " ".join("".join(c if c.isprintable() else " " for c in str(body.get("subject", ""))).split())
    sender = str(parcel.options["mail_from"])
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = parcel.recipient
    message["Subject"] = subject[:SUBJECT_CHARACTERS_MAX]
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{parcel.key}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Unibody-Key"] = parcel.key
    message.set_content(str(body.get("text", "")).replace("\0", ""), cte="base64")
    return message


def _no(code: int, said: bytes | str) -> Outcome:
    text = (said.decode("utf-8", "replace") if isinstance(said, bytes) else said)[:300].replace("\0", "")
    return Outcome("refused" if 500 <= code < 600 else "again", error=f"SMTP {code}: {text}")


def _address(text: str, what: str) -> None:
    if not ADDRESS.fullmatch(text):
        raise SetupError(f"mail: {what} = {text!r} should be one address like anna@example.com")


def _server(text: str) -> tuple[str, str, int]:
    try:
        found = urlsplit(text)
        port = found.port or {"smtp": 25, "smtps": 465}.get(found.scheme, 0)
    except ValueError:
        found, port = urlsplit(""), 0
    if found.scheme not in ("smtp", "smtps") or not found.hostname or not port:
        raise SetupError(f"mail: smtp = {text!r} should be like smtps://mail.example.com:465")
    if found.username is not None or found.password is not None:
        raise SetupError("mail: a name or password in `smtp`; set smtp_user, and the secret SMTP")
    return found.scheme, found.hostname, port
