"""Fleets in the field: builds, lives and reports of whole fleets with planted causes and an answer key, in seconds.

Everything is drawn on whole columns from chances that belong to a car's number, so a fleet comes out the same in one
piece or in chunks. docs/twin.md says what each rule means; the ranges stand in `parameters.toml`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from unibody.errors import SetupError, nearest
from unibody.twin.field import builds, causes, oracle, reports
from unibody.twin.field.cars import Cars
from unibody.twin.field.causes import Planted
from unibody.twin.field.chances import Floats, between_logs
from unibody.twin.field.decoys import Decoys
from unibody.twin.field.decoys import draw as draw_decoys
from unibody.twin.field.fleet import CHUNK, Fleet, build
from unibody.twin.field.life import (
    Failures,
    Symptom,
    at_risk,
    failures,
    hazard_to,
    km_a_day,
    sold,
    symptoms,
    usage_at,
    willing,
)
from unibody.twin.field.maker import DAY, parameters

__all__ = ["KINDS", "Field", "Plan", "chunk", "chunks", "plan", "world"]

#: The kinds of cause that can be planted; `clean` plants none.
KINDS = (*causes.KINDS, "two_causes")


@dataclass(frozen=True)
class Field:
    """One world: frames in the shape of the canonical tables, and the answer key."""

    tables: dict[str, pl.DataFrame]
    kind: str
    symptom: str  # that is looked at
    symptoms: dict[str, dict[str, Any]]  # of the world: component, codes, reports by the end of observation
    causes: list[dict[str, Any]]
    decoys: list[dict[str, Any]]
    as_of: datetime
    climates: dict[str, str]  # of each market
    failures: pl.DataFrame = field(
        repr=False
    )  # the truth: every failure, reported or not, and by which cause


@dataclass(frozen=True)
class Plan:
    """A world before its frames are written: small, whatever the number of vehicles."""

    fleet: Fleet
    kind: str
    focus: Symptom
    symptoms: tuple[Symptom, ...]
    rates: dict[str, float]
    planted: tuple[Planted, ...]
    decoys: Decoys
    salt: str

    def life(self, cars: Cars, symptom: Symptom) -> Failures:
        """All failures of some cars with one symptom, then the reports of it without a fault."""
        mine = self.planted if symptom.name == self.focus.name else ()
        risk = at_risk(cars, symptom)
        salt = self.salt if symptom.name == self.focus.name else "life"
        real = failures(cars, symptom, self.rates[symptom.name], risk, mine, self.decoys, salt)
        more = self.decoys.unfounded(cars, symptom)
        pairs = zip(vars(real).values(), vars(more).values(), strict=True)
        return Failures(*(np.concatenate(pair) for pair in pairs))


def world(
    vehicles: int,
    seed: int,
    kind: str | None = None,
    *,
    decoys: bool = True,
    failures: tuple[int, int] | None = None,
) -> Field:
    """Make one world of so many vehicles with a planted cause of a kind (`KINDS`; `clean`: none; None: drawn).

    `failures` are the limits of the number of cars reported with the symptom looked at (default: 10 to 60 per
    5,000 vehicles, and never fewer). The same arguments give the same bytes. Raises SetupError where a number or
    a name is out of range, and where the limits cannot be met.

    >>> field = world(1_000, seed=3, kind="bad_lot")
    >>> field.causes[0]["kind"], field.tables["build_record"].height
    ('bad_lot', 1000)
    """
    made = plan(vehicles, seed, kind, decoys=decoys, failures=failures)
    pieces = list(chunks(made))
    names = pieces[0][0]
    tables = {name: pl.concat([tables[name] for tables, _ in pieces]) for name in names}
    truth = pl.concat([truth for _, truth in pieces])
    maker = made.fleet.maker
    known = truth.filter(pl.col("known_at") <= datetime.fromtimestamp(maker.as_of, UTC))
    counts = dict(known.group_by("symptom").agg(pl.col("vin").n_unique()).iter_rows())
    told: dict[str, dict[str, Any]] = {
        s.name: {
            "component": s.component,
            "codes": [s.code] if s.code else [],
            "ecu": s.ecu or None,
            "reported": counts.get(s.name, 0),
        }
        for s in made.symptoms
    }
    return Field(
        tables=tables,
        kind=made.kind,
        symptom=made.focus.name,
        symptoms=told,
        causes=_key(made, known.filter(pl.col("symptom") == made.focus.name)),
        decoys=list(made.decoys.told),
        as_of=datetime.fromtimestamp(maker.as_of, UTC),
        climates=dict(zip(maker.markets, maker.climates, strict=True)),
        failures=truth,
    )


def chunks(made: Plan, size: int = CHUNK) -> Iterator[tuple[dict[str, pl.DataFrame], pl.DataFrame]]:
    """The frames of a world and its true failures, so many cars at a time, in constant memory.

    Together they are the same for every `size`, but for the order of rows.
    """
    for first in range(0, made.fleet.maker.vehicles, size):
        yield chunk(made, first, min(first + size, made.fleet.maker.vehicles))


def chunk(made: Plan, first: int, last: int) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """The frames and true failures of the cars `first` to `last - 1`; any process may make any chunk.

    The tools' maintenance, which belongs to no car, comes with the first car.
    """
    whole = (first, last) == (0, made.fleet.maker.vehicles) and len(made.fleet.chunks) == 1
    cars = made.fleet.first if whole else Cars(made.fleet.maker, first, last)
    lives = [(symptom, made.life(cars, symptom)) for symptom in made.symptoms]
    tables = builds.built(made.fleet, cars) | reports.reported(cars, lives)
    upkeep = builds.maintenance(made.fleet)
    tables["maintenance"] = upkeep if first == 0 else upkeep.clear()
    return tables, pl.concat([_truth(cars, symptom, fails) for symptom, fails in lives])


def plan(
    vehicles: int,
    seed: int,
    kind: str | None = None,
    *,
    decoys: bool = True,
    failures: tuple[int, int] | None = None,
) -> Plan:
    """Draw a world up to its rates and causes; arguments as of `world`."""
    numbers = parameters()
    low, high = numbers["fleet"]["vehicles"]
    if not low <= vehicles <= high:
        raise SetupError(f"field: vehicles is {vehicles}; it must lie between {low} and {high}")
    if not 0 <= seed < 2**63:
        raise SetupError(f"field: seed is {seed}; it must lie between 0 and 2**63 - 1")
    if kind not in (None, "clean", *KINDS):
        raise SetupError(f"field: no kind of cause {kind!r}; {nearest(str(kind), ['clean', *KINDS])}")
    scale = max(1.0, vehicles / 5_000)
    limits = failures or tuple(round(n * scale) for n in numbers["life"]["failures"])
    if not 1 <= limits[0] <= limits[1]:
        raise SetupError(f"field: failures is {limits}; give a low and a high number, both above 0")
    fleet = build(vehicles, seed)
    kind = kind or str(fleet.maker.chances.rng("kind").choice(KINDS))
    known, general = symptoms(fleet.maker, list(fleet.parts))
    for turn in range(numbers["causes"]["tries"]):
        found = _attempt(fleet, kind, known, general, decoys, (limits[0], limits[1]), turn)
        if found:
            return found
    raise SetupError(
        f"field: no world of {vehicles} vehicles with seed {seed}, kind {kind} and {limits[0]} to {limits[1]} "
        "failing cars came up; allow more failures, or take another seed"
    )


def _attempt(
    fleet: Fleet,
    kind: str,
    known: list[Symptom],
    general: list[str],
    with_decoys: bool,
    limits: tuple[int, int],
    turn: int,
) -> Plan | None:
    """One draw of symptom, cause, strength, decoys and life; None where it breaks a rule of docs/twin.md."""
    maker, rules = fleet.maker, fleet.maker.numbers["causes"]
    salt = f"{kind}/{turn}"
    rng = maker.chances.rng("attempt", salt)
    chosen = str(rng.choice(general))
    focus = next(s for s in known if s.name == chosen)
    planted = _planted(fleet, kind, focus, rng)
    if planted is None:
        return None
    decoys = draw_decoys(maker, focus, known, salt) if with_decoys else Decoys()
    aim_low, aim_high = (
        limits[0] * maker.numbers["life"]["aim"][0],
        limits[1] * maker.numbers["life"]["aim"][1],
    )
    aim = between_logs(rng, [aim_low, max(aim_high, aim_low)])
    weight, sums, cars_hit, cars_sold = 0.0, np.zeros(len(planted)), np.zeros(len(planted)), 0
    for chunk in fleet.chunks:
        cars = fleet.cars(chunk)
        mine = _weight(cars, focus, decoys)
        weight += mine.sum()
        cars_sold += int((sold(cars) < maker.as_of).sum())
        for place, cause in enumerate(planted):
            hit = cause.affected(cars)
            cars_hit[place] += (hit & (sold(cars) < maker.as_of)).sum()
            sums[place] += (mine * hit * cause.share_of_hazard(cars, focus)).sum()
    if ((cars_hit < rules["cars_least"]) | (cars_hit > rules["share_most"] * cars_sold)).any():
        return None
    more = np.array([cause.effect - 1 for cause in planted]) * sums / weight
    rate = aim / (weight * (1 + more.sum()))
    least = maker.numbers["life"]["caused" if len(planted) == 1 else "caused_of_two"]
    if planted and (rate * weight * more < least * 0.7).any():
        return None
    made = Plan(fleet, kind, focus, tuple(known), {focus.name: rate}, planted, decoys, salt)
    failing, caused = 0, np.zeros(len(planted), dtype=np.int64)
    for chunk in fleet.chunks:
        found = made.life(fleet.cars(chunk), focus)
        seen = (found.known >= 0) & (found.known <= maker.as_of)
        failing += len(np.unique(found.row[seen]))
        caused += np.array(
            [(found.cause[seen] == place).sum() for place in range(len(planted))], dtype=np.int64
        )
    if not limits[0] <= failing <= limits[1] or (caused < least).any():
        return None
    return Plan(fleet, kind, focus, tuple(known), _rates(made, limits), planted, decoys, salt)


def _planted(fleet: Fleet, kind: str, focus: Symptom, rng: np.random.Generator) -> tuple[Planted, ...] | None:
    if kind == "clean":
        return ()
    kinds = rng.choice(causes.PAIRED, size=2, replace=False) if kind == "two_causes" else [kind]
    found = [causes.draw(fleet, str(one), focus, rng) for one in kinds]
    drawn = tuple(cause for cause in found if cause)
    return drawn if len(drawn) == len(kinds) else None


def _weight(cars: Cars, symptom: Symptom, decoys: Decoys) -> Floats:
    """Each car's expected reports by now at rate 1 and without a cause, nearly."""
    maker = cars.maker
    hazard = hazard_to(cars, symptom, usage_at(cars, symptom, slice(None), maker.as_of))
    louder = np.where(cars.market == decoys.market, decoys.market_factor, 1.0)
    seen = symptom.reported * willing(cars) * louder * maker.numbers["causes"]["known_share"]
    return np.asarray(hazard * symptom.level[cars.model] * at_risk(cars, symptom) * seen)


