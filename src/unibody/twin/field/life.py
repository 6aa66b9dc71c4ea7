"""The cars' lives: sale, distance, failures drawn from hazards over age or distance, and when a failure becomes known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unibody.twin.field.cars import Cars
from unibody.twin.field.chances import Bools, Floats, Ints, between
from unibody.twin.field.maker import DAY, Maker

if TYPE_CHECKING:
    from unibody.twin.field.causes import Planted
    from unibody.twin.field.decoys import Decoys

_CANDIDATES = 3  # a car's first failure is looked for among so many points of the highest hazard


@dataclass(frozen=True)
class Symptom:
    """What customers notice: its component, codes, the parts it is known for, and how its hazard runs."""

    name: str
    component: str
    code: str
    ecu: str
    parts: tuple[str, ...]
    bound: str  # engines or an option without which a car cannot have it; "" for every car
    clock: str  # days or km
    shape: float  # of the Weibull hazard: below 1 infant mortality, above 1 wear
    peak_day: int  # of the year; -1: no season
    swing: float
    level: Floats  # of each model
    complaints: float  # share of reports that are complaints too
    coded: float  # share of reports with a stored code
    reported: float  # share of failures ever reported


@dataclass(frozen=True)
class Failures:
    """Failures in a chunk of cars: the row of the car, when, by which cause (-1: none), and when it was known."""

    row: Ints
    at: Ints
    cause: Ints
    known: Ints  # -1: never reported
    source: Ints  # 0 a real failure; 1 a noisy dealer's claim, 2 a media wave's complaint without a fault


def sold(cars: Cars) -> Ints:
    """When each car came to its customer, seconds; after the end of observation for those not yet sold."""
    return cars.kept("sold", lambda: _sold(cars))


def _sold(cars: Cars) -> Ints:
    rules, chances = cars.maker.numbers["life"], cars.maker.chances
    days = np.array([m["days"] for m in cars.maker.numbers["markets"].values()])[cars.market]
    wait = days * np.exp(rules["sale_spread"] * chances.normal("sale", cars.index))
    seconds = cars.built + ((rules["transport_days"] + wait) * DAY).astype(np.int64)
    return np.asarray(
        seconds // DAY * DAY + 8 * 3600 + chances.uniform("hour", cars.index) * 9 * 3600
    ).astype(np.int64)


def km_a_day(cars: Cars) -> Floats:
    """How far each car is driven a day."""
    return cars.kept("km", lambda: _km_a_day(cars))


def _km_a_day(cars: Cars) -> Floats:
    rules = cars.maker.numbers["life"]
    style = rules["km_day_spread"] * cars.maker.chances.normal("driver", cars.index)
    return np.asarray(rules["km_day_median"] * cars.maker.km_of_market[cars.market] * np.exp(style))


def km_at(cars: Cars, rows: Ints, at: Ints) -> Floats:
    """The distance driven at an instant, km."""
    return np.maximum(km_a_day(cars)[rows] * (at - sold(cars)[rows]) / DAY, 5.0)


def dealer(cars: Cars) -> Ints:
    """Each car's dealer: market x 100,000 + number."""
    return cars.kept("dealer", lambda: _dealer(cars))


def _dealer(cars: Cars) -> Ints:
    rules = cars.maker.numbers["reports"]
    share = cars.maker.market_of_brand.sum(axis=0) / cars.maker.market_of_brand.sum()
    count = np.maximum(share * cars.maker.vehicles / rules["cars_per_dealer"], rules["dealers_least"])
    mine = cars.maker.chances.uniform("dealer", cars.index) * count.astype(np.int64)[cars.market]
    return np.asarray(cars.market * 100_000 + mine.astype(np.int64))


def symptoms(maker: Maker, parts: Sequence[str]) -> tuple[list[Symptom], list[str]]:
    """The symptoms of this world, and the names of those that every car can have."""
    rng, life = maker.chances.rng("symptoms"), maker.numbers["life"]
    bound = {row[0]: [*row, ""][5] for row in maker.numbers["parts"]["catalogue"]["rows"]}
    rows = [
        row
        for row in maker.numbers["symptoms"]["rows"]
        if set(row[4].split()) & set(parts) and maker.possible(bound[row[4].split()[0]])
    ]
    count = int(rng.integers(life["symptoms"][0], life["symptoms"][1] + 1))
    found, general = [], []
    for k in sorted(rng.choice(len(rows), size=min(count, len(rows)), replace=False).tolist()):
        name, component, code, ecu, known_for, clock, shape, season, complaints = rows[k]
        if not bound[known_for.split()[0]]:
            general.append(name)
        found.append(
            Symptom(
                name=name,
                component=component,
                code=code,
                ecu=ecu,
                parts=tuple(known_for.split()),
                bound=bound[known_for.split()[0]],
                clock=clock,
                shape=shape,
                peak_day={"winter": 20, "summer": 200}.get(season, -1),
                swing=between(rng, life["season"]) if season else 0.0,
                level=np.exp(rng.normal(0, life["level_spread"], len(maker.models))),
                complaints=complaints,
                coded=between(rng, maker.numbers["reports"]["code_set"]),
                reported=between(rng, maker.numbers["reports"]["share"]),
            )
        )
    return found, general


def at_risk(cars: Cars, symptom: Symptom) -> Bools:
    """Cars that can have the symptom: those with the first part it is known for."""
    return cars.bound(symptom.bound)


