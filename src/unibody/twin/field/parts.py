"""Parts and where they come from: suppliers, their own suppliers, and lots that are used up in order, with some mixing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from unibody.twin.field.cars import Cars, Coded
from unibody.twin.field.chances import Bools, Floats, Ints, between, between_logs, several
from unibody.twin.field.maker import DAY, Maker, Table

_FAR = 1 << 40  # keys of different streams lie this far apart in one sorted array
_SAMPLE = 4_000  # cars looked at to learn how much of a plant's output takes a part of each supplier


@dataclass(frozen=True)
class Lots:
    """The lots of one part: streams of plant and supplier, each in the order of use."""

    begins: Floats  # stream x _FAR + the plant's car at which the lot begins, sorted
    lot: Ints  # its place in `names`; a lot that is split over plants stands in two streams
    names: tuple[str, ...]
    sub_supplier: Ints  # of each name
    behind: Floats  # for each entry of `begins`: how many cars an older box is behind, on average


@dataclass(frozen=True)
class Part:
    """One part that is followed: where it sits and how its suppliers share the work."""

    position: str
    number: str
    tracked: str  # L lot, S serial, B both
    tooled: bool
    place: float  # in the line, 0..1
    bound: str  # engines or an option it is built in with; "" for every car
    scheme: str  # single, by_plant, period, mixed, by_option
    suppliers: tuple[str, ...]
    shares: Floats  # plant x supplier, of a mixed scheme or of a plant's own supplier
    change: Ints  # for each plant: when the supplier changed (seconds)
    block: int
    option: str  # that the variant hangs on
    with_option: float
    without_option: float
    sub_suppliers: tuple[str, ...]
    mixing: float
    lots: Lots | None = None

    def fitted(self, cars: Cars) -> Bools:
        """Which cars have the part."""
        return cars.bound(self.bound)

    def supplier(self, cars: Cars) -> Ints:
        """Each car's supplier, a place in `suppliers`."""
        return cars.kept(f"{self.position}/supplier", lambda: self._supplier(cars))

    def _supplier(self, cars: Cars) -> Ints:
        chances = cars.maker.chances
        if self.scheme == "period":
            return (cars.built >= self.change[cars.plant]).astype(np.int64)
        if self.scheme == "by_option":
            often = np.where(cars.option(self.option), self.with_option, self.without_option)
            return (chances.uniform(f"{self.position}/variant", cars.index) < often).astype(np.int64)
        box = cars.plant * _FAR + cars.number // self.block
        return chances.choose(f"{self.position}/supplier", box, self.shares, cars.plant)

    def lot(self, cars: Cars) -> Ints:
        """Each car's lot, a place in `lots.names`."""
        return cars.kept(f"{self.position}/lot", lambda: self._lot(cars))

    def _lot(self, cars: Cars) -> Ints:
        assert self.lots is not None
        chances, lots = cars.maker.chances, self.lots
        stream = (cars.plant * len(self.suppliers) + self.supplier(cars)).astype(np.float64) * _FAR
        entry = np.searchsorted(lots.begins, stream + cars.number, side="right") - 1
        old = chances.uniform(f"{self.position}/old box", cars.index) < self.mixing
        depth = -np.log(chances.uniform(f"{self.position}/depth", cars.index))
        number = np.where(old, cars.number - depth * lots.behind[entry], cars.number)
        return lots.lot[np.searchsorted(lots.begins, stream + np.maximum(number, 0), side="right") - 1]

    def named(self, cars: Cars, what: str) -> Coded:
        """lot, supplier or sub_supplier of each car, none where the part is not fitted."""
        fitted = self.fitted(cars)
        if what == "supplier":
            return Coded(np.where(fitted, self.supplier(cars), -1), self.suppliers)
        assert self.lots is not None
        if what == "sub_supplier":
            return Coded(np.where(fitted, self.lots.sub_supplier[self.lot(cars)], -1), self.sub_suppliers)
        if self.tracked == "S":
            return Coded(np.full(len(cars), -1), ())
        return Coded(np.where(fitted, self.lot(cars), -1), self.lots.names)


