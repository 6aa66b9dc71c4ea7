"""The plants' own files: machine readings, events and work orders, each in its plant's shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np

from unibody.twin.files import Files, by_month
from unibody.twin.machines import Floats, Life, Run, clock, runs
from unibody.twin.shapes import Record, Word
from unibody.twin.words import misspelt
from unibody.twin.world import Plant, World


@dataclass(frozen=True)
class Outcome:
    """What the key says of one life: it failed within the days, or was still running at their end."""

    life: Life
    plant: str
    usage_at_end: float | None  # None: it failed
    first_reading: float  # seconds since 1970, UTC
    last_reading: float


def write(world: World, plant: Plant, files: Files) -> tuple[list[Outcome], dict[str, list[str]]]:
    """Write all files of one plant; returns its lives and the dead channels of each machine."""
    hours = clock(world, plant)
    machines = list(runs(world, plant, hours))
    _readings(world, plant, files, machines)
    events: list[Record] = []
    orders: list[Record] = []
    for run in machines:
        chances = world.chances("events", run.machine)
        events += _events(world, plant, run, chances)
        orders += _orders(world, plant, run, chances)
    for kind, records, at in (("events", events, "began_at"), ("maintenance", orders, "closed_at")):
        months = by_month(_numbered(plant, kind, records, at), at)
        for stamp, ours in months.items():
            files.table(f"plants/{plant.name}/{kind}", stamp, plant.records, kind, ours, stamp == max(months))
    outcomes = [outcome for run in machines for outcome in _outcomes(world, plant, run)]
    return outcomes, {run.machine: list(run.dead) for run in machines if run.dead}


def _readings(world: World, plant: Plant, files: Files, machines: list[Run]) -> None:
    """A file a few days, rows by time and then machine, so that a file can be read as it grows."""
    span = world.parameters["calendar"]["readings_file_days"]
    edges = [world.start + timedelta(days=n) for n in range(0, world.days, span)] + [world.end]
    rows = _wide if plant.layout == "wide" else _long
    for begin, end in pairwise(edges):
        found: list[tuple[float, int, Record]] = []
        for number, run in enumerate(machines):
            inside = (run.times >= begin.timestamp()) & (run.times < end.timestamp())
            found += [(at, number, row) for at, row in rows(plant, run, inside)]
        found.sort(key=lambda item: item[:2])
        records = [row for _, _, row in found]
        stream, last = f"plants/{plant.name}/readings", end == edges[-1]
        files.table(stream, f"{begin:%Y-%m-%d}", plant.readings, "readings", records, last)


def _wide(_: Plant, run: Run, inside: np.ndarray) -> Iterator[tuple[float, Record]]:
    names = list(run.channels)
    values = zip(*(_present(run.channels[name][inside]) for name in names), strict=True)
    for (at, fixed), row in zip(_fixed(run, inside), values, strict=True):
        yield at, {**fixed, **dict(zip(names, row, strict=True))}


def _long(_: Plant, run: Run, inside: np.ndarray) -> Iterator[tuple[float, Record]]:
    """A row a value; what did not arrive has no row."""
    values = [(name, _present(column[inside])) for name, column in run.channels.items()]
    for place, (at, fixed) in enumerate(_fixed(run, inside)):
        for name, column in values:
            if column[place] is None:
                continue
            tag, unit = f"{run.kind}/{run.machine}/{name}", _unit(name)
            yield at, {**fixed, "tag": tag, "channel": Word(name), "unit": Word(unit), "value": column[place]}


def _fixed(run: Run, inside: np.ndarray) -> Iterator[tuple[float, Record]]:
    kind = Word(run.kind)
    columns = zip(
        run.times[inside].tolist(), run.life[inside].tolist(), run.cycles[inside].tolist(), strict=True
    )
    for at, life, cycles in columns:
        component = run.lives[life].component
        moment = datetime.fromtimestamp(at, UTC)
        yield (
            at,
            {
                "at": moment,
                "machine": run.machine,
                "machine_kind": kind,
                "component": component,
                "cycles": cycles,
            },
        )


def _events(world: World, plant: Plant, run: Run, chances: np.random.Generator) -> Iterator[Record]:
    """Stops where a life ends; micro-stops and alarms, which come more often as wear grows."""
    numbers = world.parameters["machines"]
    for life in run.lives:
        if world.start.timestamp() <= life.failed_at < world.end.timestamp():
            yield _event(world, plant, run, "stop", life.failed_at, life.repaired_at)
    micro = numbers["micro_stop_rate"] * (1 + numbers["micro_stop_wear"] * run.wear)
    alarm = numbers["alarm_rate"] + numbers["alarm_wear"] * run.wear**4
    for kind, rate in (("micro_stop", micro), ("alarm", alarm)):
        hits = run.times[chances.random(len(run.times)) < rate]
        for at in (hits + chances.uniform(0, 300, len(hits))).tolist():
            yield _event(world, plant, run, kind, at, at + float(chances.uniform(20, 280)))


def _event(world: World, plant: Plant, run: Run, kind: str, began: float, ended: float) -> Record:
    return {
        "machine": run.machine,
        "kind": Word(kind),
        "code": world.parameters["event_codes"][kind],
        "began_at": datetime.fromtimestamp(round(began), UTC),
        "ended_at": datetime.fromtimestamp(round(ended), UTC),
        "text": world.parameters["machine_texts"][plant.language][kind],
    }


def _orders(world: World, plant: Plant, run: Run, chances: np.random.Generator) -> Iterator[Record]:
    """A repair replaces the component; an inspection looks and greases, and replaces nothing."""
    numbers, texts = world.parameters["machines"], world.parameters["machine_texts"][plant.language]
    for old, new in pairwise(run.lives):
        text = str(chances.choice(texts[old.mode]))
        moments = (old.failed_at, old.repaired_at)
        if world.start.timestamp() <= moments[0] and moments[1] < world.end.timestamp():
            yield _order(world, run, "repair", moments, text, chances, old.component, new.component)
    at = world.start.timestamp()
    while (
        at := at + float(chances.exponential(numbers["inspection_days"])) * 86400.0
    ) < world.end.timestamp() - 86400:
        text = str(chances.choice(texts["inspection"]))
        yield _order(world, run, "inspection", (at, at + float(chances.uniform(900, 5400))), text, chances)


def _order(
    world: World,
    run: Run,
    kind: str,
    moments: tuple[float, float],
    text: str,
    chances: np.random.Generator,
    removed: str | None = None,
    installed: str | None = None,
) -> Record:
    numbers = world.parameters["machines"]
    opened, closed = (datetime.fromtimestamp(round(moment), UTC) for moment in moments)
    delay = timedelta(minutes=round(60 * float(chances.uniform(*numbers["entry_delay_hours"]))))
    return {
        "machine": run.machine,
        "kind": Word(kind),
        "opened_at": opened,
        "closed_at": closed,
        "entered_at": closed + delay,
        "removed": removed,
        "installed": installed,
        "text": misspelt(text, numbers["maintenance_words"], chances),
    }


def _numbered(plant: Plant, kind: str, records: list[Record], at: str) -> list[Record]:
    records = sorted(records, key=lambda record: (record[at], record["machine"], record["kind"]))
    name, letter = ("event_id", "E") if kind == "events" else ("order_id", "W")
    return [{**record, name: f"{plant.code}{letter}{number:07d}"} for number, record in enumerate(records, 1)]


def _outcomes(world: World, plant: Plant, run: Run) -> Iterator[Outcome]:
    """Only lives that left a reading: the key must not ask about what nobody could have seen."""
    for number, life in enumerate(run.lives):
        mine = run.life == number
        if not mine.any():
            continue
        usage = None if life.failed_at < world.end.timestamp() else float(run.cycles[mine][-1])
        yield Outcome(life, plant.name, usage, float(run.times[mine][0]), float(run.times[mine][-1]))


def _present(column: Floats) -> list[float | None]:
    return [None if value != value else value for value in column.tolist()]


def _unit(channel: str) -> str:
    """The unit a channel's name ends in, as in `motor_current_a`."""
    units = {"s": "mm/s", "a": "A", "c": "celsius", "bar": "bar", "pct": "%"}
    return "s" if channel == "cycle_time_s" else units[channel.rsplit("_", 1)[1]]
