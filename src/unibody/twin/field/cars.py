"""Cars as ordered and built: when and where, for which market, with which engine, colour and options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import polars as pl

from unibody.twin.field.chances import Bools, Floats, Ints
from unibody.twin.field.maker import DAY, SHIFTS, Maker

VIN_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"  # ISO 3779: no I, O, Q
VIN_VALUES = dict(
    zip(VIN_LETTERS, [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9], strict=True)
) | {str(n): n for n in range(10)}
VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)  # 49 CFR 565.15
MODEL_YEARS = "ABCDEFGHJKLMNPRSTVWXY123456789"  # 2010 is A

T = TypeVar("T")


@dataclass(frozen=True)
class Coded:
    """A nominal column: a place in `names` for each car, -1 where there is none."""

    codes: Ints
    names: tuple[str, ...]

    def text(self, rows: Ints | Bools | None = None) -> pl.Series:
        """The names themselves."""
        codes = self.codes if rows is None else self.codes[rows]
        names = pl.Series([*self.names, None], dtype=pl.String)  # -1 reads the last
        return names.gather(np.where(codes < 0, len(self.names), codes))


class Cars:
    """The cars `first` to `last - 1` of a maker, column by column as they are asked for, each kept once made."""

    def __init__(self, maker: Maker, first: int, last: int, step: int = 1) -> None:
        self.maker = maker
        self.index: Ints = np.arange(first, last, step, dtype=np.int64)
        starts = np.array([plant.first for plant in maker.plants])
        self.plant: Ints = np.searchsorted(starts, self.index, side="right") - 1
        self.number: Ints = self.index - starts[self.plant]  # counted within the plant, in building order
        self._kept: dict[str, object] = {}

    def __len__(self) -> int:
        return len(self.index)

    def kept(self, name: str, make: Callable[[], T]) -> T:
        """The column of that name, made the first time it is asked for."""
        if name not in self._kept:
            self._kept[name] = make()
        return cast("T", self._kept[name])

    def forget(self) -> None:
        """Let go of all columns made so far."""
        self._kept.clear()

    @property
    def built(self) -> Ints:
        """When each car left the line, seconds since 1970 (UTC)."""
        return self.kept("built", lambda: self._built()[0])

    @property
    def shift(self) -> Ints:
        """The shift that finished the car, a place in `SHIFTS`."""
        return self.kept("shift", lambda: self._built()[1])

    def _built(self) -> tuple[Ints, Ints]:
        built, shift = np.zeros(len(self), dtype=np.int64), np.zeros(len(self), dtype=np.int64)
        jitter = self.maker.chances.uniform("built", self.index)
        for place, plant in enumerate(self.maker.plants):
            mine = self.plant == place
            number = self.number[mine]
            day = np.searchsorted(plant.done, number, side="right")
            before = np.where(day > 0, plant.done[day - 1], 0)
            share = (number - before + jitter[mine]) / np.maximum(plant.done[day] - before, 1)
            into = (share * plant.shifts * 8 * 3600).astype(np.int64)
            built[mine] = self.maker.first_day + day * DAY + plant.begins_hour * 3600 + into
            shift[mine] = into // (8 * 3600)
        return built, shift

    @property
    def time(self) -> Floats:
        """The share of the build time that had passed."""
        return (self.built - self.maker.first_day) / (self.maker.days * DAY)

    @property
    def model(self) -> Ints:
        """The model, a place in the maker's models."""
        return self.kept("model", self._model)

    def _model(self) -> Ints:
        models, chances = self.maker.models, self.maker.chances
        found, time = np.zeros(len(self), dtype=np.int64), self.time
        for place, plant in enumerate(self.maker.plants):
            share = np.array([m.share if k in plant.models else 0.0 for k, m in enumerate(models)])
            launch = np.array([m.launch for m in models])
            for begins, ends in zip(edges := sorted({0.0, *launch}), [*edges[1:], np.inf], strict=True):
                mine = (self.plant == place) & (time < ends) & (time >= (begins or -np.inf))
                now = share * (launch <= begins)
                found[mine] = chances.choose("model", self.index[mine], now)
        return found

    @property
    def brand(self) -> Ints:
        """The brand, a place in the maker's brands."""
        brands = self.maker.brands
        return np.array([brands.index(m.brand) for m in self.maker.models])[self.model]

    @property
    def line(self) -> Ints:
        """The line, a place in the maker's lines."""
        return self.kept("line", self._line)

    def _line(self) -> Ints:
        found, before = np.zeros(len(self), dtype=np.int64), 0
        for place, plant in enumerate(self.maker.plants):
            mine = self.plant == place
            row = np.zeros(len(self.maker.models), dtype=np.int64)
            row[list(plant.models)] = np.arange(len(plant.models))
            chosen = self.maker.chances.choose(
                "line", self.index[mine], plant.line_of_model, row[self.model[mine]]
            )
            found[mine] = before + chosen
            before += plant.line_of_model.shape[1]
        return found

    @property
    def market(self) -> Ints:
        """The market the car is built for, a place in the maker's markets."""
        shares = self.maker.market_of_brand
        return self.kept(
            "market", lambda: self.maker.chances.choose("market", self.index, shares, self.brand)
        )

    @property
    def climate(self) -> Coded:
        """The climate of the market."""
        names = tuple(sorted(set(self.maker.climates)))
        return Coded(np.array([names.index(c) for c in self.maker.climates])[self.market], names)

    @property
    def engine(self) -> Ints:
        """The engine, a place in the maker's engines."""
        return self.kept("engine", self._engine)

    def _engine(self) -> Ints:
        shares = self.maker.engine_of_model
        group = self.model * shares.shape[1] + self.market
        return self.maker.chances.choose("engine", self.index, shares.reshape(-1, shares.shape[2]), group)

    @property
    def colour(self) -> Ints:
        """The colour, a place in the maker's colours."""
        return self.maker.chances.choose("colour", self.index, self.maker.colour_of_model, self.model)

    def option(self, code: str) -> Bools:
        """Which cars have an option: richer trims have more of all, cold markets more of some."""
        return self.kept(f"option.{code}", lambda: self._option(code))

    def _option(self, code: str) -> Bools:
        chances, rule = self.maker.chances, self.maker.numbers["options"][code]
        trim = self.kept("trim", lambda: chances.normal("trim", self.index))
        cold = np.array([c == "cold" for c in self.maker.climates])[self.market]
        shift = self.maker.chances.rng("option", code).normal(0, self.maker.numbers["fleet"]["mix_spread"])
        odds = rule["base"] + shift + rule["trim"] * trim + rule["cold"] * cold
        if "needs" in rule:
            odds = odds + rule["bound"]
        has: Bools = chances.uniform(f"option/{code}", self.index) < 1 / (1 + np.exp(-odds))
        if "needs" in rule:
            has &= self.option(rule["needs"])
        if "engines" in rule:
            has &= self.has_engine(rule["engines"])
        return has

    def bound(self, to: str) -> Bools:
        """Which cars have one of the engines named, or the option; all of them where nothing is named."""
        if not to:
            return np.ones(len(self), dtype=bool)
        return self.option(to) if to in self.maker.numbers["options"] else self.has_engine(to.split())

    def has_engine(self, engines: list[str]) -> Bools:
        """Which cars have one of these engines."""
        return np.asarray(np.array([e in engines for e in self.maker.engines])[self.engine])

    @property
    def vin(self) -> pl.Series:
        """VINs with check digits; the last six places count the plant's cars."""
        return self.kept("vin", self._vin)

    def _vin(self) -> pl.Series:
        maker, number = self.maker, self.number + 100_001
        year = (self.built // DAY).astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
        lead = number // 100_000
        leads = "0123456789" + VIN_LETTERS
        fixed = [m.wmi + m.vds for m in maker.models]
        sums = np.array(
            [sum(VIN_VALUES[c] * w for c, w in zip(f, VIN_WEIGHTS, strict=False)) for f in fixed]
        )[self.model]
        sums = sums + np.array([VIN_VALUES[c] for c in MODEL_YEARS])[year - 2010] * VIN_WEIGHTS[9]
        sums = sums + np.array([VIN_VALUES[p.letter] for p in maker.plants])[self.plant] * VIN_WEIGHTS[10]
        sums = sums + np.array([VIN_VALUES[c] for c in leads])[lead] * VIN_WEIGHTS[11]
        for place in range(5):
            sums = sums + number // 10 ** (4 - place) % 10 * VIN_WEIGHTS[12 + place]
        pieces = [
            Coded(self.model, tuple(fixed)).text(),
            Coded(sums % 11, tuple("0123456789X")).text(),
            Coded(year - 2010, tuple(MODEL_YEARS)).text(),
            Coded(self.plant, tuple(p.letter for p in maker.plants)).text(),
            Coded(lead, tuple(leads)).text(),
            pl.Series(number % 100_000).cast(pl.String).str.zfill(5),
        ]
        columns = [piece.alias(str(k)) for k, piece in enumerate(pieces)]
        return pl.DataFrame(columns).select(pl.concat_str(pl.all()).alias("vin")).to_series()

    def nominal(self, name: str) -> Coded:
        """A nominal column of the build record by its name."""
        column = self.named(name)
        assert isinstance(column, Coded)
        return column

    def named(self, name: str) -> Coded | Bools | Ints:
        """A column of the build record by its name in the cohort frame."""
        maker = self.maker
        if name.startswith("option."):
            return self.option(name.removeprefix("option."))
        if name == "built_at":
            return self.built
        if name == "platform":
            platforms = tuple(dict.fromkeys(m.platform for m in maker.models))
            return Coded(np.array([platforms.index(m.platform) for m in maker.models])[self.model], platforms)
        if name == "climate":
            return self.climate
        found = {
            "brand": (self.brand, maker.brands),
            "model": (self.model, tuple(m.name for m in maker.models)),
            "plant": (self.plant, tuple(p.name for p in maker.plants)),
            "line": (self.line, maker.lines),
            "shift": (self.shift, SHIFTS),
            "market": (self.market, maker.markets),
            "engine": (self.engine, maker.engines),
            "colour": (self.colour, maker.colours),
        }
        return Coded(*found[name])


ATTRIBUTES = ("brand", "platform", "model", "plant", "line", "shift", "market", "climate", "engine", "colour")
