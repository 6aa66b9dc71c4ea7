"""Stations and tools of each line: which tool worked on which car, torques and angles, and gauges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unibody.twin.field.cars import Cars, Coded
from unibody.twin.field.chances import Bools, Floats, Ints, between
from unibody.twin.field.maker import DAY, Maker
from unibody.twin.field.parts import Part

_FAR = 1 << 40
_STATIONS = 4096  # more than any world has


@dataclass(frozen=True)
class Drift:
    """A measured value that moves on one line from some day on, in standard deviations."""

    what: str
    line: int
    begins: int
    ramp: float  # seconds until it is full
    ends: int
    depth: float

    def at(self, cars: Cars) -> Floats:
        """How far the value has moved for each car."""
        full = np.clip((cars.built - self.begins) / max(self.ramp, 1.0), 0, 1)
        mine = (cars.line == self.line) & (cars.built >= self.begins) & (cars.built < self.ends)
        return np.asarray(self.depth * full * mine)


@dataclass(frozen=True)
class Bolt:
    """One tightening that is kept: of which part, and what it should be."""

    name: str
    part: str
    nominal: float
    spread: float
    angle: float


@dataclass(frozen=True)
class Gauge:
    """One thing that is measured at the end of the line."""

    name: str
    part: str
    nominal: float
    spread: float


@dataclass(frozen=True)
class Tools:
    """Stations, tools and measurements of a world."""

    stations: tuple[str, ...]
    station_of: dict[str, Ints]  # position -> its station on each line
    doubled: (
        Bools  # stations that have a second cell beside them, the next in the list; cars go to one of the two
    )
    gauge_station: Ints  # of each line
    clock_off: Ints  # seconds by which each station's clock is wrong
    two: Ints  # station -> number of tools that take turns
    tool_begins: Ints  # (station x 2 + slot) x _FAR + second, sorted
    tools: tuple[str, ...]  # the tool of each entry
    maintained: Ints  # entry of tool_begins x _FAR + second, sorted
    bias: Floats  # of each tool, in standard deviations
    drift: Floats  # of each tool a day since maintenance
    bolts: dict[str, Bolt]
    gauges: dict[str, Gauge]
    drifts: tuple[Drift, ...]

    def station(self, cars: Cars, position: str) -> Ints:
        """The station at which a part is fitted, a place in `stations`."""
        return cars.kept(f"{position}/station", lambda: self._station(cars, position))

    def _station(self, cars: Cars, position: str) -> Ints:
        station = self.station_of[position][cars.line]
        second = cars.maker.chances.uniform("cell", cars.index * _STATIONS + station) < 0.5
        return np.asarray(station + (second & self.doubled[station]))

    def tool(self, cars: Cars, position: str) -> Ints:
        """The tool it is fitted with, a place in `tools`."""
        return cars.kept(f"{position}/tool", lambda: self._tool(cars, position))

    def _tool(self, cars: Cars, position: str) -> Ints:
        station = self.station(cars, position)
        # one side of the line has its own tool: the same for all parts of that station and car
        side = cars.maker.chances.uniform("side", cars.index * _STATIONS + station) < 0.5
        slot = station * 2 + (side & (self.two[station] == 2))
        return np.asarray(np.searchsorted(self.tool_begins, slot * _FAR + cars.built, side="right") - 1)

    def since_maintenance(self, cars: Cars, position: str) -> Floats:
        """Days since the tool was last maintained, or new."""
        tool = self.tool(cars, position)
        place = np.searchsorted(self.maintained, tool * _FAR + cars.built, side="right") - 1
        found = self.maintained[np.maximum(place, 0)]
        begun = np.where((place >= 0) & (found // _FAR == tool), found % _FAR, self.tool_begins[tool] % _FAR)
        return np.asarray((cars.built - begun) / DAY)

    def maintenances(self, tool: int) -> Ints:
        """When a tool was maintained, seconds."""
        low, high = np.searchsorted(self.maintained, [tool * _FAR, (tool + 1) * _FAR])
        return self.maintained[low:high] % _FAR

    def torque(self, cars: Cars, bolt: Bolt) -> tuple[Floats, Floats, Floats]:
        """Torque (N·m) as it ended, angle (deg), and the first torque where the tool rejected it (else NaN)."""
        return cars.kept(f"torque.{bolt.name}", lambda: self._torque(cars, bolt))

    def _torque(self, cars: Cars, bolt: Bolt) -> tuple[Floats, Floats, Floats]:
        chances, rules = cars.maker.chances, cars.maker.numbers["tightening"]
        tool = self.tool(cars, bolt.part)
        off = self.bias[tool] + self.drift[tool] * self.since_maintenance(cars, bolt.part)
        off = off + chances.normal(f"torque/{bolt.name}", cars.index)
        for drift in self.drifts:
            if drift.what == bolt.name:
                off = off - drift.at(cars)
        bad = np.abs(off) > rules["tolerance"]
        again = chances.normal(f"torque again/{bolt.name}", cars.index)
        torque = np.round(bolt.nominal + bolt.spread * np.where(bad, again, off), 2)
        first = np.where(bad, np.round(bolt.nominal + bolt.spread * off, 2), np.nan)
        lean = 1 - rules["angle_torque"] * (torque / bolt.nominal - 1)
        angle = (
            bolt.angle
            * lean
            * np.exp(rules["angle_spread"] * chances.normal(f"angle/{bolt.name}", cars.index))
        )
        return torque, np.round(angle, 1), first

    def gauged(self, cars: Cars, gauge: Gauge) -> Floats:
        """The gauged value of each car."""
        return cars.kept(f"gauge.{gauge.name}", lambda: self._gauged(cars, gauge))

    def _gauged(self, cars: Cars, gauge: Gauge) -> Floats:
        off = cars.maker.chances.normal(f"gauge/{gauge.name}", cars.index)
        for drift in self.drifts:
            if drift.what == gauge.name:
                off = off + drift.at(cars)
        return np.round(gauge.nominal + gauge.spread * off, 3)

    def accepted(self, cars: Cars, gauge: Gauge) -> Bools:
        """The gauge's verdict."""
        far = np.abs(self.gauged(cars, gauge) - gauge.nominal)
        return np.asarray(far <= cars.maker.numbers["gauges"]["tolerance"] * gauge.spread)

    def named(self, cars: Cars, part: Part, what: str) -> Coded:
        """station or tool of each car for a part, none where the part is not fitted."""
        fitted = part.fitted(cars)
        if what == "station":
            return Coded(np.where(fitted, self.station(cars, part.position), -1), self.stations)
        if not part.tooled:
            return Coded(np.full(len(cars), -1), ())
        return Coded(np.where(fitted, self.tool(cars, part.position), -1), self.tools)