def hazard_to(cars: Cars, symptom: Symptom, usage: Floats) -> Floats:
    """The cumulative hazard up to an age (days) or distance (km), in units of the symptom's own rate."""
    rules = cars.maker.numbers["life"]
    unit = rules["age_days"] if symptom.clock == "days" else rules["age_km"]
    return np.asarray((np.maximum(usage, 0) / unit) ** symptom.shape)


def usage_at(cars: Cars, symptom: Symptom, rows: Ints | slice, when: Ints | int) -> Floats:
    """Age (days) or distance (km) of cars at an instant, on the symptom's clock."""
    days = (when - sold(cars)[rows]) / DAY
    return np.asarray(days if symptom.clock == "days" else days * km_a_day(cars)[rows])


def failures(
    cars: Cars,
    symptom: Symptom,
    rate: float,
    risk: Bools,
    planted: Sequence[Planted],
    decoys: Decoys,
    salt: str,
) -> Failures:
    """Each car's first failure with a symptom, by thinning (Lewis and Shedler 1979), and its report.

    The intensity is rate x hazard x level x season x (1 + the sum over causes of (effect - 1) where the cause
    acts); points of the highest intensity are kept with the share of the true one. A kept point is due to a
    cause with the share that the cause has in the intensity.
    """
    maker, chances = cars.maker, cars.maker.chances
    level = symptom.level[cars.model] * risk * (sold(cars) < maker.as_of)
    hits = [cause.affected(cars) for cause in planted]
    most = np.full(len(cars), 1 + symptom.swing)
    for cause, hit in zip(planted, hits, strict=True):
        most = most + (1 + symptom.swing) * (cause.effect - 1) * hit
    height = rate * level * most
    end = hazard_to(cars, symptom, usage_at(cars, symptom, slice(None), maker.as_of)) * height
    name = f"{salt}/{symptom.name}"
    spent = -np.log(chances.uniform(f"{name}/0", cars.index))
    rows = np.flatnonzero(spent < end)
    spent = spent[rows]
    found_row, found_at, found_cause = [], [], []
    unit = maker.numbers["life"]["age_days" if symptom.clock == "days" else "age_km"]
    for turn in range(_CANDIDATES):
        usage = unit * (spent / height[rows]) ** (1 / symptom.shape)
        days = usage if symptom.clock == "days" else usage / km_a_day(cars)[rows]
        at = sold(cars)[rows] + (days * DAY).astype(np.int64)
        season = _season(cars, symptom, rows, at)
        v = chances.uniform(f"{name}/kept {turn}", cars.index[rows]) * most[rows]
        kept, cause_of = v < season, np.full(len(rows), -1)
        reached = season
        for place, (cause, hit) in enumerate(zip(planted, hits, strict=True)):
            more = season * (cause.effect - 1) * hit[rows] * cause.acts(cars, rows, at)
            mine = (v >= reached) & (v < reached + more)
            cause_of, reached = np.where(mine, place, cause_of), reached + more
            kept |= mine
        found_row.append(rows[kept])
        found_at.append(at[kept])
        found_cause.append(cause_of[kept])
        rows, spent = rows[~kept], spent[~kept]
        spent = spent - np.log(chances.uniform(f"{name}/{turn + 1}", cars.index[rows]))
        left = spent < end[rows]
        rows, spent = rows[left], spent[left]
    row, at = np.concatenate(found_row), np.concatenate(found_at)
    known = report(cars, symptom, row, at, decoys, name)
    return Failures(row, at, np.concatenate(found_cause), known, np.zeros(len(row), dtype=np.int64))


def _season(cars: Cars, symptom: Symptom, rows: Ints, at: Ints) -> Floats:
    if symptom.peak_day < 0:
        return np.ones(len(rows))
    south = np.array([m["south"] for m in cars.maker.numbers["markets"].values()])[cars.market[rows]]
    day = at / DAY - symptom.peak_day - 182.6 * south
    return np.asarray(1 + symptom.swing * np.cos(2 * np.pi * day / 365.2425))


def report(cars: Cars, symptom: Symptom, rows: Ints, at: Ints, decoys: Decoys, name: str) -> Ints:
    """When each failure's first record is known, seconds; -1 where none ever comes."""
    chances, rules = cars.maker.chances, cars.maker.numbers["reports"]
    chance = symptom.reported * willing(cars)[rows]
    chance = chance * np.where(
        at - sold(cars)[rows] > rules["warranty_days"] * DAY, rules["after_warranty"], 1
    )
    chance = np.minimum(chance * decoys.louder(cars, symptom.name, rows, at), rules["most"])
    days = np.interp(
        chances.uniform(f"{name}/delay", cars.index[rows]),
        [0, *rules["delay_share"]],
        [0, *rules["delay_days"]],
    )
    known = at + (days * DAY).astype(np.int64)
    return np.where(chances.uniform(f"{name}/reported", cars.index[rows]) < chance, known, -1)


def willing(cars: Cars) -> Floats:
    """How much more or less a car's market, dealer and brand report than others, of all symptoms."""
    return cars.kept("willing", lambda: _willing(cars))


def _willing(cars: Cars) -> Floats:
    rules, maker = cars.maker.numbers["reports"], cars.maker
    rng = maker.chances.rng("willing")
    market = np.exp(rng.normal(0, rules["market_spread"], len(maker.markets)))
    brand = np.exp(rng.normal(0, rules["brand_spread"], len(maker.brands)))
    own = np.exp(rules["dealer_spread"] * maker.chances.normal("dealers", dealer(cars)))
    return np.asarray(market[cars.market] * brand[cars.brand] * own)
