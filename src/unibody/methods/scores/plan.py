"""PLAN: how much money the plan really saved."""

from __future__ import annotations

import numpy as np
import polars as pl

from unibody.methods.scores.bootstrap import Mean, Measured
from unibody.methods.scores.questions import Questions, share

#: Where an answer states no worth, a score from here on proposes to act.
_ACT = 0.5


def measure(asked: Questions, past: pl.DataFrame, cap: float | None, seed: int) -> Measured:
    """EUR saved per question: mean of truth where the plan acts, 0 where it does not.

    Each row is one possible action, `truth` the EUR it saved, or would have saved, in fact (below 0 where it cost). The
    plan acts where its worth_eur is above 0 (where it states none: where score >= 0.5). Baseline: doing nothing, 0.
    Chance: acting as often, at random. Unanswered: the worse of acting and not acting, min(truth, 0). Beside it stand the
    totals: realised, promised (worth_eur where it acts), acting always, and the best that was possible.
    """
    asked.demand("truth", "score")
    truth = asked.truths("the EUR that acting saved")
    worth, score = asked.numbers("worth_eur"), asked.numbers("score")
    silent = np.isnan(worth) & np.isnan(score)
    acts = np.where(np.isnan(worth), score >= _ACT, worth > 0) & ~silent
    saved = np.where(silent, np.minimum(truth, 0.0), np.where(acts, truth, 0.0))
    return Measured(
        metric="EUR saved per question",
        higher_is_better=True,
        ours=Mean.of(asked, saved),
        baseline=Mean.of(asked, np.zeros(len(truth))),
        baseline_name="doing nothing",
        chance=share(acts) * float(truth.mean()),
        unanswered=share(silent),
        bearing=asked.units,
        extra={
            "realised_eur": float(saved.sum()),
            "promised_eur": float(np.nansum(worth[acts])),
            "always_eur": float(truth.sum()),
            "possible_eur": float(np.maximum(truth, 0.0).sum()),
            "acts": share(acts),
        },
    )
