"""How good answers are: the measure, naive baseline and chance level of every kind, whatever the domain.

Measures are not the author's: the kind of a use case fixes them. Units (machines, cars, blocks) are resampled, never
rows; every unanswered question counts as the worst.

    kind       measure                              baseline                       chance
    LIFE       rmse, capped                         mean remaining, or life - age  our answers shuffled
    EVENT      average precision                    event rate by usage decile     our answers shuffled (prevalence)
    FORECAST   mae                                  last known, or naive_*         our answers shuffled
    DETECTION  window recall at 1 % false alarms    naive_score, or random flags   random scores, windows kept
    RANKING    ndcg@10                              popularity in the past         random order
    CHOICE     balanced accuracy                    commonest class of the past    our answers shuffled
    PLAN       EUR saved per question               doing nothing                  acting as often, at random
    TEXT       token F1                             commonest answer of the past   our answers shuffled

One file a kind says how, why and from which paper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from unibody.errors import SetupError
from unibody.methods.scores import choice, detection, event, forecast, life, plan, ranking, text
from unibody.methods.scores.bootstrap import Measured, pairwise_gain
from unibody.methods.scores.leaks import Leak, leak_check
from unibody.methods.scores.questions import Questions, shaped
from unibody.solution import Kind

__all__ = ["Leak", "Score", "challenger_wins", "leak_check", "pairwise_gain", "score"]

_MEASURES: dict[Kind, Callable[[Questions, pl.DataFrame, float | None, int], Measured]] = {
    Kind.LIFE: life.measure,
    Kind.EVENT: event.measure,
    Kind.FORECAST: forecast.measure,
    Kind.DETECTION: detection.measure,
    Kind.RANKING: ranking.measure,
    Kind.CHOICE: choice.measure,
    Kind.PLAN: plan.measure,
    Kind.TEXT: text.measure,
}


@dataclass(frozen=True)
class Score:
    """How good the answers are, against the naive baseline and chance.

    Intervals are 95 % bootstrap intervals over units, NaN where too few units bear on the measure (five; for detection
    three with a window, more where luck is large): then nothing is claimed and `beats` is False.
    """

    metric: str
    higher_is_better: bool
    ours: float
    low: float
    high: float
    baseline: float
    baseline_name: str
    chance: float
    beats: bool  # gain_low > 0
    units: int
    rows: int
    gain: float  # over the baseline, above 0 is better whatever the metric's direction
    gain_low: float
    gain_high: float
    extra: dict[str, float]


def score(
    kind: Kind,
    pairs: pl.DataFrame,
    past: pl.DataFrame,
    *,
    cap: float | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Score:
    """Measure the answers in `pairs` (one row a question asked, null answers where it stayed unanswered).

    `past` is the training part's truth in the same columns; it may be empty, and the baseline then takes the judged
    rows' own mean, which is harder to beat. `cap` is for LIFE: more remaining life than this counts as this.

    >>> pairs = pl.DataFrame({"unit": list("abcdef"), "truth": [90.0, 10, 50, 70, 30, 20],
    ...                       "value": [80.0, 12, 55, 64, 33, None]})
    >>> s = score(Kind.LIFE, pairs, pl.DataFrame({"truth": [40.0, 60.0]}))
    >>> s.metric, round(s.ours, 1), s.baseline_name, round(s.baseline, 1), s.beats, s.extra["unanswered"] > 0
    ('rmse', 29.1, 'mean remaining', 28.6, False, True)
    """
    asked, measured = _measure(kind, pairs, past, cap, seed)
    p = pairwise_gain(
        measured.ours,
        measured.baseline,
        units=asked.units,
        higher_is_better=measured.higher_is_better,
        bearing=measured.bearing,
        needed=measured.needed,
        rows=asked.rows.height,
        seed=seed,
        resamples=resamples,
    )
    return Score(
        metric=measured.metric,
        higher_is_better=measured.higher_is_better,
        ours=p.ours,
        low=p.low,
        high=p.high,
        baseline=p.baseline,
        baseline_name=measured.baseline_name,
        chance=measured.chance,
        beats=p.gain_low > 0,
        units=asked.units,
        rows=asked.rows.height,
        gain=p.gain,
        gain_low=p.gain_low,
        gain_high=p.gain_high,
        extra={**measured.extra, "unanswered": measured.unanswered},
    )


def challenger_wins(
    pairs_live: pl.DataFrame,
    pairs_new: pl.DataFrame,
    kind: Kind,
    cap: float | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> tuple[float, float, float]:
    """The gain of a challenger over the live model on the same questions, with its paired 95 % interval.

    The challenger wins when the lower end is above zero; NaN ends mean too few units to say.

    >>> asked = {"unit": list("abcdef"), "truth": [1.0, 2, 3, 4, 5, 6]}
    >>> live = pl.DataFrame({**asked, "value": [3.0, 4, 5, 7, 8, 9]})
    >>> new = pl.DataFrame({**asked, "value": [2.0, 3, 4, 5, 6, 7]})
    >>> gain, low, high = challenger_wins(live, new, Kind.FORECAST)
    >>> gain, low > 0
    (1.5, True)
    """
    nothing = pl.DataFrame()
    live_asked, live = _measure(kind, pairs_live, nothing, cap, seed)
    new_asked, new = _measure(kind, pairs_new, nothing, cap, seed)
    question = ("unit", "subject", "at", "usage", "truth", "truth_label")
    if not live_asked.rows.select(question).equals(new_asked.rows.select(question)):
        raise SetupError(
            f"the live model's {live_asked.rows.height} questions are not the challenger's {new_asked.rows.height}: "
            f"{', '.join(question)} must be the same rows; give unanswered ones as rows with null answers"
        )
    p = pairwise_gain(
        new.ours,
        live.ours,
        units=new_asked.units,
        higher_is_better=new.higher_is_better,
        bearing=new.bearing,
        needed=new.needed,
        rows=new_asked.rows.height,
        seed=seed,
        resamples=resamples,
    )
    return p.gain, p.gain_low, p.gain_high


def _measure(
    kind: Kind, pairs: pl.DataFrame, past: pl.DataFrame, cap: float | None, seed: int
) -> tuple[Questions, Measured]:
    """Put the questions into shape and measure them; SetupError says for which kind something was wrong."""
    if not pairs.height:
        raise SetupError(
            f"{kind}: no question to score, pairs has 0 rows. Is the truth's name right, and does the split leave a "
            "test part whose truth is known?"
        )
    if "unit" not in pairs.columns:
        raise SetupError(
            f"{kind}: pairs has no column unit, by which to resample; it has {', '.join(pairs.columns)}"
        )
    try:
        asked = Questions.of(pairs)
        return asked, _MEASURES[kind](asked, shaped(past) if past.width else past, cap, seed)
    except SetupError as e:
        raise SetupError(f"{kind}: {e}") from e
