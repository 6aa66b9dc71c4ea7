"""Machines that wear: hidden wear, what the sensors feel of it, when each life ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from unibody.twin.world import Plant, World

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Life:
    """One component from its fitting to its failure; `failed_at` may lie after the simulated days."""

    component: str
    machine: str
    kind: str
    mode: str
    began: int  # step of the clock at which it was fitted
    failed: int  # step of the clock at which it failed
    failed_at: float  # seconds since 1970, UTC
    repaired_at: float
    usage_at_failure: float  # cycles since it was fitted


@dataclass(frozen=True)
class Clock:
    """The reading times of one plant, from before the first day until after the last."""

    times: Floats  # seconds since 1970, UTC
    running: NDArray[np.bool_]  # within a shift
    ambient: Floats  # degrees Celsius in the hall
    load: Floats  # what the plan asks of the plant, 0..1; 0 outside of the shifts
    step_seconds: float
    window: slice  # the simulated days


@dataclass(frozen=True)
class Run:
    """One machine over the whole clock: its lives and its readings (rows are steps within the window)."""

    machine: str
    kind: str
    lives: tuple[Life, ...]
    times: Floats
    life: Ints  # which of `lives` each reading belongs to
    cycles: Ints  # since that life began
    wear: Floats  # hidden; 1 is failure
    channels: dict[str, Floats]  # NaN where nothing arrived
    dead: tuple[str, ...]  # channels stuck at one value


def clock(world: World, plant: Plant) -> Clock:
    """The times at which one plant reads its machines, its shifts and the heat in its hall."""
    calendar, step = world.parameters["calendar"], plant.reading_minutes * 60.0
    start, day = world.start.timestamp(), 86400.0
    first, last = (
        start - calendar["burn_in_days"] * day,
        world.end.timestamp() + calendar["run_out_days"] * day,
    )
    times = np.arange(first, last, step)
    zone = ZoneInfo(plant.zone)
    days = np.floor(times / day)
    known = {d: _offset(d * day, zone) for d in np.unique(days).tolist()}
    local = times + np.array([known[d] for d in days.tolist()])
    hour, weekday = (local % day) / 3600.0, (np.floor(local / day) + 3) % 7  # 1970-01-01 was a Thursday
    begins, ends = plant.shift_hours
    running = (hour >= begins) & (hour < ends) & (weekday < calendar["build_weekdays"])
    chances = world.chances("clock", plant.name)
    mean, swing = plant.hall_celsius
    warm_days = np.cumsum(chances.normal(0, 0.6, len(known)))
    warm_days -= np.linspace(0, warm_days[-1], len(known))
    place = (days - days[0]).astype(int)
    ambient = mean + swing * np.sin((hour - 9.0) / 24.0 * 2 * np.pi) + warm_days[place]
    begin = round((start - first) / step)
    window = slice(begin, begin + round(world.days * day / step))
    load = _load(world, plant, times, running)
    return Clock(times, running, ambient, load, step, window)


def runs(world: World, plant: Plant, hours: Clock) -> Iterator[Run]:
    """Every machine of a plant, one at a time."""
    kinds, numbers = world.parameters["machines"]["kinds"], world.parameters["machines"]
    grown = numbers["per_plant"] * (1 + numbers["growth"] * np.log10(world.vehicles / 1000))
    for number in range(max(numbers["per_plant_min"], round(grown))):
        kind = list(kinds)[number % len(kinds)]
        machine = f"{plant.code}-{kinds[kind]['prefix']}{number // len(kinds) + 1:02d}"
        yield _run(world, hours, machine, kind, world.chances("machine", plant.name, number))


def _run(world: World, hours: Clock, machine: str, kind: str, chances: np.random.Generator) -> Run:
    numbers = world.parameters["machines"]
    rule = numbers["kinds"][kind]
    jitter = chances.normal(0, numbers["load_jitter"], len(hours.times))
    load = np.where(hours.running, np.clip(hours.load + jitter, 0.2, 1.0), 0.0)
    turned = np.cumsum(load * rule["cycles_per_hour"] * hours.step_seconds / 3600.0)
    lives, wear, life_of = _lives(world, hours, machine, kind, load, turned, chances)
    began = np.array([life.began for life in lives])
    seen = np.flatnonzero((life_of >= 0) & hours.running)
    seen = seen[(seen >= hours.window.start) & (seen < hours.window.stop)]
    life = life_of[seen]
    cycles = np.floor(turned[seen] - turned[began[life]]).astype(np.int64)
    channels, dead = _channels(world, hours, rule, lives, seen, life, load[seen], wear[seen], chances)
    return Run(machine, kind, tuple(lives), hours.times[seen], life, cycles, wear[seen], channels, dead)


def _lives(
    world: World,
    hours: Clock,
    machine: str,
    kind: str,
    load: Floats,
    turned: Floats,
    chances: np.random.Generator,
) -> tuple[list[Life], Floats, Ints]:
    """Life after life until the clock runs out; the last one, which never ends in sight, is left out."""
    numbers = world.parameters["machines"]
    rule = numbers["kinds"][kind]
    modes, shares = list(rule["modes"]), [mode["share"] for mode in rule["modes"].values()]
    shortest, longest = numbers["life_days_range"]
    steps_a_day = 86400.0 / hours.step_seconds * float(np.mean(hours.running))
    effort = (load / numbers["load_mean"]) ** numbers["wear_load_power"]
    shape = numbers["wear_regularity"]
    wear, life_of = np.zeros(len(load)), np.full(len(load), -1, dtype=np.int64)
    lives: list[Life] = []
    serial, begin = int(chances.integers(10_000_000, 80_000_000)), 0
    while begin < len(load):
        days = float(np.exp(chances.normal(np.log(numbers["life_days_median"]), numbers["life_days_spread"])))
        days = min(max(days, shortest), longest)
        grown = np.cumsum(chances.gamma(shape * effort[begin:], 1.0 / (days * steps_a_day * shape)))
        fails = begin + int(np.searchsorted(grown, 1.0))
        if fails >= len(load) - 1:
            break
        part = float(chances.random())  # of the step after which it breaks
        used = turned[fails - 1] + part * (turned[fails] - turned[fails - 1]) - turned[begin]
        failed_at = (
            hours.times[fails - 1] + part * hours.step_seconds if fails > begin else hours.times[begin]
        )
        repair = float(chances.uniform(*numbers["repair_hours"])) * 3600.0
        serial += int(chances.integers(11, 4000))
        component = f"{rule['serial']}{machine.replace('-', '')}{serial}"
        mode = str(chances.choice(modes, p=np.array(shares) / sum(shares)))
        wear[begin:fails] = grown[: fails - begin]
        life_of[begin:fails] = len(lives)
        failed_at, used = round(float(failed_at)), round(float(used), 1)
        life = Life(component, machine, kind, mode, begin, fails, failed_at, round(failed_at + repair), used)
        lives.append(life)
        begin = int(np.searchsorted(hours.times, life.repaired_at)) if fails < len(load) else len(load)
    return lives, wear, life_of


def _channels(
    world: World,
    hours: Clock,
    rule: dict[str, Any],
    lives: list[Life],
    seen: Ints,
    life: Ints,
    load: Floats,
    wear: Floats,
    chances: np.random.Generator,
) -> tuple[dict[str, Floats], tuple[str, ...]]:
    """What the sensors say: base, load, hall, the mode's signature of wear, noise; then what fails to arrive."""
    numbers = world.parameters["machines"]
    felt = wear ** numbers["wear_signature_power"]
    shift = ((hours.times[seen] - hours.times[0]) // (8 * 3600.0)).astype(int)
    ambient = hours.ambient[seen] - float(np.mean(hours.ambient))
    channels: dict[str, Floats] = {}
    dead: list[str] = []
    for name, (base, by_load, by_hall, noise) in rule["channels"].items():
        gains = np.array([rule["modes"][one.mode]["gains"].get(name, 0.0) for one in lives])
        own = base * (1 + chances.normal(0, numbers["base_spread"]))
        wander = chances.normal(0, noise * numbers["slow_noise"], int(shift.max(initial=0)) + 1)
        value = own + by_load * (load - (0.0 if base == 0 else numbers["load_mean"])) + by_hall * ambient
        value = value + gains[life] * felt + chances.normal(0, noise, len(seen)) + wander[shift]
        if name not in numbers["never_dead"] and chances.random() < numbers["dead_rate"]:
            value = np.full(len(seen), own)
            dead.append(name)
        value[chances.random(len(seen)) < numbers["missing_rate"]] = np.nan
        channels[name] = np.round(value, 3 if base < 10 and base > 0 else 2)
    return channels, tuple(dead)


def _load(world: World, plant: Plant, times: Floats, running: NDArray[np.bool_]) -> Floats:
    """What the production plan asks: a product mix that changes with each shift of eight hours."""
    numbers, chances = world.parameters["machines"], world.chances("load", plant.name)
    shift = ((times - times[0]) // (8 * 3600.0)).astype(int)
    memory, mix = numbers["load_memory"], np.zeros(int(shift[-1]) + 1)
    pushes = chances.normal(0, np.sqrt(1 - memory**2), len(mix))
    for place in range(1, len(mix)):
        mix[place] = memory * mix[place - 1] + pushes[place]
    load: Floats = np.where(
        running, np.clip(numbers["load_mean"] + numbers["load_spread"] * mix[shift], 0.25, 1.0), 0
    )
    return load


def _offset(seconds: float, zone: ZoneInfo) -> float:
    offset = datetime.fromtimestamp(seconds + 43200.0, zone).utcoffset()
    return offset.total_seconds() if offset else 0.0
