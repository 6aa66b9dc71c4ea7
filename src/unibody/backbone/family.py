"""One car's family tree: what was built into it, by whom and how, what became of it; and which other cars have the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from unibody import gate
from unibody.errors import SetupError
from unibody.solution import Kind, UseCase
from unibody.tables import (
    BuildRecord,
    Complaint,
    Inspection,
    PartInstalled,
    SoftwareInstalled,
    Table,
    Tightening,
    TroubleCode,
    VehicleHeld,
    Visit,
)

if TYPE_CHECKING:
    from datetime import datetime

    from unibody.backbone import Backbone

READS: tuple[type[Table], ...] = (
    BuildRecord, PartInstalled, Tightening, SoftwareInstalled, Inspection, TroubleCode, Visit, Complaint, VehicleHeld,
)  # fmt: skip
#: What cars can have in common, and the column that says so.
SHARED = {
    "lot": "lot",
    "supplier": "supplier",
    "sub-supplier": "sub_supplier",
    "station": "station",
    "tool": "tool",
}
LEVELS_MAX, ROWS_MAX, CARS_SHOWN, NAME_MAX = 5, 2000, 200, 200
#: The gate is asked in this name, and remembers that it was.
ASKED = UseCase(
    name="family_tree", room="loop", solution="loop", question="What was built into this car, and which others have the same?",
    owner="", kind=Kind.RANKING, subject="vin",
)  # fmt: skip
_KEPT: dict[tuple[Any, ...], pl.DataFrame] = {}


def vehicle(backbone: Backbone, vin: str) -> dict[str, Any]:
    """One car: "build", "parts" (level 0 on the car, 1 in such a part, ...), "tightenings", "gauges", "software", "events".

    Raises SetupError where nothing is known of it.
    """
    tables = _opened(backbone)
    build = _of(tables, BuildRecord, "vin", [vin]).to_dicts()
    parts = _parts(tables, vin)
    events = _events(tables, vin, build[0]["built_at"] if build else None)
    if not build and not parts and not events:
        raise SetupError(f"no vehicle {vin[:40]!r} is known; check the number, letter by letter")
    tight = _of(tables, Tightening, "vin", [vin]).sort("tightened_at")
    return {
        "vin": vin,
        "build": build[0] if build else None,
        "parts": parts,
        "tightenings": tight.select("bolt", "torque_nm", "angle_deg", "ok", "station", "tool", "tightened_at").to_dicts(),
        "gauges": _of(tables, Inspection, "subject", [vin]).sort("inspected_at").select(
            "inspected_at", "station", "measure", "value", "verdict", "defect"
        ).to_dicts(),
        "software": _of(tables, SoftwareInstalled, "vin", [vin]).sort("ecu", "installed_at").select(
            "ecu", "software", "software_version", "hardware", "rxswin", "installed_at"
        ).to_dicts(),
        "events": events,
    }  # fmt: skip


def carriers(backbone: Backbone, kind: str, name: str, position: str = "") -> dict[str, Any]:
    """The cars that have a lot, supplier, sub-supplier, station or tool in common: how many, what they report, the first 200.

    {"cars", "others", "positions", "symptoms": [{"symptom", "failed", "failed_others"}], "rows": [...]}: `others` are cars
    of the same brands without it; shares are plain, age and exposure are not allowed for. Raises SetupError.
    """
    if kind not in SHARED:
        raise SetupError(f"no such thing {kind[:40]!r}; there are {', '.join(SHARED)}")
    tables = _opened(backbone)
    column = SHARED[kind]
    parts = tables[PartInstalled]
    rows = parts.expr.filter(parts.expr[column] == name)
    if position:
        rows = rows.filter(rows["position"] == position)
    found = parts.polars(rows.select("installed_in", "part_number", "position", "supplier", "sub_supplier"))
    holders = set(found["installed_in"])
    if column in ("station", "tool"):
        tight = tables[Tightening]
        bolts = tight.expr.filter(tight.expr[column] == name)
        if position:
            bolts = bolts.filter(bolts["bolt"] == position)
        bolted = tight.polars(bolts.select("vin", "bolt")).drop_nulls()
        holders |= set(bolted["vin"])
        done = bolted.select(installed_in="vin", position="bolt").with_columns(
            part_number=pl.lit("tightened")
        )
        found = pl.concat([found, done], how="diagonal")
    if not holders:
        raise SetupError(f"no car has {kind} {name[:80]!r}" + (f" at {position[:80]!r}" if position else ""))
    build = tables[BuildRecord]
    cars = build.polars(build.expr.select("vin", "brand", "model", "plant", "built_at"))
    inside = cars.filter(pl.col("vin").is_in(list(_cars_of(tables, holders, set(cars["vin"])))))
    others = cars.filter(pl.col("brand").is_in(inside["brand"].unique().to_list())).join(
        inside, on="vin", how="anti"
    )
    failed = _failures(backbone, tables)
    mine = inside.join(failed, on="vin").group_by("symptom").agg(failed=pl.col("vin").n_unique())
    theirs = others.join(failed, on="vin").group_by("symptom").agg(failed_others=pl.col("vin").n_unique())
    symptoms = mine.join(theirs, on="symptom", how="left").with_columns(pl.col("failed_others").fill_null(0))
    by_car = failed.group_by("vin").agg(
        pl.col("symptom").unique().sort(), failed_at=pl.col("happened_at").min()
    )
    listed = inside.join(by_car, on="vin", how="left").sort("failed_at", "built_at", "vin", nulls_last=True)
    places = found.group_by("position", "part_number").agg(
        pl.col("installed_in").n_unique().alias("cars"),
        pl.col("supplier", "sub_supplier").drop_nulls().unique().sort(),
    )
    return {
        "kind": kind, "name": name, "position": position, "cars": inside.height, "others": others.height,
        "failing": by_car.join(inside, on="vin", how="semi").height,
        "brands": inside["brand"].unique().sort().to_list(), "plants": inside["plant"].drop_nulls().unique().sort().to_list(),
        "built_from": inside["built_at"].min(), "built_to": inside["built_at"].max(),
        "positions": places.sort("cars", "position", "part_number", descending=[True, False, False]).head(50).to_dicts(),
        "symptoms": symptoms.sort("failed", "symptom", descending=[True, False]).head(50).to_dicts(),
        "rows": listed.head(CARS_SHOWN).to_dicts(),
    }  # fmt: skip


def _opened(backbone: Backbone) -> gate.Opened:
    limit = backbone.settings.collect_rows_max
    return gate.opened(backbone.lake, backbone.ledger, ASKED, READS, "decide", limit=limit)


def _of(tables: gate.Opened, table: type[Table], column: str, values: Sequence[str]) -> pl.DataFrame:
    rows = tables[table]
    return rows.polars(rows.expr.filter(rows.expr[column].isin(list(values))).limit(ROWS_MAX))


def _parts(tables: gate.Opened, vin: str) -> list[dict[str, Any]]:
    """The parts of a car, each followed by what is in it. A serial that others carry too is counted beside it."""
    levels, holders = [], [vin]
    seen: set[str] = {vin}
    for _ in range(LEVELS_MAX):
        found = _of(tables, PartInstalled, "installed_in", holders)
        levels.append(found)
        holders = [s for s in found["serial"].drop_nulls().unique() if s not in seen]
        seen |= set(holders)
        if not holders:
            break
    whole = pl.concat(levels).unique(maintain_order=True)
    serials = whole["serial"].drop_nulls().unique().to_list()
    twins = _of(tables, PartInstalled, "serial", serials) if serials else whole.clear()
    held = twins.group_by("part_number", "serial").agg(pl.col("installed_in").n_unique())
    carried = {(part, serial): n for part, serial, n in held.iter_rows()}
    within: dict[str, list[dict[str, Any]]] = {}
    for row in whole.sort("position", "part_number").to_dicts():
        within.setdefault(row["installed_in"], []).append(row)
    out: list[dict[str, Any]] = []

    def add(holder: str, level: int, path: tuple[str, ...]) -> None:
        for row in within.get(holder, []):
            serial = row["serial"]
            row = {k: v for k, v in row.items() if k not in ("installed_in", "known_at")}
            out.append(
                {**row, "level": level, "also_on": max(0, carried.get((row["part_number"], serial), 1) - 1)}
            )
            if serial and serial not in path and level + 1 < LEVELS_MAX and len(out) < ROWS_MAX:
                add(serial, level + 1, (*path, serial))

    add(vin, 0, (vin,))
    return out


def _events(tables: gate.Opened, vin: str, built_at: datetime | None) -> list[dict[str, Any]]:
    """What happened to a car, oldest first: at, lane (life, code, visit, complaint), what, about, km, where."""
    out: list[dict[str, Any]] = []

    def add(at: Any, lane: str, what: Any, about: str = "", km: Any = None, where: Any = None) -> None:
        if at is not None:
            out.append(
                {
                    "at": at,
                    "lane": lane,
                    "what": str(what or "not stated"),
                    "about": about,
                    "km": km,
                    "where": where or "",
                }
            )

    add(built_at, "life", "built")
    for r in _of(tables, VehicleHeld, "vin", [vin]).to_dicts():
        add(r["held_from"], "life", "handed over", r["role"] or "")
    for r in _of(tables, TroubleCode, "vin", [vin]).to_dicts():
        about = " · ".join(str(r[k]) for k in ("ecu", "status", "text") if r[k])
        add(r["set_at"], "code", r["code"], about, r["odometer_km"])
    for r in _of(tables, Visit, "vin", [vin]).to_dicts():
        what = " · ".join(str(r[k]) for k in ("component", "code") if r[k]) or "visit"
        about = " · ".join(str(r[k]) for k in ("work", "text") if r[k])
        add(r["visited_at"], "visit", what, about, r["odometer_km"], r["dealer"])
    for r in _of(tables, Complaint, "vin", [vin]).to_dicts():
        add(
            r["failed_at"] or r["made_at"],
            "complaint",
            r["component"] or "complaint",
            r["text"] or "",
            r["odometer_km"],
        )
    return sorted(out, key=lambda e: (e["at"], e["lane"], e["what"]))


def _cars_of(tables: gate.Opened, holders: set[str], vins: set[str]) -> set[str]:
    """The vehicles that hold these: VINs are, serials of parts are followed up to theirs."""
    found, wanted, seen = holders & vins, holders - vins, set(holders)
    for _ in range(LEVELS_MAX):
        if not wanted:
            break
        parts = tables[PartInstalled]
        rows = parts.expr.filter(parts.expr["serial"].isin(sorted(wanted))).select("installed_in")
        above = set(parts.polars(rows)["installed_in"]) - seen
        seen |= above
        found |= above & vins
        wanted = above - vins
    return found


def _failures(backbone: Backbone, tables: gate.Opened) -> pl.DataFrame:
    """vin, symptom, happened_at of every failure that the field reports; sorted once for each state of the lake."""
    from datetime import UTC, datetime

    from unibody.loop.evidence import evidence

    reads = (BuildRecord, TroubleCode, Visit, Complaint)
    key = (str(backbone.settings.lake), *(backbone.lake.version(t) for t in (*reads, PartInstalled)))
    if key not in _KEPT:
        read = {t.title(): tables[t].polars() for t in reads}
        parts = tables[PartInstalled]
        read["part_installed"] = parts.polars(parts.expr.select("part_number", "position").distinct())
        kept = evidence(read, datetime.now(UTC)).events.select("vin", "symptom", "happened_at")
        _KEPT.clear()
        _KEPT[key] = kept
    return _KEPT[key]
