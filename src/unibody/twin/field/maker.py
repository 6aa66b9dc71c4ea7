"""The car maker of one world: brands, models, plants, calendar and markets, drawn before the first car is built."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from unibody.twin.field.chances import Chances, Floats, Ints, between

Table = dict[str, Any]
DAY = 86_400
SHIFTS = ("early", "late", "night")


@cache
def parameters() -> Table:
    """The numbers of this generator, as read from its `parameters.toml`."""
    return tomllib.loads(resources.files("unibody.twin.field").joinpath("parameters.toml").read_text("utf-8"))


@dataclass(frozen=True)
class Model:
    """One model of one brand, and from when it is built (share of the build time)."""

    brand: str
    name: str
    platform: str
    wmi: str
    vds: str
    share: float
    launch: float


@dataclass(frozen=True)
class Plant:
    """One plant: its cars are numbered `first` to `first + cars - 1` in the order they are built."""

    name: str
    code: str
    letter: str
    begins_hour: int
    shifts: int
    platform: str
    models: tuple[int, ...]
    line_of_model: Floats  # share of each model's cars on each line
    first: int
    cars: int
    done: Ints  # cars finished by the end of each build day


@dataclass(frozen=True)
class Maker:
    """Everything about the maker that holds for a whole world."""

    vehicles: int
    seed: int
    numbers: Table
    chances: Chances
    first_day: int  # seconds since 1970, UTC
    days: int
    as_of: int
    models: tuple[Model, ...]
    plants: tuple[Plant, ...]
    lines: tuple[str, ...]
    line_plant: tuple[int, ...]
    engines: tuple[str, ...]
    markets: tuple[str, ...]
    climates: tuple[str, ...]
    colours: tuple[str, ...]
    market_of_brand: Floats
    engine_of_model: Floats  # model x market x engine
    colour_of_model: Floats
    km_of_market: Floats

    @property
    def brands(self) -> tuple[str, ...]:
        """The brands, in a fixed order."""
        return tuple(dict.fromkeys(model.brand for model in self.models))

    def possible(self, bound: str) -> bool:
        """Whether any car can have something bound to engines or to an option."""
        return not bound or bound in self.numbers["options"] or bool(set(bound.split()) & set(self.engines))

    def at(self, share: float) -> int:
        """The instant at a share of the build time, at midnight."""
        return self.first_day + round(share * self.days) * DAY


def draw(vehicles: int, seed: int) -> Maker:
    """Draw a maker for so many vehicles."""
    numbers, chances = parameters(), Chances(seed)
    rng, fleet = chances.rng("maker"), parameters()["fleet"]
    earliest, latest = (_seconds(day) for day in fleet["as_of"])
    as_of = earliest + int(rng.integers(0, (latest - earliest) // DAY)) * DAY
    days = round(between(rng, fleet["built_over_days"]))
    first_day = as_of - (days + round(between(rng, fleet["quiet_days"]))) * DAY
    models = _models(rng, numbers)
    plants = _plants(rng, numbers, vehicles, models, first_day, days)
    lines = tuple(f"{p.code}-L{n + 1}" for p in plants for n in range(p.line_of_model.shape[1]))
    line_plant = tuple(k for k, p in enumerate(plants) for _ in range(p.line_of_model.shape[1]))
    platforms = sorted({model.platform for model in models})
    engines = tuple(e for name in platforms for e in numbers["platforms"][name]["engines"])
    markets, rows = tuple(numbers["markets"]), numbers["markets"]
    brands = tuple(dict.fromkeys(model.brand for model in models))
    size = np.array(
        [[rows[m]["size"] * numbers["brand_markets"].get(b, {}).get(m, 1.0) for m in markets] for b in brands]
    )
    mix, colours = fleet["mix_spread"], tuple(numbers["colours"])
    return Maker(
        vehicles=vehicles,
        seed=seed,
        numbers=numbers,
        chances=chances,
        first_day=first_day,
        days=days,
        as_of=as_of,
        models=models,
        plants=plants,
        lines=lines,
        line_plant=line_plant,
        engines=engines,
        markets=markets,
        climates=tuple(rows[m]["climate"] for m in markets),
        colours=colours,
        market_of_brand=size * _spread(rng, mix, size.shape),
        engine_of_model=_engine_shares(rng, numbers, models, engines, mix),
        colour_of_model=np.array(list(numbers["colours"].values()))
        * _spread(rng, mix, (len(models), len(colours))),
        km_of_market=_spread(rng, numbers["life"]["market_km"], (len(markets),)),
    )


def _models(rng: np.random.Generator, numbers: Table) -> tuple[Model, ...]:
    fleet, names = numbers["fleet"], list(numbers["platforms"])
    platforms = rng.choice(names, size=_count(rng, fleet["platforms"]), replace=False)
    chosen: list[list[Any]] = []
    brands: set[str] = set()
    for platform in platforms:
        rows = [row for row in numbers["models"]["rows"] if row[2] == platform]
        makes = list(dict.fromkeys(row[0] for row in rows))
        kept = {
            str(b) for b in rng.choice(makes, size=_count(rng, fleet["brands_per_platform"]), replace=False)
        }
        if len(brands | kept) > 3:
            kept = {sorted(kept)[0]}
        brands |= kept
        chosen += [row for row in rows if row[0] in kept]
    found = []
    for place, (brand, name, platform, wmi, vds, share) in enumerate(chosen):
        alone = platform not in [row[2] for row in chosen[:place]]  # a plant needs a model from its first day
        late = rng.random() < fleet["launched_later"] and not alone
        launch = between(rng, fleet["launch"]) if late else 0.0
        share = share * float(np.exp(rng.normal(0, fleet["mix_spread"])))
        found.append(Model(brand, name, platform, wmi, vds, share, launch))
    return tuple(found)


def _plants(
    rng: np.random.Generator,
    numbers: Table,
    vehicles: int,
    models: tuple[Model, ...],
    first_day: int,
    days: int,
) -> tuple[Plant, ...]:
    fleet = numbers["fleet"]
    rows = [numbers["plants"]["rows"][k] for k in rng.permutation(len(numbers["plants"]["rows"]))]
    platforms = list(dict.fromkeys(model.platform for model in models))
    owner = [p for p in platforms for _ in range(_count(rng, fleet["plants_per_platform"]))]
    weight = rng.dirichlet(np.full(len(owner), 8.0))
    edges = np.round(np.cumsum(weight) * vehicles).astype(int)
    edges[-1] = vehicles
    found, first = [], 0
    for place, platform in enumerate(owner):
        name, code, letter, hour = rows[place]
        mine = tuple(k for k, model in enumerate(models) if model.platform == platform)
        lines = _count(rng, fleet["lines_per_plant"])
        cars = int(edges[place]) - first
        found.append(
            Plant(
                name=name,
                code=code,
                letter=letter,
                begins_hour=hour,
                shifts=3 if rng.random() < fleet["three_shifts"] else 2,
                platform=platform,
                models=mine,
                line_of_model=rng.dirichlet(np.full(lines, 0.8), len(mine)) + 0.02,
                first=first,
                cars=cars,
                done=_schedule(rng, fleet, cars, first_day, days),
            )
        )
        first += cars
    return tuple(found)


def _schedule(rng: np.random.Generator, fleet: Table, cars: int, first_day: int, days: int) -> Ints:
    """Cars finished by the end of each day: weekdays, holidays, a ramp, and days that go well or badly."""
    day = np.arange(days)
    weight = np.array(fleet["weekday"])[(first_day // DAY + 3 + day) % 7]  # 1970-01-01 was a Thursday
    of_year = np.array(
        [datetime.fromtimestamp(first_day + int(d) * DAY, UTC).timetuple().tm_yday for d in day]
    )
    for low, high, left in fleet["holidays"]:
        weight = np.where((of_year >= low) & (of_year <= high), weight * left, weight)
    ramp = max(1.0, between(rng, fleet["ramp_days"]))
    weight = weight * np.minimum(1.0, 1 / 3 + day / ramp * 2 / 3) * rng.gamma(20, 1 / 20, days)
    total = np.cumsum(weight)
    return np.asarray(np.round(total / total[-1] * cars), dtype=np.int64)


def _engine_shares(
    rng: np.random.Generator, numbers: Table, models: tuple[Model, ...], engines: tuple[str, ...], mix: float
) -> Floats:
    rows = list(numbers["markets"].values())
    shares = np.zeros((len(models), len(rows), len(engines)))
    for k, model in enumerate(models):
        own = numbers["platforms"][model.platform]["engines"]
        liking = _spread(rng, mix, (len(engines),))
        for e, engine in enumerate(engines):
            for m, market in enumerate(rows):
                taste = {"D": market["diesel"], "E": market["electric"]}.get(engine[0], 1.0)
                shares[k, m, e] = own.get(engine, 0.0) * taste * liking[e]
    return shares


def _count(rng: np.random.Generator, shares: list[float]) -> int:
    return int(rng.choice(len(shares), p=shares)) + 1


def _spread(rng: np.random.Generator, spread: float, shape: tuple[int, ...]) -> Floats:
    return np.asarray(np.exp(rng.normal(0, spread, shape)))


def _seconds(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())
