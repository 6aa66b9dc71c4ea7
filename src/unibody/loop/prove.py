"""Did the cure work: did failures fall among the treated cars against the untreated ones, by how much, how sure.

Four cells, treated or not, before or after the cure: failures, and the failures that age and exposure alone would
give. The effect is the ratio of the two changes, (treated after / before) / (untreated after / before): what all cars
share, a season or a wave of reports, cancels, and so does what treated cars had more of before. Failures are first
failures; a car that has failed is at risk no more.

- **Who counts as treated:** every car that was called, from the day it was called (intention to treat), come or not. Cars
  that are cured BECAUSE they failed would otherwise make any cure look good. `done_share` says how many came; the effect
  on those is estimated as reduction / done_share (Bloom 1984).
- **Interval:** given all margins the treated failures after the cure are noncentral hypergeometric, their odds the ratio
  times the odds of the expected failures; the interval is exact but for mid-P (Lancaster 1961; Berry and Armitage 1995),
  which covers about 95 % where the plain exact one covers more. It takes failures as independent (Poisson).
- **Age:** expected failures by age band, hazards learned without the treated cars' time after (indirect standardisation).
- **Delay:** the newest days count by the share of their failures already reported (`delay.Delay`).
- Looking every day until it shows would find an effect of nothing: look when `days_needed` is over, or say how often.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from math import inf, isfinite

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unibody.errors import SetupError, nearest
from unibody.loop.delay import Delay
from unibody.loop.rates import Cell, compare, days_needed
from unibody.tables import Outcome

Floats = NDArray[np.float64]
DAY_S = 86_400.0
BANDS_MAX, FAILED_A_BAND = 5, 8


@dataclass(frozen=True)
class Proof:
    """What became of the failures; `ratio` is the ratio of the two changes, 1 for no effect, 0 for none left."""

    ratio: float
    low: float  # its 95 % interval
    high: float
    sure: float  # that the rate fell: one less the one-sided mid-P value of no effect
    treated_before: Cell
    treated_after: Cell
    untreated_before: Cell
    untreated_after: Cell
    days_needed: (
        float | None
    )  # more vehicle-days of treated cars for 80 % power; 0: there; None: no waiting helps
    planned: float  # the reduction that power is asked for
    done_share: float | None  # of the called cars that were cured; None: not known
    bands: int  # age bands adjusted for
    left_out: int  # cars never in service
    acted_at: datetime
    as_of: datetime

    @property
    def reduction(self) -> float:
        """The share of failures that the cure took away."""
        return 1.0 - self.ratio

    @property
    def label(self) -> str:
        """proven, worse, too early, or no effect seen."""
        if self.high < 1:
            return "proven"
        if self.low > 1:
            return "worse"
        return "no effect seen" if self.days_needed == 0 else "too early"

    @property
    def verdict(self) -> str:
        """One plain sentence."""
        span = f"{_percent(1 - self.high)} to {_percent(1 - self.low)}"
        if self.label == "proven":
            return f"Failures fell by {_percent(self.reduction)} ({span}) among the treated cars against the untreated."
        if self.label == "worse":
            return f"Failures ROSE among the treated cars: {self.ratio:.1f} times ({self.low:.1f} to {self.high:.1f})."
        if self.label == "no effect seen":
            return f"No effect seen: the change lies between {span} fewer failures; one of {_percent(self.planned)} should show by now."
        if self.days_needed is None:
            return (
                "Too few failures before the cure: no waiting can show what it did; compare with more cars."
            )
        return (
            f"Not enough time yet: at least {self.days_needed:,.0f} more vehicle-days of treated cars to see "
            f"{_percent(self.planned)} fewer failures with 80 % power."
        )


@dataclass(frozen=True)
class Placebo:
    """The same arithmetic where there is no cure: `shows` of `looks` found an effect; about 5 in 100 do by chance."""

    shows: int
    looks: int
    before: Proof | None  # treated against untreated, pretending a cure half way through the time before


def prove(
    cars: pl.DataFrame,
    events: pl.DataFrame,
    acted_at: datetime,
    as_of: datetime,
    *,
    late: Delay | None = None,
    ramp_days: float = 0.0,
    window_days: float = 365.0,
    planned: float = 0.5,
    until: datetime | None = None,
) -> Proof:
    """Prove the cure of `acted_at` by what is known `as_of`.

    `cars`: vin, treated (Boolean: was called), start (in service since; null: never), and cured_at where it is known.
    `events`: vin, happened_at, known_at of the symptom (`Evidence.events`). `ramp_days` after the call count for neither
    side: cars are still coming. `window_days` is how far back "before" goes. `until` ends "after" early.
    Raises SetupError where a column is missing or one of the two groups is empty.
    """
    for frame, names in ((cars, ("vin", "treated", "start")), (events, ("vin", "happened_at", "known_at"))):
        for name in names:
            if name not in frame.columns:
                raise SetupError(f"prove: no column {name!r}; {nearest(name, frame.columns)}")
    end = as_of if until is None else min(until, as_of)
    if not acted_at < end:
        raise SetupError(f"prove: the cure of {acted_at} should lie before {end}")
    first = (
        events.filter(pl.col("known_at") <= as_of).group_by("vin").agg(failed_at=pl.col("happened_at").min())
    )
    here = cars.unique("vin", keep="first", maintain_order=True).join(
        first, on="vin", how="left", maintain_order="left"
    )
    here = here.with_columns(start=pl.min_horizontal("start", "failed_at"))
    never = here["start"].null_count()
    here = here.filter(pl.col("start").is_not_null() & (pl.col("start") < end))
    treated = here["treated"].cast(pl.Boolean).fill_null(False).to_numpy()
    if treated.all() or not treated.any():
        raise SetupError(
            f"prove: {int(treated.sum())} treated and {int((~treated).sum())} untreated cars in service; "
            "it takes both: name look-alikes that were not called as untreated"
        )
    periods = (
        (acted_at - timedelta(days=window_days), acted_at),
        (acted_at + timedelta(days=ramp_days), end),
    )
    failed, days = _count(here, treated, periods, as_of, late)
    # hazards by age without the treated cars' time after the cure, which is what is asked
    known = np.array([[True, True], [True, False]])
    with np.errstate(invalid="ignore", divide="ignore"):
        hazard = failed[known].sum(axis=0) / days[known].sum(axis=0)
    expected = (days * np.nan_to_num(hazard, posinf=0.0)).sum(axis=2)
    cells = [
        [Cell(int(failed[g, p].sum()), float(days[g, p].sum()), float(expected[g, p])) for p in (0, 1)]
        for g in (0, 1)
    ]
    ratio, low, high, sure = compare(cells[1][0], cells[1][1], cells[0][0], cells[0][1])
    done = None
    if "cured_at" in cars.columns:
        called = cars.filter(pl.col("treated").cast(pl.Boolean))
        done = called.filter(pl.col("cured_at") <= as_of).height / max(called.height, 1)
    needed = days_needed(cells[1][0], cells[1][1], cells[0][0], cells[0][1], planned)
    return Proof(
        ratio, low, high, sure, cells[1][0], cells[1][1], cells[0][0], cells[0][1], needed, planned, done,
        days.shape[2], never, acted_at, as_of,
    )  # fmt: skip


def _count(
    cars: pl.DataFrame,
    treated: NDArray[np.bool_],
    periods: tuple[tuple[datetime, datetime], ...],
    as_of: datetime,
    late: Delay | None,
) -> tuple[Floats, Floats]:
    """Failures and days at risk: arrays of group (untreated, treated) x period x age band."""

    def ago(name: str, otherwise: float) -> Floats:
        known = cars.select((pl.lit(as_of) - pl.col(name)).dt.total_seconds() / DAY_S).to_series()
        return known.fill_null(otherwise).to_numpy()

    begin, fell = ago("start", 0.0), ago("failed_at", -inf)  # days before as_of
    fell_at = np.isfinite(fell)
    stop = np.where(fell_at, np.maximum(fell, 0.0), 0.0)
    spans = [tuple((as_of - t).total_seconds() / DAY_S for t in p) for p in periods]
    counted = np.zeros(len(begin), dtype=np.bool_)
    for from_, to in spans:
        counted |= fell_at & (fell <= from_) & (fell > to)
    edges = _bands((begin - fell)[counted])
    failed = np.zeros((2, len(spans), len(edges) - 1))
    days = np.zeros_like(failed)
    for p, (from_, to) in enumerate(spans):
        for b, (young, old) in enumerate(pairwise(edges.tolist())):
            first = np.minimum(begin - young, from_)
            last = np.maximum(np.maximum(begin - old, to), stop)
            first = np.maximum(first, last)
            risk = first - last if late is None else late.effective(first) - late.effective(last)
            there = fell_at & (fell <= from_) & (fell > to) & (begin - fell >= young) & (begin - fell < old)
            for g in (0, 1):
                days[g, p, b] = risk[treated == bool(g)].sum()
                failed[g, p, b] = there[treated == bool(g)].sum()
    return failed, days


def _bands(ages: Floats) -> Floats:
    """Age bands in days with about equally many failures each; the last never ends."""
    bands = int(np.clip(len(ages) // FAILED_A_BAND, 1, BANDS_MAX))
    inner = np.quantile(ages, np.linspace(0, 1, bands + 1)[1:-1]) if bands > 1 else np.empty(0)
    return np.unique(np.concatenate([[0.0], inner[inner > 0], [inf]]))


def placebo(
    cars: pl.DataFrame,
    events: pl.DataFrame,
    acted_at: datetime,
    as_of: datetime,
    *,
    late: Delay | None = None,
    ramp_days: float = 0.0,
    window_days: float = 365.0,
    looks: int = 40,
) -> Placebo:
    """Look where nothing can be: among untreated cars split in two by their numbers, and before the cure.

    An effect in many splits, or one before the cure, says that the groups differ in time and the proof is not to be
    trusted. Splits of the same cars are not independent: `shows` is a warning, no test.
    """
    untreated = cars.filter(~pl.col("treated").cast(pl.Boolean))
    shows = 0
    made = 0
    for look in range(looks):
        half = [sha256(f"{look} {v}".encode()).digest()[0] < 128 for v in untreated["vin"]]
        split = untreated.with_columns(treated=pl.Series(half))
        try:
            found = prove(
                split, events, acted_at, as_of, late=late, ramp_days=ramp_days, window_days=window_days
            )
        except SetupError:  # too few cars to split
            continue
        made += 1
        shows += found.high < 1 or found.low > 1
    try:
        early = acted_at - timedelta(days=window_days / 2)
        before = prove(cars, events, early, as_of, late=late, window_days=window_days / 2, until=acted_at)
    except SetupError:
        before = None
    return Placebo(shows, made, before)


def outcomes(bundle: str, proof: Proof) -> pl.DataFrame:
    """The proof as rows of the outcome table: cure_effect (the reduction), cure_effect_low, cure_effect_high.

    Empty where nothing could be compared. A later look at the same cure corrects the row (same key).
    """
    values = {
        "cure_effect": proof.reduction,
        "cure_effect_low": 1 - proof.high,
        "cure_effect_high": 1 - proof.low,
    }
    said = {t: v for t, v in values.items() if isfinite(v)}
    frame = pl.DataFrame(
        {"truth": list(said), "value": list(said.values())}, {"truth": pl.String, "value": pl.Float64}
    )
    stated = {
        "subject": bundle, "happened_at": proof.acted_at, "ended_at": proof.as_of, "label": proof.label, "part": "field",
    }  # fmt: skip
    types = Outcome.dtypes()
    return frame.select(
        pl.col(n) if n in frame.columns else pl.lit(stated.get(n)).cast(t).alias(n) for n, t in types.items()
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if isfinite(share) else "any number"
