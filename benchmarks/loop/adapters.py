"""How the product's own steps are asked in this benchmark; where one is not there, its figures are left out, by name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from benchmarks.loop.cases import Case, Notice
from benchmarks.loop.scoring import Says

Explain = Callable[..., Says]
#: A case, the answer to it and one of its accepted causes, to the vehicles to be called in and the probability stated
#: that an affected one is among them.
Scope = Callable[[Case, Any, Any], tuple[set[str], float]]


def ours() -> Explain | None:
    """The product's explaining."""
    try:
        from unibody.methods.cohorts import explain
    except ImportError:
        return None
    return explain


def scope() -> Scope | None:
    """The product's scoping, of the vehicles in service."""
    try:
        from unibody.loop.scope import scope as scoping
    except ImportError:
        return None

    def ask(case: Case, answer: Any, cause: Any) -> tuple[set[str], float]:
        others = [c.conditions for c in answer.causes if c is not cause]
        found = scoping(
            case.frame,
            cause,
            rivals=answer.ranked,
            others=others,
            outcome=case.outcome,
            exposure=case.exposure,
        )
        return set(found.vehicles), found.stated

    return ask


def notice() -> Notice | None:
    """The product's noticing, replayed week by week with what was known then."""
    try:
        from unibody.loop.looks import noticed
    except ImportError:
        return None

    def ask(field: Any) -> list[tuple[str, datetime]]:
        return [(n.signal.symptom, n.at) for n in noticed(field.tables, field.as_of)]

    return ask
