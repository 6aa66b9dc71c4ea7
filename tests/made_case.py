"""A small home with one case of the loop: 240 cars, one bad lot of brake hoses, proposals as the loop makes them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from made_home import SCRIPT, empty_home

from unibody.backbone import Backbone, run
from unibody.loop.cars import cars
from unibody.loop.evidence import evidence
from unibody.loop.notice import Signal
from unibody.loop.proposals import proposals
from unibody.loop.scope import Settings
from unibody.loop.trace import Traced, _traced, opening
from unibody.solution import ANSWER
from unibody.tables import TABLES, Decision, Instant

AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
BUILT = AS_OF - timedelta(days=120)
SYMPTOM, LOT, GOOD_LOT = "brake_hose_front", "L 77/41", "L-7742"
CARS, BAD = 240, 40
USECASE = "field_causes"  # ours; nothing is run, its cases are written


def vin(i: int) -> str:
    """The i-th car."""
    return f"ZACNJAV1{i:09d}"


#: Every sixth car has the lot; of these 24 failed, of the others 6.
WITH_LOT = tuple(range(0, CARS, CARS // BAD))
FAILING_LOT = tuple(i for k, i in enumerate(WITH_LOT) if k * 17 % BAD < 24)
FAILING = (*FAILING_LOT, 13, 61, 98, 140, 177, 221)


def frames() -> dict[str, pl.DataFrame]:
    """The tables as they are in the lake, with known_at."""
    every = range(CARS)
    built = [BUILT + timedelta(minutes=30 * i) for i in every]
    failed = [AS_OF - timedelta(days=60 - i % 20) for i in FAILING]
    lots = [LOT if i in WITH_LOT else f"L-77{42 + i // 80}" for i in every]
    hoses = [
        {"installed_in": vin(i), "part_number": "H-1", "position": SYMPTOM, "installed_at": built[i], "lot": lots[i],
         "supplier": "S-22", "sub_supplier": f"SS {SCRIPT}", "station": "4.17", "tool": f"T-{i // 4 % 2}"}
        for i in every
    ]  # fmt: skip
    calipers = [
        {"installed_in": vin(i), "part_number": "C-1", "position": "brake_caliper", "installed_at": built[i],
         "serial": f"CAL{0 if i == 239 else i}", "lot": f"C{i // 60}", "supplier": "S-9", "station": "4.18"}
        for i in every
    ]  # fmt: skip
    pistons = [
        {"installed_in": f"CAL{i}", "part_number": "P-1", "position": "piston", "installed_at": built[i], "lot": "P-77", "supplier": "S-30"}
        for i in (6, 7, 12, 13)
    ]  # fmt: skip
    rows: dict[str, list[dict[str, Any]]] = {
        "build_record": [
            {"vin": vin(i), "built_at": built[i], "brand": "jeep", "platform": "small", "model": "Avenger", "plant": "melfi" if i // 7 % 2 else "tychy",
             "market": "IT", "options": "ALU TOW" if i // 5 % 2 else "TOW"}
            for i in every
        ],
        "part_installed": hoses + calipers + pistons,
        "tightening": [
            {"tightening_id": str(i), "tightened_at": built[i], "vin": vin(i), "station": "4.17", "tool": f"T-{i // 4 % 2}", "bolt": SYMPTOM,
             "torque_nm": 32.0 + i // 3 % 7 * 0.5, "angle_deg": 55.0, "ok": True}
            for i in every
        ],
        "trouble_code": [
            {"vin": vin(i), "code": "C1246", "set_at": at, "odometer_km": 900.0, "ecu": "ABS", "status": "confirmed"}
            for i, at in zip(FAILING, failed, strict=True)
        ],
        "visit": [
            {"dealer": f"D{i // 11 % 5}", "visit_id": str(i), "visited_at": at + timedelta(hours=3), "vin": vin(i), "odometer_km": 910.0, "code": "C1246",
             "component": SYMPTOM, "work": "replaced H-1", "warranty": True, "language": "en", "text": SCRIPT if i == 6 else "pedal feels soft"}
            for i, at in zip(FAILING, failed, strict=True)
        ],
    }  # fmt: skip
    made = {}
    for title, some in rows.items():
        table = TABLES[title]
        frame = pl.DataFrame(some, schema=table.dtypes())
        made[title] = frame.with_columns(known_at=pl.col(table.at).cast(Instant))
    return made


def land(backbone: Backbone, tables: dict[str, pl.DataFrame]) -> None:
    """Put rows into the lake, as an ingest would."""
    for title, frame in tables.items():
        rows = frame.with_columns(
            known_assumed=False, deleted=False, record=pl.int_range(pl.len(), dtype=pl.Int64)
        )
        backbone.lake.append(TABLES[title], rows, f"made:{title}", "made", datetime.now(UTC), rows.height)


def traced(tables: dict[str, pl.DataFrame]) -> Traced:
    """The case as the loop finds it, but for the noticing."""
    signal = Signal(
        SYMPTOM, SYMPTOM, "jeep", "small", (SYMPTOM, "small", "jeep"), {"built_at": [BUILT.isoformat(), None]}, 24, 5.0, 4.8, 3.1, 7.4,
        0.01, 0.99, 0.1, AS_OF - timedelta(days=60), 12.0, 2.5, CARS, tuple(vin(i) for i in FAILING_LOT), 24, 5, AS_OF,
    )  # fmt: skip
    field = evidence(tables, AS_OF)
    fleet = cars(tables, AS_OF)
    return _traced(signal, tables, field, fleet.frame, AS_OF, Settings(), 0.05, ())


def of_brand(brand: str) -> Traced:
    """The same case, told of another brand."""
    tables = frames()
    found = traced(tables)
    told = tuple(replace(c, brand=brand) for c in found.cases)
    made = [proposals(c, cars(tables, AS_OF).frame, tables) for c in told]
    return replace(found, signal=replace(found.signal, brand=brand), cases=told, proposals=pl.concat(made))


def case_home(folder: Path, *, empty: bool = False) -> Backbone:
    """A home with the cars (not if `empty`), and the case with its proposals put before people."""
    backbone = empty_home(folder)
    if not empty:
        tables = frames()
        land(backbone, tables)
        propose(backbone, traced(tables))
    return backbone


def propose(backbone: Backbone, found: Traced) -> None:
    """Put a case before people, as a run of the use case does."""
    schema = {c: Decision.dtypes()[c] for c in ANSWER}
    first = opening(found)
    assert first is not None, "no cause was found"
    answers = pl.concat([pl.DataFrame([first], schema=schema), found.proposals.select(list(schema))])
    run._propose(answers, backbone.usecase(USECASE), backbone.lake, backbone.ledger, "made v1")
