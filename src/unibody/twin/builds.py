"""Cars as they are built: VIN, options, the genealogy of their parts, their tightenings and software."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

import numpy as np

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

    @property
    def built_at(self) -> datetime:
        """When it left the line (UTC)."""
        moment: datetime = self.build["built_at"]
        return moment

    def lot(self, part: str) -> str:
        """The lot one of its parts came from."""
        return str(next(record["lot"] for record in self.parts if record["part"] == part))


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


def part_number(brand: Brand, part: Table) -> str:
    """The brand's own number of a part."""
    return f"{brand.part_prefix}{part['number']}AA"


def lot_code(brand: Brand, place: int, part: Table, day: datetime) -> str:
    """The lot of a part that is in use on a day; a lot lasts the part's `lot_days`."""
    return f"{part['supplier']}-{brand.part_prefix}{place:02d}-{lot_index(place, part, day):06d}"


def lot_index(place: int, part: Table, day: datetime) -> int:
    """Lots of one part counted over the years; parts do not change lots on the same day."""
    return (day.toordinal() + 3 * place) // int(part["lot_days"])


def bad_lots(world: World) -> dict[str, str]:
    """The lot behind each planted cause."""
    found = {}
    for cause in world.parameters["planted"]:
        names = [part["part"] for part in world.parameters["builds"]["parts"]]
        place = names.index(cause["part"])
        day = world.start + timedelta(days=round(cause["onset"] * world.days))
        part = world.parameters["builds"]["parts"][place]
        found[cause["cause"]] = lot_code(world.brands[cause["brand"]], place, part, day)
    return found


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
    for kind in ("parts", "tightenings", "software"):
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
    model = brand.models[_choose(chances, tuple(model["share"] for model in brand.models))]
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
    parts = tuple(_parts(world, brand, plant, car, line, at, number, chances))
    return Vehicle(
        brand=brand.name,
        vin=car,
        number=number,
        build=build,
        parts=parts,
        tightenings=tuple(_tightenings(world, plant, car, line, at, chances)),
        software=tuple(_software(world, brand, car, at)),
    )


def _parts(
    world: World,
    brand: Brand,
    plant: Plant,
    car: str,
    line: str,
    at: datetime,
    number: int,
    chances: np.random.Generator,
) -> Iterator[Record]:
    rules = world.parameters["builds"]
    old_box = chances.random(len(rules["parts"])) < rules["fifo_mix"]
    tools = chances.integers(1, 3, len(rules["parts"]))
    for place, part in enumerate(rules["parts"]):
        taken = at - timedelta(days=1) if old_box[place] else at
        serial = (
            f"{part['supplier']}{brand.part_prefix}{place:02d}{number:07d}"
            if part["track"] == "serial"
            else None
        )
        station = f"{plant.code}-{line}-{part['station']}"
        yield {
            "vin": car,
            "part": part["part"],
            "part_number": part_number(brand, part),
            "serial": serial,
            "lot": lot_code(brand, place, part, taken),
            "supplier": part["supplier"],
            "station": station,
            "tool": f"{station}-T{tools[place]}",
            "installed_at": _along_the_line(world, part["station"], at),
        }


def _tightenings(
    world: World, plant: Plant, car: str, line: str, at: datetime, chances: np.random.Generator
) -> Iterator[Record]:
    for rule in world.parameters["builds"]["tightenings"]:
        station = f"{plant.code}-{line}-{rule['station']}"
        torque = round(float(chances.normal(rule["torque_nm"], rule["spread_nm"])), 2)
        yield {
            "tightening_id": f"{car}-{rule['station']}",
            "vin": car,
            "operation": rule["operation"],
            "station": station,
            "tool": f"{station}-T{int(chances.integers(1, 3))}",
            "torque_nm": torque,
            "angle_deg": round(float(chances.normal(rule["angle_deg"], rule["angle_deg"] * 0.04)), 1),
            "ok": abs(torque - rule["torque_nm"]) <= rule["limit_nm"],
            "tightened_at": _along_the_line(world, rule["station"], at) + timedelta(seconds=40),
        }


def _software(world: World, brand: Brand, car: str, at: datetime) -> Iterator[Record]:
    rules = world.parameters["builds"]
    newer = at >= world.start + timedelta(days=rules["sw_release_at"] * world.days)
    for rule in rules["software"]:
        number = f"{brand.part_prefix}{rule['number']}{'AB' if newer else 'AA'}"
        flashed = at - timedelta(minutes=25)
        yield {
            "vin": car,
            "ecu": rule["ecu"],
            "part_number": number,
            "version": rule["versions"][newer],
            "flashed_at": flashed,
        }


def _along_the_line(world: World, station: int, built_at: datetime) -> datetime:
    """Stations are numbered along the line; a car passes them within the hours of its build."""
    left = (1 - station / 450) * world.parameters["builds"]["build_hours"]
    return built_at - timedelta(seconds=round(left * 3600))


@cache
def _edges(shares: tuple[float, ...]) -> np.ndarray:
    edges: np.ndarray = np.cumsum(shares) / sum(shares)
    return edges


def _choose(chances: np.random.Generator, shares: tuple[float, ...]) -> int:
    return int(np.searchsorted(_edges(shares), chances.random(), side="right"))
