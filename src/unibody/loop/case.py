"""One case of the loop: what fails, why, which cars; and the shape of what is proposed about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from math import exp, isfinite
from typing import Any

from unibody.loop.scope import Scope
from unibody.methods.cohorts import Cause


@dataclass(frozen=True)
class Case:
    """What the loop has found out of one symptom: what fails, why, and which cars."""

    brand: str
    symptom: str
    cause: Cause
    scope: Scope
    as_of: datetime
    platform: str | None = None
    component: str | None = None
    safety: bool = False
    references: tuple[
        Mapping[str, Any], ...
    ] = ()  # rows it stands on, e.g. {"table": "visit", "visit_id": "88"}

    @property
    def bundle(self) -> str:
        """The hash of the case: of what fails and what the cause names, not of where the ends of its ranges lie.

        New failures move an end a little; the case, and what was approved of it, stays the same.
        """
        named = {n: "range" if isinstance(w, list | tuple) else w for n, w in self.cause.conditions.items()}
        said = [self.brand, self.platform, self.symptom, sorted(named.items())]
        return sha256(json.dumps(said, default=str).encode()).hexdigest()[:12]

    @property
    def kind(self) -> str:
        """How cars are mended: update, recall or service."""
        return "update" if self.scope.over_the_air else "recall" if self.safety else "service"


@dataclass(frozen=True)
class Proposal:
    """One decision of a bundle, before it becomes a row."""

    subject: str
    action: str
    reason: str
    message: dict[str, Any]
    counter: dict[str, Any]
    risk: str
    worth_eur: float | None = None
    formula: str = ""
    evidence: tuple[dict[str, Any], ...] = ()  # what writers read by name: lot, part, vin, site
    sure: float | None = None  # where it is less sure than the cause


def finite(x: float) -> float | None:
    """A number that JSON can hold, else None.

    >>> finite(2.5), finite(float("inf"))
    (2.5, None)
    """
    return float(x) if isfinite(x) else None


def why(case: Case) -> str:
    """The case in one sentence.

    e.g. "brake_pedal_soft: 31 of 2,140 cars failed where 3.4 were expected, 9.1 times as often as others (6.2 to 13.4)"
    """
    c = case.cause
    most = "more" if finite(c.high) is None else f"{c.high:.1f}"
    return (
        f"{case.symptom}: {c.failed:,} of {c.units:,} cars failed where {c.expected:.1f} were expected, "
        f"{c.effect:.1f} times as often as others ({c.low:.1f} to {most})"
    )


def avoided(case: Case, affected: float) -> tuple[float | None, str]:
    """EUR of failures that so many affected cars will not have, and the formula in words; None where days are unknown."""
    how, a_day = case.scope.settings, case.scope.failures_a_day
    if a_day is None:
        return None, "not known: nobody says how long the cars have been on the road"
    # a car fails of a cause once: a rate seen over some weeks must not become twelve failures a year
    share = 1 - exp(-a_day * how.horizon_days)
    eur = affected * share * how.eur_failure
    return eur, (
        f"{affected:,.0f} affected x {share:.0%} that fail within {how.horizon_days:.0f} days "
        f"x EUR {how.eur_failure:,.0f}"
    )
