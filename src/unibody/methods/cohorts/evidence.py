"""How strongly a count speaks against chance: Bayes factors and exact intervals of one rate against another."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: What a cause may do to the failure rate, before the data: a bell over log(ratio) between the ends of the grid.
RATIO_LOW, RATIO_HIGH, RATIO_TYPICAL, RATIO_SPREAD = 1.5, 400.0, 8.0, 1.2
_STEPS = 28


@lru_cache(maxsize=1)
def _ratios() -> tuple[Floats, Floats]:
    log_ratio = np.linspace(np.log(RATIO_LOW), np.log(RATIO_HIGH), _STEPS)
    log_weight = -0.5 * ((log_ratio - np.log(RATIO_TYPICAL)) / RATIO_SPREAD) ** 2
    return log_ratio, log_weight - np.logaddexp.reduce(log_weight)


def log_bayes_factor(inside: Any, share: Any, failed: int) -> Floats:
    """Natural log of P(data | a cause) / P(data | chance), given that `failed` units failed.

    By chance each failure falls inside the cohort with probability `share` (its part of all expected failures); under a
    cause with rate ratio r with probability r share / (r share + 1 - share); r is averaged over a grid. Arrays broadcast.

    >>> log_bayes_factor(np.array([1, 3, 10]), 0.1, 30).round(1)
    array([-3.9, -2.7,  4.8])
    """
    inside, share = np.asarray(inside, dtype=np.float64), np.asarray(share, dtype=np.float64)
    shape = np.broadcast_shapes(inside.shape, share.shape)
    log_ratio, log_weight = _ratios()
    terms = [(lw, lr, np.expm1(lr)) for lr, lw in zip(log_ratio, log_weight, strict=True)]
    top = np.full(shape, -np.inf)
    for lw, lr, more in terms:
        np.maximum(top, lw + inside * lr - failed * np.log1p(share * more), out=top)
    total = np.zeros(shape)
    for lw, lr, more in terms:
        total += np.exp(lw + inside * lr - failed * np.log1p(share * more) - top)
    out: Floats = top + np.log(total)
    return out


class Table:
    """The same, looked up: shares on a fine logarithmic grid, so that a million hypotheses cost milliseconds."""

    SMALLEST = 1e-8
    MOST = 4_000  # of more failures than these a part stands for all

    def __init__(self, failed: int) -> None:
        self.scale = min(1.0, self.MOST / max(failed, 1))
        self.failed = failed = min(failed, self.MOST)
        # straight lines between columns are off by at most about failed * step^2 / 32
        self.columns = int(np.clip(50 * np.sqrt(failed), 512, 1536))
        self._step = -np.log(self.SMALLEST) / (self.columns - 1)
        shares = np.exp(-self._step * np.arange(self.columns))
        self.values = log_bayes_factor(np.arange(failed + 1)[:, None], shares[None, :], failed).astype(
            np.float32
        )
        self._flat = self.values.ravel()

    def place(self, share: Any) -> Floats:
        """Where shares stand on the grid, in columns."""
        steps = -np.log(np.clip(share, self.SMALLEST, 1.0)) / self._step
        out: Floats = np.minimum(steps, self.columns - 1.001)
        return out

    def __call__(self, inside: Any, place: Any) -> Floats:
        """Log Bayes factors of counts (whole numbers) at places, straight between columns."""
        left = np.floor(place).astype(np.int64)
        part = place - left
        at = np.asarray(inside, dtype=np.int64) * self.columns + left
        out: Floats = self._flat[at] * (1 - part) + self._flat[at + 1] * part
        return out

    def exact(self, inside: Any, share: Any) -> Floats:
        """The same of counts and shares; of more failures than MOST the counts are scaled down.

        >>> table = Table(30)
        >>> float(np.round(table.exact(10, 0.1) - log_bayes_factor(10, 0.1, 30), 3))
        0.0
        """
        return self(np.rint(np.asarray(inside) * self.scale), self.place(share))

    def needed(self, level: Floats, place: Floats) -> Ints:
        """A count that the log Bayes factor needs to reach `level`, or one less; failed + 1 where none does."""
        column = np.ceil(place).astype(np.int64)
        low = np.zeros(column.shape, dtype=np.int64)
        high = np.full(column.shape, self.failed + 1, dtype=np.int64)
        for _ in range(int(self.failed + 1).bit_length()):
            middle = (low + high) // 2
            reached = self._flat[np.minimum(middle, self.failed) * self.columns + column] >= level
            high = np.where(reached & (middle <= self.failed), middle, high)
            low = np.where(reached, low, np.minimum(middle + 1, high))
        return high


def ratio(inside: int, share: float, failed: int, level: float = 0.95) -> tuple[float, float, float]:
    """Rate ratio of a cohort against the others with its exact conditional interval (Clopper and Pearson 1934).

    >>> [round(x, 2) for x in ratio(10, 0.1, 30)]
    [4.5, 1.88, 10.07]
    >>> ratio(0, 0.1, 0)
    (nan, 0.0, inf)
    """
    from scipy import special

    if failed == 0 or not 0 < share < 1:
        return float("nan"), 0.0, float("inf")
    odds = share / (1 - share)
    tail = (1 - level) / 2
    low = float(special.betaincinv(inside, failed - inside + 1, tail)) if inside else 0.0
    high = float(special.betaincinv(inside + 1, failed - inside, 1 - tail)) if inside < failed else 1.0
    return tuple(q / (1 - q) / odds if q < 1 else float("inf") for q in (inside / failed, low, high))  # type: ignore[return-value]


@lru_cache(maxsize=8)
def table(failed: int) -> Table:
    """The table of so many failures, made once."""
    return Table(failed)
