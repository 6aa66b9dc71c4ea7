"""What goes into one car: its parts with lots and suppliers, its tightenings, its software, what was gauged."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np

from unibody.twin.shapes import Record, Word
from unibody.twin.world import Brand, Plant, Table, World


def part_number(brand: Brand, part: Table) -> str:
    """The brand's own number of a part; a second supplier makes it under the same number."""
    return f"{brand.part_prefix}{part['number']}AA"


def lot_code(brand: Brand, place: int, part: Table, day: datetime, supplier: str = "") -> str:
    """The lot of a part that is in use on a day; a lot lasts the part's `lot_days`."""
    maker = supplier or part["supplier"]
    return f"{maker}-{brand.part_prefix}{place:02d}-{lot_index(place, part, day):06d}"


def lot_index(place: int, part: Table, day: datetime) -> int:
    """Lots of one part counted over the years; parts do not change lots on the same day."""
    return (day.toordinal() + 3 * place) // int(part["lot_days"])


def parts(
    world: World,
    brand: Brand,
    plant: Plant,
    car: str,
    line: str,
    at: datetime,
    number: int,
    chances: np.random.Generator,
) -> Iterator[Record]:
    """Every part of one car, from the lot in use or the box opened the day before."""
    rules = world.parameters["builds"]
    old_box = chances.random(len(rules["parts"])) < rules["fifo_mix"]
    tools = chances.integers(1, 3, len(rules["parts"]))
    second = _second_sources(world, brand, car, at)
    for place, part in enumerate(rules["parts"]):
        taken = at - timedelta(days=1) if old_box[place] else at
        supplier = second.get(part["part"], part["supplier"])
        serial = (
            f"{supplier}{brand.part_prefix}{place:02d}{number:07d}" if part["track"] == "serial" else None
        )
        station = f"{plant.code}-{line}-{part['station']}"
        yield {
            "vin": car,
            "part": part["part"],
            "part_number": part_number(brand, part),
            "serial": serial,
            "lot": lot_code(brand, place, part, taken, supplier),
            "supplier": supplier,
            "station": station,
            "tool": f"{station}-T{tools[place]}",
            "installed_at": _along_the_line(world, part["station"], at),
        }


def _second_sources(world: World, brand: Brand, car: str, at: datetime) -> dict[str, str]:
    """The parts of this car that come from their second supplier."""
    rules = [rule for rule in world.parameters["builds"]["second_sources"] if rule["brand"] == brand.name]
    if not rules:
        return {}
    drawn = world.chances("second source", car).random(len(rules))
    return {
        rule["part"]: rule["supplier"]
        for rule, chance in zip(rules, drawn, strict=True)
        if world.share_of(at) >= rule["from"] and chance < rule["share"]
    }


def tightenings(
    world: World, plant: Plant, car: str, line: str, at: datetime, chances: np.random.Generator
) -> Iterator[Record]:
    """Every tightening of one car; a station that drifts gives less than it should, and says so."""
    for rule in world.parameters["builds"]["tightenings"]:
        station = f"{plant.code}-{line}-{rule['station']}"
        meant = rule["torque_nm"] - _drop(world, station, rule["operation"], at)
        torque = round(float(chances.normal(meant, rule["spread_nm"])), 2)
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


def _drop(world: World, station: str, operation: str, at: datetime) -> float:
    """How far (N·m) a station's torque has sunk: slowly at first, then all of it, until somebody mends it."""
    for rule in world.parameters["builds"]["drifts"]:
        if (rule["station"], rule["operation"]) == (station, operation):
            since = world.share_of(at) - rule["begins"]
            if 0 <= since < rule["ends"] - rule["begins"]:
                return float(rule["drop_nm"] * min(since / rule["ramp"], 1.0))
    return 0.0


def software(world: World, brand: Brand, model: int, car: str, at: datetime) -> Iterator[Record]:
    """What each control unit left the line with: versions reach one model after the other, old units are used up."""
    rules = world.parameters["builds"]
    passed = world.share_of(at) - model * rules["sw_model_lag"]
    left_over = world.chances("software", car).random(len(rules["software"])) < rules["sw_left_over"]
    for rule, old in zip(rules["software"], left_over, strict=True):
        step = sum(passed >= share for share in rule["released_at"])
        step -= bool(old and step)
        yield {
            "vin": car,
            "ecu": rule["ecu"],
            "part_number": f"{brand.part_prefix}{rule['number']}A{chr(ord('A') + step)}",
            "version": rule["versions"][step],
            "flashed_at": at - timedelta(minutes=25),
        }


def gauges(world: World, brand: Brand, plant: Plant, car: str, line: str, at: datetime) -> Iterator[Record]:
    """What was gauged on one car; only some brands keep that."""
    rules = [rule for rule in world.parameters["builds"]["gauges"] if rule["brand"] == brand.name]
    if not rules:
        return
    drawn = world.chances("gauges", car).normal(size=len(rules))
    for rule, error in zip(rules, drawn.tolist(), strict=True):
        value = round(rule["nominal"] + rule["spread"] * error, 2)
        yield {
            "gauging_id": f"{car}-{rule['station']}-{rule['number']}",
            "vin": car,
            "station": f"{plant.code}-{line}-{rule['station']}",
            "part": Word(rule["part"]),
            "measure": Word(rule["measure"]),
            "value": value,
            "verdict": Word("good" if abs(value - rule["nominal"]) <= rule["limit"] else "defect"),
            "gauged_at": _along_the_line(world, rule["station"], at),
        }


def _along_the_line(world: World, station: int, built_at: datetime) -> datetime:
    """Stations are numbered along the line; a car passes them within the hours of its build."""
    left = (1 - station / 450) * world.parameters["builds"]["build_hours"]
    return built_at - timedelta(seconds=round(left * 3600))
