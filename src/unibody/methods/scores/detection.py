"""DETECTION: whether the labelled anomalies are caught without crying wolf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from unibody.methods.scores.bootstrap import Mean, Measured, Statistic
from unibody.methods.scores.questions import Flags, Floats, Ints, Questions, share
from unibody.methods.scores.ranked import always_on_f1, auc, f1

#: False alarms allowed: this share of the quiet stretches, at least one.
BUDGET = 0.01
#: A window is caught or not: fewer units with windows than this never say enough, more are needed where luck is large.
_UNITS_NEEDED = 3


def measure(asked: Questions, past: pl.DataFrame, cap: float | None, seed: int) -> Measured:
    """Window recall at a budget: the share of labelled windows caught when 1 % of quiet stretches may raise an alarm.

    A window is an unbroken run of readings with truth 1 of one subject; it is caught when the score of a reading INSIDE
    it passes the threshold. Quiet time is cut into stretches as long as the median window, and a stretch is one false
    alarm however many of its readings are flagged; the threshold is the lowest that alarms in at most 1 % of the
    stretches (at least one alarm is allowed).

    Why so. Recall at a budget of *rows* is won by noise: at 1 % of rows, random flags hit a window of 500 readings
    99 times in 100. Point-adjusted F1 is worse still (S. Kim et al., "Towards a rigorous evaluation of time-series
    anomaly detection", AAAI 2022, section 4: a random score beats the published detectors). Held against quiet stretches
    of its own length a window is as hard to hit by luck as a false alarm, so noise stays at about the budget; that an
    alarm counts once a window, and once a stretch, is how a person on call lives it (N. Tatbul et al., "Precision and
    recall for time series", NeurIPS 2018, section 3; NAB's windows, A. Lavin and S. Ahmad, ICMLA 2015).

    Chance: the expected recall of random scores under this very rule, windows and stretches keeping their lengths.
    Baseline: the same measure of the column `naive_score` (the raw value's distance from the past's median in robust
    units) where there is one, else random flags. A unit should be a block of time that holds quiet readings too: windows
    and quiet stretches are drawn together. Unanswered: silence is no alarm, so it counts as never flagged: a window
    with no answer is missed.
    """
    asked.demand("truth", "score")
    truth = asked.yes_no()
    score = asked.numbers("score")
    stretches = Stretches.of(asked, truth)
    ours = stretches.recall(score)
    luck = stretches.by_chance(seed)
    baseline: Statistic = Mean(*stretches.over_windows(luck))
    name = "random flags"
    if "naive_score" in asked.rows.columns:
        baseline, name = stretches.recall(asked.numbers("naive_score")), "distance from the past's median"
    flagged = score > stretches.threshold(score)
    windows = int(stretches.window.sum())
    return Measured(
        metric="window recall at 1 % false alarms",
        higher_is_better=True,
        ours=ours,
        baseline=baseline,
        baseline_name=name,
        chance=float(luck.mean()),
        unanswered=share(np.isnan(score)),
        bearing=min(len(np.unique(stretches.unit[stretches.window])), asked.units_where(~truth)),
        needed=units_needed(float(luck.mean())),
        extra={
            "windows": float(windows),
            "quiet_stretches": float(len(stretches.window) - windows),
            "auc": auc(np.where(np.isnan(score), -np.inf, score), truth),
            "f1": f1(flagged, truth),
            "always_on_f1": always_on_f1(truth),
            "prevalence": share(truth),
            "false_alarms_per_1000": 1000 * share(flagged & ~truth),
        },
    )


def allowed(quiet: Floats) -> Floats:
    """How many quiet stretches may raise an alarm: 1 %, at least one.

    >>> allowed(np.array([36.0, 950.0]))
    array([1., 9.])
    """
    return np.maximum(1.0, np.floor(BUDGET * quiet))


def units_needed(luck: float) -> int:
    """The fewest units with windows that luck alone catches all of less than once in 40 times, at least three.

    >>> units_needed(0.05), units_needed(0.5)
    (3, 6)
    """
    if not 0 < luck < 1:
        return _UNITS_NEEDED
    return max(_UNITS_NEEDED, int(np.ceil(np.log(0.025) / np.log(luck))))


@dataclass(frozen=True)
class Stretches:
    """Time cut into labelled windows and quiet stretches of like length.

    >>> rows = pl.DataFrame({"unit": ["a"] * 6, "at": list(range(6)), "truth": [0, 0, 1, 1, 0, 0]})
    >>> asked = Questions.of(rows.with_columns(pl.from_epoch("at")))
    >>> s = Stretches.of(asked, asked.yes_no())
    >>> s.start.tolist(), s.length.tolist(), s.window.tolist()
    ([0, 2, 4], [2, 2, 2], [False, True, False])
    """

    start: Ints  # row at which it begins, rows being in time order
    length: Ints
    window: Flags  # labelled window, else quiet
    unit: Ints
    units: int

    @classmethod
    def of(cls, asked: Questions, truth: Flags) -> Stretches:
        """Cut: a change of unit, subject or truth ends a run; quiet runs are cut again to the median window's length."""
        subject = asked.rows["subject"].rank("dense").fill_null(0).to_numpy()
        n = len(truth)
        turn = (np.diff(asked.unit) != 0) | (np.diff(subject) != 0) | (np.diff(truth.astype(np.int8)) != 0)
        start = np.concatenate([[0], np.flatnonzero(turn) + 1])
        length = np.diff(np.append(start, n))
        usual = float(np.median(length[truth[start]]))
        pieces = np.where(truth[start], 1, np.maximum(1, np.rint(length / usual))).astype(np.int64)
        pieces = np.minimum(pieces, length)
        run = np.repeat(np.arange(len(start)), pieces)
        piece = np.arange(len(run)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        first = start[run] + piece * length[run] // pieces[run]
        return cls(first, np.diff(np.append(first, n)), truth[first], asked.unit[first], asked.units)

    def peaks(self, score: Floats) -> Floats:
        """The highest score in each; -inf where none was given."""
        out: Floats = np.maximum.reduceat(np.where(np.isnan(score), -np.inf, score), self.start)
        return out

    def threshold(self, score: Floats) -> float:
        """What a score must exceed to be flagged within the budget."""
        quiet = np.sort(self.peaks(score)[~self.window])[::-1]
        k = int(allowed(np.array([float(len(quiet))]))[0])
        return float(quiet[k]) if k < len(quiet) else float("-inf")

    def recall(self, score: Floats) -> WindowRecall:
        """The share of windows that this score catches, as a function of the units drawn."""
        peaks = self.peaks(score)
        quiet, units = peaks[~self.window], self.unit[~self.window]
        mine = peaks[self.window]
        # to catch a window, all quiet stretches with a peak as high must alarm too
        above = len(quiet) - np.searchsorted(np.sort(quiet), mine, side="left")
        place = len(quiet) - np.searchsorted(np.sort(quiet), quiet, side="left")
        steps, step_of_window = np.unique(above, return_inverse=True)
        step = np.searchsorted(steps, place)
        needed = step < len(steps)
        shape = (len(steps), self.units)
        heard = np.flatnonzero(mine > -np.inf)
        return WindowRecall(
            quiet=np.bincount(units, minlength=self.units).astype(np.float64),
            alarms=sparse.csr_array((np.ones(int(needed.sum())), (step[needed], units[needed])), shape=shape),
            windows=np.bincount(self.unit[self.window], minlength=self.units).astype(np.float64),
            caught=sparse.csr_array(
                (np.ones(len(heard)), (step_of_window[heard], self.unit[self.window][heard])), shape=shape
            ),
        )

    def by_chance(self, seed: int) -> Floats:
        """For each window, how probably random scores catch it: the highest of n uniform numbers is U^(1/n)."""
        random = np.random.default_rng(seed)
        lengths, quiet = self.length[self.window], self.length[~self.window]
        k = int(allowed(np.array([float(len(quiet))]))[0])
        if k >= len(quiet):
            return np.ones(len(lengths))
        times = int(np.clip(4_000_000 // len(quiet), 100, 500))
        block = max(1, 1_000_000 // len(quiet))
        place = len(quiet) - 1 - k
        missed = np.zeros(len(lengths))
        for start in range(0, times, block):
            peaks = random.random((min(block, times - start), len(quiet))) ** (1 / quiet)
            bars = np.partition(peaks, place, axis=1)[:, place]
            distinct, same = np.unique(lengths, return_inverse=True)
            missed += (bars[:, None] ** distinct).sum(axis=0)[same]
        return 1 - missed / times

    def over_windows(self, values: Floats) -> tuple[Floats, Floats]:
        """Sum and number of a window's values, by unit."""
        unit = self.unit[self.window]
        return (
            np.bincount(unit, weights=values, minlength=self.units).astype(np.float64),
            np.bincount(unit, minlength=self.units).astype(np.float64),
        )


@dataclass(frozen=True)
class WindowRecall:
    """The share of windows caught when at most 1 % of the quiet stretches (at least one) may alarm."""

    quiet: Floats  # quiet stretches, by unit
    alarms: Any  # sparse, step x unit: quiet stretches that alarm from this step on
    windows: Floats  # windows, by unit
    caught: Any  # sparse, step x unit: windows caught from this step on

    def __call__(self, weights: Floats) -> Floats:
        """Window recall in every draw; NaN where a draw holds no window or no quiet stretch."""
        quiet = self.quiet @ weights
        affordable = np.cumsum(self.alarms @ weights, axis=0) <= allowed(quiet)
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = ((self.caught @ weights) * affordable).sum(axis=0) / (self.windows @ weights)
        return np.where(quiet > 0, recall, np.nan)
