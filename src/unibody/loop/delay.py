"""Estimate how late reports arrive, so that the newest days are not taken for good ones.

What happened lately is known only where the report was quick: the delay is seen truncated from the right. The
product-limit estimate in reverse time corrects for it (Lynden-Bell 1971; Lagakos, Barraj & De Gruttola 1988); where
few reports are there, published quantiles of 1.27 million complaints stand in for them (as pseudo-reports).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

DAYS_MAX = 1_500  # nothing is expected to arrive later

#: NHTSA complaints, incident to receipt: days and the share received by then (Rafe & Das, 1,267,531 complaints).
PRIOR_DAYS = (0.0, 3.0, 20.0, 136.0, 480.0, 855.0, 1_500.0)
PRIOR_SHARE = (0.05, 0.25, 0.50, 0.75, 0.90, 0.95, 1.0)
PRIOR_REPORTS = 5.0  # the published quantiles count as much as this many reports of one's own at each day


@dataclass(frozen=True)
class Delay:
    """The share of events reported by each whole day after they happened, day 0 first; `reports` it was learned from."""

    share: np.ndarray
    reports: int

    def reported(self, days: np.ndarray | float) -> np.ndarray:
        """Share of events of this age (days, may be broken) that are known by now; 0 for the future."""
        ages = np.asarray(days, dtype=float)
        grid = np.arange(len(self.share)) + 0.5  # day 0 holds what came within its 24 hours
        inside = np.interp(ages, grid, self.share, left=float(self.share[0]), right=1.0)
        return np.asarray(np.where(ages < 0, 0.0, inside))

    def effective(self, days: np.ndarray | float) -> np.ndarray:
        """Days at risk that count: the last `days` days until now, each by the share already reported.

        >>> at_once = Delay(np.ones(10), 100)
        >>> at_once.effective(np.array([0.0, 30.0])).tolist()
        [0.0, 30.0]
        """
        ages = np.clip(np.asarray(days, dtype=float), 0.0, None)
        edges = np.arange(len(self.share) + 1, dtype=float)
        sums = np.concatenate([[0.0], np.cumsum(self.share)])
        inside = np.interp(ages, edges, sums)
        return np.asarray(inside + np.clip(ages - edges[-1], 0.0, None))

    def quantile(self, share: float) -> int:
        """Days after which this share of events is known.

        >>> Delay(np.array([0.2, 0.6, 1.0]), 9).quantile(0.5)
        1
        """
        return int(np.searchsorted(self.share, share))


def prior() -> np.ndarray:
    """The published shares at each day, 0 to `DAYS_MAX`."""
    return np.interp(np.arange(DAYS_MAX + 1), PRIOR_DAYS, PRIOR_SHARE)


def delay(events: pl.DataFrame, as_of: datetime) -> Delay:
    """Learn the delay from events known at `as_of` (columns happened_at, known_at).

    Each day j of delay has d_j reports of the n_j that could have been seen with a delay of j or less (delay <= j <=
    age); the share known by day x is the product of 1 - d_j / n_j over the days j beyond x. What comes later than the
    oldest event is old has the published shape, as steep as the end of what was seen.
    """
    own = events.filter(pl.col("known_at") <= as_of).select(
        late=(pl.col("known_at") - pl.col("happened_at")).dt.total_seconds() / 86_400,
        age=(pl.lit(as_of) - pl.col("happened_at")).dt.total_seconds() / 86_400,
    )
    late = np.clip(own["late"].to_numpy(), 0, DAYS_MAX).astype(int)
    age = np.clip(own["age"].to_numpy(), 0, DAYS_MAX).astype(int)
    came = np.bincount(late, minlength=DAYS_MAX + 1).astype(float)
    gone = np.bincount(np.maximum(age, late) + 1, minlength=DAYS_MAX + 2)[: DAYS_MAX + 1]
    could = np.cumsum(came) - np.cumsum(gone)
    before = prior()
    reverse = np.diff(before, prepend=0.0) / before
    # how late one's own late reports are, against the published ones: it says how long the tail is that nobody has seen
    oldest = int(age.max(initial=0))
    tail = slice(oldest // 2, oldest + 1)
    usual = float((could * reverse)[tail].sum())
    slow = (float(came[tail].sum()) + PRIOR_REPORTS) / (usual + PRIOR_REPORTS)
    hazard = (came + PRIOR_REPORTS * slow * reverse) / (could + PRIOR_REPORTS)
    hazard[0] = 0.0  # the product runs over the days beyond x
    beyond = np.cumprod((1 - np.clip(hazard, 0.0, 1.0))[::-1])[::-1]
    return Delay(np.append(beyond[1:], 1.0), own.height)
