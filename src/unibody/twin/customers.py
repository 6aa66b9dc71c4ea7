"""Who holds the cars: customers, from when to when each has had which car, and what each allows or forbids."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from unibody.twin.builds import Vehicle
from unibody.twin.dealers import handover
from unibody.twin.files import Files, by_month
from unibody.twin.shapes import Record, Word
from unibody.twin.world import Brand, World

TIMES = {"customers": "since", "holdings": "entered_at", "consents": "given_at"}
Records = dict[str, list[Record]]


def write(world: World, brand: Brand, cars: Sequence[Vehicle], files: Files) -> None:
    """Write what one day's cars bring into the brand's customer files, from handover on."""
    records = _none()
    for car in cars:
        _held(world, brand, car, records)
    _append(world, brand, records, files)


def write_fleets(world: World, brand: Brand, files: Files) -> None:
    """Write the companies that hold many cars; they were customers before the first day."""
    rules, records = world.parameters["customers"], _none()
    for market in brand.markets:
        for number in range(1, _fleets(world, brand) + 1):
            chances = world.chances("fleet", brand.name, market, number)
            since = world.start - timedelta(days=int(chances.integers(1, 20)))
            name = str(chances.choice(rules["fleet_names"])).format(number=number, market=market)
            who = _fleet(brand, market, number)
            records["customers"].append(_customer(who, name, since, market, rules["languages"][market]))
            records["consents"] += [
                {"customer": who, "purpose": Word(purpose), "allowed": True, "given_at": since}
                for purpose in rules["purposes"]
            ]
    _append(world, brand, records, files)


def _none() -> Records:
    return {kind: [] for kind in TIMES}


def _append(world: World, brand: Brand, records: Records, files: Files) -> None:
    for kind, at in TIMES.items():
        known = [record for record in records[kind] if record[at] < world.end]
        for stamp, ours in by_month(known, at).items():
            files.table(f"dealers/{brand.name}/{kind}", stamp, brand.shape, kind, ours)


def _held(world: World, brand: Brand, car: Vehicle, records: Records) -> None:
    """One car's first holder and, where it is sold again in time, its second."""
    rules, chances = world.parameters["customers"], world.chances("customer", car.vin)
    begins, market = handover(world, car).replace(microsecond=0), str(car.build["market"])
    first = f"{_prefix(brand)}K{2 * car.number:08d}"
    kind, resold = chances.random(), chances.random() < rules["resold_rate"]
    after = timedelta(days=round(float(chances.uniform(*rules["resold_days"]))), hours=3)
    if kind < rules["fleet_rate"]:
        number = int(chances.integers(1, _fleets(world, brand) + 1))
        first, role = _fleet(brand, market, number), "fleet"
    else:
        role = "lessee" if kind < rules["fleet_rate"] + rules["lessee_rate"] else "owner"
        _person(world, first, begins, market, chances, records)
    held: Record = {"vin": car.vin, "customer": first, "held_from": begins, "role": Word(role)}
    records["holdings"].append({**held, "held_until": None, "entered_at": begins})
    if resold:
        sold, second = begins + after, f"{_prefix(brand)}K{2 * car.number + 1:08d}"
        _person(world, second, sold, market, chances, records)
        owner: Record = {"vin": car.vin, "customer": second, "held_from": sold, "role": Word("owner")}
        records["holdings"] += [
            {**held, "held_until": sold, "entered_at": sold},  # the same holding, now with its end
            {**owner, "held_until": None, "entered_at": sold},
        ]


def _person(
    world: World, who: str, since: datetime, market: str, chances: np.random.Generator, records: Records
) -> None:
    """A private customer, what he says to each purpose at the handover, and what he takes back later."""
    rules = world.parameters["customers"]
    language = rules["languages"][market]
    names = rules["names"][language]
    first, last = (str(chances.choice(names[which])) for which in ("first", "last"))
    name = f"{first} {last}"
    if chances.random() < rules["hostile_rate"]:
        name = str(chances.choice(rules["hostile"])).format(name=name)
    if chances.random() < rules["foreign_rate"]:
        language = "en"
    records["customers"].append(_customer(who, name, since, market, language))
    for minute, (purpose, share) in enumerate(rules["purposes"].items()):
        asked, yes, back = chances.random(3) < (rules["asked_rate"], share, rules["withdrawn_rate"])
        later = timedelta(days=round(float(chances.uniform(*rules["withdrawn_days"]))), hours=minute + 1)
        said: Record = {"customer": who, "purpose": Word(purpose)}
        if asked:
            given = since + timedelta(minutes=minute)
            records["consents"].append({**said, "allowed": bool(yes), "given_at": given})
            if yes and back:
                records["consents"].append({**said, "allowed": False, "given_at": given + later})


def _customer(who: str, name: str, since: datetime, country: str, language: str) -> Record:
    mail = f"{who.lower()}@mail.example"
    return {
        "customer": who, "name": name, "email": mail, "since": since, "country": country, "language": Word(language),
    }  # fmt: skip


def _prefix(brand: Brand) -> str:
    return brand.name[:2].upper()


def _fleet(brand: Brand, market: str, number: int) -> str:
    return f"{_prefix(brand)}F{market}{number:05d}"


def _fleets(world: World, brand: Brand) -> int:
    """Companies a market: more where more cars are sold."""
    rules = world.parameters["customers"]
    cars: float = world.vehicles_of(brand) * rules["fleet_rate"] / len(brand.markets)
    return max(1, int(cars / rules["fleet_cars"] + 0.5))
