"""Is something reported more of one kind of unit than of the others, when nobody knows how many units there are.

Public complaints have counts and no exposure. What is left is whether a component's share among one model's complaints
is larger than among all: reports observed against reports expected if model and component had nothing to do with each
other. Small counts make wild ratios, so they are shrunk, in two ways that drug safety uses:
`information_component` (fixed, explainable) and `gamma_poisson` (learns from the whole table how much to shrink).

A share is not a rate: a model whose owners complain much of A hides its B ("masking"), and a media wave looks like a
defect. Where exposure is known, use it instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from unibody.errors import SetupError, nearest

Floats = NDArray[np.float64]
_CELLS_MAX = 5_000_000
_STEPS = 60  # halvings of a quantile's bracket: to 1e-15 of it


@dataclass(frozen=True)
class Component:
    """Information components in bits (0: as expected, 1: twice as many), with the ends of their interval."""

    ic: Floats
    low: Floats
    high: Floats


def information_component(observed: ArrayLike, expected: ArrayLike, *, level: float = 0.95) -> Component:
    """Shrink observed against expected reports by half a report: log2((observed + 1/2) / (expected + 1/2)).

    `observed` counts and `expected` counts have one shape. The interval is that of a Poisson rate with the prior
    Gamma(1/2, 1/2); `low` > 0 at `level` .95 ("IC025 > 0") is the usual signal. Raises SetupError on other numbers.
    Bate et al. 1998, Eur J Clin Pharmacol 54:315-321 (BCPNN); this closed form: Norén, Hopstadius, Bate 2013, Stat
    Methods Med Res 22:57-69, section 2.

    >>> found = information_component([12, 1], [2.0, 0.01])
    >>> found.ic.round(2).tolist(), found.low.round(2).tolist()
    ([2.32, 1.56], [1.39, -2.24])
    """
    from scipy import stats

    n, e = _checked(observed, expected)
    if not 0 < level < 1:
        raise SetupError(f"information_component: level {level} is not between 0 and 1")
    shape, rate = n + 0.5, e + 0.5
    low, high = (np.log2(stats.gamma.ppf(q, shape) / rate) for q in ((1 - level) / 2, (1 + level) / 2))
    return Component(np.log2(shape / rate), low, high)


@dataclass(frozen=True)
class GammaPoisson:
    """How rates scatter over a table's cells: with `weight` Gamma(`shape`, `rate`) one way, else the other."""

    shape: tuple[float, float]
    rate: tuple[float, float]
    weight: float

    def ebgm(self, observed: ArrayLike, expected: ArrayLike) -> Floats:
        """The geometric mean of each cell's rate ratio, given its counts (EBGM).

        >>> prior = GammaPoisson((0.2, 2.0), (0.1, 4.0), 1 / 3)
        >>> prior.ebgm([20, 1], [2.0, 0.01]).round(2).tolist()
        [9.38, 2.9]
        """
        from scipy import special

        n, e = _checked(observed, expected)
        q = self._first(n, e)
        parts = [special.digamma(s + n) - np.log(r + e) for s, r in zip(self.shape, self.rate, strict=True)]
        out: Floats = np.exp(q * parts[0] + (1 - q) * parts[1])
        return out

    def quantile(self, observed: ArrayLike, expected: ArrayLike, at: float = 0.05) -> Floats:
        """A quantile of each cell's rate ratio, given its counts; `at` = .05 is EB05, and EB05 > 2 the usual signal.

        >>> prior = GammaPoisson((0.2, 2.0), (0.1, 4.0), 1 / 3)
        >>> prior.quantile([20, 1], [2.0, 0.01]).round(2).tolist()
        [6.39, 0.29]
        """
        from scipy import special

        n, e = _checked(observed, expected)
        if not 0 < at < 1:
            raise SetupError(f"quantile: {at} is not between 0 and 1")
        q = self._first(n, e)
        ends = [special.gammaincinv(s + n, at) / (r + e) for s, r in zip(self.shape, self.rate, strict=True)]
        low, high = np.minimum(*ends), np.maximum(*ends)
        for _ in range(_STEPS):  # the mixture's quantile lies between those of its parts
            middle = (low + high) / 2
            parts = [
                special.gammainc(s + n, middle * (r + e)) for s, r in zip(self.shape, self.rate, strict=True)
            ]
            below = q * parts[0] + (1 - q) * parts[1] < at
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        out: Floats = (low + high) / 2
        return out

    def _first(self, n: Floats, e: Floats) -> Floats:
        """How likely each cell is of the first kind, given its counts."""
        from scipy import special

        one, two = (_log_marginal(n, e, s, r) for s, r in zip(self.shape, self.rate, strict=True))
        out: Floats = special.expit(np.log(self.weight) + one - np.log1p(-self.weight) - two)
        return out


