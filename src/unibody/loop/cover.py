"""Choose the smallest set of vehicles that covers the affected with a stated probability.

Each hypothesis, at each place its ends may lie, is a set of vehicles with a weight: the chance that these are the
affected. `smallest` covers each affected vehicle with the probability asked: every car is worth the share of the
affected it is expected to be, and the cars worth most are taken first, which is optimal. `fullest` leaves none out with
the probability asked: a chosen set is good where the right one lies wholly within it. The smallest such union is a hard
problem (minimum union). Within one hypothesis the sets are nested and the answer is exact; over several a greedy path
with a check of every direct completion is taken, then what is not needed is taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np
import polars as pl

from unibody.loop.members import Bools, Family, Floats, Ints, meets, numbers, unknown

SETS_MOST, CELLS_MOST = 1_500, 40_000_000
FOR_UNKNOWN = 0.2  # of the risk that may be left, this share is kept for cars without a record
TRIED_MAX = 4_096  # choices of sets that are all tried; of more a greedy path is followed
EPSILON = 1e-9


@dataclass(frozen=True)
class Covered:
    """A chosen set: a mask over the fleet, the probability that an affected car is in it, and that all of them are."""

    cars: Bools
    probability: float
    all_probability: float


class Cover:
    """Every hypothesis at every cut as a set of cells, a cell being the cars that all hypotheses treat alike."""

    def __init__(self, fleet: pl.DataFrame, families: Sequence[Family], weights: Floats) -> None:
        self.weights = weights
        bases, codes = [], []
        for f in families:
            ends = {e.attribute for e in f.ends}
            bases.append(meets(fleet, {n: w for n, w in f.conditions.items() if n not in ends}))
            codes.append([e.codes(numbers(fleet[e.attribute])) for e in f.ends])
        columns = [np.where(b, c, -1) for b, cs in zip(bases, codes, strict=True) for c in (cs or [b * 1])]
        alike = pl.DataFrame({str(i): c for i, c in enumerate(columns)}).select(
            cell=pl.struct(pl.all()).rank("dense") - 1
        )
        self.cell: Ints = alike["cell"].to_numpy().astype(np.int64)
        _, first = np.unique(self.cell, return_index=True)
        self.count: Floats = np.bincount(self.cell).astype(np.float64)
        most = max(50, min(SETS_MOST, CELLS_MOST // max(len(first), 1)))
        rows, weight, whose = [], [], []
        for i, f in enumerate(families):
            kept = max(20, int(most * weights[i]))
            few = replace(f, cuts=f.cuts[:kept], weight=f.weight[:kept])
            rows.append(few.members(bases[i][first], [c[first] for c in codes[i]]))
            weight.append(weights[i] * few.weight / few.weight.sum())
            whose += [i] * len(few.weight)
        self.inside: Bools = np.vstack(rows)  # sets x cells
        self.weight: Floats = np.concatenate(weight)
        self.family: Ints = np.array(whose)
        self.size: Floats = self.inside @ self.count
        # who has no record, and by what chance is affected if a hypothesis is right: hypotheses x such cars
        chances = np.vstack([unknown(fleet, f.conditions) for f in families])
        self.unsure: Ints = np.flatnonzero(chances.max(axis=0) > 0)
        self.chance: Floats = chances[:, self.unsure]
        self.affected = float(self.weight @ self.size + weights @ self.chance.sum(axis=1))
        self.fronts = [self._front(i) for i in range(len(families))]

    def member(self) -> Floats:
        """The probability of each car of the fleet to be affected."""
        out: Floats = (self.weight @ self.inside)[self.cell]
        out[self.unsure] += self.weights @ self.chance
        return np.minimum(out, 1.0)

    def smallest(self, target: float, never_out: float = 1.0) -> Covered:
        """The fewest cars that hold an affected one with this probability; cars that nothing tells apart go together.

        A car that is itself affected with `never_out` or more is taken in any case.
        """
        blank = self.chance.sum(axis=1)
        whole = np.maximum(self.size + blank[self.family], EPSILON)
        worth_cell = (self.weight / whole) @ self.inside  # of each car of a cell
        sure_size = np.bincount(self.family, weights=self.weight / whole, minlength=len(self.weights))
        worth = np.concatenate([worth_cell, sure_size @ self.chance])
        count = np.concatenate([self.count, np.ones(len(self.unsure))])
        order = np.argsort(-worth, kind="stable")
        nobody = float(
            self.weight[self.size + blank[self.family] <= 0].sum()
        )  # no car affected: covered as it is
        reached = nobody + np.concatenate([[0.0], np.cumsum((worth * count)[order])])
        needed = int(np.searchsorted(reached, min(target, reached[-1]) - EPSILON))
        taken = np.zeros(len(worth), dtype=np.bool_)
        taken[order[:needed]] = worth[order[:needed]] > 0
        taken |= np.concatenate([self.weight @ self.inside, self.weights @ self.chance]) >= never_out
        return self._covered(taken[: len(self.count)], taken[len(self.count) :])

    def fullest(self, target: float) -> Covered:
        """The smallest set found that holds all affected cars with this probability (or comes closest to it)."""
        need = 1 - (1 - target) * (1 - FOR_UNKNOWN) if len(self.unsure) else target
        need = min(need, float(self.weight.sum())) - EPSILON
        cells = self._all_tried(need)
        if cells is None:
            cells = self._pruned(
                min((f for f in self._walk(need) if f[1] >= need), key=lambda f: f[0])[2], need
            )
        # of cars without a record the likelier ones, until what is left out is a small enough risk
        order = np.argsort(-(self.weights @ self.chance), kind="stable")
        left = np.ones((len(self.weights), len(order) + 1))
        left[:, :-1] = np.cumprod((1 - self.chance[:, order])[:, ::-1], axis=1)[:, ::-1]
        enough = self._right(cells) @ left >= target - EPSILON
        taken = np.zeros(len(order), dtype=np.bool_)
        taken[order[: int(np.argmax(enough)) if enough.any() else len(order)]] = True
        return self._covered(cells, taken)

    def _covered(self, cells: Bools, unsure: Bools) -> Covered:
        """Whole cells and single cars without a record, as a set."""
        cars = cells[self.cell]
        cars[self.unsure] |= unsure
        without = self.chance * ~cars[self.unsure]  # of those without a record, who is left out
        everybody = float(self._right(cells) @ np.prod(1 - without, axis=1))
        return Covered(cars, self._share(cells, without.sum(axis=1)), min(everybody, 1.0))

    def _right(self, cells: Bools) -> Floats:
        """By hypothesis, the weight of its sets that lie wholly within these cells."""
        weight = self.weight * self._held(cells)
        return np.bincount(self.family, weights=weight, minlength=len(self.weights)).astype(np.float64)

    def _share(self, cells: Bools, lost: Floats) -> float:
        """Expected share of the affected inside, by hypothesis; `lost` are the expected ones without a record outside."""
        blank = self.chance.sum(axis=1)
        inside = (self.inside & cells) @ self.count + (blank - lost)[self.family]
        whole = self.size + blank[self.family]
        return min(float(self.weight @ np.where(whole > 0, inside / np.maximum(whole, EPSILON), 1.0)), 1.0)

    def _held(self, cells: Bools) -> Bools:
        """The sets that lie wholly within these cells."""
        left_out = np.asarray((self.inside & ~cells).any(axis=1), dtype=np.bool_)
        return ~left_out

    def _front(self, i: int) -> list[tuple[int, float]]:
        """Sets of a family worth choosing, from small to large, and the weight of all of its sets within each."""
        mine = np.flatnonzero(self.family == i)
        rows = self.inside[mine].astype(np.float32)
        outside = (rows * self.count) @ (1 - rows).T  # cars of set j that set k leaves out
        held = self.weight[mine] @ (outside < 0.5)
        front: list[tuple[int, float]] = []
        for j in np.lexsort((-held, self.size[mine])):
            if not front or held[j] > front[-1][1] + 1e-12:
                front.append((int(mine[j]), float(held[j])))
        return front

    def _all_tried(self, need: float) -> Bools | None:
        """The fewest cars over every choice of one set or none of each family; None where there are too many choices."""
        if prod(len(front) + 1 for front in self.fronts) > TRIED_MAX:
            return None
        best: tuple[float, Bools] | None = None
        for chosen in product(*([None, *(k for k, _ in front)] for front in self.fronts)):
            cells = np.zeros(len(self.count), dtype=np.bool_)
            for k in chosen:
                if k is not None:
                    cells = cells | self.inside[k]
            cars = float(self.count[cells].sum())
            if (best is None or cars < best[0]) and float(self.weight @ self._held(cells)) >= need:
                best = cars, cells
        return None if best is None else best[1]

    def _walk(self, need: float) -> list[tuple[float, float, Bools]]:
        """(cars, weight held, cells) along a greedy path up to a weight, with the best direct completion of each step."""
        cells = np.zeros(len(self.count), dtype=np.bool_)
        place = [-1] * len(self.fronts)
        held = 0.0
        found = []
        while True:
            step: tuple[float, int, int] | None = None
            done: tuple[float, Bools] | None = None
            for i, front in enumerate(self.fronts):
                before = front[place[i]][1] if place[i] >= 0 else 0.0
                for at in range(place[i] + 1, len(front)):
                    more = self.inside[front[at][0]] & ~cells
                    cost, gain = float(self.count[more].sum()), front[at][1] - before
                    if step is None or (cost + EPSILON) / gain < step[0]:
                        step = (cost + EPSILON) / gain, i, at
                    if held + gain >= need and (done is None or cost < done[0]):
                        done = cost, cells | more
            for trial in [done[1]] if done else []:
                found.append((float(self.count[trial].sum()), float(self.weight @ self._held(trial)), trial))
            if step is None or held >= need:
                return found
            place[step[1]] = step[2]
            cells = cells | self.inside[self.fronts[step[1]][step[2]][0]]
            held = float(self.weight @ self._held(cells))
            found.append((float(self.count[cells].sum()), held, cells))

    def _pruned(self, cells: Bools, need: float) -> Bools:
        """Take back, hypothesis by hypothesis, what is not needed for the weight."""
        held = self._held(cells)
        largest = [next((k for k, _ in reversed(front) if held[k]), None) for front in self.fronts]
        for i, front in enumerate(self.fronts):
            rest = np.zeros_like(cells)
            for j, k in enumerate(largest):
                if k is not None and j != i:
                    rest = rest | self.inside[k]
            for fewer in (None, *(k for k, _ in front if held[k])):
                trial = rest if fewer is None else rest | self.inside[fewer]
                fewer_cars = self.count[trial].sum() < self.count[cells].sum()
                if fewer_cars and self.weight @ self._held(trial) >= need:
                    cells, largest[i] = trial, fewer
                    break
        return cells
