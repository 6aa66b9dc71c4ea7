"""The made-up world the twin runs in: its parameters, its clock and its seeded chances."""

from __future__ import annotations

import tomllib
import zlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from unibody.twin.shapes import Shape

Table = dict[str, Any]


@dataclass(frozen=True)
class Plant:
    """One plant: its machines, lines and the shapes its systems write."""

    name: str
    code: str
    zone: str
    language: str
    shift_hours: tuple[int, int]
    reading_minutes: int
    hall_celsius: tuple[float, float]
    lines: tuple[str, ...]
    layout: str  # of readings: "wide" (a column a channel) or "long" (a row a channel)
    readings: Shape
    records: Shape


@dataclass(frozen=True)
class Brand:
    """One make: its share of the cars, where they are built and the shape its systems write."""

    name: str
    share: float
    plant: str
    wmi: str
    check_digit: bool
    plant_letter: str
    part_prefix: str
    language: str
    currency: str
    markets: dict[str, float]
    models: tuple[Table, ...]
    engines: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True)
class World:
    """Everything that is fixed before the first car is built."""

    vehicles: int
    days: int
    seed: int
    parameters: Table
    plants: dict[str, Plant]
    brands: dict[str, Brand]

    @property
    def end(self) -> datetime:
        """The first instant after the last day (UTC)."""
        last: date = self.parameters["calendar"]["last_day"]
        return datetime.combine(last + timedelta(days=1), time(), UTC)

    @property
    def start(self) -> datetime:
        """The first instant of the first day (UTC)."""
        return self.end - timedelta(days=self.days)

    def share_of(self, moment: datetime) -> float:
        """How much of the window has passed at a moment: 0 on its first day, 1 at its end."""
        return (moment - self.start) / timedelta(days=self.days)

    def chances(self, *names: object) -> np.random.Generator:
        """A generator of random numbers of its own for each name, so that no part disturbs another."""
        return np.random.default_rng([self.seed, *(zlib.crc32(str(name).encode()) for name in names)])

    def build_days(self) -> list[datetime]:
        """The days on which cars are built; a window with none of them builds on its first day."""
        weekdays = self.parameters["calendar"]["build_weekdays"]
        days = [self.start + timedelta(days=n) for n in range(self.days)]
        return [day for day in days if day.weekday() < weekdays] or days[:1]

    def vehicles_of(self, brand: Brand) -> int:
        """How many of the vehicles are this brand's; over all brands they add up to `vehicles`."""
        names, edge = list(self.brands), np.cumsum([b.share for b in self.brands.values()])
        edges = np.round(edge / edge[-1] * self.vehicles).astype(int)
        place = names.index(brand.name)
        return int(edges[place] - (edges[place - 1] if place else 0))


@cache
def parameters() -> Table:
    """All numbers of the twin, as read from `parameters.toml`."""
    return tomllib.loads(resources.files("unibody.twin").joinpath("parameters.toml").read_text("utf-8"))


def load(vehicles: int, days: int, seed: int) -> World:
    """The world for so many vehicles over so many days."""
    numbers = parameters()
    plants = {name: _plant(name, table) for name, table in numbers["plants"].items()}
    brands = {name: _brand(name, table) for name, table in numbers["brands"].items()}
    return World(vehicles, days, seed, numbers, plants, brands)


def local_time(day: datetime, hours: float, zone: str) -> datetime:
    """So many hours after the local midnight of `day`, as UTC.

    >>> local_time(datetime(2026, 6, 1), 6.5, "Europe/Rome").isoformat()
    '2026-06-01T04:30:00+00:00'
    """
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    return midnight + timedelta(seconds=round(hours * 3600))


def _plant(name: str, table: Table) -> Plant:
    readings = {key: value for key, value in table["readings"].items() if key != "layout"}
    return Plant(
        name=name,
        code=table["code"],
        zone=table["zone"],
        language=table["language"],
        shift_hours=(table["shift_hours"][0], table["shift_hours"][1]),
        reading_minutes=table["reading_minutes"],
        hall_celsius=(table["hall_celsius"][0], table["hall_celsius"][1]),
        lines=tuple(table["lines"]),
        layout=table["readings"]["layout"],
        readings=Shape(**readings),
        records=Shape(**table["records"]),
    )


def _brand(name: str, table: Table) -> Brand:
    fixed: Table = {
        "shape": Shape(**table["shape"]),
        "models": tuple(table["models"]),
        "engines": tuple(table["engines"]),
    }
    return Brand(**{"name": name, "check_digit": False, **table, **fixed})
