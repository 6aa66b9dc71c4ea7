"""Makes the best hypotheses exact: sharper ends, a second condition where it earns its price, what is alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unibody.methods.cohorts.attributes import Attribute
from unibody.methods.cohorts.evidence import Floats, Table
from unibody.methods.cohorts.hypotheses import PAIR, SINGLE, Found, Ranges
from unibody.methods.cohorts.search import Space

Bools = NDArray[np.bool_]
Term = tuple[int, int, int]
#: So many of the best are looked at more closely.
CLOSELY, WIDENED, NEAR = 60, 12, 12.0


def mask(attributes: Sequence[Attribute], terms: Sequence[Term], rows: int) -> Bools:
    """Which rows meet all terms."""
    inside = np.ones(rows, dtype=np.bool_)
    for j, low, high in terms:
        codes = attributes[j].codes
        inside &= (codes >= low) & (codes <= high)
    return inside


def closely(space: Space, failures: Floats, table: Table, found: Sequence[Found]) -> list[Found]:
    """The best hypotheses with evidence counted out exactly, ends of ordered terms moved to where it is largest.

    The best single ones are also tried with every second condition there is. What was found so keeps the evidence of
    its screened parent for the p-value, because only the screen is repeated on chance.
    """
    out: dict[tuple[Term, ...], Found] = {}
    rows = len(failures)
    widened = min(WIDENED, max(1, 3000 // len(space.attributes)))
    for rank, f in enumerate(found[:CLOSELY]):
        terms = tuple(sorted(f.terms))
        if len(terms) == 1:
            j = terms[0][0]
            keep(
                out, replace(f, terms=terms, evidence=_single(space, failures, table, terms[0]) or f.evidence)
            )
            if rank < widened and f.evidence > found[0].evidence - NEAR:
                inside = mask(space.attributes, terms, rows)
                for other in range(len(space.attributes)):
                    if other != j:
                        for term, evidence in _second(space, failures, table, inside, other):
                            both = tuple(sorted((terms[0], term)))
                            prior = _prior(space, terms[0]) + np.log(2 * PAIR) - 2 * np.log(SINGLE)
                            keep(out, Found(both, evidence + prior, f.screened))
            continue
        for _ in range(2):
            evidence = -np.inf
            for k in (0, 1):
                j = terms[k][0]
                if not space.attributes[j].ordered:
                    continue
                inside = mask(space.attributes, [terms[1 - k]], rows)
                prior = _prior(space, terms[1 - k]) + np.log(2 * PAIR) - 2 * np.log(SINGLE)
                best = [(e + prior, t) for t, e in _second(space, failures, table, inside, j)]
                if best:
                    evidence, term = max(best)
                    terms = (terms[0], term) if k else (term, terms[1])
        if not np.isfinite(evidence):
            inside = mask(space.attributes, terms, rows)
            evidence = float(table.exact(failures[inside].sum(), space.expected[inside].sum()))
            evidence += sum(_prior(space, t) for t in terms) + np.log(2 * PAIR) - 2 * np.log(SINGLE)
        keep(out, Found(terms, float(evidence), f.screened))
    return sorted(out.values(), key=lambda f: -f.evidence)


def keep(out: dict[tuple[Term, ...], Found], f: Found) -> None:
    """Remember a hypothesis once, with its best evidence."""
    known = out.get(f.terms)
    if known is None or f.evidence > known.evidence:
        out[f.terms] = replace(f, screened=max(f.screened, known.screened) if known else f.screened)


def _prior(space: Space, term: Term) -> float:
    """Log prior of a term on its own: its own range's, or that of its side where the range is no hypothesis itself."""
    j, low, high = term
    r: Ranges = space.ranges[j]
    at = np.flatnonzero((r.low == low) & (r.high == high))
    if len(at):
        return float(r.log_prior[at[0]])
    side = 0 if low == 0 else 1 if high == space.attributes[j].bins - 1 else 2
    same = r.log_prior[r.family == side]
    return float(np.median(same)) if len(same) else float(np.median(r.log_prior))


def _single(space: Space, failures: Floats, table: Table, term: Term) -> float | None:
    j, low, _high = term
    if space.attributes[j].ordered:
        return None  # screened on the same ranges already
    inside = space.attributes[j].codes == low
    bayes = table.exact(failures[inside].sum(), space.shares[j][low])
    return float(bayes) + _prior(space, term)


def _second(space: Space, failures: Floats, table: Table, inside: Bools, j: int) -> list[tuple[Term, float]]:
    """For one attribute, the best term of each family within `inside`, with the family's evidence."""
    a, r = space.attributes[j], space.ranges[j]
    codes = a.codes[inside]
    bins = a.bins + a.missing
    hits = np.append(0, np.cumsum(np.bincount(codes, weights=failures[inside], minlength=bins)))
    mass = np.append(0.0, np.cumsum(np.bincount(codes, weights=space.expected[inside], minlength=bins)))
    count = hits[r.high + 1] - hits[r.low]
    fit = np.flatnonzero(count >= max(3, 0.5 * hits[-1]))
    if not len(fit):
        return []
    low, high, family = r.low[fit], r.high[fit], r.family[fit]
    share = np.maximum(mass[high + 1] - mass[low], 1e-12)
    score = table.exact(count[fit], share) + r.log_prior[fit]
    out = []
    starts = np.flatnonzero(np.append(True, family[1:] != family[:-1]))
    for s, e in zip(starts, np.append(starts[1:], len(fit)), strict=True):
        k = s + int(score[s:e].argmax())
        out.append(((j, int(low[k]), int(high[k])), float(np.logaddexp.reduce(score[s:e]))))
    return out


def distinct(found: Sequence[Found]) -> list[Found]:
    """Without narrower versions of what already stands higher, and without a second range of the same attributes."""
    out: list[Found] = []
    for f in found:
        own = {j: (low, high) for j, low, high in f.terms}
        for g in out:
            if all(j in own and own[j][0] <= high and low <= own[j][1] for j, low, high in g.terms):
                break
        else:
            out.append(f)
    return out
