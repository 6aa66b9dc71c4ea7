"""Causes planted in a world: thirteen mechanisms and two at once, each drawn from a car that was really built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from unibody.twin.field.cars import Cars, Coded
from unibody.twin.field.chances import Bools, Floats, Ints, between, between_logs
from unibody.twin.field.fleet import Fleet, instant
from unibody.twin.field.life import Symptom, hazard_to, km_a_day, sold, usage_at
from unibody.twin.field.maker import DAY


@dataclass(frozen=True)
class Planted:
    """One cause: the cars that meet its conditions fail `effect` times as often with a symptom, while it acts."""

    kind: str
    symptom: str
    conditions: dict[str, Any]
    effect: float
    since: str | None
    fleet: Fleet
    after_km: float = 0.0
    unit: str = ""  # the control unit whose version must be installed
    version: int = -1
    note: str = ""

    def affected(self, cars: Cars) -> Bools:
        """Cars whose hazard it raises, at some time in their life."""
        return cars.kept(f"affected {self.conditions}", lambda: self._affected(cars))

    def _affected(self, cars: Cars) -> Bools:
        if not self.unit:
            return self.fleet.meets(cars, self.conditions)
        unit = self.fleet.units[self.unit]  # whoever had the version while driving, updated since or not
        ever = (unit.share_of_life(cars, sold(cars), self.version) > 0) & (sold(cars) < cars.maker.as_of)
        ever |= (sold(cars) >= cars.maker.as_of) & (unit.built(cars) == self.version)
        others = {k: v for k, v in self.conditions.items() if k != f"software.{self.unit}"}
        return ever & self.fleet.meets(cars, others)

    def acts(self, cars: Cars, rows: Ints, at: Ints) -> Bools:
        """Whether it acts on affected cars at an instant."""
        if self.after_km:
            return np.asarray((at - sold(cars)[rows]) / DAY * km_a_day(cars)[rows] >= self.after_km)
        if self.unit:
            return np.asarray(self.fleet.units[self.unit].at(cars, sold(cars), rows, at) == self.version)
        return np.ones(len(rows), dtype=bool)

    def share_of_hazard(self, cars: Cars, symptom: Symptom) -> Floats:
        """The share of each car's hazard so far during which it acted."""
        if self.after_km:
            end = usage_at(cars, symptom, slice(None), cars.maker.as_of)
            begin = self.after_km / (km_a_day(cars) if symptom.clock == "days" else 1.0)
            whole = np.maximum(hazard_to(cars, symptom, end), 1e-12)
            return np.clip(1 - hazard_to(cars, symptom, np.minimum(begin, end)) / whole, 0, 1)
        if self.unit:
            return self.fleet.units[self.unit].share_of_life(cars, sold(cars), self.version)
        return np.ones(len(cars))


@dataclass(frozen=True)
class _Draw:
    """What a kind is drawn from: a generator, the fleet, one car, and the symptom's parts (or any part)."""

    rng: np.random.Generator
    fleet: Fleet
    car: Cars
    symptom: Symptom
    remote: bool
    parts: tuple[str, ...]

    def value(self, name: str) -> str | None:
        """The car's own value of a nominal column."""
        column = self.fleet.column(self.car, name)
        assert isinstance(column, Coded)
        return column.names[int(column.codes[0])] if column.codes[0] >= 0 else None

    def part(self, fits: Callable[[Any], bool]) -> str | None:
        """One of the parts that the car has and that fit."""
        fitting = [
            p for p in self.parts if fits(self.fleet.parts[p]) and self.fleet.parts[p].fitted(self.car)[0]
        ]
        return str(self.rng.choice(fitting)) if fitting else None

    def since(self) -> str:
        """An onset within the build time."""
        maker = self.fleet.maker
        return instant(maker.at(between(self.rng, maker.numbers["causes"]["since"])))


Found = dict[str, Any] | None  # conditions, and what else `Planted` takes


