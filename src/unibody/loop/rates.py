"""How much one rate changed against another, how sure, and how long to wait until that can be seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, inf, log, nan

import numpy as np

from unibody.errors import SetupError

LEVEL = 0.95
Z_BOTH = 1.959963984540054 + 0.8416212335729143  # 95 % two-sided, 80 % power
RATIO_MOST = 1e9


@dataclass(frozen=True)
class Cell:
    """Failures, vehicle-days at risk (each by the share of its failures already reported), failures expected of them."""

    failed: int
    days: float
    expected: float


def compare(
    before: Cell, after: Cell, other_before: Cell, other_after: Cell
) -> tuple[float, float, float, float]:
    """Ratio of the two changes, its 95 % mid-P interval, and how sure the treated rate fell.

    >>> ratio, low, high, sure = compare(Cell(40, 1, 30.0), Cell(8, 1, 30.0), Cell(30, 1, 30.0), Cell(30, 1, 30.0))
    >>> round(ratio, 2), round(low, 2), round(high, 2), round(sure, 3)
    (0.2, 0.08, 0.5, 1.0)
    """
    from scipy.special import gammaln

    four = (before, after, other_before, other_after)
    if min(c.expected for c in four) <= 0:
        return nan, 0.0, inf, 0.5
    odds = after.expected * other_before.expected / (before.expected * other_after.expected)
    top, under = after.failed * other_before.failed, before.failed * other_after.failed
    ratio = top / under / odds if under else (inf if top else nan)
    mine, others, later = (
        before.failed + after.failed,
        other_before.failed + other_after.failed,
        after.failed + other_after.failed,
    )
    least, most = max(0, later - others), min(mine, later)
    if least == most:
        return ratio, 0.0, inf, 0.5  # the margins leave no choice: nothing can be said
    x = np.arange(least, most + 1)
    ways = -sum(gammaln(n + 1.0) for n in (x, mine - x, later - x, others - later + x))

    def below(log_ratio: float) -> float:
        """Mid-P chance of so few treated failures after the cure, or fewer."""
        chance = ways + x * (log_ratio + log(odds))
        chance = np.exp(chance - chance.max())
        chance /= chance.sum()
        return float(chance[x < after.failed].sum() + 0.5 * chance[x == after.failed].sum())

    tail = (1 - LEVEL) / 2
    low = 0.0 if after.failed == least else exp(_solve(below, 1 - tail))
    high = inf if after.failed == most else exp(_solve(below, tail))
    return ratio, low, high, min(max(1.0 - below(0.0), 0.0), 1.0)


def _solve(below: Callable[[float], float], level: float) -> float:
    """The log ratio at which a falling function reaches a level."""
    from scipy.optimize import brentq

    if below(log(RATIO_MOST)) > level:  # failures so many that no ratio within reason is excluded
        return inf
    if below(-log(RATIO_MOST)) < level:
        return -inf
    return float(brentq(lambda x: below(x) - level, -log(RATIO_MOST), log(RATIO_MOST), xtol=1e-9))


def days_needed(
    before: Cell, after: Cell, other_before: Cell, other_after: Cell, planned: float
) -> float | None:
    """More vehicle-days of treated cars until a reduction of `planned` shows with 80 % power; None: never.

    By the variance of the log ratio, the sum of one over each cell's failures, those after the cure as they would come
    if the plan held; untreated time grows alongside. At least: it takes the failures before the cure as they are.
    """
    if not 0 < planned < 1:
        raise SetupError(
            f"planned = {planned}: the reduction looked for should lie between 0 and 1, e.g. 0.5"
        )
    if not before.failed or not other_before.failed or min(after.expected, other_after.expected) <= 0:
        return None
    allowed = (log(1 - planned) / Z_BOTH) ** 2 - 1 / before.failed - 1 / other_before.failed
    if allowed <= 0:
        return None
    before_rate, other_rate = before.failed / before.expected, other_before.failed / other_before.expected
    trend = max(other_after.failed, 0.5) / (other_rate * other_after.expected)
    treated = before_rate * trend * (1 - planned) * after.expected
    untreated = other_rate * trend * other_after.expected
    times = (1 / treated + 1 / untreated) / allowed
    return max(times - 1, 0.0) * after.days
