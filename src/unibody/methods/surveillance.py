"""Look at many streams of events again and again, and call only when chance would not, at a stated rate of false calls.

The method is drug-safety surveillance: a scan statistic over a tree of nested groups (Kulldorff, Fang & Walsh 2003),
its null distribution drawn conditionally on each stream's own total, looks paid for out of a yearly budget (alpha
spending; Kulldorff et al. 2011 do so with their maximised likelihood ratio). Streams, units and cells here are
anybody's: nothing in this file knows what fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
CASES_MIN = 3  # fewer events are an anecdote
EULER = 0.5772156649015329
WINDOWS_APART = 5  # windows of one stream overlap, but at least so many of them are free of each other


@dataclass(frozen=True)
class Window:
    """Neighbouring cells of one group of streams with more events than its other cells let expect."""

    group: int
    first: int  # cell
    last: int  # cell, belongs to it
    count: int
    expected: float
    total: int  # events of the group
    evidence: float  # log likelihood ratio
    p: float  # chance that the best window of all groups has this much evidence where nothing is behind it


def spent(false_calls_a_year: float, days: float) -> float:
    """The chance of a false call that one look may take, `days` after the look before it.

    Whatever the looks have in common, the calls by chance are then at most `false_calls_a_year` (union bound: looks
    that see mostly the same events stay below it).

    >>> round(52 * spent(0.5, 7), 3)
    0.496
    """
    return float(-np.expm1(-false_calls_a_year * days / 365.25))


def evidence(count: Array, expected: Array, total: Array | float) -> Array:
    """Log likelihood ratio that a part of `total` events has a higher rate than the rest; 0 where it has not.

    Conditional on the total (Kulldorff 1997): c log(c / e) + (n - c) log((n - c) / (n - e)).

    >>> evidence(np.array([5.0, 1.0]), np.array([1.0, 1.0]), 10.0).round(2).tolist()
    [5.11, 0.0]
    """
    c, e, n = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (count, expected, total)))
    e = np.maximum(e, 1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = np.where(c > 0, c * np.log(c / e), 0.0)
        outside = np.where(n > c, (n - c) * np.log((n - c) / np.maximum(n - e, 1e-12)), 0.0)
    return np.where(c > e, inside + outside, 0.0)


def tail(count: Array, expected: Array, total: Array | float) -> Array:
    """Chance of `count` or more of `total` events where each falls here with chance expected / total.

    >>> round(float(tail(np.array([3.0]), np.array([1.0]), 10.0)[0]), 4)
    0.0702
    """
    from scipy.special import betainc

    c, n = np.asarray(count, dtype=float), np.asarray(total, dtype=float)
    share = np.clip(np.asarray(expected, dtype=float) / np.maximum(n, 1e-12), 0.0, 1.0)
    # the binomial tail as an incomplete beta function (Abramowitz & Stegun 26.5.24)
    return np.where(c <= 0, 1.0, betainc(np.maximum(c, 1.0), np.maximum(n - c + 1, 1.0), share))


def ratio(count: int, expected: float, total: int, level: float = 0.95) -> tuple[float, float, float]:
    """Low end, middle and high end of the rate within against the rate outside, where `expected` of `total` were due.

    Exact given the total (Clopper & Pearson 1934 on the share of events that fell within); the middle counts half an
    event more on each side, so that it is finite.

    >>> low, middle, high = ratio(10, 5.0, 30)
    >>> round(low, 2), round(middle, 2), round(high, 2)
    (1.05, 2.56, 5.6)
    """
    from scipy.stats import beta

    side = (1 - level) / 2
    outside = max(total - expected, 1e-12) / max(expected, 1e-12)
    low = float(beta.ppf(side, count, total - count + 1)) if count > 0 else 0.0
    high = float(beta.ppf(1 - side, count + 1, total - count)) if count < total else 1.0
    odds = (low / (1 - low) if low < 1 else np.inf, high / (1 - high) if high < 1 else np.inf)
    return odds[0] * outside, (count + 0.5) / (total - count + 0.5) * outside, odds[1] * outside


def windows(cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First cells, and cells after the last, of the windows looked at: lengths about a third apart, and "ever since".

    >>> first, after = windows(3)
    >>> list(zip(first.tolist(), after.tolist()))
    [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
    """
    found: set[tuple[int, int]] = {(i, cells) for i in range(1, cells)}
    length = 1
    while length < cells:
        step = max(1, length // 4)  # a long window need not begin at every cell
        found |= {(i, i + length) for i in range(0, cells - length + 1, step)}
        length = max(length + 1, length * 4 // 3)
    ordered = np.array(sorted(found), dtype=np.int64).reshape(-1, 2)
    return ordered[:, 0], ordered[:, 1]


def scan(
    counts: NDArray[np.int64],
    expected: Array,
    groups: Sequence[Sequence[int]],
    *,
    alpha: float = 0.05,
    draws: int = 99,
    seed: int = 0,
    each: int = 3,
) -> list[Window]:
    """The windows of neighbouring cells that chance does not explain, over all groups of streams at once.

    `counts` and `expected` are streams x cells; the expected of a stream add up to its events, so that only where they
    fell is judged, not how many they are. `groups` are the nodes of the tree: the streams each of them holds. Null
    worlds deal out each stream's events by `expected`, all groups see the same worlds, and the best window of each
    world is what ours must beat (p by the fitted Gumbel law: Abrams, Kulldorff & Kleinman 2010). Returns at most
    `each` windows a group with p <= alpha, strongest first.
    """
    first, after = windows(counts.shape[1])
    totals = counts.sum(axis=1)
    active = [g for g, streams in enumerate(groups) if totals[list(streams)].sum() >= CASES_MIN]
    best: list[tuple[int, int, float, float, float]] = []  # group, window, count, expected, evidence
    hope = 1.0
    for g in active:
        c, e = (_sums(m[list(groups[g])].sum(axis=0), first, after) for m in (counts, expected))
        n = float(totals[list(groups[g])].sum())
        strength = np.where(c >= CASES_MIN, evidence(c, e, n), 0.0)
        order = [int(w) for w in np.argsort(-strength, kind="stable")[: 20 * each] if strength[w] > 0]
        best += [(g, w, float(c[w]), float(e[w]), float(strength[w])) for w in order]
        if order:
            hope = min(hope, float(tail(c[order[:1]], e[order[:1]], n)[0]))
    streams_active = int((totals >= CASES_MIN).sum())
    # the best of so many windows and streams cannot be as sure as one alone: no need to draw worlds
    if not best or hope * max(streams_active, 1) * WINDOWS_APART > alpha:
        return []
    null = _null(totals, expected, [groups[g] for g in active], first, after, draws, seed)
    found: list[Window] = []
    for g, w, count, let, strength_ in sorted(best, key=lambda b: -b[4]):
        p = chance_of(strength_, null)
        if p > alpha:
            break
        begin, end = int(first[w]), int(after[w]) - 1
        mine = [f for f in found if f.group == g]
        if len(mine) < each and all(end < f.first or begin > f.last for f in mine):
            events = int(totals[list(groups[g])].sum())
            found.append(Window(g, begin, end, int(count), let, events, strength_, p))
    return found


def chance_of(strength: float, null: Array) -> float:
    """Chance that a null world's best reaches `strength`: a Gumbel law with the mean and spread of those drawn."""
    spread = max(float(null.std(ddof=1)), 1e-9) * np.sqrt(6) / np.pi
    middle = float(null.mean()) - EULER * spread
    return float(-np.expm1(-np.exp(-(strength - middle) / spread)))


def _null(
    totals: NDArray[np.int64],
    expected: Array,
    groups: Sequence[Sequence[int]],
    first: NDArray[np.int64],
    after: NDArray[np.int64],
    draws: int,
    seed: int,
) -> Array:
    """The evidence of the best window in each of `draws` null worlds."""
    rng = np.random.default_rng(seed)
    worlds: dict[int, NDArray[np.int64]] = {}
    for stream in sorted({s for g in groups for s in g}):
        if totals[stream]:
            share = expected[stream] / expected[stream].sum()
            worlds[stream] = rng.multinomial(int(totals[stream]), share, size=draws)
    best = np.zeros(draws)
    for streams in groups:
        there = [s for s in streams if s in worlds]
        drawn = np.sum([worlds[s] for s in there], axis=0)
        e = _sums(expected[list(streams)].sum(axis=0), first, after)
        c = _sums(drawn, first, after)
        strength = evidence(c, e, float(totals[list(streams)].sum()))
        best = np.maximum(best, np.where(c >= CASES_MIN, strength, 0.0).max(axis=1))
    return best


def _sums(cells: NDArray[np.generic], first: NDArray[np.int64], after: NDArray[np.int64]) -> Array:
    """Sums over windows of the last axis."""
    edge = np.zeros((*cells.shape[:-1], 1))
    running = np.concatenate([edge, np.cumsum(cells, axis=-1, dtype=float)], axis=-1)
    return np.asarray(running[..., after] - running[..., first])


def levelled(
    observed: Array, expected: Array, margins: Sequence[NDArray[np.int64]], held: float = 4.0
) -> Array:
    """What was to be expected in each cell once margins (seasons, places) may have levels of their own.

    One margin after another is multiplied by (observed + held) / (expected + held): the mean of a gamma-Poisson level
    that is 1 before the data with a spread of 1 / sqrt(held). A margin with many events is followed closely, one with
    few is left alone. `margins` name each cell's place in a margin; all arrays are flat. The sum is that of `observed`.

    >>> levelled(np.array([40.0, 0.0]), np.array([1.0, 1.0]), [np.array([0, 1])]).round(1).tolist()
    [36.7, 3.3]
    """
    whole = float(observed.sum())
    levels = expected * (whole / max(float(expected.sum()), 1e-12))
    for margin in margins:
        seen, due = np.bincount(margin, weights=observed), np.bincount(margin, weights=levels)
        levels = levels * ((seen + held) / (due + held))[margin]
        levels *= whole / max(float(levels.sum()), 1e-12)
    return np.asarray(levels)


def ageing(counts: Array, exposure: Array) -> float:
    """Shape of a Weibull hazard from events and units at risk in equal bins of age; below 1 it falls, above it rises.

    Maximum likelihood with the log shape held near 0 by a normal prior of 0.4, on a grid of 1.05: with few events the
    hazard is constant.

    >>> ageing(np.array([40.0, 30.0, 26.0, 24.0]), np.full(4, 1000.0)) < 0.9
    True
    """
    ages = np.arange(len(counts) + 1, dtype=float)
    shapes = np.exp(np.arange(-20, 21) * np.log(1.05))
    best, chosen = -np.inf, 1.0
    for shape in shapes:
        hazard = np.diff(ages**shape)
        whole = float((exposure * hazard).sum())
        if whole <= 0:
            return 1.0
        fit = float((counts * np.log(np.maximum(hazard / whole, 1e-300))).sum())
        fit -= float(np.log(shape)) ** 2 / (2 * 0.4**2)
        if fit > best:
            best, chosen = fit, float(shape)
    return chosen


@dataclass(frozen=True)
class Belonging:
    """Units with one label of one attribute, of which more met a stream's event than were due."""

    stream: int
    attribute: int
    label: int
    count: int
    expected: float
    total: int  # events of units whose attribute is known
    p: float


#: Labels of one unit repeat each other (a lot comes with its supplier), but not more than this many times over.
REPEATED = 20
ENTRIES_MAX = 20_000_000  # labels summed over at once
DEALT_MAX = 50_000_000  # labels looked up for the null worlds; beyond that the labels are counted instead (Bonferroni)


def belonging(
    attributes: Sequence[NDArray[np.int32]],
    sizes: Sequence[int],
    streams: Sequence[tuple[NDArray[np.int64], Array]],
    *,
    alpha: float = 0.05,
    draws: int = 99,
    seed: int = 0,
) -> list[Belonging]:
    """The labels whose units meet an event more often than due, over all attributes and streams at once.

    `attributes` are labels of units (-1: not known; each `sizes` says how many labels there are); a stream is the units
    that met its event, and what every unit should have had of it, adding up to about as many. Only labels with
    `CASES_MIN` events can be found. Null worlds deal each stream's events to units by what they should have had; labels
    that repeat each other are thus paid for once. Where there are too many events for that, each label is paid for
    (Bonferroni), which then costs little. Returns those with p <= alpha, surest first.
    """
    looked = sum(sizes) * len(streams)
    if not looked:
        return []
    met = [np.bincount(units, minlength=len(due)) for units, due in streams]
    sums = _by_label(attributes, sizes, np.stack([*met, *(due for _, due in streams)], axis=1))
    offsets = np.concatenate([[0], np.cumsum([size + 1 for size in sizes])])
    counts, due_ = sums[:, : len(streams)], sums[:, len(streams) :]
    attribute = np.repeat(np.arange(len(sizes)), np.diff(offsets))
    counts[offsets[:-1]], due_[offsets[:-1]] = 0.0, 0.0  # only among units whose attribute is known
    known, whole = (np.add.reduceat(v, offsets[:-1], axis=0)[attribute] for v in (counts, due_))
    node, stream = np.nonzero(counts >= CASES_MIN)
    if not len(node):
        return []
    share = due_ / np.maximum(whole, 1e-12)
    count, total_ = counts[node, stream], known[node, stream]
    expected = share[node, stream] * total_
    single = np.where(count > expected, tail(count, expected, total_), 1.0)
    if float(single.min()) * looked / REPEATED > alpha:
        return []
    if draws * len(attributes) * sum(len(units) for units, _ in streams) > DEALT_MAX:
        p = np.minimum(single * looked, 1.0)
    else:
        null = _dealt(attributes, sizes, streams, share, draws, seed)
        # on the scale of -log p, so that labels of few and of many units are judged alike
        p = np.array([chance_of(-np.log(v), null) if v < 1e-3 else 1.0 for v in np.maximum(single, 1e-300)])
        p = np.minimum(p, single * looked)
    order = [i for i in np.argsort(p, kind="stable") if p[i] <= alpha]
    return [
        Belonging(
            int(stream[i]),
            int(attribute[node[i]]),
            int(node[i] - offsets[attribute[node[i]]]) - 1,
            int(count[i]),
            float(expected[i]),
            int(total_[i]),
            float(p[i]),
        )
        for i in order
    ]


def _by_label(attributes: Sequence[NDArray[np.int32]], sizes: Sequence[int], columns: Array) -> Array:
    """Sums of columns (units x k) over the units of each label, all attributes below each other, "not known" first.

    As the product of a sparse matrix (each unit has one label of each attribute), in pieces of bounded size.
    """
    from scipy.sparse import csr_matrix

    units, at_once = len(columns), max(1, ENTRIES_MAX // max(len(columns), 1))
    found = []
    for begin in range(0, len(attributes), at_once):
        here = range(begin, min(begin + at_once, len(attributes)))
        offsets = np.concatenate([[0], np.cumsum([sizes[a] + 1 for a in here])]).astype(np.int32)
        labels = np.stack([attributes[a] + (1 + offsets[i]) for i, a in enumerate(here)], axis=1)
        rows = np.arange(units + 1, dtype=np.int64) * len(here)
        matrix = csr_matrix((np.ones(labels.size), labels.ravel(), rows), shape=(units, int(offsets[-1])))
        found.append(matrix.T @ columns)
    return np.concatenate(found)


def _dealt(
    attributes: Sequence[NDArray[np.int32]],
    sizes: Sequence[int],
    streams: Sequence[tuple[NDArray[np.int64], Array]],
    share: Array,
    draws: int,
    seed: int,
) -> Array:
    """The smallest single p (as -log) of each null world; `share` is each label's due among the known, by stream."""
    rng = np.random.default_rng(seed)
    best = np.zeros(draws)
    offsets = np.concatenate([[0], np.cumsum([size + 1 for size in sizes])])
    nodes = int(offsets[-1])
    for stream, (units, due) in enumerate(streams):
        edges = np.cumsum(due)
        dealt = np.searchsorted(edges, rng.random((draws, len(units))) * edges[-1], side="right")
        dealt = np.minimum(dealt, len(due) - 1)
        counts, total = np.zeros((draws, nodes)), np.empty((draws, nodes))
        for a, labels in enumerate(attributes):
            here = slice(int(offsets[a]), int(offsets[a + 1]))
            width = sizes[a] + 1
            flat = (labels[dealt] + 1) + np.arange(draws)[:, None] * width
            counts[:, here] = np.bincount(flat.ravel(), minlength=draws * width).reshape(draws, width)
            known = len(units) - counts[:, offsets[a]]
            total[:, here] = known[:, None]
            counts[:, offsets[a]] = 0
        world, node = np.nonzero(counts >= CASES_MIN)
        n = total[world, node]
        p = tail(counts[world, node], share[node, stream] * n, n)
        np.maximum.at(best, world, -np.log(np.maximum(p, 1e-300)))
    return best
