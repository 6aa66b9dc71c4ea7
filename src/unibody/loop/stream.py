"""Say how many cars should have met a symptom: each by its age, market, season, engine and options, and by what is known.

Brands, markets, seasons and waves get levels of their own as far as the events carry them, first from all symptoms
together (who reports more), then from the symptom itself (`surveillance.levelled`); so do engines and options, by which
cars differ by design.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unibody.loop.delay import Delay
from unibody.loop.evidence import first
from unibody.loop.fleet import Fleet, days, instant
from unibody.methods import surveillance

Array = NDArray[np.float64]
BINS_MAX = 104
SEASON_DAYS = 56.0  # what comes and goes faster is left to chance
HELD_ALL = 10.0  # levels that all symptoms share have many events, and little reason to differ much


@dataclass(frozen=True)
class Seen:
    """The fleet as known at one look, cut into cells of brand x platform x market x week of service."""

    rows: NDArray[np.int64]  # cars in service
    cell: NDArray[np.int64]  # of each of them: (stream * markets + market) * bins + bin of service
    built: NDArray[np.int64]  # bin of building
    stream: NDArray[np.int64]
    cars: Array  # cells: (streams * markets) x bins
    reporting: Array  # the same cells: share of events known by now, by brand, market and season all symptoms together
    margins: tuple[NDArray[np.int64], ...]  # of these cells, flat: stream, market, season, market and season
    age_exposure: Array  # cars x share reported, by age in bins
    bins: int
    bin_days: float
    built_bins: int
    built_days: float
    built_end: float
    now: float


def first_of(fleet: Fleet, as_of: datetime) -> pl.DataFrame:
    """The events known at `as_of`, once per car and symptom, with the car's `row`."""
    row = fleet.reports.select("vin", "row").unique("vin")
    return first(fleet.reports.drop("row"), as_of).join(row, on="vin", maintain_order="left")


