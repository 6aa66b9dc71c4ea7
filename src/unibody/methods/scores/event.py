"""EVENT: whether what really happens is ranked above what does not."""

from __future__ import annotations

import numpy as np
import polars as pl

from unibody.methods.scores.bootstrap import Measured
from unibody.methods.scores.questions import Flags, Floats, Questions, numbers, share
from unibody.methods.scores.ranked import AveragePrecision, always_on_f1, auc, average_precision_by_chance, f1

#: A score from here on is a yes.
YES = 0.5


def measure(asked: Questions, past: pl.DataFrame, cap: float | None, seed: int) -> Measured:
    """Average precision of the score, ties grouped: what an engineer who works down the list finds.

    It looks at the few that matter when events are rare, where AUC looks at the many that do not (T. Saito and
    M. Rehmsmeier, PLOS ONE 10 (2015), section "Discussion"). Baseline: the event rate, in the past, of the decile of
    usage (age) the subject is in; without usage or past the base rate, which ranks nothing. Chance: the exact mean over
    all shufflings of our scores, which is the prevalence but for small numbers. Unanswered: a yes counts as ranked last,
    a no as ranked first (and as a false alarm). F1, false alarms and Brier score take score >= 0.5 as yes; no
    threshold is chosen on the judged rows.
    """
    asked.demand("truth", "score")
    truth = asked.yes_no()
    score = asked.numbers("score")
    silent = np.isnan(score)
    ranks = worst_ranked(score, truth)
    naive, name = _baseline(asked, past)
    flagged = np.where(silent, ~truth, score >= YES)
    extra = {
        "auc": auc(ranks, truth),
        "f1": f1(flagged, truth),
        "always_on_f1": always_on_f1(truth),
        "prevalence": share(truth),
        "false_alarms_per_1000": 1000 * share(flagged & ~truth),
        "units_with_event": float(asked.units_where(truth)),
    }
    if np.all(silent | ((score >= 0) & (score <= 1))):
        extra["brier"] = float(np.mean((np.where(silent, ~truth, score) - truth) ** 2))
    return Measured(
        metric="average precision",
        higher_is_better=True,
        ours=AveragePrecision.of(ranks, truth, asked.unit),
        baseline=AveragePrecision.of(naive, truth, asked.unit),
        baseline_name=name,
        chance=average_precision_by_chance(ranks, truth),
        unanswered=share(silent),
        bearing=min(asked.units_where(truth), asked.units_where(~truth)),
        extra=extra,
    )


def worst_ranked(score: Floats, truth: Flags) -> Floats:
    """Scores as ranks, an unanswered yes below and an unanswered no above all others.

    >>> worst_ranked(np.array([0.9, np.nan, 0.2, np.nan]), np.array([True, True, False, False]))
    array([2., 0., 1., 3.])
    """
    answered = ~np.isnan(score)
    ranks = np.zeros(len(score))
    distinct, group = np.unique(score[answered], return_inverse=True)
    ranks[answered] = group + 1
    ranks[~answered & ~truth] = len(distinct) + 1
    return ranks


def _baseline(asked: Questions, past: pl.DataFrame) -> tuple[Floats, str]:
    """The event rate by decile of usage in the past."""
    then, truth = numbers(past, "usage"), numbers(past, "truth")
    known = ~np.isnan(then) & ~np.isnan(truth)
    usage = asked.numbers("usage")
    if not known.any() or np.isnan(usage).all():
        return np.zeros(asked.rows.height), "base rate"
    then, truth = then[known], truth[known]
    edges = np.unique(np.quantile(then, np.arange(1, 10) / 10))
    decile = np.searchsorted(edges, then, side="right")
    rows = np.bincount(decile, minlength=len(edges) + 1)
    events = np.bincount(decile, weights=truth, minlength=len(edges) + 1)
    rate = np.where(rows > 0, events / np.maximum(rows, 1), truth.mean())
    by_age = rate[np.searchsorted(edges, usage, side="right")]
    return np.where(np.isnan(usage), truth.mean(), by_age), "event rate by usage decile"