def _bad_lot(draw: _Draw) -> Found:
    part = draw.part(lambda p: p.tracked != "S")
    return {"conditions": {f"part.{part}.lot": draw.value(f"part.{part}.lot")}} if part else None


def _supplier_change(draw: _Draw) -> Found:
    part = draw.part(lambda p: len(p.suppliers) > 1)
    if not part:
        return None
    since, supplier = draw.since(), f"part.{part}.supplier"
    return {"conditions": {supplier: draw.value(supplier), "built_at": [since, None]}, "since": since}


def _torque_low(draw: _Draw) -> Found:
    tools = draw.fleet.tools
    drifts = [d for d in tools.drifts if d.what in tools.bolts and tools.bolts[d.what].part in draw.parts]
    if not drifts:
        return None
    drift = drifts[int(draw.rng.integers(len(drifts)))]
    bolt, limits = tools.bolts[drift.what], draw.fleet.maker.numbers["causes"]["threshold"]
    low = round(bolt.nominal - between(draw.rng, limits) * bolt.spread, 2)
    note = f"{drift.what} drifts low on {draw.fleet.maker.lines[drift.line]}"
    return {"conditions": {f"torque.{bolt.name}": [None, low]}, "since": instant(drift.begins), "note": note}


def _tool_after_maintenance(draw: _Draw) -> Found:
    part = draw.part(lambda p: p.tooled)
    if not part:
        return None
    tools, built = draw.fleet.tools, int(draw.car.built[0])
    times = tools.maintenances(int(tools.tool(draw.car, part)[0])).tolist()
    before, after = [t for t in times if t <= built], [t for t in times if t > built]
    if not before:
        return None
    begins = instant(before[-1])
    ends = instant(after[0]) if after and draw.rng.random() < 0.5 else None  # set right at the next, or never
    tool = f"tool.{part}" if part in tools.bolts and draw.rng.random() < 0.7 else f"part.{part}.tool"
    return {"conditions": {tool: draw.value(tool), "built_at": [begins, ends]}, "since": begins}


def _maybe_since(draw: _Draw, conditions: dict[str, Any]) -> Found:
    if draw.rng.random() >= draw.fleet.maker.numbers["causes"]["shift_since"]:
        return {"conditions": conditions}
    since = draw.since()
    return {"conditions": {**conditions, "built_at": [since, None]}, "since": since}


def _shift(draw: _Draw) -> Found:
    return _maybe_since(draw, {"line": draw.value("line"), "shift": draw.value("shift")})


def _station(draw: _Draw) -> Found:
    tools, line = draw.fleet.tools, int(draw.car.line[0])
    two = bool(draw.rng.random() < draw.fleet.maker.numbers["causes"]["one_cell"])
    part = draw.part(lambda p: bool(tools.doubled[tools.station_of[p.position][line]]) == two)
    name = f"part.{part}.station"
    return _maybe_since(draw, {name: draw.value(name)}) if part else None


def _lot_and_climate(draw: _Draw) -> Found:
    found = _bad_lot(draw)
    return found and {"conditions": {**found["conditions"], "climate": draw.value("climate")}}


def _unit(draw: _Draw, hardwares: int) -> str | None:
    fitting = [u.name for u in draw.fleet.units.values() if len(u.hardwares) >= hardwares]
    if draw.symptom.ecu in fitting and not draw.remote:
        return draw.symptom.ecu
    return str(draw.rng.choice(fitting)) if fitting else None


def _software_version(draw: _Draw) -> Found:
    name = _unit(draw, 1)
    if not name:
        return None
    unit = draw.fleet.units[name]
    version = int(unit.built(draw.car)[0])
    return {"conditions": {f"software.{name}": unit.versions[version]}, "unit": name, "version": version}


