"""What stands behind a symptom: the planted causes, in the words of the cohort frame, and the cars that meet them.

A planted cause only says which of the cars that were built anyway fail more often: without it the same cars are built,
bolt by bolt. Kinds: bad_lot (one lot of a part), torque_low (a bolt below a limit), software_version (of one control
unit), supplier (the second one of a part).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from unibody.errors import SetupError
from unibody.twin.builds import Vehicle
from unibody.twin.genealogy import lot_code
from unibody.twin.world import Table, World

Conditions = dict[str, Any]


@dataclass(frozen=True)
class Cause:
    """One planted cause: cars of the brand that meet all conditions have the symptom `strength` times as often."""

    name: str
    kind: str
    brand: str
    symptom: str
    strength: float
    conditions: Conditions  # {attribute: value} or {attribute: [low, high]}, None for an open end

    @property
    def label(self) -> str:
        """The conditions as one text: a value, or on which side of its limit a number does harm.

        >>> Cause("c", "torque_low", "jeep", "belt", 9.0, {"torque.belt": [None, 38.2], "line": "L1"}).label
        'line = L1 and torque.belt low'
        """
        return " and ".join(f"{name} {_said(wanted)}" for name, wanted in sorted(self.conditions.items()))

    def met_by(self, car: Vehicle) -> bool:
        """Is this car affected?"""
        return car.brand == self.brand and all(
            _meets(car.value(name), wanted) for name, wanted in self.conditions.items()
        )


def planted(world: World) -> tuple[Cause, ...]:
    """The causes of `parameters.toml`, each with the condition that its kind makes of it in this world."""
    found = []
    for entry in world.parameters["planted"]:
        if entry["kind"] not in KINDS:
            raise SetupError(
                f"twin: planted {entry['cause']}: no kind {entry['kind']!r}; there are {', '.join(KINDS)}"
            )
        conditions = KINDS[entry["kind"]](world, entry)
        what = {name: entry[name] for name in ("kind", "brand", "symptom", "strength")}
        found.append(Cause(name=entry["cause"], conditions=conditions, **what))
    return tuple(found)


def _bad_lot(world: World, entry: Table) -> Conditions:
    parts = world.parameters["builds"]["parts"]
    place = [part["part"] for part in parts].index(entry["part"])
    day = world.start + timedelta(days=round(entry["onset"] * world.days))
    lot = lot_code(world.brands[entry["brand"]], place, parts[place], day)
    return {f"part.{entry['part']}.lot": lot}


def _torque_low(world: World, entry: Table) -> Conditions:
    return {f"torque.{entry['operation']}": [None, entry["below_nm"]]}


def _software_version(world: World, entry: Table) -> Conditions:
    return {f"software.{entry['ecu']}": entry["version"]}


def _supplier(world: World, entry: Table) -> Conditions:
    sources = world.parameters["builds"]["second_sources"]
    where = (entry["brand"], entry["part"])
    supplier = next(rule["supplier"] for rule in sources if (rule["brand"], rule["part"]) == where)
    return {f"part.{entry['part']}.supplier": supplier}


KINDS: dict[str, Callable[[World, Table], Conditions]] = {
    "bad_lot": _bad_lot,
    "torque_low": _torque_low,
    "software_version": _software_version,
    "supplier": _supplier,
}


def _meets(value: Any, wanted: Any) -> bool:
    if not isinstance(wanted, list):
        return bool(value == wanted)
    low, high = wanted
    return (low is None or value >= low) and (high is None or value <= high)


def _said(wanted: Any) -> str:
    if not isinstance(wanted, list):
        return f"= {wanted}"
    return "low" if wanted[0] is None else "high"
