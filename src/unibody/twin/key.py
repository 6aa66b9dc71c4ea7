"""The answer key: what was planted, what failed and when, which records are dirty."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from unibody.twin import causes
from unibody.twin.builds import Vehicle
from unibody.twin.dealers import Fault
from unibody.twin.files import Files
from unibody.twin.networks import Frame
from unibody.twin.plants import Outcome
from unibody.twin.shapes import Shape
from unibody.twin.world import World

FAILURES = "subject,machine,plant,kind,mode,failed_at,usage_cycles,first_reading_at,last_reading_at"
RUNNING = "subject,machine,plant,kind,mode,usage_cycles_at_end,fails_at,usage_cycles_at_failure"
CAUSES = "vin,failed,cause,value,brand,symptom,failed_at,affected,built_at"
FAULTS = "vin,brand,symptom,code,cause,failed_at,visited_at"
SHORTAGES = "brand,part_number,short_at,quantity"
STREAMS = "subject,label,at"
SIGNALS = "file,line,message,signal,value"


def table(files: Files, name: str, heading: str, rows: Iterable[Sequence[Any]]) -> None:
    """Append rows to one CSV of the key; times are ISO 8601 UTC."""
    path = f"answer_key/{name}.csv"
    if path not in files.lines:
        files.append(path, f"{heading}\n".encode())
    page = io.StringIO()
    csv.writer(page, lineterminator="\n").writerows([[_text(value) for value in row] for row in rows])
    files.append(path, page.getvalue().encode())


def machines(files: Files, outcomes: list[Outcome]) -> None:
    """Lives that ended within the days are failures; the others are running, with their true end."""
    failed, running = [], []
    for outcome in outcomes:
        life, plant = outcome.life, outcome.plant
        who = (life.component, life.machine, plant, life.kind, life.mode)
        ended, usage = _at(life.failed_at), life.usage_at_failure
        if outcome.usage_at_end is None:
            failed.append((*who, ended, usage, _at(outcome.first_reading), _at(outcome.last_reading)))
        else:
            running.append((*who, outcome.usage_at_end, ended, usage))
    table(files, "machine_failures", FAILURES, failed)
    table(files, "machine_running", RUNNING, running)


def cars(world: World, files: Files, found: list[tuple[Vehicle, list[Fault]]]) -> dict[str, dict[str, int]]:
    """One row a car and planted symptom, and one a fault; returns how the cars of each cause fared."""
    symptoms = [symptom["symptom"] for symptom in world.parameters["field"]["symptoms"]]
    codes = [symptom["code"] for symptom in world.parameters["field"]["symptoms"]]
    planted, rows, faults = causes.planted(world), [], []
    sides = ("affected", "affected_failed", "other", "other_failed")
    fared = {cause.name: dict.fromkeys(sides, 0) for cause in planted}
    for car, theirs in found:
        real = [fault for fault in theirs if fault.real and fault.symptom >= 0]
        for f in real:
            faults.append(
                (car.vin, car.brand, symptoms[f.symptom], codes[f.symptom], f.cause, f.at, f.visited_at)
            )
        for cause in planted:
            mine = [fault for fault in real if symptoms[fault.symptom] == cause.symptom]
            why, at = (mine[0].cause, mine[0].at) if mine else ("", None)
            value, affected = car.value(next(iter(cause.conditions))), cause.met_by(car)
            fate = (car.vin, len(mine), why, value, car.brand, cause.symptom, at)
            rows.append((*fate, int(affected), car.built_at))
            if car.brand == cause.brand:
                side = "affected" if affected else "other"
                fared[cause.name][side] += 1
                fared[cause.name][f"{side}_failed"] += len(mine)
    table(files, "vehicle_causes", CAUSES, rows)
    table(files, "vehicle_faults", FAULTS, faults)
    return fared


def signals(world: World, files: Files, path: str, numbered: Iterable[tuple[int, Frame]]) -> None:
    """The values meant by every so many frames of a CAN log, to hold a reader's answer against."""
    every = world.parameters["networks"]["truth_every"]
    rows = [
        (path, line, frame.message, name, repr(value))
        for line, frame in numbered
        if line % every == 1 and frame.message
        for name, value in frame.meant.items()
    ]
    table(files, "can_signals", SIGNALS, rows)