def seen_at(fleet: Fleet, events: pl.DataFrame, as_of: datetime, late: Delay) -> tuple[Seen, Array]:
    """Cut the fleet as it was at `as_of` into cells; also when each car came into service, in days since 1970."""
    now = float(days(pl.Series([as_of]).dt.cast_time_unit("us"))[0])
    start = fleet.start.copy()
    failed, at = events["row"].to_numpy(), days(events["happened_at"])
    # a car that fails before anybody has it came into service by failing
    np.fmin.at(start, failed, at)
    there = np.flatnonzero((start <= now) & (fleet.built <= now))
    span = max(now - float(start[there].min()), 1.0)
    bin_days = max(7.0, span / (BINS_MAX - 1))
    bins = int(span // bin_days) + 1
    week = bins - 1 - ((now - start[there]) // bin_days).astype(np.int64)
    built_end = float(np.ceil(fleet.built[there].max()))
    built_span = max(built_end - float(fleet.built[there].min()), 1.0)
    built_days = max(7.0, built_span / (BINS_MAX - 1))
    built_bins = int(built_span // built_days) + 1
    built = built_bins - 1 - ((built_end - fleet.built[there]) // built_days).astype(np.int64)
    stratum = fleet.stream[there].astype(np.int64) * len(fleet.markets) + fleet.market[there]
    cell = stratum * bins + week
    cars = np.bincount(cell, minlength=len(fleet.streams) * len(fleet.markets) * bins).reshape(-1, bins)
    reported = late.reported((np.arange(bins)[::-1] + 0.5) * bin_days)
    began = cars.sum(axis=0).astype(float)
    ages = np.array([(began[: bins - a] * reported[a:]).sum() for a in range(bins)])
    margins = _margins(len(fleet.streams), len(fleet.markets), bins, bin_days)
    happened = np.clip(bins - 1 - ((now - at) // bin_days).astype(np.int64), 0, bins - 1)
    of_failed = (fleet.stream[failed].astype(np.int64) * len(fleet.markets) + fleet.market[failed]) * bins
    observed = np.bincount(of_failed + happened, minlength=cars.size).astype(float)
    risk = (np.cumsum(cars, axis=1) * reported).ravel()
    share = surveillance.levelled(observed, risk, margins, HELD_ALL)
    reporting = (
        np.divide(share, risk, out=np.zeros_like(share), where=risk > 0).reshape(cars.shape) * reported
    )
    return Seen(
        there, cell, built, fleet.stream[there].astype(np.int64), cars.astype(float), reporting, margins, ages,
        bins, bin_days, built_bins, built_days, built_end, now,
    ), start  # fmt: skip


def _margins(streams: int, markets: int, bins: int, bin_days: float) -> tuple[NDArray[np.int64], ...]:
    shape = (streams, markets, bins)
    stream, market, week = (v.ravel() for v in np.indices(shape))
    season = (bins - 1 - week) // max(1, round(SEASON_DAYS / bin_days))
    return stream, market, season, market * (int(season.max()) + 1) + season


class Stream:
    """One symptom over the whole fleet: its events, and what each car should have had of them."""

    def __init__(
        self, fleet: Fleet, seen: Seen, symptom: str, events: pl.DataFrame, start: Array, late: Delay
    ) -> None:
        self.fleet, self.seen, self.symptom, self.events, self.late = fleet, seen, symptom, events, late
        self.failed = events["row"].to_numpy().astype(np.int64)
        self.happened = days(events["happened_at"])
        self.week = np.clip(self._bin(self.happened), 0, seen.bins - 1)
        began = np.clip(self._bin(start[self.failed]), 0, self.week)
        ages = np.bincount(self.week - began, minlength=seen.bins).astype(float)
        shape = surveillance.ageing(ages, seen.age_exposure)
        age = np.arange(seen.bins)[None, :] - np.arange(seen.bins)[:, None]
        # a car comes into service in the middle of its week
        self.hazard = np.where(
            age >= 0, (np.maximum(age, 0) + 0.5) ** shape - np.maximum(age - 0.5, 0) ** shape, 0.0
        )
        stratum = fleet.stream[self.failed].astype(np.int64) * len(fleet.markets) + fleet.market[self.failed]
        observed = np.bincount(stratum * seen.bins + self.week, minlength=seen.cars.size).astype(float)
        risk = seen.cars @ self.hazard
        due = surveillance.levelled(observed, (risk * seen.reporting).ravel(), seen.margins)
        self.rate = np.divide(due.reshape(risk.shape), risk, out=np.zeros_like(risk), where=risk > 0)
        self.expected = np.zeros(len(fleet.vins))  # of each car; 0 for those not in service
        self.expected[seen.rows] = (self.rate @ self.hazard.T).ravel()[seen.cell]
        for design in fleet.designs:
            margin = (design.codes + 1).astype(np.int64)
            met = np.bincount(self.failed, minlength=len(fleet.vins)).astype(float)
            self.expected = surveillance.levelled(met, self.expected, [margin])

    def _bin(self, at: Array) -> NDArray[np.int64]:
        return self.seen.bins - 1 - ((self.seen.now - at) // self.seen.bin_days).astype(np.int64)

    def by_build(self) -> NDArray[np.int64]:
        """Events: streams x bins of building."""
        seen = self.seen
        place = np.searchsorted(seen.rows, self.failed)
        flat = seen.stream[place] * seen.built_bins + seen.built[place]
        counts = np.bincount(flat, minlength=len(self.fleet.streams) * seen.built_bins)
        return counts.astype(np.int64).reshape(-1, seen.built_bins)

    def expected_by_build(self) -> Array:
        """The same of what was to be expected; each stream's add up to its events."""
        seen = self.seen
        flat = seen.stream * seen.built_bins + seen.built
        size = len(self.fleet.streams) * seen.built_bins
        due = np.bincount(flat, weights=self.expected[seen.rows], minlength=size).astype(float)
        due = due.reshape(-1, seen.built_bins)
        events = np.bincount(self.fleet.stream[self.failed], minlength=len(due)).astype(float)
        return np.asarray(due * (events / np.maximum(due.sum(axis=1), 1e-12))[:, None])

    def lately(self, mine: NDArray[np.bool_], newest: float, oldest: float) -> float:
        """Events of this age in days, those not yet reported added."""
        age = self.seen.now - self.happened[mine]
        age = age[(age >= newest) & (age < oldest)]
        return float((1 / np.maximum(self.late.reported(age), 0.05)).sum())

    def since(self, mine: NDArray[np.bool_], inside: NDArray[np.bool_]) -> datetime:
        """The week from which on the cars inside stand out most."""
        seen = self.seen
        cars = np.bincount(seen.cell[inside[seen.rows]], minlength=seen.cars.size).reshape(seen.cars.shape)
        expected = ((cars @ self.hazard) * self.rate).sum(axis=0)
        count = np.bincount(self.week[mine], minlength=seen.bins).astype(float)
        whole = np.bincount(self.week, minlength=seen.bins).astype(float)
        later = [np.cumsum(v[::-1])[::-1] for v in (count, expected, whole)]
        week = int(surveillance.evidence(*later).argmax())
        inside_at = self.happened[mine]
        return instant(float(inside_at[self.week[mine] >= week].min(initial=seen.now)))
