"""LIFE: how far the stated remaining life is from the true one."""

from __future__ import annotations

import numpy as np
import polars as pl

from unibody.methods.scores.bootstrap import Mean, Measured
from unibody.methods.scores.questions import Floats, Questions, numbers, share

#: The NASA score counts an error of more than this many (times 10 or 13) cycles as this, to stay finite.
_EXPONENT_MAX = 50.0


def measure(asked: Questions, past: pl.DataFrame, cap: float | None, seed: int) -> Measured:
    """Root mean square error, truth and value capped at `cap`: sqrt(mean((min(value, cap) - min(truth, cap))^2)).

    Published life results use it (A. Saxena et al., PHM 2008, and every C-MAPSS paper since, cap 125).
    Baseline: the better, on the past, of the mean remaining life and the mean life minus age. Chance: our own answers
    shuffled, whose mean square error is mean over all i, j of (value_i - truth_j)^2. Unanswered: counts as 0 or as the
    longest life known (or `cap`), whichever is further from the truth.
    """
    asked.demand("truth", "value")
    ceiling = np.inf if cap is None else cap
    truth = np.minimum(asked.truths("the usage left"), ceiling)
    answer = asked.numbers("value")
    silent = np.isnan(answer)
    before = numbers(past, "truth")
    known = np.minimum(before[~np.isnan(before)], ceiling)
    longest = cap if cap is not None else float(np.concatenate([truth, known]).max())
    worst = np.where(truth > longest / 2, 0.0, longest)
    value = np.where(silent, worst, np.minimum(answer, ceiling))
    naive, name = _baseline(asked, past, truth, ceiling)
    error = value - truth
    by_chance = np.sqrt(value.var() + truth.var() + (value.mean() - truth.mean()) ** 2)
    low, high = np.minimum(asked.numbers("low"), ceiling), np.minimum(asked.numbers("high"), ceiling)
    stated = ~np.isnan(low) & ~np.isnan(high)
    return Measured(
        metric="rmse",
        higher_is_better=False,
        ours=Mean.of(asked, error**2, root=True),
        baseline=Mean.of(asked, (naive - truth) ** 2, root=True),
        baseline_name=name,
        chance=float(by_chance),
        unanswered=share(silent),
        bearing=asked.units,
        extra={
            "mae": float(np.abs(error).mean()),
            "nasa": nasa_score(error),
            "late_share": share(error > 0),
            "interval_stated": share(stated),
            "coverage": share(((low <= truth) & (truth <= high))[stated]),
        },
    )


def nasa_score(error: Floats) -> float:
    """The asymmetric score of the PHM 2008 challenge, a sum: late (error > 0) costs more than early.

    sum of exp(-e / 13) - 1 for e < 0 and exp(e / 10) - 1 for e >= 0, e = stated - true life, in cycles. A. Saxena,
    K. Goebel, D. Simon, N. Eklund, "Damage propagation modeling for aircraft engine run-to-failure simulation",
    PHM 2008, section V. It means little where usage is not in cycles.

    >>> round(nasa_score(np.array([-13.0, 0.0, 10.0])), 4)  # (e - 1) + 0 + (e - 1)
    3.4366
    """
    scaled = np.where(error < 0, -error / 13, error / 10)
    return float(np.expm1(np.minimum(scaled, _EXPONENT_MAX)).sum())


def _baseline(asked: Questions, past: pl.DataFrame, truth: Floats, ceiling: float) -> tuple[Floats, str]:
    """What one would say knowing no signal."""
    left = numbers(past, "truth")
    past, left = past.filter(~np.isnan(left)), left[~np.isnan(left)]
    if not len(left):  # the judged rows' own mean: a harder baseline than any that could have been known
        return np.full(len(truth), truth.mean()), "mean remaining (of the judged rows, there is no past)"
    mean_left = float(np.minimum(left, ceiling).mean())
    constant = np.full(len(truth), mean_left)
    age_then, age = numbers(past, "usage"), asked.numbers("usage")
    if np.isnan(age_then).any() or np.isnan(age).all():
        return constant, "mean remaining"
    lives = past.select(*(c for c in ("unit", "subject") if c in past.columns)).with_columns(
        life=age_then + left
    )
    keys = [c for c in lives.columns if c != "life"]
    each = lives.group_by(keys, maintain_order=True).agg(pl.col("life").mean()) if keys else lives
    life = float(np.sort(each["life"].to_numpy()).mean())
    seen = np.minimum(left, ceiling)
    by_age_then = np.clip(life - age_then, 0, ceiling)
    if np.mean((by_age_then - seen) ** 2) >= np.mean((mean_left - seen) ** 2):
        return constant, "mean remaining"
    return np.where(np.isnan(age), mean_left, np.clip(life - age, 0, ceiling)), "mean life minus age"
