"""What is looked at: single values, ranges of ordered attributes, and how likely each is before the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unibody.methods.cohorts.attributes import Attribute
from unibody.methods.cohorts.evidence import Floats, Ints

#: What is believed of a cause before the data: one condition or two; which side of an ordered attribute.
SINGLE, PAIR = 0.5, 0.5
TAIL, WINDOW = 0.3, 0.4  # each of two tails, and windows
TIME_WEIGHT = 4.0  # that something changed at some time is commoner than any one attribute else
MISSING = 1e-4  # a missing value is hardly ever a cause
#: In pairs an ordered attribute is cut at these shares of its units from either end; a time at ONSETS even ones,
#: with windows of so many of them.
TAILS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8)
ONSETS = 16
SPELLS = (1, 2, 3, 4, 6)


@dataclass(frozen=True)
class Ranges:
    """Runs of bins of one attribute that are hypotheses, in families (a family answers as one)."""

    low: Ints
    high: Ints
    log_prior: Floats
    family: Ints  # rises


@dataclass(frozen=True)
class Found:
    """One hypothesis with its evidence: conditions as (attribute, low bin, high bin)."""

    terms: tuple[tuple[int, int, int], ...]
    evidence: float
    screened: float = -np.inf  # evidence in the screen, which is what chance is asked for


def priors(attributes: Sequence[Attribute]) -> Floats:
    """Log prior of each attribute; they sum to 1, half of it on those that are likely, where some are and some not."""
    weight = np.array([TIME_WEIGHT if a.kind == "time" else 1.0 for a in attributes])
    likely = np.array([a.likely for a in attributes], dtype=np.bool_)
    if likely.any() and not likely.all():
        weight[likely] *= max(1.0, float(weight[~likely].sum() / weight[likely].sum()))
    out: Floats = np.log(weight / weight.sum())
    return out


def ranges(a: Attribute, share: Floats, base: float) -> Ranges:
    """The hypotheses of one attribute; its priors sum to exp(base). `share`: of expected failures, by bin."""
    if not a.ordered:
        each: Floats = np.full(a.bins + a.missing, base - np.log(max(a.bins, 1)))
        if a.missing:
            each[-1] = base + np.log(MISSING)
        codes = np.arange(a.bins + a.missing)
        return Ranges(codes, codes, each, codes)
    mass = np.cumsum(share[: a.bins]) / max(float(share[: a.bins].sum()), 1e-300)
    low: list[Ints] = []
    high: list[Ints] = []
    prior: list[Floats] = []
    family: list[Ints] = []

    def add(lows: Ints, highs: Ints, weights: Floats, whole: float, name: int) -> None:
        if len(lows):
            low.append(lows)
            high.append(highs)
            family.append(np.full(len(lows), name))
            prior.append(base + np.log(whole) + np.log(weights / weights.sum()))

    ends = np.arange(a.bins - 1)
    below, above = mass[:-1], 1 - mass[:-1]
    add(0 * ends, ends, _cuts(below), TAIL, 0)
    add(ends + 1, 0 * ends + a.bins - 1, _cuts(above[::-1])[::-1], TAIL, 1)
    widths = [w for w in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48) if w <= a.bins - 2]
    starts = [np.arange(1, a.bins - w) for w in widths]
    if widths:
        add(
            np.concatenate(starts),
            np.concatenate([s + w - 1 for s, w in zip(starts, widths, strict=True)]),
            np.concatenate([np.full(len(s), 1 / len(s)) for s in starts]),
            WINDOW,
            2,
        )
    if a.missing:
        end = np.array([a.bins])
        add(end, end, np.ones(1), MISSING, 3)
    if not low:
        return Ranges(*(np.zeros(0, np.int64),) * 2, np.zeros(0), np.zeros(0, np.int64))
    return Ranges(np.concatenate(low), np.concatenate(high), np.concatenate(prior), np.concatenate(family))


def _cuts(mass: Floats) -> Floats:
    """Prior of each cut of a tail: half even in the tail's share, half even in its logarithm."""
    even = np.diff(mass, prepend=0.0)
    mass = np.maximum(mass, 1e-9)
    log = np.diff(np.log(mass), prepend=np.log(mass[:1] / 2))
    out: Floats = even / max(even.sum(), 1e-9) + log / log.sum() + 1e-6
    return out


def spans(a: Attribute, mass: Floats) -> list[tuple[int, int, float]]:
    """Runs of bins of an ordered attribute that take part in pairs, each with its prior within the attribute."""
    cuts = (
        np.arange(1, ONSETS) / ONSETS
        if a.kind == "time"
        else np.array(sorted({*TAILS, *(1 - t for t in TAILS)}))
    )
    after = np.unique(np.searchsorted(mass, cuts - 1e-9) + 1)
    after = after[(after > 0) & (after < a.bins)]
    tails = [(0, int(k) - 1) for k in after] + [(int(k), a.bins - 1) for k in after]
    inner = [
        (int(after[i]), int(after[i + w]) - 1)
        for w in SPELLS
        for i in range(len(after) - w)
        if a.kind == "time"
    ]
    share = (1 - WINDOW, WINDOW) if inner else (1.0, 0.0)
    return [(*t, share[0] / len(tails)) for t in tails] + [(*t, share[1] / len(inner)) for t in inner]