def gamma_poisson(observed: ArrayLike, expected: ArrayLike, *, least: int = 0) -> GammaPoisson:
    """Learn from a table's cells how rate ratios scatter (the gamma-Poisson shrinker, GPS), by maximum likelihood.

    `least`: cells with fewer reports are not in the table, and the likelihood is conditional on that (0: all are in,
    those without reports too). Raises SetupError with fewer than ten cells, or cells below `least`.
    DuMouchel 1999, American Statistician 53:177-190, eq. 4-5 and 11; truncated: DuMouchel and Pregibon 2001, KDD, 67-76.

    >>> random = np.random.default_rng(1)
    >>> rates = np.where(random.random(20_000) < 0.1, random.gamma(2, 1 / 0.5, 20_000), random.gamma(8, 1 / 8, 20_000))
    >>> prior = gamma_poisson(random.poisson(rates * 3), np.full(20_000, 3.0))
    >>> means = sorted(s / r for s, r in zip(prior.shape, prior.rate))
    >>> [round(m, 1) for m in means]
    [1.0, 4.1]
    """
    from scipy import optimize, stats

    n, e = _checked(observed, expected)
    if n.size < 10:
        raise SetupError(f"gamma_poisson: {n.size} cells; it learns how rates scatter from at least 10")
    if (n < least).any():
        raise SetupError(
            f"gamma_poisson: {int((n < least).sum())} cells have fewer than least = {least} reports"
        )

    def log_likelihood(n: Floats, e: Floats, p: Floats) -> Floats:
        weight = 1 / (1 + np.exp(-p[4]))
        one, two = (_log_marginal(n, e, np.exp(p[i]), np.exp(p[i + 1])) for i in (0, 2))
        out: Floats = np.logaddexp(np.log(weight) + one, np.log1p(-weight) + two)
        return out

    def loss(p: Floats) -> float:
        said = log_likelihood(n, e, p)
        if least:  # a count below `least` cannot be in the table: one negative binomial each
            weight = 1 / (1 + np.exp(-p[4]))
            kept = [
                stats.nbinom.sf(least - 1, np.exp(p[i]), np.exp(p[i + 1]) / (np.exp(p[i + 1]) + e))
                for i in (0, 2)
            ]
            said = said - np.log(np.maximum(weight * kept[0] + (1 - weight) * kept[1], 1e-300))
        return -float(said.mean())

    # DuMouchel's own start, and one with narrow parts: the surface has more than one hollow
    starts = [np.log([0.2, 0.1, 2.0, 4.0, 0.5]), np.log([2.0, 1.0, 8.0, 8.0, 0.2])]
    bounds = [(np.log(1e-3), np.log(1e3))] * 4 + [(-12.0, 12.0)]
    found = [
        optimize.minimize(loss, s, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500}) for s in starts
    ]
    best = min(found, key=lambda f: float(f.fun)).x
    a1, b1, a2, b2 = (float(x) for x in np.exp(best[:4]))
    return GammaPoisson((a1, a2), (b1, b2), float(1 / (1 + np.exp(-best[4]))))


