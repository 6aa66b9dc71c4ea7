"""CHOICE: whether the right one of several is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from unibody.errors import SetupError
from unibody.methods.scores.bootstrap import Measured
from unibody.methods.scores.questions import Floats, Ints, Questions, share

#: The class of a subject about which there is nothing to say.
NONE = "none"


def measure(asked: Questions, past: pl.DataFrame, cap: float | None, seed: int) -> Measured:
    """Balanced accuracy: the mean, over the true classes, of the share of each that was named rightly.

    K. Brodersen et al., "The balanced accuracy and its posterior distribution", ICPR 2010, section II. Not accuracy,
    which is high for who always names the commonest class; not macro-F1, where shuffled answers score above the majority
    class and so noise would beat the baseline: here both stand at 1 / number of classes.
    Baseline: the commonest class of the past. Chance: our own labels shuffled, exactly. Unanswered: counts as wrong,
    but where "none" is among the true classes: who proposes nothing about a subject says that of it.
    Accuracy, the majority's accuracy and macro-F1 (over the true classes) stand beside it.
    """
    asked.demand("truth_label", "label")
    truth, answer = asked.true_words(), asked.words("label")
    classes = sorted(set(truth))
    if NONE in classes:
        answer = [NONE if word is None else word for word in answer]
    if len(classes) == 1:
        raise SetupError(
            f"the truth of all {len(truth)} questions is {classes[0]!r}: nothing to choose. At least two classes are "
            "needed: judge on a longer time or on more units"
        )
    number = {word: i for i, word in enumerate(classes)}
    right = np.array([number[w] for w in truth])
    named = np.array([number.get(w, -1) if w is not None else -1 for w in answer])
    usual, where = commonest(past, truth)
    majority = number.get(usual, -1)
    k = len(classes)
    hits = np.bincount(right[named == right], minlength=k)
    true, said = np.bincount(right, minlength=k), np.bincount(named[named >= 0], minlength=k)
    return Measured(
        metric="balanced accuracy",
        higher_is_better=True,
        ours=BalancedAccuracy.of(asked, right, named),
        baseline=BalancedAccuracy.of(asked, right, np.full(len(right), majority)),
        baseline_name=f"always {usual!r}, the commonest {where}",
        chance=float(said.sum() / len(right) / k),
        unanswered=share(np.array([w is None for w in answer])),
        bearing=asked.units,
        extra={
            "accuracy": share(named == right),
            "majority_accuracy": share(right == majority),
            "macro_f1": float(np.mean(2 * hits / (true + said))),
            "classes": float(k),
        },
    )


@dataclass(frozen=True)
class BalancedAccuracy:
    """The mean over the classes drawn of hits / rows of the class."""

    hits: Any  # sparse, class x unit
    rows: Any  # sparse, class x unit

    @classmethod
    def of(cls, asked: Questions, right: Ints, named: Ints) -> BalancedAccuracy:
        """Count once; every draw is then two products."""
        shape = (int(right.max()) + 1, asked.units)
        place = (right, asked.unit)
        hits = (named == right).astype(np.float64)
        return cls(
            sparse.csr_array((hits, place), shape=shape),
            sparse.csr_array((np.ones(len(right)), place), shape=shape),
        )

    def __call__(self, weights: Floats) -> Floats:
        """Balanced accuracy in every draw, over the classes it holds."""
        hits, rows = self.hits @ weights, self.rows @ weights
        recall = np.divide(hits, rows, out=np.zeros_like(hits), where=rows > 0)
        out: Floats = recall.sum(axis=0) / np.maximum((rows > 0).sum(axis=0), 1)
        return out


def commonest(past: pl.DataFrame, truth: list[str]) -> tuple[str, str]:
    """The commonest true word of the past, else of the judged rows; of equals the first in the alphabet."""
    known = (
        past["truth_label"].drop_nulls() if "truth_label" in past.columns else pl.Series([], dtype=pl.String)
    )
    where = "of the past"
    if not len(known):
        known, where = pl.Series(truth), "of the judged rows, there is no past"
    top = known.alias("word").value_counts().sort(["count", "word"], descending=[True, False])
    return str(top["word"][0]), where
