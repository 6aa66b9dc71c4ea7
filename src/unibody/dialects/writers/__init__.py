"""Writers: how other systems are told. A TOML file states what a message looks like; a transport carries it.

A transport is a module with two functions:

    check(recipient, options) -> None       SetupError where nothing could ever be delivered there
    send(parcel) -> Outcome                 one attempt; never raises for what the other side does

A repeat carries the same key and the same body, so a receiver that honours the key acts once.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from unibody.errors import SetupError, nearest

TRANSPORTS: dict[str, str] = {
    "mail": "unibody.dialects.writers.mail",
    "webhook": "unibody.dialects.writers.webhook",
    "drop": "unibody.dialects.writers.drop",
}
#: One delivery, from the first byte to the last; the outbox's lease is longer.
DELIVERY_SECONDS_MAX = 20.0
#: What is read of an answer, and kept of it.
ANSWER_BYTES_MAX, ANSWER_CHARACTERS_KEPT = 65_536, 2_000


@dataclass(frozen=True)
class Parcel:
    """One message on its way to one recipient."""

    key: str
    recipient: str
    body: Any  # JSON
    options: Mapping[str, Any] = field(default_factory=dict)
    seconds_max: float = DELIVERY_SECONDS_MAX


@dataclass(frozen=True)
class Outcome:
    """What came of one attempt."""

    state: Literal["confirmed", "sent", "again", "refused"]
    receipt: Any = None
    error: str = ""
    after_seconds: float = 0.0  # the other side asked to wait


class Transport(Protocol):
    """The functions of a transport."""

    def check(self, recipient: str, options: Mapping[str, Any]) -> None:
        """SetupError where nothing could ever be delivered there."""
        ...

    def send(self, parcel: Parcel) -> Outcome:
        """Try once."""
        ...


def transport(name: str) -> Transport:
    """A transport by name; SetupError says what there is."""
    if name not in TRANSPORTS:
        raise SetupError(f"no transport {name!r}; {nearest(name, TRANSPORTS)}")
    return cast(Transport, import_module(TRANSPORTS[name]))


def secret(name: str) -> str:
    """A secret by name: the variable UNIBODY_SECRET_NAME, or the file that UNIBODY_SECRET_NAME_FILE names.

    Raises SetupError where it is not there; its value is in no message.
    """
    if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
        raise SetupError(f"secret {name!r}: a secret's name should be capitals, digits and _")
    variable = f"UNIBODY_SECRET_{name}"
    if variable in os.environ:
        return os.environ[variable].strip()
    if f"{variable}_FILE" in os.environ:
        path = Path(os.environ[f"{variable}_FILE"])
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as e:
            raise SetupError(f"{variable}_FILE={path}: cannot be read: {type(e).__name__}") from e
    raise SetupError(f"secret {name} is not set: set {variable}, or {variable}_FILE to a file that holds it")


def loopback(host: str) -> bool:
    """Is this host this machine? Only there may a message travel unencrypted.

    >>> loopback("localhost"), loopback("127.0.0.1"), loopback("127.0.0.1.example.com")
    (True, True, False)
    """
    return host in ("localhost", "::1") or bool(re.fullmatch(r"127(\.\d{1,3}){3}", host))


@contextmanager
def within(seconds: float, door: Callable[[], socket.socket | None]) -> Iterator[threading.Event]:
    """Hang up when the time is over: a peer that sends a byte now and then would hold a plain timeout for ever.

    Gives an event that is set then: what was half read must not be taken for an answer.
    """
    over = threading.Event()

    def hang_up() -> None:
        over.set()
        found = door()
        if found is not None:
            with suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield over
    finally:
        timer.cancel()
