"""Cars as they are built: VIN, model, options, and all that went into them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import numpy as np

from unibody.twin import genealogy
from unibody.twin.files import Files, month
from unibody.twin.shapes import Record
from unibody.twin.world import Brand, Plant, Table, World, local_time

# ISO 3779 without I, O and Q; the values are those of the check digit in 49 CFR 565.15
VIN_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
VIN_VALUES = dict(
    zip(VIN_LETTERS, [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9], strict=True)
)
VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
MODEL_YEARS = "ABCDEFGHJKLMNPRSTVWXY123456789"  # 2010 is A; the letters come round after thirty years


@dataclass(frozen=True)
class Vehicle:
    """One car with all that was built into it."""

    brand: str
    vin: str
    number: int  # of this brand, from 0
    build: Record
    parts: tuple[Record, ...]
    tightenings: tuple[Record, ...]
    software: tuple[Record, ...]
    gauges: tuple[Record, ...] = ()

    @property
    def built_at(self) -> datetime:
        """When it left the line (UTC)."""
        moment: datetime = self.build["built_at"]
        return moment

    def value(self, attribute: str) -> Any:
        """The car's value of an attribute as cohorts name it: part.<part>.<what>, torque.<bolt>, software.<ecu>."""
        kind, name, *what = attribute.split(".")
        records, key = {
            "part": (self.parts, "part"),
            "torque": (self.tightenings, "operation"),
            "software": (self.software, "ecu"),
        }[kind]
        field = what[0] if what else {"torque": "torque_nm", "software": "version"}[kind]
        return next(record[field] for record in records if record[key] == name)


def check_digit(vin: str) -> str:
    """The check digit a VIN should carry at position 9 (49 CFR 565.15).

    >>> check_digit("11111111111111111")
    '1'
    """
    rest = sum(int(VIN_VALUES.get(c, c)) * w for c, w in zip(vin, VIN_WEIGHTS, strict=True)) % 11
    return "X" if rest == 10 else str(rest)


def vin(brand: Brand, model: Table, year: int, number: int) -> str:
    """A VIN of 17 characters; brands sold in North America carry a check digit, the others a Z."""
    serial = (
        f"{VIN_LETTERS[number // 100_000 - 10]}{number % 100_000:05d}"
        if number >= 1_000_000
        else f"{number:06d}"
    )
    year_letter = MODEL_YEARS[(year - 2010) % len(MODEL_YEARS)]
    plain = f"{brand.wmi}{model['vds']}Z{year_letter}{brand.plant_letter}{serial}"
    return plain[:8] + check_digit(plain) + plain[9:] if brand.check_digit else plain


def vehicles(world: World, brand: Brand, counts: list[int]) -> Iterator[tuple[datetime, list[Vehicle]]]:
    """The brand's cars, a day at a time."""
    number = 0
    for day, count in zip(world.build_days(), counts, strict=True):
        yield day, _day(world, brand, day, number, count)
        number += count


