"""What looks like a cause but is none: a noisy dealer, a media wave, a market that reports more, the seasons, age."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unibody.twin.field.cars import Cars
from unibody.twin.field.chances import Bools, Floats, Ints, between
from unibody.twin.field.fleet import instant
from unibody.twin.field.life import Failures, Symptom, dealer, sold
from unibody.twin.field.maker import DAY, Maker


@dataclass(frozen=True)
class Wave:
    """One symptom that is reported without a fault, or more readily, by some cars for a while."""

    source: int  # 1 a dealer, 2 the media
    symptom: str
    of: int  # the dealer, or the market
    begins: int
    ends: int
    factor: float
    share: float  # of the cars concerned that report without a fault

    def hits(self, cars: Cars) -> Bools:
        """The cars concerned."""
        return np.asarray((dealer(cars) if self.source == 1 else cars.market) == self.of)


@dataclass(frozen=True)
class Decoys:
    """The decoys of one world."""

    waves: tuple[Wave, ...] = ()
    market: int = -1
    market_factor: float = 1.0
    told: tuple[dict[str, Any], ...] = field(default=())

    def louder(self, cars: Cars, symptom: str, rows: Ints, at: Ints) -> Floats:
        """How much more likely a failure is reported because of them."""
        factor = np.where(cars.market[rows] == self.market, self.market_factor, 1.0)
        for wave in self.waves:
            if wave.source == 1:  # a noisy dealer reports more of everything
                factor = np.where(wave.hits(cars)[rows], factor * wave.factor, factor)
            elif wave.symptom == symptom:
                now = wave.hits(cars)[rows] & (at >= wave.begins) & (at < wave.ends)
                factor = np.where(now, factor * wave.factor, factor)
        return factor

    def unfounded(self, cars: Cars, symptom: Symptom) -> Failures:
        """Reports of a symptom that was never there."""
        none = np.zeros(0, dtype=np.int64)
        rows, at, source = [none], [none], [none]
        for wave in self.waves:
            if wave.symptom != symptom.name:
                continue
            name = f"{wave.source}/{symptom.name}"
            share = cars.maker.chances.uniform(f"when/{name}", cars.index)
            when = wave.begins + (share * (wave.ends - wave.begins)).astype(np.int64)
            does = cars.maker.chances.uniform(f"unfounded/{name}", cars.index) < wave.share
            mine = np.flatnonzero(does & wave.hits(cars) & (sold(cars) < when))
            rows.append(mine)
            at.append(when[mine])
            source.append(np.full(len(mine), wave.source))
        row, when = np.concatenate(rows), np.concatenate(at)
        entry = 2 * DAY * cars.maker.chances.uniform("entered", cars.index[row])
        known = when + entry.astype(np.int64)
        return Failures(row, when, np.full(len(row), -1), known, np.concatenate(source))


def draw(maker: Maker, focus: Symptom, symptoms: list[Symptom], salt: str) -> Decoys:
    """Draw the decoys of a world; some hit the symptom that is looked at."""
    rng, rules = maker.chances.rng("decoys", salt), maker.numbers["decoys"]
    others = [s for s in symptoms if s.name != focus.name]
    waves, told = [], []
    span = maker.as_of - maker.first_day
    which = int(rng.integers(2)) if rng.random() < rules["on_focus"] else -1
    for source, what, limits in ((1, "dealer", "dealer_days"), (2, "wave", "wave_days")):
        one = _some_car(maker, rng)
        days = between(rng, rules[limits])
        begins = maker.as_of - round(float(rng.uniform(0.05, 0.5)) * span + days * DAY)
        wave = Wave(
            source=source,
            symptom=focus.name if which == source - 1 else str(rng.choice([s.name for s in others])),
            of=int((dealer(one) if source == 1 else one.market)[0]),
            begins=begins,
            ends=begins + round(days * DAY),
            factor=rules["dealer_reports"] if source == 1 else between(rng, rules["wave_factor"]),
            share=between(rng, rules[f"{what}_false"]),
        )
        waves.append(wave)
        told.append(
            {
                "decoy": "noisy_dealer" if source == 1 else "media_wave",
                "symptom": wave.symptom,
                "market": maker.markets[int(one.market[0])],
                **({"dealer": dealer_name(maker, wave.of)} if source == 1 else {}),
                "from": instant(wave.begins),
                "until": instant(wave.ends),
                "factor": wave.factor,
                "unfounded_share": wave.share,
            }
        )
    market = int(_some_car(maker, rng).market[0])
    factor = between(rng, rules["market_factor"])
    told.append({"decoy": "market_reports_more", "market": maker.markets[market], "factor": factor})
    told += [{"decoy": "season", "symptom": s.name, "swing": s.swing} for s in symptoms if s.swing]
    told.append({"decoy": "old_lots", "note": "cars built early have failed more because they are older"})
    return Decoys(tuple(waves), market, factor, tuple(told))


def _some_car(maker: Maker, rng: np.random.Generator) -> Cars:
    """A car that has been with its customer for a while; markets and dealers with more cars are met more often."""
    for _ in range(100):
        first = int(rng.integers(maker.vehicles))
        if sold(car := Cars(maker, first, first + 1))[0] < maker.as_of - 120 * DAY:
            break
    return car


def dealer_name(maker: Maker, number: int) -> str:
    """A dealer's number as it stands on a visit."""
    return f"{maker.markets[number // 100_000]}{number % 100_000 + 1:04d}"
