"""The smallest set of vehicles that covers those a cause has spoiled, with what each choice of set costs and risks.

**What "covers" means.** `covered_probability` is the probability that a truly affected vehicle is in the set, which is
the same as the share of the affected that is expected to be in it: over many cases stated at .95, 95 % of the affected
are recalled (and no car is left out that is itself affected more likely than not). `all_probability` is the probability that EVERY affected vehicle is in it (one less is the risk of missing
one): never higher, and dearer, for the last few cars beyond a limit cost most. By default the first is held to what
Settings state; `leave_none` holds the second to it, which is what a safety matter asks for. A vehicle is affected when
it meets the true conditions of the cause, whether it has failed, will fail, or never does.

Three things are uncertain and are all counted: which hypothesis is right (weights `sure` of the cause, of the rivals
that explain the same failures, and of what cannot be told apart from it: to cover one of them alone covers with its
weight only); where the ends of a range lie (`members.family`); who has no record (`members.unknown`). Given is that one
of the hypotheses listed is right.

How the set is chosen: `cover.Cover`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import numpy as np
import polars as pl

from unibody.errors import SetupError, nearest
from unibody.loop.cover import Cover, Covered
from unibody.loop.members import Family, Floats, family, kin, meets
from unibody.methods.cohorts.evidence import log_bayes_factor

TARGETS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
HYPOTHESES_MOST = 12
SAME_FAILURES = (
    0.5  # a rival explains at least this share of the failures that the cause, or itself, has inside
)
FORGET = 0.002  # hypotheses with less weight are not followed


@dataclass(frozen=True)
class Settings:
    """What acting costs and how long it takes: assumptions, shown beside every figure made of them."""

    probability: float = 0.95  # that an affected vehicle is in the set ...
    leave_none: bool = False  # ... or that all of them are
    never_out: float = 0.5  # a car that is affected with this probability or more is never left out
    eur_visit: float = 110.0  # a workshop visit: labour, handling, mobility
    eur_part: float = 60.0  # the part at fault, new
    eur_unsold: float = 75.0  # mending a car not yet handed over
    eur_update: float = 3.0  # an update over the air
    eur_letter: float = 1.5
    eur_failure: float = 900.0  # a failure under warranty: tow, repair, goodwill
    eur_stop_hour: float = 40_000.0
    stop_hours: float = 2.0
    eur_check: float = 600.0  # looking at a tool, a station, a supplier's process
    come_share: float = 0.75  # of the cars called that come within the time looked at
    visits_per_day: float = 400.0
    updates_per_day: float = 20_000.0
    horizon_days: float = 365.0  # failures avoided are counted so far ahead
    going_on_days: float = 14.0  # affected cars built within this: it goes on
    until_found_days: float = 30.0  # it would go on so much longer, were it not stopped now
    plant_days: float = 5.0  # a car built within this and not handed over is still at the plant


class Hypothesis(Protocol):
    """What scope reads of a cause (`methods.cohorts.Cause`)."""

    @property
    def conditions(self) -> dict[str, Any]:
        """Its conditions."""

    @property
    def sure(self) -> float:
        """Its share of the evidence."""

    @property
    def alike(self) -> tuple[dict[str, Any], ...]:
        """What cannot be told apart from it."""


@dataclass(frozen=True)
class Choice:
    """One possible set: how many cars, how well it covers, what it costs, what it risks."""

    vehicles: int
    covered_probability: float  # an affected vehicle is in it: the expected share of the affected
    all_probability: float  # all affected vehicles are in it
    missed: float  # affected vehicles expected outside
    on_road: int
    not_sold: int
    at_plant: int
    parts: int  # new parts needed
    days: float  # until the last car is done
    cost_eur: float
    risk_eur: float | None  # failures expected of affected cars left out, within the horizon


@dataclass(frozen=True)
class Scope:
    """The set chosen, the curve of choices it was chosen from, and all that was assumed."""

    vehicles: tuple[str, ...]
    stated: float
    choice: Choice
    choices: tuple[Choice, ...]  # the curve, from small to large
    table: pl.DataFrame  # vin, where (on_road, not_sold, at_plant), sure: each vehicle's own probability
    hypotheses: tuple[tuple[dict[str, Any], float, int], ...]  # conditions, weight, vehicles
    affected: float  # expected number of truly affected vehicles
    unknown: int  # vehicles without a record that could be affected, in the set or not
    failures_a_day: float | None  # further failures of an affected car and day that the cause makes
    built_lately: int  # vehicles of the set built within `going_on_days`: it goes on
    over_the_air: bool
    settings: Settings

    @property
    def covered_probability(self) -> float:
        """Probability that an affected vehicle is in the set."""
        return self.choice.covered_probability


def scope(
    frame: pl.DataFrame,
    cause: Hypothesis,
    *,
    rivals: Sequence[Hypothesis] = (),
    others: Sequence[Mapping[str, Any]] = (),
    fleet: pl.DataFrame | None = None,
    as_of: datetime | None = None,
    outcome: str = "failed",
    exposure: str | None = "expected",
    days: str = "days_at_risk",
    unit: str = "vin",
    settings: Settings | None = None,
) -> Scope:
    """Scope a cause: `frame` is the cohort it was found in, `fleet` every car built (default: the frame's).

    `rivals` are the explanation's `ranked`; those that explain other failures are left aside. `others` are the
    conditions of other accepted causes, whose failures say nothing about this one. `as_of` tells cars at the plant.
    Raises SetupError naming a column that is missing.

    >>> from unibody.methods.cohorts import Cause
    >>> cars = pl.DataFrame({"vin": [f"V{i}" for i in range(100)], "lot": ["a"] * 20 + ["b"] * 80})
    >>> cars = cars.with_columns(failed=(pl.int_range(100) % 4 == 0) & (pl.col("lot") == "a"), expected=0.05)
    >>> found = scope(cars, Cause({"lot": "a"}, 30.0, 5.0, 90.0, 0.001, 0.99, 5, 1.0, 20, 1.0))
    >>> len(found.vehicles), found.covered_probability
    (20, 1.0)
    """
    how = settings or Settings()
    for name in (unit, outcome, *([exposure] if exposure else [])):
        if name not in frame.columns:
            raise SetupError(f"scope: no column {name!r} in the frame; {nearest(name, frame.columns)}")
    fleet = frame if fleet is None else fleet
    seen = _without(frame, cause, others, outcome)
    failures = seen[outcome].cast(pl.Float64).fill_null(0.0).to_numpy()
    base = np.ones(seen.height) if exposure is None else seen[exposure].cast(pl.Float64).to_numpy()
    families, weights = _hypotheses(seen, cause, rivals, failures, base)
    sets = Cover(fleet, families, weights)
    where = _where(fleet, as_of, how)
    air = over_the_air(cause.conditions)
    daily = _failures_a_day(seen, cause.conditions, failures, days)
    choose = sets.fullest if how.leave_none else sets.smallest
    made = {t: choose(t) for t in TARGETS}
    made[how.probability] = (
        choose(how.probability) if how.leave_none else sets.smallest(how.probability, how.never_out)
    )
    choices = {t: _choice(c, where, sets.affected, daily, air, how) for t, c in sorted(made.items())}
    chosen = made[how.probability]
    table = fleet.select(vin=pl.col(unit).cast(pl.String), where=where, sure=pl.Series(sets.member())).filter(
        pl.Series(chosen.cars)
    )
    listed = tuple(
        (f.conditions, float(w), int(meets(fleet, f.conditions).sum()))
        for f, w in zip(families, weights, strict=True)
    )
    return Scope(
        tuple(table["vin"].to_list()), how.probability, choices[how.probability],
        tuple(dict.fromkeys(choices.values())), table, listed, sets.affected, len(sets.unsure), daily,
        _built_lately(fleet.filter(pl.Series(chosen.cars)), as_of, how), air, how,
    )  # fmt: skip


def over_the_air(conditions: Mapping[str, Any]) -> bool:
    """Is it software: can cars be mended where they stand.

    >>> over_the_air({"software.ABS": "7.0.5", "hardware.ABS": "B"}), over_the_air({"part.brake_hose.lot": "L1"})
    (True, False)
    """
    return any(n.startswith("software.") or n == "rxswin" for n in conditions)


def _without(
    frame: pl.DataFrame, cause: Hypothesis, others: Sequence[Mapping[str, Any]], outcome: str
) -> pl.DataFrame:
    """The cohort without the units of other causes, unless that takes half of this one's own failures."""
    mine = meets(frame, cause.conditions)
    failed = frame[outcome].cast(pl.Float64).fill_null(0.0).to_numpy() > 0
    apart = np.zeros(frame.height, dtype=np.bool_)
    for conditions in others:
        if dict(conditions) == cause.conditions:
            continue
        theirs = meets(frame, conditions)
        if (theirs & mine & failed).sum() * 2 <= (mine & failed).sum():
            apart |= theirs
    return frame.filter(pl.Series(~apart))


def _hypotheses(
    frame: pl.DataFrame, cause: Hypothesis, rivals: Sequence[Hypothesis], failures: Floats, base: Floats
) -> tuple[list[Family], Floats]:
    """The families that may be right, with their weights; what differs in its ends only is one family."""
    failed = failures > 0
    mine = meets(frame, cause.conditions) & failed
    weight: dict[tuple[Any, ...], float] = {}
    words: dict[tuple[Any, ...], dict[str, Any]] = {}

    def add(conditions: dict[str, Any], sure: float) -> None:
        key = kin(conditions, frame)
        words.setdefault(key, conditions)
        weight[key] = weight.get(key, 0.0) + max(sure, 0.0)

    add(cause.conditions, cause.sure or 1e-3)
    listed = [cause.conditions]
    for rival in rivals:
        theirs = meets(frame, rival.conditions) & failed
        least = min(int(mine.sum()), int(theirs.sum()))
        if rival.conditions not in listed and (mine & theirs).sum() >= SAME_FAILURES * max(least, 1):
            listed.append(rival.conditions)
            add(rival.conditions, rival.sure)
    for conditions in cause.alike:
        if conditions not in listed:
            listed.append(conditions)
            odds = _evidence(frame, conditions, failures, base) - _evidence(
                frame, cause.conditions, failures, base
            )
            add(conditions, cause.sure * float(np.exp(min(odds, 0.0))))
    total = sum(weight.values())
    order = sorted(weight, key=lambda k: -weight[k])
    kept = [k for k in order if weight[k] / total >= FORGET][:HYPOTHESES_MOST]
    found = np.array([weight[k] for k in kept])
    return [family(frame, words[k], failures, base) for k in kept], found / found.sum()


def _evidence(frame: pl.DataFrame, conditions: Mapping[str, Any], failures: Floats, base: Floats) -> float:
    inside = meets(frame, conditions)
    share = np.clip(base[inside].sum() / max(base.sum(), 1e-300), 1e-12, 1 - 1e-9)
    return float(log_bayes_factor(failures[inside].sum(), share, int(failures.sum())))


def _where(fleet: pl.DataFrame, as_of: datetime | None, how: Settings) -> pl.Series:
    """on_road, not_sold or at_plant of each car; where nobody says when cars were handed over, they count as on the road."""
    name = next((n for n in ("sold_at", "start") if n in fleet.columns), None)
    if name is None:
        return pl.Series(["on_road"] * fleet.height, dtype=pl.String)
    sold = pl.col(name).is_not_null()
    fresh = pl.lit(False)
    if as_of is not None:
        sold &= pl.col(name) <= _moment(fleet, name, as_of)
        if "built_at" in fleet.columns:
            fresh = pl.col("built_at") > _moment(fleet, "built_at", as_of - timedelta(days=how.plant_days))
    where = (
        pl.when(sold)
        .then(pl.lit("on_road"))
        .when(fresh)
        .then(pl.lit("at_plant"))
        .otherwise(pl.lit("not_sold"))
    )
    return fleet.select(where=where)["where"]


def _built_lately(cars: pl.DataFrame, as_of: datetime | None, how: Settings) -> int:
    if as_of is None or "built_at" not in cars.columns:
        return 0
    since = _moment(cars, "built_at", as_of - timedelta(days=how.going_on_days))
    return cars.filter(pl.col("built_at") > since).height


def _moment(frame: pl.DataFrame, name: str, at: datetime) -> pl.Expr:
    """A moment in the zone of a column; one without a zone is UTC."""
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    zone = getattr(frame.schema[name], "time_zone", None)
    return pl.lit(aware if zone else aware.astimezone(UTC).replace(tzinfo=None))


def _failures_a_day(
    frame: pl.DataFrame, conditions: Mapping[str, Any], failures: Floats, days: str
) -> float | None:
    """Failures of an affected car and day beyond those of the others: what the cause adds; None without days."""
    if days not in frame.columns:
        return None
    lived = frame[days].cast(pl.Float64).fill_null(0.0).to_numpy()
    inside = meets(frame, conditions)
    if not lived[inside].sum():
        return None
    usual = failures[~inside].sum() / lived[~inside].sum() if lived[~inside].sum() else 0.0
    return max(float(failures[inside].sum() / lived[inside].sum() - usual), 0.0)


def _choice(
    covered: Covered, where: pl.Series, affected: float, a_day: float | None, air: bool, how: Settings
) -> Choice:
    chosen = where.filter(pl.Series(covered.cars))
    cars = len(chosen)
    on_road, at_plant = int((chosen == "on_road").sum()), int((chosen == "at_plant").sum())
    unsold = cars - on_road
    missed = affected * (1 - covered.probability)
    if air:
        cost = cars * how.eur_update + on_road * how.eur_letter
        days, parts = cars / how.updates_per_day, 0
    else:
        come = on_road * how.come_share
        cost = come * (how.eur_visit + how.eur_part) + on_road * how.eur_letter
        cost += unsold * (how.eur_unsold + how.eur_part)
        days, parts = on_road / how.visits_per_day, cars
    risk = None if a_day is None else missed * a_day * how.horizon_days * how.eur_failure
    return Choice(
        cars, covered.probability, covered.all_probability, missed, on_road, unsold - at_plant, at_plant, parts, days, cost, risk
    )  # fmt: skip
