"""How well a ranking puts yes before no: average precision and the area under the ROC curve, ties grouped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from unibody.methods.scores.questions import Flags, Floats, Ints


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision: the mean, over the true ones, of the precision when each is reached.

    AP = sum_g (R_g - R_(g-1)) * P_g over groups g of equal score, best first: a tie counts as reached all at once, so no
    order within it can flatter. C. Manning, P. Raghavan, H. Schütze, "Introduction to Information Retrieval" (2008),
    section 8.4; no interpolation, as J. Davis and M. Goadrich (ICML 2006, section 3) ask.

    >>> ap = AveragePrecision.of(np.array([9.0, 7.0, 7.0, 1.0]), np.array([True, False, True, False]), np.arange(4))
    >>> ap(np.ones((4, 1)))  # 1/2 * 1/1 + 1/2 * 2/3
    array([0.83333333])
    """

    yes: Any  # sparse, group x unit: true ones
    all: Any  # sparse, group x unit: rows from the group before (exclusive) to this one

    @classmethod
    def of(cls, ranks: Floats, truth: Flags, unit: Ints) -> AveragePrecision:
        """Sort once; every draw is then two sparse products and two running sums."""
        _, group = np.unique(-ranks, return_inverse=True)
        holding = np.unique(group[truth])  # precision is read only at groups that hold a true one
        step = np.searchsorted(holding, group)
        reached = step < len(holding)
        shape = (len(holding), int(unit.max()) + 1)
        ones = np.ones(len(ranks))
        return cls(
            sparse.csr_array((ones[truth], (step[truth], unit[truth])), shape=shape),
            sparse.csr_array((ones[reached], (step[reached], unit[reached])), shape=shape),
        )

    def __call__(self, weights: Floats) -> Floats:
        """Average precision in every draw; NaN where a draw holds no true one."""
        yes = self.yes @ weights
        found = np.cumsum(yes, axis=0)
        seen = np.cumsum(self.all @ weights, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
            out: Floats = (yes * precision).sum(axis=0) / found[-1]
        return out


def average_precision_by_chance(ranks: Floats, truth: Flags) -> float:
    """The exact mean of average precision over all ways of shuffling the answers, ties grouped.

    A group of m rows that ends at row c, of n rows with P true: sum_g m / (n c) * (1 + (c - 1) (P - 1) / (n - 1)).
    Without ties it is Y. Bestgen, "Exact expected average precision of the random baseline for system evaluation",
    Prague Bulletin of Mathematical Linguistics 103 (2015), equation 3; it falls to the prevalence as n grows, and equals
    it when all scores are the same.

    >>> truth = np.array([True, False, False, False])
    >>> average_precision_by_chance(np.zeros(4), truth)
    0.25
    >>> round(average_precision_by_chance(np.arange(4.0), truth), 4)  # (1 + 1/2 + 1/3 + 1/4) / 4
    0.5208
    """
    n, true = len(truth), int(truth.sum())
    if n == 1:
        return float(true)
    _, sizes = np.unique(-ranks, return_counts=True)
    ends = np.cumsum(sizes)
    return float(np.sum(sizes / (n * ends) * (1 + (ends - 1) * (true - 1) / (n - 1))))


def midranks(values: Floats) -> Floats:
    """Ranks from 1, ties sharing their mean.

    >>> midranks(np.array([5.0, 1.0, 5.0]))
    array([2.5, 1. , 2.5])
    """
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    out: Floats = (ends - (sizes - 1) / 2)[group]
    return out


def auc(ranks: Floats, truth: Flags) -> float:
    """The area under the ROC curve: how often a true one is ranked above a false one, ties counting half.

    AUC = (sum of the true ones' ranks - P (P + 1) / 2) / (P N). J. Hanley and B. McNeil, Radiology 143 (1982).

    >>> auc(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, False, True, False]))
    0.875
    """
    yes = int(truth.sum())
    no = len(truth) - yes
    if not yes or not no:
        return float("nan")
    return float((midranks(ranks)[truth].sum() - yes * (yes + 1) / 2) / (yes * no))


def f1(flagged: Flags, truth: Flags) -> float:
    """F1 of flags: 2 * hits / (flags + true ones).

    >>> f1(np.array([True, True, False]), np.array([True, False, False]))
    0.6666666666666666
    """
    both = int(flagged.sum() + truth.sum())
    return 2 * int((flagged & truth).sum()) / both if both else float("nan")


def always_on_f1(truth: Flags) -> float:
    """F1 of an alarm that is always on, 2 p / (1 + p): what a high F1 must be held against.

    >>> always_on_f1(np.array([True, True, False, False]))
    0.6666666666666666
    """
    return f1(np.ones(len(truth), dtype=np.bool_), truth)