def _rates(made: Plan, limits: tuple[int, int]) -> dict[str, float]:
    """The rates of all symptoms; those of the others are aimed at counts of their own."""
    maker, rates = made.fleet.maker, dict(made.rates)
    others = [s for s in made.symptoms if s.name != made.focus.name]
    weights = dict.fromkeys((s.name for s in others), 0.0)
    for chunk in made.fleet.chunks:
        cars = made.fleet.cars(chunk)
        for symptom in others:
            weights[symptom.name] += float(_weight(cars, symptom, made.decoys).sum())
    rng, scale = maker.chances.rng("rates"), max(1.0, maker.vehicles / 5_000)
    for symptom in others:
        aim = between_logs(rng, maker.numbers["life"]["others"]) * scale
        rates[symptom.name] = aim / max(weights[symptom.name], 1e-9)
    return rates


def _truth(cars: Cars, symptom: Symptom, fails: Failures) -> pl.DataFrame:
    km = km_a_day(cars)[fails.row] * (fails.at - sold(cars)[fails.row]) / DAY
    known = pl.Series(np.where(fails.known < 0, 0, fails.known) * 1_000_000).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame(
        {
            "vin": cars.vin.gather(fails.row),
            "symptom": pl.repeat(symptom.name, len(fails.row), dtype=pl.String, eager=True),
            "failed_at": pl.Series(fails.at * 1_000_000).cast(pl.Datetime("us", "UTC")),
            "known_at": known.set(pl.Series(fails.known < 0), None),
            "odometer_km": np.round(km, 1),
            "cause": pl.Series(fails.cause).cast(pl.Int64).replace(-1, None),
            "unfounded": fails.source > 0,
        }
    )