def draw(maker: Maker) -> dict[str, Part]:
    """The parts followed in this world, with all their lots."""
    rng, rules = maker.chances.rng("parts"), maker.numbers["parts"]
    rows = [row for row in rules["catalogue"]["rows"] if maker.possible([*row, ""][5])]
    count = int(rng.integers(rules["positions"][0], rules["positions"][1] + 1))
    chosen = sorted(rng.choice(len(rows), size=min(count, len(rows)), replace=False).tolist())
    sample = Cars(maker, 0, maker.vehicles, max(1, maker.vehicles // _SAMPLE))
    low, high = rules["by_option_share"]
    popular = [o for o in maker.numbers["options"] if low <= sample.option(o).mean() <= high]
    everywhere = [k for k in chosen if len(rows[k]) == 5]
    wanted = int(rng.integers(rules["by_option"][0], rules["by_option"][1] + 1)) if popular else 0
    variants = set(rng.choice(everywhere, size=wanted, replace=False).tolist())
    numbers = rng.permutation(np.arange(10_000, 99_999))[: 4 * len(rows)].tolist()
    found = {}
    for k in chosen:
        part = _part(rng, maker, rows[k], popular if k in variants else [], [numbers.pop() for _ in range(3)])
        found[part.position] = part
    return {name: _with_lots(rng, maker, part, sample) for name, part in found.items()}


def _part(
    rng: np.random.Generator, maker: Maker, row: list[object], options: list[str], numbers: list[int]
) -> Part:
    rules, plants = maker.numbers["parts"], len(maker.plants)
    schemes = rules["schemes"]
    scheme = "by_option" if options else str(rng.choice(list(schemes), p=list(schemes.values())))
    if scheme == "by_plant" and plants == 1:
        scheme = "single"
    count = {"single": 1, "mixed": 3 if rng.random() < rules["third_supplier"] else 2}.get(scheme, 2)
    shares = np.ones((plants, count))
    if scheme == "by_plant":
        shares = np.eye(2)[rng.permutation(np.arange(plants) % 2)]
    elif scheme == "mixed":
        first = between(rng, rules["first_share"])
        rest = rng.dirichlet(np.full(count - 1, 3.0)) * (1 - first)
        tilt = np.exp(rng.normal(0, 0.4, (plants, count)))  # plants lean to one or the other
        shares = np.array([first, *rest]) * tilt
    change = maker.at(between(rng, rules["period_at"]))
    lag = several(rng, rules["period_lag_days"], plants) * DAY
    subs = 1 + int(rng.choice(3, p=rules["sub_suppliers"]))
    return Part(
        position=str(row[0]),
        number=str(row[1]),
        tracked=str(row[2]),
        tooled=row[3] == "T",
        place=float(str(row[4])),
        bound=str([*row, ""][5]),
        scheme=scheme,
        suppliers=tuple(f"V{n}" for n in numbers[:count]),
        shares=shares,
        change=(change + lag).astype(np.int64),
        block=int(rng.integers(*rules["block_cars"])),
        option=str(rng.choice(options)) if options else "",
        with_option=between(rng, rules["variant_with"]),
        without_option=between(rng, rules["variant_without"]),
        sub_suppliers=tuple(f"U{n}" for n in rng.permutation(np.arange(1_000, 9_999))[:subs]),
        mixing=between(rng, rules["lot_mixing"]),
    )


def _with_lots(rng: np.random.Generator, maker: Maker, part: Part, sample: Cars) -> Part:
    rules, count = maker.numbers["parts"], len(part.suppliers)
    fitted, supplier = part.fitted(sample), part.supplier(sample)
    low, high = rules["lot_log_cars"]
    middle = between_logs(rng, [low * 2, high / 2])
    stay, several = rules["sub_supplier_stays"], len(part.sub_suppliers)
    begins: list[Floats] = []
    behind: list[Floats] = []
    names: list[str] = []
    subs: list[int] = []
    lot: list[Ints] = []
    used: set[str] = set()
    earlier: dict[int, list[tuple[float, int]]] = {}  # supplier -> (share of the time, lot) of plants before
    for place, plant in enumerate(maker.plants):
        here = sample.plant == place
        for k in range(count):
            share = (
                np.mean(fitted[here])
                if part.scheme == "period"
                else np.mean(fitted[here] & (supplier[here] == k))
            )
            share = float(np.clip(share, 0.02, 1.0)) if here.any() else 1.0
            expected = int(plant.cars * share / middle * 1.5) + 4
            sizes = np.clip(middle * np.exp(rng.normal(0, rules["lot_spread"], expected)), low, high) / share
            while sizes.sum() < plant.cars:
                sizes = np.concatenate([sizes, sizes])
            edges = np.concatenate([[0.0], np.cumsum(sizes)])
            edges = edges[edges < max(plant.cars, 1)]
            sizes = sizes[: len(edges)]
            begins.append((place * count + k) * float(_FAR) + edges)
            behind.append(sizes * rules["lot_mixing_depth"])
            split = rng.random(len(edges)) < rules["lot_split"]
            moves = rng.random(len(edges)) >= stay
            pick = rng.integers(0, several, len(edges))
            marks = rng.integers(0, 10_000, len(edges))
            days = np.searchsorted(plant.done, edges, side="right")
            mine, sub, other = [], int(rng.integers(several)), earlier.get(k, [])
            for n, day in enumerate(days.tolist()):
                sub = int(pick[n]) if moves[n] else sub
                if split[n] and other:  # the box came from a lot that also went to another plant
                    nearest = int(np.argmin(np.abs(np.array([d for d, _ in other]) - day)))
                    mine.append(other[nearest][1])
                    continue
                made = datetime.fromtimestamp(maker.first_day + (day - 12) * DAY, UTC).isocalendar()
                name = f"{part.suppliers[k][-3:]}{made.year % 100:02d}{made.week:02d}-{int(marks[n]):04d}"
                while name in used:
                    name = f"{name[:-4]}{(int(name[-4:]) + 7) % 10_000:04d}"
                used.add(name)
                mine.append(len(names))
                names.append(name)
                subs.append(sub)
            earlier[k] = other + list(zip(days.tolist(), mine, strict=True))
            lot.append(np.array(mine, dtype=np.int64))
    lots = Lots(
        begins=np.concatenate(begins),
        lot=np.concatenate(lot),
        names=tuple(names),
        sub_supplier=np.array(subs, dtype=np.int64),
        behind=np.concatenate(behind),
    )
    fields: Table = {**part.__dict__, "lots": lots}
    return Part(**fields)
