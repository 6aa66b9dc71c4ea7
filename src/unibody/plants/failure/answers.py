"""Say it: rows of the decision table, with a reason a planner can read and references to the readings behind it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from unibody.plants.failure.history import Floats
from unibody.solution import ANSWER
from unibody.tables import Decision

_DTYPES = Decision.dtypes()
SCHEMA = {c: _DTYPES[c] for c in ANSWER}


def frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """The answer; a column that a row leaves out is null."""
    return pl.DataFrame([{c: row.get(c) for c in SCHEMA} for row in rows], schema=SCHEMA, orient="row")


def instant(us: int) -> datetime:
    """Microseconds since 1970 as an instant."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(us))


def evidence(machine: str, signals: Sequence[str], since: int, until: int) -> str:
    """Reference to the readings that a decision rests on; derived signals are named by the signal they come from."""
    raw = list(dict.fromkeys(s.removesuffix(".spread").split("=")[0] for s in signals))
    span = {"from": instant(since).isoformat(), "until": instant(until).isoformat()}
    return json.dumps([{"table": "machine_reading", "machine": machine, "signals": raw, **span}])


def drivers(departure: Floats, importance: Floats, signals: Sequence[str]) -> list[tuple[str, str]]:
    """Up to three signals that moved furthest from normal, weighted by what the model makes of them, and whither.

    `departure` is in standard deviations of the normal state; below 1.5 a signal has not moved.
    """
    weight = [abs(d) * i if abs(d) >= 1.5 else 0.0 for d, i in zip(departure, importance, strict=True)]
    most = max(weight, default=0.0)
    order = sorted(range(len(weight)), key=lambda i: (-weight[i], signals[i]))[:3]
    # a signal that weighs less than a fourth of the first would only distract
    return [(signals[i], "rising" if departure[i] > 0 else "falling") for i in order if weight[i] > most / 4]


def spoken(found: Sequence[tuple[str, str]]) -> str:
    """Drivers in words.

    >>> spoken([("s11", "rising"), ("s4", "rising"), ("s7", "falling")])
    's11 and s4 rising, s7 falling'
    """
    parts = []
    for way in dict.fromkeys(w for _, w in found):
        named = [s for s, w in found if w == way]
        parts.append(
            f"{', '.join(named[:-1])} and {named[-1]} {way}" if len(named) > 1 else f"{named[0]} {way}"
        )
    return ", ".join(parts)
