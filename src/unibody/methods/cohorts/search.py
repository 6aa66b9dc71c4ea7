"""Looks at every value, range and pair at once, for the failures seen and for failures drawn by chance alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from unibody.methods.cohorts.attributes import Attribute
from unibody.methods.cohorts.evidence import Floats, Ints, Table
from unibody.methods.cohorts.hypotheses import SINGLE, Found, Ranges, priors, ranges
from unibody.methods.cohorts.pairs import FLOOR, HITS, Pairs, Rare


@dataclass
class Space:
    """Everything that is looked at, with the expected failures of it; made once, asked for many draws."""

    attributes: Sequence[Attribute]
    expected: Floats  # by row, sums to 1
    ranges: list[Ranges] = field(default_factory=list)
    shares: list[Floats] = field(default_factory=list)  # of expected failures, by bin
    hypotheses: int = 0
    base: Floats = field(default_factory=lambda: np.zeros(0))  # log prior of each attribute

    def __post_init__(self) -> None:
        self.base = priors(self.attributes)
        for j, a in enumerate(self.attributes):
            share = a.sums(self.expected)
            self.shares.append(share)
            self.ranges.append(ranges(a, share, float(np.log(SINGLE) + self.base[j])))
            self.hypotheses += len(self.ranges[-1].low)
        self._pairs = Pairs(self.attributes, self.expected, self.base, self.shares)
        self.hypotheses += self._pairs.count

    def look(self, events: Ints, table: Table, keep: int = 0) -> tuple[Floats, list[Found]]:
        """The best evidence in each draw (draws x failing rows), and the `keep` best hypotheses of the first draw."""
        draws, failed = events.shape
        best = np.full(draws, FLOOR)
        found: list[Found] | None = [] if keep else None
        rare: list[Rare] = []
        for j, a in enumerate(self.attributes):
            codes = a.codes[events].astype(np.int64)
            if a.ordered:
                self._ordered(j, codes, table, best, found)
            else:
                self._nominal(j, codes, table, best, found, rare)
        if failed >= HITS:
            self._pairs.look(events, table, best, found, rare)
        if found is None:
            return best, []
        found.sort(key=lambda f: (-f.evidence, f.terms))
        return best, [replace(f, screened=f.evidence) for f in found[:keep]]

    def _nominal(
        self, j: int, codes: Ints, table: Table, best: Floats, found: list[Found] | None, rare: list[Rare]
    ) -> None:
        bins = len(self.shares[j])
        draws = len(codes)
        key, hits = np.unique(codes + np.arange(draws)[:, None] * bins, return_counts=True)
        key, hits = key[hits >= 2], hits[hits >= 2]
        draw, code = key // bins, key % bins
        score = table(hits, table.place(self.shares[j][code])) + self.ranges[j].log_prior[code]
        np.maximum.at(best, draw, score)
        if found is not None:
            here = np.flatnonzero(draw == 0)
            found += [Found(((j, int(code[k]), int(code[k])),), float(score[k])) for k in here]
        few = self._pairs.worth(j, code, hits, table) & (code < self.attributes[j].bins)
        rare += [
            (int(d), -float(s), j, int(c)) for d, s, c in zip(draw[few], score[few], code[few], strict=True)
        ]

    def _ordered(self, j: int, codes: Ints, table: Table, best: Floats, found: list[Found] | None) -> None:
        bins = len(self.shares[j])
        draws = len(codes)
        count = np.bincount((codes + np.arange(draws)[:, None] * bins).ravel(), minlength=draws * bins)
        sums = np.zeros((draws, bins + 1), dtype=np.int64)
        np.cumsum(count.reshape(draws, bins), axis=1, out=sums[:, 1:])
        r = self.ranges[j]
        if not len(r.low):
            return
        mass = np.append(0.0, np.cumsum(self.shares[j]))
        place = table.place(mass[r.high + 1] - mass[r.low])
        inside = sums[:, r.high + 1] - sums[:, r.low]
        score = table(inside, place) + r.log_prior
        starts = np.flatnonzero(np.append(True, r.family[1:] != r.family[:-1]))
        by_family = np.log(np.add.reduceat(np.exp(np.minimum(score, 80)), starts, axis=1))
        top = np.maximum.reduceat(score, starts, axis=1)
        by_family = np.maximum(by_family, top)
        np.maximum(best, by_family.max(axis=1), out=best)
        if found is None:
            return
        ends = np.append(starts[1:], len(r.low))
        for s, e, whole in zip(starts, ends, by_family[0], strict=True):
            k = int(s + score[0, s:e].argmax())
            if inside[0, k] >= 2:
                found.append(Found(((j, int(r.low[k]), int(r.high[k])),), float(whole)))
