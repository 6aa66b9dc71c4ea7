"""How sure a measure is: resample whole units (machines, cars, blocks), the same ones for both of a pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from scipy import special

from unibody.methods.scores.questions import Floats, Questions

#: Two-sided level of every interval.
LEVEL = 0.95
#: With fewer units no interval is stated, hence nothing beats anything: four of four better is luck once in 2^4 = 16
#: times, five of five once in 32.
UNITS_NEEDED = 5
#: Numbers held at once, at most: 4 million are 32 MB.
_BLOCK = 4_000_000


class Statistic(Protocol):
    """A measure as a function of how often each unit was drawn."""

    def __call__(self, weights: Floats) -> Floats:
        """From weights (units x draws) to one number a draw."""
        ...


@dataclass(frozen=True)
class Mean:
    """A mean over rows whose units are weighted: sum(w * total) / sum(w * count), or the root of it.

    >>> Mean(np.array([2.0, 9.0]), np.array([2.0, 1.0]))(np.array([[1.0, 0.0], [1.0, 2.0]]))
    array([3.66666667, 9.        ])
    """

    total: Floats  # by unit
    count: Floats  # by unit
    root: bool = False

    @classmethod
    def of(cls, asked: Questions, values: Floats, *, root: bool = False) -> Mean:
        """The mean of one value a row."""
        return cls(
            asked.sums(values), np.bincount(asked.unit, minlength=asked.units).astype(np.float64), root
        )

    def __call__(self, weights: Floats) -> Floats:
        """The mean in every draw; NaN where a draw has no rows."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (self.total @ weights) / (self.count @ weights)
        out: Floats = np.sqrt(mean) if self.root else mean
        return out


@dataclass(frozen=True)
class Measured:
    """What a kind's measure says before resampling: ours, the naive baseline, and chance."""

    metric: str
    higher_is_better: bool
    ours: Statistic
    baseline: Statistic
    baseline_name: str
    chance: float
    unanswered: float  # share of questions
    bearing: int  # units the measure rests on: those with an event when events are rare
    needed: int = UNITS_NEEDED
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Paired:
    """Two measures of the same questions, and the gain of the first over the second, with 95 % intervals."""

    ours: float
    low: float
    high: float
    baseline: float
    gain: float
    gain_low: float
    gain_high: float


def draws(units: int, resamples: int, seed: int, rows: int = 1) -> Iterator[Floats]:
    """Draw as many units as there are, with replacement, `resamples` times: counts (units x draws), in blocks.

    >>> [w.sum(axis=0).tolist() for w in draws(units=3, resamples=2, seed=0)]
    [[3.0, 3.0]]
    """
    random = np.random.default_rng(seed)
    block = max(1, _BLOCK // max(units, rows))
    for start in range(0, resamples, block):
        n = min(block, resamples - start)
        drawn = random.integers(units, size=(n, units)) + np.arange(n)[:, None] * units
        yield np.bincount(drawn.ravel(), minlength=n * units).reshape(n, units).T.astype(np.float64)


def interval(values: Floats, point: float, bearing: int, needed: int = UNITS_NEEDED) -> tuple[float, float]:
    """The expanded percentile interval of bootstrap values; (nan, nan) when it rests on too few units.

    The plain percentile interval of n units is too narrow by about sqrt((n - 1) / n) and by z in place of t; taking the
    percentiles at Phi(-sqrt(n / (n - 1)) * t_(n-1)) mends both: T. Hesterberg, "What Teachers Should Know About the
    Bootstrap", The American Statistician 69 (2015), section 4.4. The end towards which the draws are biased is moved
    back by that bias, mean(values) - point (B. Efron and R. Tibshirani, "An Introduction to the Bootstrap" (1993),
    section 10.2): a rare event drawn twice vouches for itself, so average precision rises in every draw, and noise would
    "beat" a baseline that ranks nothing in 10 to 13 of 100 made-up worlds; so it does in 1 to 5.

    >>> values = np.arange(10_001) / 10_000
    >>> [[round(x, 3) for x in interval(values, 0.5, bearing)] for bearing in (100_000, 10)]
    [[0.025, 0.975], [0.009, 0.991]]
    >>> interval(values, 0.5, bearing=4)
    (nan, nan)
    """
    values = values[~np.isnan(values)]  # draws that hold no event at all
    if bearing < max(needed, 2) or not len(values):
        return float("nan"), float("nan")
    t = special.stdtrit(bearing - 1, (1 + LEVEL) / 2)
    tail = float(special.ndtr(-np.sqrt(bearing / (bearing - 1)) * t))
    low, high = np.quantile(values, (tail, 1 - tail))
    bias = float(values.mean()) - point
    return float(low) - max(bias, 0.0), float(high) - min(bias, 0.0)


def pairwise_gain(
    ours: Statistic,
    baseline: Statistic,
    *,
    units: int,
    higher_is_better: bool,
    bearing: int | None = None,
    needed: int = UNITS_NEEDED,
    rows: int = 1,
    seed: int = 0,
    resamples: int = 1000,
) -> Paired:
    """The paired cluster bootstrap: both measures on the same draws of whole units; gain > 0 means ours is better.

    gain = ours - baseline (baseline - ours where lower is better). Units are drawn, never rows, because rows of one
    machine are alike: C. Field and A. Welsh, "Bootstrapping clustered data", JRSS B 69 (2007), section 2.

    >>> errors = Mean(np.array([1.0, 2.0, 1.0, 2.0, 1.0, 2.0]), np.ones(6))
    >>> naive = Mean(np.array([2.0, 4.0, 2.0, 3.0, 3.0, 4.0]), np.ones(6))
    >>> p = pairwise_gain(errors, naive, units=6, higher_is_better=False)
    >>> p.ours, p.baseline, p.gain, p.gain_low > 0
    (1.5, 3.0, 1.5, True)
    """
    sign = 1.0 if higher_is_better else -1.0
    once = np.ones((units, 1))
    here, there = float(ours(once)[0]), float(baseline(once)[0])
    drawn = [(ours(w), baseline(w)) for w in draws(units, resamples, seed, rows)]
    mine = np.concatenate([a for a, _ in drawn]) if drawn else np.empty(0)
    theirs = np.concatenate([b for _, b in drawn]) if drawn else np.empty(0)
    bearing = units if bearing is None else bearing
    gain = sign * (here - there) + 0.0  # never -0.0
    low, high = interval(mine, here, bearing, needed)
    gain_low, gain_high = interval(sign * (mine - theirs), gain, bearing, needed)
    return Paired(here, low, high, there, gain, gain_low, gain_high)
