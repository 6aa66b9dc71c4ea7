"""How many failures each unit would have if nothing were behind them: exposure, age, and who reports more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unibody.methods.cohorts.attributes import Attribute
from unibody.methods.cohorts.evidence import Floats

#: Reporting factors are learned for at most so many attributes, one after another.
MOST_FACTORS = 6
_SHAPES = np.exp(
    np.linspace(np.log(1.0), np.log(1000.0), 25)
)  # gamma prior's shape: 1 = wild, 1000 = all the same


def by_age(ages: Floats, failures: Floats, units: Floats | None = None) -> Floats:
    """Cumulative hazard at each unit's age: Nelson-Aalen, so that observed - expected is the log-rank's residual.

    W. Nelson, "Theory and applications of hazard plotting", Technometrics 14 (1972); units leave at their age, failed or not.
    units: how many a row stands for (default 1).

    >>> by_age(np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 1.0])).round(3)
    array([0.333, 0.333, 1.333])
    """
    order = np.argsort(ages, kind="stable")
    sorted_ages = ages[order]
    first = np.searchsorted(sorted_ages, sorted_ages, side="left")
    count = np.ones(len(ages)) if units is None else units[order]
    at_risk = (np.cumsum(count[::-1])[::-1])[first]  # those as old or older
    steps = np.cumsum(failures[order] / np.maximum(at_risk, 1e-300))
    last = np.searchsorted(sorted_ages, sorted_ages, side="right") - 1
    out = np.empty(len(ages))
    out[order] = steps[last]
    return out


def reporting(
    base: Floats, others: Floats, attributes: Sequence[Attribute]
) -> tuple[Floats, tuple[str, ...]]:
    """Factor by which each unit reports more of everything, from counts of its other symptoms.

    Attribute by attribute, the one along which the other symptoms differ most comes first: each value gets the
    gamma-Poisson mean (O + k) / (E + k) with k by maximum marginal likelihood (empirical Bayes), so that values with few
    reports stay near 1; the attribute counts only when that likelihood beats "all the same" by more than the number of
    attributes tried. Groups of units are adjusted, never one unit by its own reports. Numbers count by their bins.
    """
    factor = np.ones_like(base)
    total = float(others.sum())
    if total < 20:
        return factor, ()
    rate = base * (total / base.sum())
    chosen: list[str] = []
    tried = [a for a in attributes if a.bins + a.missing < len(base) / 5]
    observed = [a.sums(others) for a in tried]
    for _ in range(MOST_FACTORS):
        now = rate * factor
        best, gain, shape, expected = -1, np.log(len(tried) + 1.0) + 4.0, 1.0, np.zeros(0)
        for i, a in enumerate(tried):
            if a.name in chosen:
                continue
            e = a.sums(now)
            k, over = _heterogeneity(observed[i], e)
            if over > gain:
                best, gain, shape, expected = i, over, k, e
        if best < 0:
            break
        chosen.append(tried[best].name)
        group = (observed[best] + shape) / (expected + shape)
        factor = factor * group[tried[best].codes]
        factor *= total / float((rate * factor).sum())
    return factor, tuple(chosen)


def _heterogeneity(observed: Floats, expected: Floats) -> tuple[float, float]:
    """The gamma shape that fits best, and its log likelihood above that of all groups being the same."""
    from scipy.special import gammaln

    there = expected > 0
    o, e = observed[there], expected[there]
    k = _SHAPES[:, None]
    log_likelihood = gammaln(o + k) - gammaln(k) + k * np.log(k / (k + e)) + o * np.log(e / (k + e))
    same = o * np.log(e) - e
    over = (log_likelihood - same).sum(axis=1)
    best = int(over.argmax())
    return float(_SHAPES[best]), float(over[best])
