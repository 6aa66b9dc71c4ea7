"""Webhook: HTTP POST of JSON, signed as the Standard Webhooks specification says, with the key as Idempotency-Key.

Headers: `webhook-id` (the key), `webhook-timestamp`, `webhook-signature: v1,BASE64` with HMAC-SHA256 over
"ID.TIMESTAMP.BODY" (https://www.standardwebhooks.com, section "Signature scheme"); `Idempotency-Key`.
Redirects are not followed: a message goes where the settings say, nowhere else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import json
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

from unibody.dialects.writers import (
    ANSWER_BYTES_MAX,
    ANSWER_CHARACTERS_KEPT,
    Outcome,
    Parcel,
    loopback,
    secret,
    within,
)
from unibody.errors import SetupError

#: Answers after which the same message may yet be taken; other 4xx stay as they are however often one asks.
TRY_AGAIN = (408, 409, 421, 423, 425, 429)


def check(recipient: str, options: Mapping[str, Any]) -> None:
    """SetupError where this is no address to post to: https, or http on this machine; no password in it."""
    _address(recipient)


def send(parcel: Parcel) -> Outcome:
    """Post once. 2xx: confirmed, but 202 (taken, not yet acted on): sent. 5xx and no answer: again. Else refused."""
    try:
        address = _address(parcel.recipient)
        body = json.dumps(parcel.body, separators=(",", ":")).encode()
        headers = _headers(parcel, body, int(time.time()))
    except SetupError as e:
        return Outcome("again", error=str(e))
    host, port, seconds = address.hostname or "", address.port, parcel.seconds_max
    con = (
        http.client.HTTPSConnection(host, port, timeout=seconds, context=ssl.create_default_context())
        if address.scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=seconds)
    )
    try:
        with within(seconds, lambda: con.sock) as over:
            path = (address.path or "/") + (f"?{address.query}" if address.query else "")
            con.request("POST", path, body, headers)
            answer = con.getresponse()
            said = answer.read(ANSWER_BYTES_MAX)
            if over.is_set():
                return Outcome(
                    "again", error=f"{address.scheme}://{host}: no whole answer within {seconds:g} s"
                )
            return _outcome(answer.status, dict(answer.headers.items()), said)
    except (OSError, http.client.HTTPException, ValueError) as e:
        # ValueError: what http.client makes of an answer that is no HTTP
        return Outcome("again", error=f"{address.scheme}://{host}: {type(e).__name__}: {e}")
    finally:
        con.close()


def signature(key: str, timestamp: int, body: bytes, secret_text: str) -> str:
    """The value of `webhook-signature`; the secret is `whsec_BASE64`, or taken as plain text.

    >>> signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    if secret_text.startswith("whsec_"):
        try:
            by = base64.b64decode(secret_text.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            raise SetupError(
                "the webhook's secret begins with whsec_ but what follows is not base64"
            ) from None
    else:
        by = secret_text.encode()
    signed = f"{key}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(by, signed, hashlib.sha256).digest()).decode()


def _headers(parcel: Parcel, body: bytes, now: int) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "unibody",
        "Idempotency-Key": parcel.key,
        "webhook-id": parcel.key,
        "webhook-timestamp": str(now),
        "Connection": "close",
    }
    if parcel.options.get("secret"):
        headers["webhook-signature"] = signature(parcel.key, now, body, secret(str(parcel.options["secret"])))
    if parcel.options.get("bearer"):
        token = secret(str(parcel.options["bearer"]))
        if not token.isascii() or not token.isprintable():
            raise SetupError(f"secret {parcel.options['bearer']}: a bearer token should be printable ASCII")
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _address(recipient: str) -> SplitResult:
    try:
        found = urlsplit(recipient)
        port = found.port
    except ValueError as e:
        raise SetupError(f"webhook to {recipient!r}: {e}") from e
    if found.username is not None or found.password is not None:
        raise SetupError("webhook: a name or password in the address; name a secret instead: bearer = 'NAME'")
    right = found.scheme == "https" or (found.scheme == "http" and loopback(found.hostname or ""))
    clean = recipient.isascii() and recipient.isprintable() and " " not in recipient
    if not right or not found.hostname or port == 0 or not clean:
        raise SetupError(
            f"webhook to {recipient!r}: should be https://HOST/PATH (http:// only on this machine)"
        )
    return found


def _outcome(status: int, headers: Mapping[str, str], said: bytes) -> Outcome:
    headers = {k.title(): v for k, v in headers.items()}
    text = said.decode("utf-8", "replace")[:ANSWER_CHARACTERS_KEPT].replace("\0", "")
    if 200 <= status < 300:
        receipt = {"status": status, "answer": text}
        if headers.get("Location"):
            receipt["location"] = str(headers["Location"])[:ANSWER_CHARACTERS_KEPT]
        return Outcome("sent" if status == 202 else "confirmed", receipt)
    error = f"HTTP {status}: {text[:300]}"
    if 300 <= status < 400:
        where = str(headers.get("Location", ""))[:300]
        return Outcome(
            "refused", error=f"HTTP {status}: sent on to {where!r}; redirects are not followed: set `to`"
        )
    if status in TRY_AGAIN or status >= 500 or status < 200:
        return Outcome("again", error=error, after_seconds=_asked(headers.get("Retry-After")))
    return Outcome("refused", error=error)


def _asked(after: str | None) -> float:
    """Seconds that `Retry-After` asks for: a number, or a date; what is neither asks for nothing."""
    if not after:
        return 0.0
    if after.isascii() and after.isdigit() and len(after) < 9:
        return float(after)
    try:
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
