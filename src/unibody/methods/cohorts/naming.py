"""Says a hypothesis in the units of the frame: exact ends, who is inside, since when, what is alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unibody.methods.cohorts.attributes import Attribute, said, typed
from unibody.methods.cohorts.evidence import Floats, Table
from unibody.methods.cohorts.evidence import table as table_of
from unibody.methods.cohorts.explanation import Conditions
from unibody.methods.cohorts.hypotheses import Found

Bools = NDArray[np.bool_]
#: An end is looked for so many bins to either side; among at most so many values.
_AROUND, _MOST_CUTS = 4, 2000
#: Two hypotheses are alike when they share so much of their failures and the evidence differs by less (log odds).
SAME_FAILURES, SAME_EVIDENCE = 0.5, 3.0


@dataclass(frozen=True)
class Cohort:
    """Units that meet conditions."""

    conditions: Conditions
    inside: Bools


def cohort(frame: pl.DataFrame, attributes: Sequence[Attribute], found: Found) -> Cohort:
    """A hypothesis as it was looked at: ends at the edges of bins."""
    inside = np.ones(len(frame), dtype=np.bool_)
    conditions = {}
    for j, low, high in found.terms:
        a = attributes[j]
        inside &= (a.codes >= low) & (a.codes <= high)
        conditions[a.name] = a.condition(low, high)
    return Cohort(conditions, inside)


def sharp(
    frame: pl.DataFrame,
    attributes: Sequence[Attribute],
    found: Found,
    failures: Floats,
    expected: Floats,
    rows: Bools,
) -> Cohort:
    """The same with ends between single units: the middle of where the end may lie, weighed by evidence.

    The most likely end lies at the last failing unit inside, hence nearly always too narrow; the median over all ends,
    each weighed by its Bayes factor, is not.
    """
    table = table_of(max(int(failures[rows].sum()), 1))
    scale = float(expected[rows].sum())
    conditions: Conditions = {}
    inside = np.ones(len(frame), dtype=np.bool_)
    for j, low, high in found.terms:
        a = attributes[j]
        fits = (a.codes >= low) & (a.codes <= high)
        if not a.ordered or low >= a.bins or (a.whole and low == high):
            conditions[a.name], inside = a.condition(low, high), inside & fits
            continue
        others = [t for t in found.terms if t[0] != j]
        live = rows & cohort(frame, attributes, Found(tuple(others), 0.0)).inside & (a.codes < a.bins)
        column = typed(frame[a.name])
        x = column.to_physical().fill_null(0).to_numpy()
        first, last = _physical(column, a.lows[low]), _physical(column, a.highs[high])
        near = (x, a.codes, live, failures, expected / scale, table)
        if high < a.bins - 1:
            last = _end(*near, high, first, last, upper=True)
        if low > 0:
            first = _end(*near, low, last, first, upper=False)
        inside &= (
            (a.codes < a.bins)
            & (x >= first if low > 0 else True)
            & (x <= last if high < a.bins - 1 else True)
        )
        conditions[a.name] = [
            None if low == 0 else _said(column, first),
            None if high == a.bins - 1 else _said(column, last),
        ]
    return Cohort(conditions, inside)


def _end(
    x: Any, codes: Any, live: Bools, failures: Floats, expected: Floats, table: Table, end: int, fixed: Any, otherwise: Any,
    *, upper: bool,
) -> Any:  # fmt: skip
    inside = live & (x >= fixed if upper else x <= fixed)
    cuts = np.unique(x[inside & (codes >= end - _AROUND) & (codes <= end + _AROUND)])
    if not len(cuts):
        return otherwise
    cuts = cuts[:: max(1, len(cuts) // _MOST_CUTS)]
    order = np.argsort(x[inside], kind="stable")
    values = x[inside][order]
    y, e = np.cumsum(failures[inside][order]), np.cumsum(expected[inside][order])
    if upper:
        at = np.searchsorted(values, cuts, side="right") - 1
        hit, share = y[at], e[at]
    else:
        at = np.searchsorted(values, cuts, side="left")
        before = at > 0
        hit = y[-1] - np.where(before, y[at - 1], 0)
        share = e[-1] - np.where(before, e[at - 1], 0)
    score = table.exact(hit, np.maximum(share, 1e-12))
    weight = np.cumsum(np.exp(score - score.max()))
    return cuts[int(np.searchsorted(weight, weight[-1] / 2))]


def _physical(column: pl.Series, value: Any) -> Any:
    return pl.Series([value], dtype=column.dtype).to_physical()[0]


def _said(column: pl.Series, physical: Any) -> Any:
    value = pl.Series([physical]).cast(column.to_physical().dtype).cast(column.dtype)[0]
    return said(value)


def onset(
    attributes: Sequence[Attribute], cohort: Cohort, failures: Floats, expected: Floats, rows: Bools
) -> datetime | None:
    """When the cohort began to fail more, along the first time attribute; None where its rate was the same throughout.

    A condition on a time says it itself. Else the odds of one change (every cut alike) against none must exceed 20.
    """
    times = [a for a in attributes if a.kind == "time"]
    for a in times:
        low = (cohort.conditions.get(a.name) or [None])[0]
        if low is not None:
            return datetime.fromisoformat(low)
    mine = cohort.inside & rows
    failed = int(failures[mine].sum())
    if not times or failed < 5:
        return None
    a = times[0]
    hits = np.cumsum(np.bincount(a.codes[mine], weights=failures[mine], minlength=a.bins + 1)[: a.bins])
    mass = np.cumsum(np.bincount(a.codes[mine], weights=expected[mine], minlength=a.bins + 1)[: a.bins])
    if hits[-1] < 5 or mass[-1] <= 0:
        return None
    after = np.maximum(1 - mass[:-1] / mass[-1], 1e-9)
    score = table_of(int(hits[-1])).exact(hits[-1] - hits[:-1], after)
    weight = np.where(
        (hits[-1] - hits[:-1] >= 3) & (mass[:-1] / mass[-1] > 0.02), np.exp(np.minimum(score, 300)), 0.0
    )
    if not len(weight) or weight.sum() / len(weight) < 20:
        return None
    return a.lows[int(np.searchsorted(np.cumsum(weight), weight.sum() / 2)) + 1]  # type: ignore[no-any-return]


def alike(
    best: Found, others: Sequence[Found], attributes: Sequence[Attribute], failures: Floats, rows: Bools
) -> list[Found]:
    """Hypotheses on other attributes that these data cannot tell apart from the best one."""
    own = {j for j, _, _ in best.terms}
    mine = _inside(attributes, best, rows)
    out: list[Found] = []
    for f in others:
        if own <= {j for j, _, _ in f.terms}:
            continue
        theirs = _inside(attributes, f, rows)
        shared = failures[mine & theirs].sum() / max(failures[mine | theirs].sum(), 1)
        same = (mine & theirs).sum() / max((mine | theirs).sum(), 1)
        if same >= 0.95 or (shared >= SAME_FAILURES and best.evidence - f.evidence < SAME_EVIDENCE):
            if any({j for j, _, _ in g.terms} <= {j for j, _, _ in f.terms} for g in out):
                continue
            out.append(f)
    return out[:8]


def _inside(attributes: Sequence[Attribute], found: Found, rows: Bools) -> Bools:
    inside = rows.copy()
    for j, low, high in found.terms:
        inside &= (attributes[j].codes >= low) & (attributes[j].codes <= high)
    return inside