def planted(
    world: World, files: Files, fared: dict[str, dict[str, int]], dead: dict[str, list[str]]
) -> dict[str, dict[str, Any]]:
    """Write the planted causes with their conditions and counts, and the decoys; returns the causes."""
    stated = {entry["cause"]: entry for entry in world.parameters["planted"]}
    found = {
        cause.name: {
            **stated[cause.name],
            "conditions": cause.conditions,
            "label": cause.label,
            "vehicles": fared[cause.name],
        }
        for cause in causes.planted(world)
    }
    decoys = {decoy["decoy"]: decoy for decoy in world.parameters["decoys"]}
    files.document("answer_key/planted.json", {"causes": found, "decoys": decoys, "dead_channels": dead})
    table(files, "field_causes", STREAMS, _streams(world))
    return found


def _streams(world: World) -> list[tuple[str, str, datetime]]:
    """What stands behind each brand's symptom, which is named by its part: the causes' conditions, or none."""
    behind: dict[tuple[str, str], list[str]] = {}
    for cause in causes.planted(world):
        behind.setdefault((cause.brand, cause.symptom), []).append(cause.label)
    return [
        (
            f"{brand}: {symptom['part']}",
            " and ".join(behind.get((brand, symptom["symptom"]), ["none"])),
            world.end,
        )
        for brand in world.brands
        for symptom in world.parameters["field"]["symptoms"]
    ]


def dirt(files: Files) -> None:
    """How many records of each kind of dirt stand in each file, and where: lines from 1, or JSON pointers."""
    totals: dict[str, int] = {}
    content = {}
    for path, kinds in sorted(files.dirt.items()):
        content[path] = {
            what: {"count": len(places), "places": places} for what, places in sorted(kinds.items())
        }
        for what, places in kinds.items():
            totals[what] = totals.get(what, 0) + len(places)
    files.document("answer_key/dirt.json", {"totals": dict(sorted(totals.items())), "files": content})


def readme(world: World, files: Files) -> None:
    """A page in the folder itself: each kind of file and how it is written."""
    rows = [_described(stream, shape, kind) for stream, (shape, kind) in sorted(files.streams.items())]
    rows += [
        f"| `brands/{brand.name}/builds/` | JSON, utf-8, one document a day | cars with all that is in them |"
        for brand in world.brands.values()
        if "vin" not in brand.shape.columns["parts"]
    ]
    aspects = f"suppliers/{world.parameters['supply']['catenax_brand']}"
    rows += [
        "| `brands/<brand>/can/` | `candump -L` text, one trip a file | raw frames |",
        f"| `{aspects}/` | JSON lines, utf-8, one Catena-X aspect a line | stock, deliveries, demand, as built |",
        "| `answer_key/` | CSV and JSON, utf-8, times UTC | the truth; no part of any system's data |",
    ]
    text = f"""# A made-up car maker

{world.vehicles} vehicles, {world.days} days up to {world.end:%Y-%m-%d} (exclusive, UTC), seed {world.seed}.
Nothing here describes a real plant, part or person. Hostile texts and broken records are meant to be here.

| files | written as | columns |
|---|---|---|
{chr(10).join(rows)}
"""
    files.append("README.md", text.encode())


def _described(stream: str, shape: Shape, kind: str) -> str:
    sign = json.dumps(shape.delimiter).replace("|", "\\|")
    form = "JSON lines" if shape.form == "jsonl" else f"CSV, delimiter {sign}, decimal {shape.decimal!r}"
    columns = ", ".join(shape.columns[kind].values())
    return f"| `{stream}/` | {form}, {shape.encoding}, times {shape.time} in {shape.zone} | {columns} |"


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds").replace("+00:00", "Z")
    return "" if value is None else str(value)