def schedule(world: World, brand: Brand) -> list[int]:
    """How many cars the brand builds on each of the build days."""
    days, total = len(world.build_days()), world.vehicles_of(brand)
    counts = np.full(days, total // days)
    counts[world.chances("schedule", brand.name).permutation(days)[: total % days]] += 1
    return [int(count) for count in counts]


def write(world: World, brand: Brand, day: datetime, cars: list[Vehicle], files: Files, last: bool) -> None:
    """Write one day's cars in the brand's own shape: CSV tables, or one JSON document with all in it."""
    stream, shape = f"brands/{brand.name}", brand.shape
    if "vin" not in shape.columns["parts"]:  # parts that name no car can only stand inside of it
        return _document(brand, day, cars, files, last)
    files.table(f"{stream}/builds", f"{day:%Y-%m-%d}", shape, "builds", [car.build for car in cars], last)
    for kind in (kind for kind in ("parts", "tightenings", "software", "gauges") if kind in shape.columns):
        records = [record for car in cars for record in getattr(car, kind)]
        files.table(f"{stream}/{kind}", month(day), shape, kind, records)
    return None


def _document(brand: Brand, day: datetime, cars: list[Vehicle], files: Files, last: bool) -> None:
    shape, path = brand.shape, f"brands/{brand.name}/builds/{brand.name}_builds_{day:%Y-%m-%d}.json"
    inner = {"parts": "organes", "tightenings": "serrages", "software": "logiciels"}
    builds = [{**car.build, **{kind: getattr(car, kind) for kind in inner}} for car in cars]
    written, marks = files.spoil(f"brands/{brand.name}/builds", "builds", builds, last)
    for place, what in marks:
        files.note(path, what, f"/vehicules/{place}")
    copies = {place for place, what in marks if what == "duplicate"}
    spared = {place for place, _ in marks} | {
        place - 1 for place in copies
    }  # one dirt a record; copies stay equal
    content = []
    for place, build in enumerate(written):
        entry = shape.names("builds", build)
        for kind, heading in inner.items():
            records, marks = build[kind], []
            if place not in spared:
                records, marks = files.spoil(f"{path}/{build['vin']}", kind, records, True)
            for spot, what in marks:
                files.note(path, what, f"/vehicules/{place}/{heading}/{spot}")
            entry[heading] = [shape.names(kind, record) for record in records]
        content.append(entry)
    files.document(path, {"usine": brand.plant, "jour": f"{day:%Y-%m-%d}", "vehicules": content})


def _day(world: World, brand: Brand, day: datetime, first: int, count: int) -> list[Vehicle]:
    chances, plant = world.chances("builds", brand.name, f"{day:%Y-%m-%d}"), world.plants[brand.plant]
    begins, ends = plant.shift_hours
    hours = np.sort(chances.uniform(begins, ends, count))
    if begins == 0 and ends == 24:  # round the clock: stay within the UTC day, the file's own
        moments = [day + timedelta(seconds=round(hour * 3600)) for hour in hours.tolist()]
    else:
        moments = [local_time(day, hour, plant.zone) for hour in hours.tolist()]
    return [_vehicle(world, brand, plant, first + n, at, chances) for n, at in enumerate(moments)]


def _vehicle(
    world: World, brand: Brand, plant: Plant, number: int, at: datetime, chances: np.random.Generator
) -> Vehicle:
    rules = world.parameters["builds"]
    place = _choose(chances, tuple(model["share"] for model in brand.models))
    model = brand.models[place]
    car = vin(brand, model, at.year, number + 100_001)
    line = str(chances.choice(plant.lines))
    options = [option for option in rules["options"] if chances.random() < rules["options_rate"]]
    build: Record = {
        "vin": car,
        "model": model["name"],
        "platform": model["platform"],
        "plant": brand.plant,
        "line": line,
        "built_at": at,
        "options": "+".join(options),
        "colour": str(chances.choice(rules["colours"])),
        "engine": str(chances.choice(brand.engines)),
        "market": list(brand.markets)[_choose(chances, tuple(brand.markets.values()))],
    }
    parts = tuple(genealogy.parts(world, brand, plant, car, line, at, number, chances))
    return Vehicle(
        brand=brand.name,
        vin=car,
        number=number,
        build=build,
        parts=parts,
        tightenings=tuple(genealogy.tightenings(world, plant, car, line, at, chances)),
        software=tuple(genealogy.software(world, brand, place, car, at)),
        gauges=tuple(genealogy.gauges(world, brand, plant, car, line, at)),
    )


@cache
def _edges(shares: tuple[float, ...]) -> np.ndarray:
    edges: np.ndarray = np.cumsum(shares) / sum(shares)
    return edges


def _choose(chances: np.random.Generator, shares: tuple[float, ...]) -> int:
    return int(np.searchsorted(_edges(shares), chances.random(), side="right"))
