"""The twin: a whole made-up car maker, written as raw files, with an answer key.

It writes each system's own format with code of its own (cantools, csv, json), never with our readers, so it
cannot hide their mistakes. The same seed gives the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from unibody.errors import SetupError
from unibody.twin import builds, catenax, customers, key, networks, plants, supply
from unibody.twin.builds import Vehicle
from unibody.twin.dealers import Dealers, Fault
from unibody.twin.files import Files
from unibody.twin.plants import Outcome
from unibody.twin.world import Brand, World, load

__all__ = ["Summary", "make"]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Summary:
    """What was made: counts, size, and the planted causes by name."""

    files: int
    bytes: int
    vehicles: int
    machines: int
    planted: dict[str, dict[str, Any]]


def make(folder: Path, vehicles: int, days: int, seed: int, progress: Progress | None = None) -> Summary:
    """Make a car maker's raw files in a folder that does not exist yet or is empty.

    `days` counts back from the last day in `parameters.toml`; `progress` is told a stage, how much of it is
    done and how much there is. The folder appears whole or not at all. Raises SetupError if the folder holds
    something already, or if a number is out of range.
    """
    for name, value, most in (
        ("vehicles", vehicles, 5_000_000),
        ("days", days, 1825),
        ("seed", seed, 2**32 - 1),
    ):
        least = 0 if name == "seed" else 1
        if not least <= value <= most:
            raise SetupError(f"twin: {name} is {value}; it must lie between {least} and {most}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SetupError(f"twin: {folder} exists and is not empty; name a new or an empty folder")
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    if unfinished.exists():  # left by a run that was killed
        shutil.rmtree(unfinished)
    unfinished.mkdir()
    try:
        world = load(vehicles, days, seed)
        summary = _make(world, Files(unfinished, world), progress or (lambda stage, done, total: None))
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return summary


def _make(world: World, files: Files, progress: Progress) -> Summary:
    outcomes: list[Outcome] = []
    dead: dict[str, list[str]] = {}
    for number, plant in enumerate(world.plants.values(), 1):
        theirs, stuck = plants.write(world, plant, files)
        outcomes += theirs
        dead |= stuck
        progress("plants", number, len(world.plants))
    key.machines(files, outcomes)
    counts = {name: builds.schedule(world, brand) for name, brand in world.brands.items()}
    fared: dict[str, dict[str, int]] = {}
    for number, brand in enumerate(world.brands.values(), 1):
        for cause, count in _brand(world, brand, counts[brand.name], files).items():
            sums = fared.setdefault(cause, dict.fromkeys(count, 0))
            fared[cause] = {side: sums[side] + count[side] for side in count}
        progress("brands", number, len(world.brands))
    supply.write(world, files, counts)
    progress("suppliers", 1, 1)
    files.truncate(world.parameters["dirt"]["truncated_stream"])
    causes = key.planted(world, files, fared, dead)
    key.dirt(files)
    key.readme(world, files)
    machines = len({outcome.life.machine for outcome in outcomes})
    return Summary(len(files.lines), files.size, world.vehicles, machines, causes)


def _brand(world: World, brand: Brand, counts: list[int], files: Files) -> dict[str, dict[str, int]]:
    """Build, log and sell one brand's cars, a day at a time."""
    dealers, logged = Dealers(world, brand), networks.sampled(world, brand)
    customers.write_fleets(world, brand, files)
    fared: dict[str, dict[str, int]] = {}
    days = world.build_days()
    for day, cars in builds.vehicles(world, brand, counts):
        builds.write(world, brand, day, cars, files, last=day == days[-1])
        if brand.name == world.parameters["supply"]["catenax_brand"]:
            catenax.as_built(world, brand, files, day, cars)
        found: list[tuple[Vehicle, list[Fault]]] = [(car, dealers.hand_over(car)) for car in cars]
        for cause, count in key.cars(world, files, found).items():
            sums = fared.setdefault(cause, dict.fromkeys(count, 0))
            fared[cause] = {side: sums[side] + count[side] for side in count}
        customers.write(world, brand, cars, files)
        for car in cars:
            if car.number in logged:
                _trip(world, brand, car, files)
    dealers.write(files)
    return fared


def _trip(world: World, brand: Brand, car: Vehicle, files: Files) -> None:
    """One logged drive some days after the car was built."""
    numbers = world.parameters["networks"]
    after = timedelta(days=float(world.chances("trip day", car.vin).uniform(*numbers["start_days"])))
    begins = min(car.built_at + after, world.end - timedelta(hours=1)).replace(microsecond=0)
    path = f"brands/{brand.name}/can/{brand.name}_{car.vin}_{begins:%Y-%m-%d}.log"
    frames = list(networks.frames(world, brand, car.vin, begins.timestamp()))
    files.append(path, "".join(frame.line(numbers["channel"]) for frame in frames).encode())
    for line, frame in enumerate(frames, 1):
        if not frame.message:
            files.note(path, "unknown_code", line)
    key.signals(world, files, path, enumerate(frames, 1))
