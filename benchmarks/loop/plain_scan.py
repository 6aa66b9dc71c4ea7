"""The peer that matters: a plain Poisson scan of values, tails and pairs, nothing that does not fit on one page.

Failures in a cohort are compared with the cohort's share of the exposure, as Poisson counts: given all N failures,
those inside are binomial with p0 = share of exposure (Kulldorff 1997, A spatial scan statistic, Commun. Statist. Theory
Meth. 26:1481-1496), times how much more its units report *other* symptoms, shrunk by `REPORTS` pseudo-reports. Looked
at: each value of each name; each ordered column below and above cuts so dense (`CUTS`) that the cut next to any true
one selects the same units to Jaccard .89; pairs of the best `BEST` of these. p is the exact binomial tail, and
Bonferroni pays for all: half of alpha for the M single conditions, half for all M(M-1)/2 pairs, scanned or not.
The best adjusted p is named when <= alpha; then once more without the units of what was named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy import special

from benchmarks.loop.answers import (
    Answer,
    Floats,
    Found,
    Mask,
    asked,
    jaccard,
    meets,
    numbers,
    ordered,
    outcome_numbers,
    told,
)

REPORTS = 20.0  # a cohort expecting so many other symptoms moves half way to its own reporting factor
_TAIL = 0.005 * 1.25 ** np.arange(21)  # .5 % .. 43 % of the units, neighbours at Jaccard .8
CUTS: Floats = np.sort(np.concatenate([_TAIL, [0.5], 1 - _TAIL]))
BEST = 150  # single conditions that are paired
OF_ONE = 3  # of them at most from one column
LEAST = 3  # failures inside that a cohort needs


def explain(
    frame: pl.DataFrame,
    outcome: str,
    *,
    exposure: str | None = None,
    controls: Sequence[str] = (),
    attributes: Sequence[str] | None = None,
    time: str | None = None,
    alpha: float = 0.05,
    seed: int = 0,
    most: int = 2,
) -> Answer:
    """Name at most `most` causes; `time` serves as exposure where none is given; nothing is drawn, so no `seed`.

    >>> lots = pl.DataFrame({"lot": ["a"] * 50 + ["b"] * 950, "failed": [1] * 10 + [0] * 980 + [1] * 10})
    >>> [(c.conditions, c.failed, c.expected) for c in explain(lots, "failed").causes]
    [({'lot': 'a'}, 10.0, 1.0)]
    """
    of = exposure or time
    columns = asked(frame, attributes, (outcome, exposure, time, *controls))
    base = np.ones(frame.height) if of is None else frame[of].cast(pl.Float64).fill_null(0.0).to_numpy()
    other = sum((outcome_numbers(frame, c) for c in controls), np.zeros(frame.height))
    sums = np.column_stack([outcome_numbers(frame, outcome), base, other])
    named: list[Found] = []
    ranked: list[Found] = []
    looked = 0
    for _ in range(most):
        found, count = scan(frame, columns, sums)
        looked += count
        ranked = ranked or found
        if not found or not found[0].p_adjusted <= alpha:
            break
        named.append(found[0])
        sums = np.where(meets(frame, found[0].conditions)[:, None], 0.0, sums)
    return Answer(tuple(named), tuple(ranked), looked)


def scan(frame: pl.DataFrame, columns: Sequence[str], sums: Floats) -> tuple[list[Found], int]:
    """The ten best conditions or pairs that select different units, and how many were looked at."""
    singles, inside = conditions(frame, columns, sums)
    total, looked = sums.sum(0), len(singles)
    if not looked or not total[0]:
        return [], looked
    p = tail(inside, total)
    best: list[int] = []
    taken = dict.fromkeys(columns, 0)
    for i in np.argsort(p, kind="stable"):
        taken[next(iter(singles[i]))] += 1
        if p[i] < 0 and taken[next(iter(singles[i]))] <= OF_ONE and len(best) < BEST:
            best.append(int(i))
    masks = np.column_stack(
        [meets(frame, singles[i]) for i in best] or [np.zeros(frame.height, dtype=np.bool_)]
    )
    both = np.stack([_shared(masks, sums[:, k]) for k in range(3)], axis=-1)
    pairs = tail(both, total) + np.log(max(1.0, looked * (looked - 1)))
    scored = [(p[i] + np.log(2 * looked), singles[i], inside[i], k, k) for k, i in enumerate(best)]
    for a, b in zip(*(i.tolist() for i in np.triu_indices(len(best), 1)), strict=True):
        joined = together(singles[best[a]], singles[best[b]])
        if joined is not None and pairs[a, b] < 5:  # e**5 times a chance of 1: not even a candidate
            scored.append((pairs[a, b], joined, both[a, b], a, b))
    scored.sort(key=lambda s: s[0])
    found: list[Found] = []
    chosen: list[Mask] = []
    for log_p, condition, (failed, exposed, _), a, b in scored:
        if len(found) == 10:
            break
        mask = masks[:, a] & masks[:, b]
        if all(jaccard(mask, other) < 0.9 for other in chosen):
            outside = (total[0] - failed) / max(total[1] - exposed, 1e-12)
            expected = total[0] * exposed / total[1]
            effect = failed / max(exposed, 1e-12) / outside if outside else float("inf")
            p_adjusted = float(min(1.0, np.exp(min(log_p, 0.0))))
            found.append(
                Found(condition, p_adjusted, float(effect), float(failed), float(expected), int(mask.sum()))
            )
            chosen.append(mask)
    return found, looked + looked * (looked - 1) // 2


def _shared(masks: Mask, weight: Floats) -> Floats:
    """What each two conditions hold together, of one column of sums."""
    rows = weight != 0
    light = masks[rows].astype(np.float32)
    return np.asarray(light.T @ (light * weight[rows, None].astype(np.float32)), dtype=np.float64)


def conditions(
    frame: pl.DataFrame, columns: Sequence[str], sums: Floats
) -> tuple[list[dict[str, Any]], Floats]:
    """All single conditions, and the sums inside each: failures, exposure, other symptoms (or any columns)."""
    names = [f"_{k}" for k in range(sums.shape[1])]
    weighted = pl.DataFrame(sums, schema=names)
    all_of: list[dict[str, Any]] = []
    inside: list[Floats] = [np.zeros((0, sums.shape[1]))]
    for name in columns:
        column = frame[name]
        if not ordered(column):
            groups = (
                weighted.with_columns(column.alias("_v"))
                .drop_nulls()
                .group_by("_v", maintain_order=True)
                .sum()
            )
            all_of += [{name: v} for v in groups["_v"].to_list()]
            inside.append(groups.select(names).to_numpy())
            continue
        x = numbers(column)
        values, counts = np.unique(x[~np.isnan(x)], return_counts=True)
        if len(values) < 2:
            continue
        share = np.cumsum(counts[:-1]) / counts.sum()
        at = np.unique([int(np.abs(share - q).argmin()) for q in CUTS])
        cuts = (values[at] + values[at + 1]) / 2
        bins = np.where(np.isnan(x), len(cuts) + 1, np.searchsorted(cuts, x))
        by_bin = np.column_stack([np.bincount(bins, s, minlength=len(cuts) + 2) for s in sums.T])[:-1]
        below = np.cumsum(by_bin, axis=0, dtype=np.float64)
        inside += [below[:-1], below[-1] - below[:-1]]
        all_of += [{name: told(column, None, c)} for c in cuts] + [
            {name: told(column, c, None)} for c in cuts
        ]
    return all_of, np.concatenate(inside)


def tail(inside: Floats, total: Floats) -> Floats:
    """Log probability of so many failures or more inside, by exposure and reporting; 0 where there are too few."""
    failed, exposed, other = np.moveaxis(inside, -1, 0)
    share = np.clip(exposed / total[1], 1e-12, 1 - 1e-12)
    more = (other + REPORTS) / (total[2] * share + REPORTS)
    more_outside = (total[2] - other + REPORTS) / (total[2] * (1 - share) + REPORTS)
    p0 = share * more / (share * more + (1 - share) * more_outside)
    with np.errstate(divide="ignore"):
        log_p = np.log(special.betainc(np.maximum(failed, 1), total[0] - failed + 1, p0))
    # deep tails leave the floats: there the likelihood ratio's bound takes over
    q = np.clip(failed / total[0], 1e-12, 1 - 1e-12)
    bound = -total[0] * (q * np.log(q / p0) + (1 - q) * np.log((1 - q) / (1 - p0)))
    log_p = np.where(np.isfinite(log_p), log_p, bound)
    return np.where((failed >= LEAST) & (failed > total[0] * p0), log_p, 0.0)


def together(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any] | None:
    """Both conditions as one; two sides of one column make an interval, anything else on one column nothing."""
    name = next(iter(a))
    if name not in b:
        return {**a, **b}
    if not isinstance(a[name], list):
        return None
    (low, high), (low_b, high_b) = a[name], b[name]
    if (low is None) == (low_b is None):
        return None
    return {name: [low if low is not None else low_b, high if high is not None else high_b]}