def draw(maker: Maker, parts: dict[str, Part]) -> Tools:
    """Lay out the lines, and draw tools, their maintenance, and what drifts."""
    rng, rules = maker.chances.rng("tools"), maker.numbers["stations"]
    stations: list[str] = []
    bays: list[int] = []
    station_of = {name: np.zeros(len(maker.lines), dtype=np.int64) for name in parts}
    doubled: list[bool] = []
    for line, name in enumerate(maker.lines):
        count = int(rng.integers(rules["per_line"][0], rules["per_line"][1] + 1))
        first = np.zeros(count, dtype=np.int64)
        for n, two_cells in enumerate(rng.random(count) < rules["doubled"]):
            first[n] = len(stations)
            stations += [f"{name}-{10 * (n + 1):03d}{cell}" for cell in ("AB" if two_cells else " ")]
            doubled += [bool(two_cells), False][: 1 + two_cells]
        for position, part in parts.items():
            place = float(np.clip(part.place + rng.normal(0, rules["shuffle"]), 0, 0.999))
            station_of[position][line] = first[int(place * count)]
        bays.append(len(stations))
        stations.append(f"{name}-Q")
        doubled.append(False)
    stations = [name.strip() for name in stations]
    wrong = rng.random(len(stations)) < rules["clock_wrong"]
    two = np.where(rng.random(len(stations)) < rules["two_tools"], 2, 1)
    entries: list[int] = []
    ends = maker.first_day + maker.days * DAY
    before = maker.first_day - 30 * DAY  # tools are known, and maintained, since a while before the first car
    for slot in range(2 * len(stations)):
        if slot % 2 and two[slot // 2] == 1:
            continue
        entries.append(slot * _FAR + before)
        second = before + int(rng.uniform(0, rules["tool_life_days"][1]) * DAY)
        while second < ends:
            entries.append(slot * _FAR + second)
            second += int(between(rng, rules["tool_life_days"]) * DAY)
    names = [f"T{n}" for n in rng.permutation(np.arange(1_000, 9_999))[: len(entries)]]
    maintained: list[int] = []
    for place, entry in enumerate(entries):
        last = (
            entries[place + 1] % _FAR
            if place + 1 < len(entries) and entries[place + 1] // _FAR == entry // _FAR
            else ends
        )
        second = entry % _FAR
        while (second := second + int(between(rng, rules["maintenance_days"]) * DAY)) < last:
            maintained.append(place * _FAR + second // DAY * DAY + 2 * 3600)
    tightening = maker.numbers["tightening"]
    bolts = {b[0]: Bolt(*b) for b in tightening["bolts"]["rows"] if b[1] in parts and not parts[b[1]].bound}
    gauges = {
        g[0]: Gauge(*g)
        for g in maker.numbers["gauges"]["catalogue"]["rows"]
        if g[1] in parts and not parts[g[1]].bound
    }
    return Tools(
        stations=tuple(stations),
        station_of=station_of,
        doubled=np.array(doubled),
        gauge_station=np.array(bays, dtype=np.int64),
        clock_off=wrong * rules["clock_seconds"],
        two=two,
        tool_begins=np.array(entries, dtype=np.int64),
        tools=tuple(names),
        maintained=np.array(maintained, dtype=np.int64),
        bias=rng.normal(0, tightening["tool_bias"], len(entries)),
        drift=rng.normal(0, tightening["tool_drift"], len(entries)),
        bolts=bolts,
        gauges=gauges,
        drifts=_drifts(rng, maker, list(bolts), list(gauges)),
    )


def _drifts(rng: np.random.Generator, maker: Maker, bolts: list[str], gauges: list[str]) -> tuple[Drift, ...]:
    found, rules, shifts = [], maker.numbers["tightening"], maker.numbers["gauges"]
    for name in rng.permutation(bolts)[: int(rng.integers(rules["drifting"][0], rules["drifting"][1] + 1))]:
        begins = maker.at(between(rng, rules["drift_from"]))
        days = between(rng, rules["drift_days"]) if rng.random() < rules["drift_ends"] else 10_000
        found.append(
            Drift(
                what=str(name),
                line=int(rng.integers(len(maker.lines))),
                begins=begins,
                ramp=between(rng, rules["drift_ramp_days"]) * DAY,
                ends=begins + round(days * DAY),
                depth=between(rng, rules["drift_depth"]),
            )
        )
    for name in rng.permutation(gauges)[
        : int(rng.integers(shifts["shifting"][0], shifts["shifting"][1] + 1))
    ]:
        begins = maker.at(between(rng, shifts["shift_from"]))
        found.append(
            Drift(
                what=str(name),
                line=int(rng.integers(len(maker.lines))),
                begins=begins,
                ramp=1.0,
                ends=begins + round(between(rng, shifts["shift_days"]) * DAY),
                depth=between(rng, shifts["shift_depth"]) * (1 if rng.random() < 0.5 else -1),
            )
        )
    return tuple(found)