def _key(made: Plan, known: pl.DataFrame) -> list[dict[str, Any]]:
    """The answer key: each cause with its cars and what it did."""
    found: list[dict[str, Any]] = []
    for place, cause in enumerate(made.planted):
        vins: set[str] = set()
        brands = np.zeros(len(made.fleet.maker.brands), dtype=np.int64)
        inside = everywhere = 0.0
        for chunk in made.fleet.chunks:
            cars = made.fleet.cars(chunk)
            hit = cause.affected(cars)
            vins |= set(cars.vin.filter(pl.Series(hit)).to_list())
            brands += np.bincount(cars.brand[hit], minlength=len(brands))
            weight = _weight(cars, made.focus, made.decoys)
            inside, everywhere = inside + weight[hit].sum(), everywhere + weight.sum()
        by_it = known.filter(pl.col("cause") == place)
        among = known.filter(pl.col("vin").is_in(list(vins)))
        background = known.filter(pl.col("cause").is_null())["vin"].n_unique()
        found.append(
            {
                "kind": cause.kind,
                "symptom": cause.symptom,
                "brand": made.fleet.maker.brands[int(brands.argmax())],
                "brands": [b for b, n in zip(made.fleet.maker.brands, brands, strict=True) if n],
                "conditions": cause.conditions,
                "effect": cause.effect,
                "after_km": cause.after_km or None,
                "since": cause.since,
                "vins": vins,
                "failed": by_it["vin"].n_unique(),
                "failed_in_all": known["vin"].n_unique(),
                "failed_affected": among["vin"].n_unique(),
                "expected_affected": float(background * inside / everywhere),
                "alike": oracle.alike(made.fleet, cause),
                "note": cause.note or None,
            }
        )
    return found
