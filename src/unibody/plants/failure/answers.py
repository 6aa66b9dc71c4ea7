"""Say it: rows of the decision table, with a reason a planner can read and references to the readings behind it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from unibody.plants.failure.history import Floats
from unibody.solution import ANSWER
from unibody.tables import Decision

_DTYPES = Decision.dtypes()
LINE = 160  # a reason is one line
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

    `departure` is in standard deviations of the normal state; below 1.5 a signal has not moved. A signal of which the
    model makes less than half of what an even share would be is noise to it.
    """
    even = float(importance.sum()) / max(len(importance), 1)
    weight = [
        abs(d) * i if abs(d) >= 1.5 and i > even / 2 else 0.0
        for d, i in zip(departure, importance, strict=True)
    ]
    most = max(weight, default=0.0)
    order = sorted(range(len(weight)), key=lambda i: (-weight[i], signals[i]))[:3]
    # a signal that weighs less than a fourth of the first would only distract
    return [(signals[i], "rising" if departure[i] > 0 else "falling") for i in order if weight[i] > most / 4]


def reason(said: str, found: Sequence[tuple[str, str]], otherwise: str) -> str:
    """What is said, and the drivers in words: as many as a line holds.

    >>> reason("pump 7: plan its stop", [("s11", "rising"), ("s4", "rising"), ("s7", "falling")], "")
    'pump 7: plan its stop; driven by s11 and s4 rising, s7 falling'
    >>> reason("pump 7: 4% likely", [("step=rough", "high"), ("power.spread", "high")], "")
    'pump 7: 4% likely; driven by step is rough, scatter of power high'
    >>> reason("pump 7: keep it running", [], "judged by age")
    'pump 7: keep it running; judged by age'
    """
    for many in range(len(found), 0, -1):
        whole = f"{said}; driven by {spoken(found[:many])}"
        if len(whole) < LINE:
            return whole
    whole = said if found else f"{said}; {otherwise}"
    return whole if len(whole) < LINE else whole[: LINE - 2] + "…"


def spoken(found: Sequence[tuple[str, str]]) -> str:
    """Drivers in words.

    >>> spoken([("s11", "rising"), ("s4", "rising"), ("s7", "falling")])
    's11 and s4 rising, s7 falling'
    """
    parts = []
    for signal, way in found:
        if "=" in signal:
            name, _, word = signal.partition("=")
            parts.append(f"{name} is {word}" if way in ("rising", "high") else f"{name} is not {word}")
    plain = [
        (f"scatter of {s[:-7]}" if s.endswith(".spread") else s, way) for s, way in found if "=" not in s
    ]
    for way in dict.fromkeys(w for _, w in plain):
        named = [s for s, w in plain if w == way]
        parts.append(
            " ".join([", ".join(named[:-1]), "and", named[-1], way] if named[1:] else [named[0], way])
        )
    return ", ".join(parts)


def left(value: float, low: float, high: float, unit: str, *, capped: bool = False) -> str:
    """How much is left, in figures no finer than the interval supports.

    >>> left(753.2, 0, 2651.8, "cycles")
    'about 750 cycles left (0 to 2,650)'
    >>> left(31_234, 12_345, 61_111, "cycles")
    'about 31,000 cycles left (12,500 to 61,000)'
    >>> left(124.9, 103.7, 125, "cycles", capped=True)
    'about 125 cycles or more left (104 to 125)'
    >>> left(0.81, 0.55, 1.3, "h")
    'about 0.81 h left (0.55 to 1.30)'
    """
    width = max(high - low, 1e-9)
    size = 10.0 ** np.floor(np.log10(width / 50))
    step = next(k * size for k in (5, 2, 1) if k * size <= width / 50 * (1 + 1e-9))
    step = 1.0 if width >= 5 and step < 1 else step
    digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    v, a, b = (f"{round(x / step) * step:,.{digits}f}" for x in (value, low, high))
    return f"about {v} {unit}{' or more' if capped else ''} left ({a} to {b})"


def percent(share: float) -> str:
    """A probability as people say it: one learned from some hundred cases is no surer than to a twentieth.

    >>> [percent(p) for p in (0.0004, 0.0612, 0.4321, 0.996)]
    ['under 1%', '6%', '45%', 'over 99%']
    """
    if not 0.01 <= share <= 0.99:
        return "under 1%" if share < 0.01 else "over 99%"
    return f"{share:.0%}" if share < 0.095 or share > 0.955 else f"{round(share * 20) * 5}%"
