"""Control units: hardware revisions and software versions, rolled out plant by plant and updated in the field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unibody.twin.field.cars import Cars, Coded
from unibody.twin.field.chances import Floats, Ints, between, several
from unibody.twin.field.maker import DAY, Maker

NEVER = 1 << 40


@dataclass(frozen=True)
class Campaign:
    """One update in the field: cars of some versions get another, markets one after the other."""

    below: int  # versions before this one
    to: int
    market_begins: Ints
    share: float


@dataclass(frozen=True)
class Unit:
    """One control unit (ECU): what was built in when, and what was updated later."""

    name: str
    regulation: str
    versions: tuple[str, ...]
    hardwares: tuple[str, ...]
    version_from: Ints  # version x plant, seconds
    hardware_from: Ints  # hardware x plant, seconds
    model_lag: Ints
    campaigns: tuple[Campaign, ...]

    def hardware(self, cars: Cars) -> Ints:
        """The hardware revision as built."""
        return cars.kept(f"{self.name}/hardware", lambda: self._hardware(cars))

    def _hardware(self, cars: Cars) -> Ints:
        begun = self.hardware_from[:, cars.plant] <= cars.built
        newest = begun.sum(axis=0) - 1
        old = cars.maker.chances.uniform(f"{self.name}/old stock", cars.index)
        return np.asarray(np.maximum(newest - (old < cars.maker.numbers["software"]["old_stock"]), 0))

    def built(self, cars: Cars) -> Ints:
        """The software version as built."""
        begun = self.version_from[:, cars.plant] + self.model_lag[cars.model] <= cars.built
        begun[0] = True
        return np.asarray(begun.sum(axis=0) - 1)

    def updates(self, cars: Cars, sold: Ints) -> list[tuple[Ints, Ints]]:
        """For each campaign: when each car was updated (NEVER: not) and to which version."""
        return cars.kept(f"{self.name}/updates", lambda: self._updates(cars, sold))

    def _updates(self, cars: Cars, sold: Ints) -> list[tuple[Ints, Ints]]:
        found, now = [], self.built(cars)
        before = np.zeros(len(cars), dtype=np.int64)
        for place, campaign in enumerate(self.campaigns):
            name, chances = f"{self.name}/campaign {place}", cars.maker.chances
            wait = (
                -np.log(chances.uniform(name, cars.index)) * cars.maker.numbers["software"]["campaign_days"]
            )
            when = np.maximum(campaign.market_begins[cars.market], sold) + (wait * DAY).astype(np.int64)
            when = np.maximum(when, before + DAY)  # never back to an older version
            meant = (now < campaign.below) & (chances.uniform(name + "/meant", cars.index) < campaign.share)
            when = np.where(meant & (when <= cars.maker.as_of), when, NEVER)
            to = np.full(len(cars), campaign.to)
            found.append((when, to))
            now = np.where(when < NEVER, campaign.to, now)
            before = np.where(when < NEVER, when, before)
        return found

    def at(self, cars: Cars, sold: Ints, rows: Ints, when: Ints) -> Ints:
        """The version installed on some cars at some instant each."""
        version = self.built(cars)[rows]
        for at, to in self.updates(cars, sold):
            version = np.where(at[rows] <= when, to[rows], version)
        return version

    def share_of_life(self, cars: Cars, sold: Ints, version: int) -> Floats:
        """The share of each car's time with its customer during which it had a version."""
        as_of = cars.maker.as_of
        begins, now, held = sold, self.built(cars), np.zeros(len(cars))
        for at, to in self.updates(cars, sold):
            ends = np.clip(at, begins, np.maximum(as_of, begins))
            held += (now == version) * (ends - begins)
            now, begins = np.where(at < NEVER, to, now), ends
        held += (now == version) * np.maximum(as_of - begins, 0)
        return np.asarray(held / np.maximum(as_of - sold, 1))

    def named(self, cars: Cars, sold: Ints, what: str) -> Coded:
        """The hardware revision, or the software version at the end of observation."""
        if what == "hardware":
            return Coded(self.hardware(cars), self.hardwares)
        return Coded(
            self.at(cars, sold, np.arange(len(cars)), np.full(len(cars), cars.maker.as_of)), self.versions
        )


def draw(maker: Maker) -> dict[str, Unit]:
    """The control units followed in this world."""
    rng, rules = maker.chances.rng("software"), maker.numbers["software"]
    names = list(rules["ecus"])
    count = int(rng.integers(rules["ecus_followed"][0], rules["ecus_followed"][1] + 1))
    chosen = [names[k] for k in sorted(rng.choice(len(names), size=count, replace=False).tolist())]
    return {name: _unit(rng, maker, name) for name in chosen}


def _unit(rng: np.random.Generator, maker: Maker, name: str) -> Unit:
    rules, plants = maker.numbers["software"], len(maker.plants)
    count = int(rng.integers(rules["versions"][0], rules["versions"][1] + 1))
    number = [int(rng.integers(1, 9)), int(rng.integers(0, 10)), int(rng.integers(0, 6))]
    versions = []
    for _ in range(count):
        versions.append(".".join(map(str, number)))
        step = int(rng.choice(3, p=[0.15, 0.35, 0.5]))
        number[step] += int(rng.integers(1, 4))
        number[step + 1 :] = [0] * (2 - step)
    hardwares = "ABC"[: 1 + int(rng.choice(3, p=rules["hardwares"]))]
    campaigns: list[Campaign] = []
    begun = np.sort(rng.uniform(0.05, 0.95, count))
    lag = several(rng, rules["plant_lag_days"], (count, plants)) * DAY
    version_from = (np.array([maker.at(b) for b in begun])[:, None] + lag).astype(np.int64)
    version_from[0] = 0
    version_from = np.maximum.accumulate(version_from, axis=0)
    for _ in range(int(rng.choice(3, p=rules["campaigns"]))):
        to = int(rng.integers(1, count))
        if campaigns and to <= campaigns[-1].to:
            continue
        room = (maker.as_of - int(version_from[to].max())) * 0.7
        if room < 60 * DAY:
            continue
        begins = int(version_from[to].max()) + int(rng.uniform(0.1, 1) * room)
        begins = max(begins, int(campaigns[-1].market_begins.max()) if campaigns else 0)
        waves = several(rng, rules["campaign_wave_days"], len(maker.markets)) * DAY
        campaigns.append(
            Campaign(to, to, (begins + waves).astype(np.int64), between(rng, rules["campaign_share"]))
        )
    changes = np.sort(rng.uniform(0.15, 0.85, len(hardwares)))
    lag = several(rng, rules["plant_lag_days"], (len(hardwares), plants)) * DAY
    hardware_from = (np.array([maker.at(c) for c in changes])[:, None] + lag).astype(np.int64)
    hardware_from[0] = 0
    hardware_from = np.maximum.accumulate(hardware_from, axis=0)
    return Unit(
        name=name,
        regulation=rules["ecus"][name],
        versions=tuple(versions),
        hardwares=tuple(hardwares),
        version_from=version_from,
        hardware_from=hardware_from,
        model_lag=(several(rng, rules["model_lag_days"], len(maker.models)) * DAY).astype(np.int64),
        campaigns=tuple(campaigns),
    )
