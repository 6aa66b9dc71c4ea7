"""What the same search finds where nothing is behind the failures: failing units drawn anew by expectation."""

from __future__ import annotations

import numpy as np

from unibody.methods.cohorts.evidence import Floats, Ints


def draw(expected: Floats, failed: int, draws: int, once: bool, random: np.random.Generator) -> Ints:
    """Rows that fail by chance, proportionally to `expected`: draws x failed. `once`: a row fails at most once."""
    if not once:
        ends = np.cumsum(expected)
        found = np.searchsorted(ends, random.random((draws, failed)) * ends[-1], side="right")
        rows_drawn: Ints = np.minimum(found, len(expected) - 1)
        return rows_drawn
    out = np.empty((draws, failed), dtype=np.int64)
    ends = np.cumsum(expected)
    for d in range(draws):
        if failed * 10 > len(expected):
            # the order of exponential waiting times is successive sampling without replacement
            wait = random.standard_exponential(len(expected)) / np.maximum(expected, 1e-300)
            out[d] = np.argpartition(wait, failed - 1)[:failed]
            continue
        rows = np.zeros(0, dtype=np.int64)
        for _ in range(50):
            if len(rows) >= failed:
                break
            more = np.searchsorted(ends, random.random(2 * failed + 8) * ends[-1], side="right")
            rows = np.concatenate([rows, np.minimum(more, len(expected) - 1)])
            _, first = np.unique(rows, return_index=True)
            rows = rows[np.sort(first)]
        if len(rows) < failed:  # a few rows hold nearly all expectation
            wait = random.standard_exponential(len(expected)) / np.maximum(expected, 1e-300)
            rows = np.argpartition(wait, failed - 1)
        out[d] = rows[:failed]
    return out


def p_value(evidence: float, by_chance: Floats) -> float:
    """How often chance's best is at least as good; beyond the draws their tail goes on exponentially.

    Where fewer than ten draws reach the evidence, the excess over their 80 % point is taken as exponential (the tail of a
    Gumbel), with its mean but never less than 1: the evidence is a log Bayes factor, whose tail by chance cannot be
    heavier than exp(-x).

    >>> by_chance = np.log(1 / (1 - np.arange(200) / 200))
    >>> p_value(0.0, by_chance), round(p_value(8.0, by_chance), 5)
    (1.0, 0.00033)
    """
    reached = int((by_chance >= evidence).sum())
    counted = (1 + reached) / (1 + len(by_chance))
    if reached >= 10 or len(by_chance) < 20:
        return min(1.0, counted)
    start = float(np.quantile(by_chance, 0.8))
    excess = by_chance[by_chance > start] - start
    scale = max(1.0, float(excess.mean())) if len(excess) else 1.0
    beyond = 0.2 * np.exp(-(evidence - start) / scale)
    return float(max(min(counted if reached else 1.0, beyond), 1e-15))


def clear(evidence: float, by_chance: Floats, alpha: float) -> bool:
    """Whether the draws so far leave no doubt on which side of `alpha` the best hypothesis is."""
    if len(by_chance) < 40:
        return False
    p = p_value(evidence, by_chance)
    # so many standard errors of a share of the draws
    error = np.sqrt(alpha * (1 - alpha) / len(by_chance))
    return p > alpha + 4 * error or p < alpha / 25