def disproportion(
    counts: pl.DataFrame, unit: str, event: str, count: str, *, within: Sequence[str] = ()
) -> pl.DataFrame:
    """Which events are reported of which units more than their shares explain, the surest first.

    `counts` has one row a cell (or more: they are added) with the columns `unit` (a model), `event` (a component) and
    `count`; cells without reports need not be there. `within`: strata (model year, country) in which shares are compared,
    and over which expected reports are added. Returns `unit`, `event`, `observed`, `expected` (reports), `ic`, `ic025`,
    `ic975` (bits, see `information_component`), by `ic025` from the highest. Empty fields are no unit or event: left out.
    Raises SetupError for a column that is not there, and for counts below 0.

    >>> reports = pl.DataFrame({
    ...     "model": ["A", "A", "B", "B"], "part": ["brakes", "seats"] * 2, "reports": [20, 30, 10, 140],
    ... })
    >>> disproportion(reports, "model", "part", "reports").row(0, named=True)["expected"]
    7.5
    >>> disproportion(reports, "model", "part", "reports")["part", "model"].row(0)
    ('brakes', 'A')
    """
    for name in (unit, event, count, *within):
        if name not in counts.columns:
            raise SetupError(f"disproportion: no column {name}; {nearest(name, counts.columns)}")
    strata = list(within)
    keys = [*strata, unit, event]
    if len(set(keys)) < len(keys):
        raise SetupError(f"disproportion: {', '.join(keys)} must be different columns")
    cells = counts.select(*keys, _n=pl.col(count).cast(pl.Float64)).drop_nulls([unit, event])
    if cells.filter(~pl.col("_n").is_between(0, 1e15, closed="both").fill_null(False)).height:
        raise SetupError(f"disproportion: {count} holds counts that are empty, below 0 or not finite")
    cells = cells.group_by(keys).agg(pl.col("_n").sum())
    if cells.height > _CELLS_MAX:
        raise SetupError(f"disproportion: {cells.height:,} cells; at most {_CELLS_MAX:,}")
    of_all = (
        cells.group_by(strata).agg(_all=pl.col("_n").sum())
        if strata
        else cells.select(_all=pl.col("_n").sum())
    )
    pairs = cells.group_by(unit, event).agg(observed=pl.col("_n").sum())
    # a stratum counts where unit and event both occur in it, even if never together
    spread = pairs.join(cells.group_by(unit, *strata).agg(_of_unit=pl.col("_n").sum()), on=unit)
    of_event = cells.group_by(event, *strata).agg(_of_event=pl.col("_n").sum())
    spread = spread.join(of_event, on=[event, *strata], nulls_equal=True)
    spread = spread.join(of_all, on=strata, nulls_equal=True) if strata else spread.join(of_all, how="cross")
    expected = spread.group_by(unit, event).agg(
        pl.col("observed").first(), expected=(pl.col("_of_unit") * pl.col("_of_event") / pl.col("_all")).sum()
    )
    expected = expected.filter(pl.col("expected") > 0, pl.col("expected").is_not_nan())
    found = information_component(expected["observed"].to_numpy(), expected["expected"].to_numpy())
    return expected.with_columns(
        ic=pl.Series(found.ic), ic025=pl.Series(found.low), ic975=pl.Series(found.high)
    ).sort("ic025", unit, event, descending=[True, False, False])


def _checked(observed: ArrayLike, expected: ArrayLike) -> tuple[Floats, Floats]:
    n, e = np.asarray(observed, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if n.shape != e.shape:
        raise SetupError(f"observed has the shape {n.shape}, expected {e.shape}: one number each a cell")
    if not (np.isfinite(n).all() and np.isfinite(e).all() and (n >= 0).all() and (e >= 0).all()):
        raise SetupError("observed and expected reports are counts: finite, and not below 0")
    return n, e


def _log_marginal(n: Floats, e: Floats, shape: float, rate: float) -> Floats:
    """Log probability of n reports when the rate ratio is Gamma(shape, rate): a negative binomial, without e^n / n!."""
    from scipy import special

    out: Floats = (
        special.gammaln(shape + n)
        - special.gammaln(shape)
        + shape * np.log(rate / (rate + e))
        - n * np.log(rate + e)
    )
    return out
