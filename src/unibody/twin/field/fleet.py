"""One world's whole fleet as columns, under the names of the cohort frame."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from unibody.twin.field import maker as makers
from unibody.twin.field import parts as genealogy
from unibody.twin.field import software, tools
from unibody.twin.field.cars import ATTRIBUTES, Cars, Coded
from unibody.twin.field.chances import Bools, Floats, Ints
from unibody.twin.field.life import sold
from unibody.twin.field.maker import Maker
from unibody.twin.field.parts import Part
from unibody.twin.field.software import Unit
from unibody.twin.field.tools import Tools

CHUNK = 50_000  # cars looked at together


@dataclass(frozen=True)
class Fleet:
    """All that is built, before anything fails: the same for every kind of cause."""

    maker: Maker
    parts: dict[str, Part]
    tools: Tools
    units: dict[str, Unit]
    chunks: tuple[tuple[int, int], ...]
    first: Cars  # kept for fleets of one chunk, which are looked at again and again

    def cars(self, chunk: tuple[int, int]) -> Cars:
        """The cars of one chunk."""
        return self.first if len(self.chunks) == 1 else Cars(self.maker, *chunk)

    def attributes(self) -> list[str]:
        """The columns of the cohort frame that this world can fill, without the odometer."""
        found = [*ATTRIBUTES, *(f"option.{o}" for o in self.maker.numbers["options"]), "built_at", "sold_at"]
        for name, part in self.parts.items():
            kinds = ["supplier", "sub_supplier", "station"]
            kinds += ["lot"] if part.tracked != "S" else []
            kinds += ["tool"] if part.tooled else []
            found += [f"part.{name}.{kind}" for kind in kinds]
        for bolt in self.tools.bolts:
            found += [f"{kind}.{bolt}" for kind in ("torque", "angle", "tool", "station")]
        found += [f"gauge.{gauge}" for gauge in self.tools.gauges]
        return found + [f"{kind}.{unit}" for unit in self.units for kind in ("software", "hardware")]

    def column(self, cars: Cars, name: str) -> Coded | Floats | Ints | Bools:
        """One column of the cohort frame; times are seconds since 1970 (UTC)."""
        kind, _, rest = name.partition(".")
        if name == "sold_at":
            return sold(cars)
        if kind == "part":
            position, _, what = rest.rpartition(".")
            part = self.parts[position]
            if what in ("station", "tool"):
                return self.tools.named(cars, part, what)
            return part.named(cars, what)
        if kind in ("torque", "angle"):
            return self.tools.torque(cars, self.tools.bolts[rest])[kind == "angle"]
        if kind in ("tool", "station"):
            return self.tools.named(cars, self.parts[self.tools.bolts[rest].part], kind)
        if kind == "gauge":
            return self.tools.gauged(cars, self.tools.gauges[rest])
        if kind in ("software", "hardware"):
            return self.units[rest].named(cars, sold(cars), kind)
        return cars.named(name)

    def meets(self, cars: Cars, conditions: dict[str, Any]) -> Bools:
        """Which cars meet all conditions, given as in a cause."""
        met = np.ones(len(cars), dtype=bool)
        for name, wanted in conditions.items():
            column = self.column(cars, name)
            if isinstance(column, Coded):
                place = column.names.index(wanted) if wanted in column.names else -2
                met &= column.codes == place
            elif isinstance(wanted, list):
                low, high = (_number(bound) for bound in wanted)
                met &= (column >= low if low is not None else True) & (
                    column <= high if high is not None else True
                )
            else:
                met &= column == wanted
        return met


def build(vehicles: int, seed: int) -> Fleet:
    """Draw a maker with its parts, lots, tools and software."""
    maker = makers.draw(vehicles, seed)
    parts = genealogy.draw(maker)
    chunks = tuple((n, min(n + CHUNK, vehicles)) for n in range(0, vehicles, CHUNK))
    return Fleet(
        maker, parts, tools.draw(maker, parts), software.draw(maker), chunks, Cars(maker, *chunks[0])
    )


def instant(seconds: int | float) -> str:
    """An instant as ISO 8601 text, as causes give it.

    >>> instant(0)
    '1970-01-01T00:00:00'
    """
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _number(bound: str | float | None) -> float | None:
    if isinstance(bound, str):
        return datetime.fromisoformat(bound).replace(tzinfo=UTC).timestamp()
    return bound
