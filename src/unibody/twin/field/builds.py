"""The plants' frames of a chunk of cars: builds, parts, tightenings, inspections, software, tools, and the sale."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from unibody.twin.field.cars import Cars, Coded
from unibody.twin.field.chances import Ints
from unibody.twin.field.columns import frame, numbers
from unibody.twin.field.fleet import Fleet
from unibody.twin.field.life import km_at, sold
from unibody.twin.field.maker import DAY, SHIFTS
from unibody.twin.field.software import NEVER

Frames = dict[str, pl.DataFrame]


def built(fleet: Fleet, cars: Cars) -> Frames:
    """Build records, parts, tightenings, inspections, software and sales of some cars."""
    found = {"build_record": _builds(cars), "part_installed": _parts(fleet, cars)}
    found |= {"tightening": _tightenings(fleet, cars), "inspection": _inspections(fleet, cars)}
    return found | {"software_installed": _software(fleet, cars), **_held(cars)}


def maintenance(fleet: Fleet) -> pl.DataFrame:
    """Maintenance of all tools."""
    tools, maker = fleet.tools, fleet.maker
    tool, at = tools.maintained // (1 << 40), tools.maintained % (1 << 40)
    low, high = maker.numbers["stations"]["maintenance_minutes"]
    minutes = low + (high - low) * maker.chances.uniform("maintenance minutes", tools.maintained)
    return frame(
        "maintenance",
        len(at),
        {
            "machine": Coded(tool, tools.tools).text(),
            "work_order": numbers(np.arange(len(at)), 7, "WO"),
            "done_at": at,
            "kind": "planned",
            "component": "tightening tool",
            "minutes": np.round(minutes, 0),
            "known_at": at + 3600,
        },
    )


def _builds(cars: Cars) -> pl.DataFrame:
    maker = cars.maker
    options = [
        Coded(np.where(cars.option(code), 0, -1), (code,)).text().alias(code)
        for code in sorted(maker.numbers["options"])
    ]
    joined = (
        pl.DataFrame(options).select(pl.concat_str(pl.all(), separator=" ", ignore_nulls=True)).to_series()
    )
    names = ("brand", "platform", "model", "plant", "line", "market", "engine", "colour")
    columns: dict[str, Any] = {name: cars.nominal(name).text() for name in names}
    columns |= {"vin": cars.vin, "built_at": cars.built, "options": joined}
    columns |= {"shift": Coded(cars.shift, SHIFTS).text(), "known_at": _entered(cars, "build", cars.built)}
    return frame("build_record", len(cars), columns)


def _parts(fleet: Fleet, cars: Cars) -> pl.DataFrame:
    rules, chances, frames = fleet.maker.numbers["parts"], fleet.maker.chances, []
    none = chances.uniform("genealogy", cars.index) < rules["without_genealogy"]
    platforms = tuple(fleet.maker.numbers["platforms"][m.platform]["number"] for m in fleet.maker.models)
    for position, part in fleet.parts.items():
        lost = chances.uniform(f"lost/{position}", cars.index) < rules["missing"]
        rows = np.flatnonzero(part.fitted(cars) & ~none & ~lost)
        at = _at_place(cars, part.place)[rows]
        letter = (part.supplier(cars)[rows] == 1) & (part.scheme == "by_option")
        prefix = Coded(cars.model[rows], tuple(f"{n}{part.number}" for n in platforms)).text()
        columns: dict[str, Any] = {
            "installed_in": cars.vin.gather(rows),
            "part_number": prefix + Coded(letter.astype(np.int64), ("00A", "00B")).text(),
            "position": position,
            "installed_at": at,
            "known_at": _entered(cars, "parts", cars.built)[rows],
        }
        for what in ("lot", "supplier", "sub_supplier"):
            columns[what] = part.named(cars, what).text(rows)
        for what in ("station", "tool"):
            columns[what] = fleet.tools.named(cars, part, what).text(rows)
        if part.tracked != "L":
            twice = chances.uniform(f"twice/{position}", cars.index[rows]) < rules["serial_twice"]
            columns["serial"] = numbers(cars.index[rows] - twice, 9, f"{part.number}S")
        frames.append(frame("part_installed", len(rows), columns))
    return pl.concat(frames)


def _tightenings(fleet: Fleet, cars: Cars) -> pl.DataFrame:
    frames, rules = [], fleet.maker.numbers
    for number, bolt in enumerate(fleet.tools.bolts.values()):
        part = fleet.parts[bolt.part]
        torque, angle, first = fleet.tools.torque(cars, bolt)
        kept = (
            fleet.maker.chances.uniform(f"lost/{bolt.name}/torque", cars.index) >= rules["parts"]["missing"]
        )
        at = _at_place(cars, part.place) + 20 + fleet.tools.clock_off[fleet.tools.station(cars, bolt.part)]
        for again, rows in ((0, np.flatnonzero(kept)), (1, np.flatnonzero(kept & ~np.isnan(first)))):
            if not len(rows):
                continue
            # the rejected attempt comes first, the accepted one after it
            value = first[rows] if again else torque[rows]
            when = at[rows] - (rules["tightening"]["repeat_seconds"] if again else 0)
            frames.append(
                frame(
                    "tightening",
                    len(rows),
                    {
                        "tightening_id": numbers(cars.index[rows] * 64 + number * 2 + again, 12, "TI"),
                        "tightened_at": when,
                        "vin": cars.vin.gather(rows),
                        "station": fleet.tools.named(cars, part, "station").text(rows),
                        "tool": fleet.tools.named(cars, part, "tool").text(rows),
                        "bolt": bolt.name,
                        "torque_nm": np.clip(value, 0, 600),
                        "angle_deg": angle[rows],
                        "ok": not again,
                        "known_at": when + 5,
                    },
                )
            )
    return pl.concat(frames) if frames else frame("tightening", 0, {})


def _inspections(fleet: Fleet, cars: Cars) -> pl.DataFrame:
    frames = []
    for number, gauge in enumerate(fleet.tools.gauges.values()):
        lost = (
            fleet.maker.chances.uniform(f"lost/{gauge.name}", cars.index)
            < fleet.maker.numbers["parts"]["missing"]
        )
        rows = np.flatnonzero(~lost)
        at = cars.built[rows] - 1200 + 30 * number
        good = fleet.tools.accepted(cars, gauge)[rows].astype(np.int64)
        frames.append(
            frame(
                "inspection",
                len(rows),
                {
                    "inspection_id": numbers(cars.index[rows] * 32 + number, 12, "QI"),
                    "inspected_at": at,
                    "subject": cars.vin.gather(rows),
                    "station": Coded(fleet.tools.gauge_station[cars.line], fleet.tools.stations).text(rows),
                    "product": gauge.part,
                    "verdict": Coded(good, ("defect", "good")).text(),
                    "defect": Coded(-good, ("out of tolerance",)).text(),
                    "measure": gauge.name,
                    "value": fleet.tools.gauged(cars, gauge)[rows],
                    "known_at": at + 10,
                },
            )
        )
    return pl.concat(frames) if frames else frame("inspection", 0, {})


def _software(fleet: Fleet, cars: Cars) -> pl.DataFrame:
    frames = []
    platforms = tuple(fleet.maker.numbers["platforms"][m.platform]["number"] for m in fleet.maker.models)
    everyone = np.arange(len(cars))
    for name, unit in fleet.units.items():
        built_in = (everyone, cars.built - 3600, unit.built(cars))
        later = [
            (rows, at[rows], to[rows])
            for at, to in unit.updates(cars, sold(cars))
            if len(rows := np.flatnonzero(at < NEVER))
        ]
        rxswins = tuple(f"{unit.regulation} {v.rsplit('.', 1)[0]}" for v in unit.versions)
        for rows, at, version in (built_in, *later):
            known = at + np.where(at < sold(cars)[rows], 3600, DAY)
            frames.append(
                frame(
                    "software_installed",
                    len(rows),
                    {
                        "vin": cars.vin.gather(rows),
                        "ecu": name,
                        "installed_at": at,
                        "hardware": Coded(unit.hardware(cars)[rows], unit.hardwares).text(),
                        "software": Coded(cars.model[rows], tuple(f"{n}SW{name}" for n in platforms)).text(),
                        "software_version": Coded(version, unit.versions).text(),
                        "rxswin": Coded(version, rxswins).text() if unit.regulation else None,
                        "known_at": known,
                    },
                ).filter(pl.Series(known <= fleet.maker.as_of))
            )
    return pl.concat(frames)


def _held(cars: Cars) -> Frames:
    rows = np.flatnonzero(sold(cars) < cars.maker.as_of)
    at, chances = sold(cars)[rows], cars.maker.chances
    role = chances.choose("role", cars.index[rows], np.array([0.6, 0.25, 0.15]))
    held = frame(
        "vehicle_held",
        len(rows),
        {
            "vin": cars.vin.gather(rows),
            "held_from": at,
            "customer": numbers(cars.index[rows], 9, "C"),
            "role": Coded(role, ("owner", "lessee", "fleet")).text(),
            "known_at": np.minimum(at + DAY, cars.maker.as_of),
        },
    )
    rows = rows[chances.uniform("connected", cars.index[rows]) < cars.maker.numbers["life"]["connected"]]
    at = np.maximum(
        cars.maker.as_of - (3 * DAY * chances.uniform("read", cars.index[rows])).astype(np.int64),
        sold(cars)[rows],
    )
    km = np.round(km_at(cars, rows, at), 0)
    read: dict[str, Any] = {"vin": cars.vin.gather(rows), "path": "Vehicle.TraveledDistance", "read_at": at}
    read |= {"odometer_km": km, "value": km, "known_at": np.minimum(at + 60, cars.maker.as_of)}
    return {"vehicle_held": held, "signal_reading": frame("signal_reading", len(rows), read)}


def _at_place(cars: Cars, place: float) -> Ints:
    """When a car passed a place of the line: it takes eight hours, the last of them after the line's end."""
    return np.asarray(cars.built - int((1 - place) * 7 * 3600) - 3600)


def _entered(cars: Cars, what: str, at: Ints) -> Ints:
    low, high = cars.maker.numbers["parts"]["entry_hours"]
    hours = low + (high - low) * cars.maker.chances.uniform(f"entered/{what}", cars.index)
    return np.asarray(np.minimum(at + (hours * 3600).astype(np.int64), cars.maker.as_of))
