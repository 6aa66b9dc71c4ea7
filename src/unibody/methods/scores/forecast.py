"""FORECAST: how far the foreseen amount is from the one that came."""

from __future__ import annotations

import numpy as np
import polars as pl

from unibody.methods.scores.bootstrap import Mean, Measured
from unibody.methods.scores.questions import Floats, Questions, numbers, share

#: The interval [low, high] of an answer is meant to hold this share: low is the 5 %, high the 95 % quantile.
INTERVAL_LEVEL = 0.9


def measure(asked: Questions, past: pl.DataFrame, cap: float | None, seed: int) -> Measured:
    """Mean absolute error of the value: mean(|value - truth|), in the truth's own unit.

    It is what a planner pays when over and under cost the same, and one spike does not rule it. Baseline: the
    `naive_*` column with the least error on the past (the first when the past does not have them all); without such
    columns the last truth known of the same subject, else of the same unit, else the median of the past. Chance: our own
    answers shuffled, mean over all i, j of |value_i - truth_j|. Unanswered: counts as the smallest or largest truth
    known, whichever is further from the truth. Where low and high are stated, the pinball loss of both (R. Koenker and
    G. Bassett, Econometrica 46 (1978), section 3), averaged, takes them as the 5 % and 95 % quantiles.
    """
    asked.demand("truth", "value")
    truth = asked.truths("the amount that came")
    answer = asked.numbers("value")
    silent = np.isnan(answer)
    before = numbers(past, "truth")
    known = np.concatenate([truth, before[~np.isnan(before)]])
    smallest, largest = known.min(), known.max()
    worst = np.where(truth - smallest > largest - truth, smallest, largest)
    value = np.where(silent, worst, answer)
    naive, name = _baseline(asked, past, truth)
    error = value - truth
    extra = {"rmse": float(np.sqrt(np.mean(error**2))), "bias": float(error.mean())}
    low, high = asked.numbers("low"), asked.numbers("high")
    stated = ~np.isnan(low) & ~np.isnan(high)
    if stated.any():
        ends = ((low, (1 - INTERVAL_LEVEL) / 2), (high, (1 + INTERVAL_LEVEL) / 2))
        extra["pinball"] = float(np.mean([pinball(end[stated], truth[stated], level) for end, level in ends]))
        extra["coverage"] = share(((low <= truth) & (truth <= high))[stated])
        extra["interval_stated"] = share(stated)
    return Measured(
        metric="mae",
        higher_is_better=False,
        ours=Mean.of(asked, np.abs(error)),
        baseline=Mean.of(asked, np.abs(naive - truth)),
        baseline_name=name,
        chance=mean_distance(value, truth),
        unanswered=share(silent),
        bearing=asked.units,
        extra=extra,
    )


def pinball(quantile: Floats, truth: Floats, level: float) -> float:
    """The pinball loss of a stated quantile: mean of level * over, (1 - level) * under, over = truth - quantile > 0.

    >>> round(pinball(np.array([10.0, 10.0]), np.array([12.0, 9.0]), 0.9), 2)  # (0.9 * 2 + 0.1 * 1) / 2
    0.95
    """
    over = truth - quantile
    return float(np.mean(np.maximum(level * over, (level - 1) * over)))


def mean_distance(values: Floats, truths: Floats) -> float:
    """The mean of |value_i - truth_j| over all pairs i, j: the error of shuffled answers, exactly.

    >>> mean_distance(np.array([0.0, 2.0]), np.array([1.0, 5.0]))  # (1 + 5 + 1 + 3) / 4
    2.5
    """
    ordered = np.sort(truths)
    running = np.concatenate([[0.0], np.cumsum(ordered)])
    below = np.searchsorted(ordered, values)
    n, total = len(ordered), running[-1]
    distance = values * below - running[below] + (total - running[below]) - values * (n - below)
    return float(distance.mean() / n)


def _baseline(asked: Questions, past: pl.DataFrame, truth: Floats) -> tuple[Floats, str]:
    """What one would say from the calendar or the last value."""
    before = numbers(past, "truth")
    known = before[~np.isnan(before)]
    middle = float(np.median(known)) if len(known) else float(np.median(truth))
    names = [c for c in asked.rows.columns if c.startswith("naive_")]
    if names:
        name = names[0]
        if len(known) and all(c in past.columns for c in names):
            rows = ~np.isnan(before)
            errors = [_mean_error(numbers(past, c)[rows], before[rows]) for c in names]
            name = names[int(np.argmin(errors))]
        stated = asked.numbers(name)
        return np.where(np.isnan(stated), middle, stated), name.removeprefix("naive_").replace("_", " ")
    if not len(known):
        return np.full(len(truth), middle), "median (of the judged rows, there is no past)"
    last = np.full(len(truth), np.nan)
    for column in ("subject", "unit"):
        last = np.where(np.isnan(last), _last_known(asked, past, column), last)
    name = "median of the past" if np.isnan(last).all() else "last known"
    return np.where(np.isnan(last), middle, last), name


def _mean_error(naive: Floats, truth: Floats) -> float:
    """The mean absolute error where the naive forecast exists; infinite where it never does."""
    there = ~np.isnan(naive)
    return float(np.abs(naive - truth)[there].mean()) if there.any() else float("inf")


def _last_known(asked: Questions, past: pl.DataFrame, column: str) -> Floats:
    """The latest truth of the same subject (or unit) before the question was asked; NaN where there is none."""
    if column not in past.columns or "at" not in past.columns:
        return np.full(asked.rows.height, np.nan)
    known = past.filter(
        pl.col("truth").is_not_null(), pl.col(column).is_not_null(), pl.col("at").is_not_null()
    )
    known = known.group_by(column, "at").agg(last=pl.col("truth").median()).sort("at", column)
    rows = (
        asked.rows.select(column, "at")
        .with_row_index("row")
        .filter(pl.all_horizontal(pl.all().is_not_null()))
    )
    found = rows.sort("at").join_asof(
        known, on="at", by=column, allow_exact_matches=False, check_sortedness=False
    )
    last = np.full(asked.rows.height, np.nan)
    last[found["row"].to_numpy()] = numbers(found, "last")
    return last