def _software_and_hardware(draw: _Draw) -> Found:
    name = _unit(draw, 2)
    if not name:
        return None
    unit = draw.fleet.units[name]
    version, hardware = int(unit.built(draw.car)[0]), unit.hardwares[int(unit.hardware(draw.car)[0])]
    conditions = {f"software.{name}": unit.versions[version], f"hardware.{name}": hardware}
    return {"conditions": conditions, "unit": name, "version": version}


def _sub_supplier(draw: _Draw) -> Found:
    part = draw.part(lambda p: len(p.sub_suppliers) > 1)
    name = f"part.{part}.sub_supplier"
    return {"conditions": {name: draw.value(name)}} if part else None


def _confounded_option(draw: _Draw) -> Found:
    part = draw.part(lambda p: p.scheme == "by_option")
    if not part:
        return None
    found = draw.fleet.parts[part]
    return {"conditions": {f"part.{part}.supplier": found.suppliers[1]}, "note": f"option.{found.option}"}


def _after_km(draw: _Draw) -> Found:
    rules = draw.fleet.maker.numbers["causes"]
    by_supplier = draw.rng.random() < rules["by_supplier_after_km"]
    part = draw.part(lambda p: len(p.suppliers) > 1 if by_supplier else p.tracked != "S")
    if not part:
        return None
    name = f"part.{part}.{'supplier' if by_supplier else 'lot'}"
    km = round(between(draw.rng, rules["after_km"]), -2)
    return {"conditions": {name: draw.value(name)}, "after_km": km}


def _gauge_out_of_range(draw: _Draw) -> Found:
    tools, numbers = draw.fleet.tools, draw.fleet.maker.numbers
    fitting = [g for g in tools.gauges.values() if g.part in draw.parts]
    if not fitting:
        return None
    gauge = fitting[int(draw.rng.integers(len(fitting)))]
    drifts = [d for d in tools.drifts if d.what == gauge.name]
    sign = np.sign(drifts[0].depth) if drifts else draw.rng.choice([-1, 1])
    limit = round(
        gauge.nominal + float(sign) * between(draw.rng, numbers["causes"]["threshold"]) * gauge.spread, 3
    )
    return {"conditions": {f"gauge.{gauge.name}": [limit, None] if sign > 0 else [None, limit]}}


KINDS: dict[str, Callable[[_Draw], Found]] = {
    "bad_lot": _bad_lot,
    "supplier_change": _supplier_change,
    "torque_low": _torque_low,
    "tool_after_maintenance": _tool_after_maintenance,
    "shift": _shift,
    "lot_and_climate": _lot_and_climate,
    "software_version": _software_version,
    "software_and_hardware": _software_and_hardware,
    "sub_supplier": _sub_supplier,
    "confounded_option": _confounded_option,
    "after_km": _after_km,
    "gauge_out_of_range": _gauge_out_of_range,
    "station": _station,
}
#: Kinds of which two are planted together in a world of kind two_causes.
PAIRED = (
    "bad_lot",
    "supplier_change",
    "tool_after_maintenance",
    "software_version",
    "station",
    "sub_supplier",
)


def draw(fleet: Fleet, kind: str, symptom: Symptom, rng: np.random.Generator) -> Planted | None:
    """Draw one cause of a kind for a symptom; None where this draw met nothing that fits."""
    maker, rules = fleet.maker, fleet.maker.numbers["causes"]
    car = Cars(maker, n := int(rng.integers(maker.vehicles)), n + 1)
    if sold(car)[0] >= maker.as_of:
        return None
    remote = bool(rng.random() < rules["remote"])
    parts = tuple(p for p in fleet.parts if remote or p in symptom.parts)
    found = KINDS[kind](_Draw(rng, fleet, car, symptom, remote, parts))
    if not found or None in found["conditions"].values():
        return None
    effect = between_logs(rng, rules["log_effect"][kind])
    return Planted(kind=kind, symptom=symptom.name, effect=effect, fleet=fleet, **{"since": None, **found})
