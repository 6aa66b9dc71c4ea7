"""Looks at pairs of conditions: common values and ranges with each other, rare values with common ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unibody.methods.cohorts.attributes import Attribute
from unibody.methods.cohorts.evidence import Floats, Ints, Table
from unibody.methods.cohorts.evidence import table as table_of
from unibody.methods.cohorts.hypotheses import PAIR, Found, spans

#: Pairs are made of the values that hold at least this share of the units, at most so many of them ...
HOT, COMMON, MOST_HOT = 0.004, 0.9, 1600
#: ... and of rarer ones that at least so many failures hit.
HITS, MOST_RARE = 3, 12  # in each draw the most telling ones
_MOST = 500  # failures by which pairs are looked for; those found are counted out with all
_SAMPLE, _RARE_ROWS = 30_000, 1_000  # rows by which expected failures of pairs are counted in the search


#: Below this evidence nobody looks.
FLOOR = -3.0


Rare = tuple[int, float, int, int]  # draw, minus its evidence alone, attribute, bin


class Pairs:
    """Pairs of conditions: common values and tails with each other, rare values with common ones."""

    def __init__(
        self, attributes: Sequence[Attribute], expected: Floats, base: Floats, shares: Sequence[Floats]
    ) -> None:
        self.attributes, self.expected, self.base, self.shares = attributes, expected, base, shares
        self.terms: list[tuple[int, int, int]] = []
        self.prior: list[float] = []
        self._lookup: list[tuple[int, int, NDArray[np.bool_]]] = []  # attribute, first place, bins x members
        self._hot: list[Ints] = []
        self._choose()
        self.count = 0
        self._orders: dict[int, tuple[Ints, Ints]] = {}
        self._rare_shares: dict[tuple[int, int], Floats] = {}
        self._need: tuple[int, NDArray[np.float32], NDArray[np.float32], Floats] | None = None
        if len(self.terms) < 2:
            return
        owner = np.array([t[0] for t in self.terms])
        self.allowed = owner[:, None] < owner[None, :]
        self.count = int(self.allowed.sum())
        prior = np.array(self.prior)
        self.log_prior = (prior[:, None] + prior[None, :] + np.log(2 * PAIR)).astype(np.float32)
        self.share = self._shares()

    def _choose(self) -> None:
        attributes = self.attributes
        chosen: list[tuple[float, int, int, int, float]] = []
        for j, a in enumerate(attributes):
            rows = self.shares[j][: a.bins]
            self._hot.append(np.zeros(a.bins + a.missing + 1, dtype=np.int64))
            if not a.ordered:
                hot = np.flatnonzero((rows >= HOT) & (rows <= COMMON))
                chosen += [(rows[v], j, int(v), int(v), self.base[j] - np.log(a.bins)) for v in hot]
                continue
            mass = np.cumsum(rows) / max(rows.sum(), 1e-12)
            chosen += [
                (rows[low : high + 1].sum(), j, low, high, self.base[j] + np.log(part))
                for low, high, part in spans(a, mass)
            ]
        if len(chosen) > MOST_HOT:
            chosen = sorted(chosen, key=lambda c: -min(c[0], 1 - c[0]))[:MOST_HOT]
        chosen.sort(key=lambda c: c[1])
        for _, j, low, high, prior in chosen:
            self.terms.append((j, low, high))
            self.prior.append(prior)
            if low == high:
                self._hot[j][low] = 1
        first = 0
        while first < len(chosen):
            j = chosen[first][1]
            last = first
            while last < len(chosen) and chosen[last][1] == j:
                last += 1
            member = np.zeros((attributes[j].bins + attributes[j].missing, last - first), dtype=np.bool_)
            for k in range(first, last):
                member[chosen[k][2] : chosen[k][3] + 1, k - first] = True
            self._lookup.append((j, first, member))
            first = last

    def worth(self, j: int, codes: Ints, hits: Ints, table: Table) -> NDArray[np.bool_]:
        """Whether rare values with so many failures could reach the floor in any pair, were all of them one unit's."""
        if len(self.terms) < 2:
            return np.zeros(len(codes), dtype=np.bool_)
        most = self.base[j] - np.log(self.attributes[j].bins) + max(self.prior) + np.log(2 * PAIR)
        smallest = table.place(1 / len(self.expected))
        out: NDArray[np.bool_] = (
            (hits >= HITS) & (self._hot[j][codes] == 0) & (self.shares[j][codes] < HOT * 4)
        )
        out &= table(hits, smallest) + most >= FLOOR
        return out

    def members(self, rows: Ints) -> NDArray[np.float32]:
        """Which rows meet which term: rows x terms."""
        out = np.empty((len(rows), len(self.terms)), dtype=np.float32)
        for j, first, member in self._lookup:
            out[:, first : first + member.shape[1]] = member[self.attributes[j].codes[rows]]
        return out

    def _shares(self) -> NDArray[np.float64]:
        """Share of expected failures of each pair; of many rows a sample (the best pairs are counted out later)."""
        n = len(self.expected)
        rows = (
            np.arange(n)
            if n <= _SAMPLE
            else np.sort(np.random.default_rng(0).choice(n, _SAMPLE, replace=False))
        )
        total = np.zeros((len(self.terms),) * 2)
        weight = self.expected[rows]
        weight = np.sqrt(weight / weight.sum()).astype(np.float32)
        for start in range(0, len(rows), 4096):
            x = self.members(rows[start : start + 4096]) * weight[start : start + 4096, None]
            total += x.T @ x
        return total + 0.5 / len(rows) * (n > len(rows))

    def look(
        self,
        events: Ints,
        table: Table,
        best: Floats,
        found: list[Found] | None,
        rare: Sequence[Rare],
    ) -> None:
        """Raise `best` by the pairs of each draw; where `found` is asked for, the pairs of the first draw go there."""
        if len(self.terms) < 2:
            return
        some, few = events, table
        if events.shape[1] > _MOST:
            some = events[:, np.random.default_rng(0).choice(events.shape[1], _MOST, replace=False)]
            few = table_of(_MOST)
        need, fewest, place = self._needed(few)
        draws, failed = some.shape
        several = max(1, 8_000_000 // (failed * len(self.terms)))
        for start in range(0, draws, several):
            members = self.members(some[start : start + several].ravel()).reshape(-1, failed, len(self.terms))
            for d, x in enumerate(members, start):
                live = np.flatnonzero(x.sum(axis=0) >= fewest)
                x = x[:, live]
                inside = x.T @ x
                row, column = np.nonzero(inside >= need[np.ix_(live, live)])
                if not len(row):
                    continue
                i, j = live[row], live[column]
                score = few(inside[row, column].astype(np.int64), place[i, j]) + self.log_prior[i, j]
                best[d] = max(best[d], float(score.max()))
                if d == 0 and found is not None:
                    top = np.argsort(-score)[:2000]
                    found += [Found((self.terms[i[k]], self.terms[j[k]]), float(score[k])) for k in top]
        prior = np.array(self.prior)
        of_draw = Counter[int]()
        for d, _, owner, code in sorted(rare):
            of_draw[d] += 1
            if of_draw[d] > MOST_RARE:
                continue
            share = self._rare(owner, code)
            at = events[d][self.attributes[owner].codes[events[d]] == code]
            count = self.members(at).sum(axis=0).astype(np.int64)
            a = self.attributes[owner]
            score = table(count, table.place(share)) + prior + self.base[owner] - np.log(a.bins)
            score += np.log(2 * PAIR)
            ok = np.flatnonzero((count >= HITS) & (share < 0.9 * self.shares[owner][code]) & (score > FLOOR))
            if len(ok):
                best[d] = max(best[d], float(score[ok].max()))
                if d == 0 and found is not None:
                    found += [Found(((owner, code, code), self.terms[k]), float(score[k])) for k in ok]

    def _needed(self, table: Table) -> tuple[NDArray[np.float32], NDArray[np.float32], Floats]:
        """Failures that each pair needs to be worth a look, the fewest of any pair of each term, and shares' places."""
        if self._need is None or self._need[0] != table.failed:
            place = table.place(self.share)
            need = np.full(self.share.shape, np.inf, dtype=np.float32)
            allowed = self.allowed
            need[allowed] = np.maximum(table.needed(FLOOR - self.log_prior[allowed], place[allowed]), HITS)
            self._need = (table.failed, need, np.minimum(need.min(axis=0), need.min(axis=1)), place)
        return self._need[1:]

    def _rare(self, j: int, code: int) -> Floats:
        """Share of expected failures of one rare value with each term."""
        if (j, code) not in self._rare_shares:
            if j not in self._orders:
                codes = self.attributes[j].codes
                order = np.argsort(codes, kind="stable")
                starts = np.searchsorted(codes[order], np.arange(self.attributes[j].bins + 2))
                self._orders[j] = (order, starts)
            order, starts = self._orders[j]
            rows = order[starts[code] : starts[code + 1]]
            step = max(1, len(rows) // _RARE_ROWS)
            weight = self.expected[rows]
            scale = max(float(weight.max(initial=0.0)), 1e-300)
            light = (weight[::step] / scale).astype(np.float32)  # as the members, so that none is copied
            found = (light @ self.members(rows[::step])).astype(np.float64) * scale
            found += 0.5 * weight.mean() * (step > 1)  # a term that the sample misses is not for nothing
            self._rare_shares[j, code] = found * (weight.sum() / max(weight[::step].sum(), 1e-300))
        return self._rare_shares[j, code]
