"""Which vehicles a cause means, and how sure that is: where its limits lie, and who has no record to tell.

A cause says "torque up to 38.2 N·m" because that is what the failures show; the true limit may lie a little further
out. Each end of a range is therefore a distribution: every cut between two neighbouring values is a hypothesis,
before the data as likely as the gap between the values is wide (a limit may lie anywhere on the attribute's own scale),
then weighed by how well it explains the failures (`methods.cohorts.evidence.log_bayes_factor`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import product
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unibody.errors import FormatError, SetupError, nearest
from unibody.methods.cohorts.evidence import log_bayes_factor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

CUTS_LOOKED_AT = 4_000
#: Steps of the posterior of one end, fine where the stated probability is asked; fewer where several ends are open.
STEPS: Mapping[int, Floats] = {
    1: np.concatenate([np.linspace(0, 0.9, 19), [0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 0.999, 1]]),
    2: np.concatenate([np.linspace(0, 0.9, 10), [0.93, 0.95, 0.965, 0.975, 0.985, 0.992, 0.998, 1]]),
    3: np.array([0, 0.2, 0.4, 0.6, 0.75, 0.87, 0.94, 0.98, 0.995, 1]),
    4: np.array([0, 0.3, 0.6, 0.8, 0.93, 0.985, 1]),
}  # fmt: skip
ENDS_MOST = 4
TAIL = 1e-4
STRUCTURAL = 0.05  # where more cars than this lack a value, lacking it is no fault: they lack the part
NEIGHBOURS = 20  # cars built before and after, that say what was probably in one without a record


@dataclass(frozen=True)
class End:
    """One end of one range: its candidate cuts, ascending, with their weight before the joint likelihood."""

    attribute: str
    high: bool
    cuts: Floats
    log_prior: Floats

    def codes(self, x: Floats) -> Ints:
        """Place of each value among the cuts: cut k takes codes <= k (a high end), or >= k (a low end); NaN: none."""
        if self.high:
            found = np.searchsorted(self.cuts, x, side="left")
            return np.where(np.isnan(x), len(self.cuts), found).astype(np.int64)
        found = np.searchsorted(self.cuts, np.where(np.isnan(x), -np.inf, x), side="right") - 1
        return np.where(np.isnan(x), -1, found).astype(np.int64)


@dataclass(frozen=True)
class Family:
    """A hypothesis with all its ends: `cuts` (sets x ends) and `weight` (sets), which add up to 1."""

    conditions: dict[str, Any]
    ends: tuple[End, ...]
    cuts: Ints
    weight: Floats

    def members(self, base: Bools, codes: list[Ints]) -> Bools:
        """Sets x units: who is in which set; `base` meets the other conditions, `codes` of each end."""
        out = np.broadcast_to(base, (len(self.cuts), len(base))).copy()
        for j, end in enumerate(self.ends):
            cut = self.cuts[:, j][:, None]
            out &= (codes[j][None, :] <= cut) if end.high else (codes[j][None, :] >= cut)
        return out


def is_range(column: pl.Series, wanted: Any) -> bool:
    """Is it a range of an ordered attribute, not a list of names."""
    ordered = column.dtype.is_numeric() or column.dtype.is_temporal()
    return ordered and isinstance(wanted, list | tuple) and len(wanted) == 2


def numbers(column: pl.Series) -> Floats:
    """An ordered column as floats, times in their own ticks; NaN where nothing (or nothing finite) is known."""
    x = column.to_physical().cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return np.where(np.isfinite(x), x, np.nan)


def end_of(column: pl.Series, stated: Any) -> float:
    """One end of a range in the column's own ticks; a time without a zone is UTC.

    >>> end_of(pl.Series([datetime(2026, 1, 1)]), "1970-01-02T00:00:00") / 86_400e6
    1.0
    """
    if not isinstance(stated, str | date):
        return float(stated)
    try:
        moment = datetime.fromisoformat(stated) if isinstance(stated, str) else stated
    except ValueError as e:
        raise FormatError(
            f"{column.name}: {stated!r} is no time; it should be ISO 8601, e.g. 2026-03-04T00:00"
        ) from e
    if column.dtype == pl.Date:
        day = moment.date() if isinstance(moment, datetime) else moment
        return float(pl.Series([day]).to_physical()[0])
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    ticks = pl.Series([moment]).dt.timestamp(getattr(column.dtype, "time_unit", None) or "us")
    return float(ticks[0])


def meets_one(column: pl.Series, wanted: Any) -> Bools:
    """Which units meet one condition; an unknown value meets only None."""
    if wanted is None:
        return column.is_null().to_numpy()
    if is_range(column, wanted):
        x = numbers(column)
        low, high = (None if w is None else end_of(column, w) for w in wanted)
        with np.errstate(invalid="ignore"):
            out = ~np.isnan(x)
            out &= True if low is None else x >= low
            out &= True if high is None else x <= high
        return np.asarray(out)
    values = list(wanted) if isinstance(wanted, list | tuple | set) else [wanted]
    if column.dtype.is_numeric() and all(isinstance(v, int | float) for v in values):
        return column.cast(pl.Float64).is_in([float(v) for v in values]).fill_null(False).to_numpy()
    texts = [str(v).lower() if column.dtype == pl.Boolean else str(v) for v in values]
    return column.cast(pl.String).is_in(texts).fill_null(False).to_numpy()


def meets(frame: pl.DataFrame, conditions: Mapping[str, Any]) -> Bools:
    """Which units meet all conditions of a cause.

    Raises SetupError naming an attribute that the frame does not have.

    >>> cars = pl.DataFrame({"lot": ["a", "a", "b", None], "torque": [1.0, 2.0, 3.0, None]})
    >>> meets(cars, {"lot": "a", "torque": [1.5, None]}).tolist()
    [False, True, False, False]
    """
    out = np.ones(frame.height, dtype=np.bool_)
    for attribute, wanted in conditions.items():
        out &= meets_one(_column(frame, attribute), wanted)
    return out


def _column(frame: pl.DataFrame, name: str) -> pl.Series:
    if name not in frame.columns:
        raise SetupError(f"cause: no attribute {name!r} in the frame; {nearest(name, frame.columns)}")
    return frame[name]


def kin(conditions: Mapping[str, Any], frame: pl.DataFrame) -> tuple[Any, ...]:
    """What two hypotheses share that differ only in where their ends lie."""
    said: list[Any] = []
    for name in sorted(conditions):
        wanted = conditions[name]
        if is_range(_column(frame, name), wanted):
            said.append((name, wanted[0] is None, wanted[1] is None))
        else:
            said.append((name, str(wanted)))
    return tuple(said)


def family(frame: pl.DataFrame, conditions: Mapping[str, Any], failures: Floats, exposure: Floats) -> Family:
    """A hypothesis with the posterior of its ends, by the failures and exposure (or expected failures) of each unit."""
    open_ends = [
        (name, high)
        for name, wanted in conditions.items()
        if is_range(_column(frame, name), wanted)
        for high in (False, True)
        if wanted[high] is not None
    ]
    told = bool(failures[meets(frame, conditions)].sum()) and bool(exposure.sum())
    if not open_ends or len(open_ends) > ENDS_MOST or not told:
        return Family(dict(conditions), (), np.zeros((1, 0), dtype=np.int64), np.ones(1))
    steps = STEPS[len(open_ends)]
    ends = tuple(_end(frame, conditions, name, high, failures, exposure, steps) for name, high in open_ends)
    rest = {n: w for n, w in conditions.items() if n not in {e.attribute for e in ends}}
    inside, exposed = _sums(frame, meets(frame, rest), ends, failures, exposure)
    share = np.clip(exposed / exposure.sum(), 1e-12, 1 - 1e-9)
    log_weight = log_bayes_factor(inside, share, int(failures.sum()))
    for j, end in enumerate(ends):
        log_weight = log_weight + end.log_prior.reshape([-1 if i == j else 1 for i in range(len(ends))])
    weight = np.exp(log_weight - log_weight.max()).ravel()
    weight /= weight.sum()
    cuts = np.array(list(product(*(range(len(e.cuts)) for e in ends))), dtype=np.int64)
    kept = np.argsort(-weight, kind="stable")
    kept = kept[: int(np.searchsorted(np.cumsum(weight[kept]), 1 - TAIL)) + 1]
    return Family(dict(conditions), ends, cuts[kept], weight[kept] / weight[kept].sum())


def _end(
    frame: pl.DataFrame,
    conditions: Mapping[str, Any],
    name: str,
    high: bool,
    failures: Floats,
    exposure: Floats,
    steps: Floats,
) -> End:
    """Candidate cuts of one end, all else as stated: few, each standing for a step of the posterior on its small side."""
    wanted = list(conditions[name])
    wanted[high] = None
    inside = meets(frame, {**conditions, name: wanted})
    sign = 1.0 if high else -1.0  # a low end is the high end of the mirrored scale
    x = sign * numbers(frame[name])[inside]
    order = np.argsort(x, kind="stable")
    values, first = np.unique(x[order], return_index=True)
    last = np.append(first[1:], len(x)) - 1
    counts = np.cumsum(failures[inside][order])[last]
    shares = np.clip(np.cumsum(exposure[inside][order])[last] / exposure.sum(), 1e-12, 1 - 1e-9)
    if len(values) > CUTS_LOOKED_AT:
        near = np.flatnonzero(np.diff(counts, prepend=0.0) > 0)
        even = np.linspace(0, len(values) - 1, CUTS_LOOKED_AT).astype(np.int64)
        chosen = np.unique(np.concatenate([near, np.maximum(near - 1, 0), even]))
        values, counts, shares = values[chosen], counts[chosen], shares[chosen]
    # the last cut takes every unit: no end at all
    gap = np.append(np.diff(values), (values[-1] - values[0]) / max(len(values), 1) or 1.0)
    factor = log_bayes_factor(counts, shares, int(failures.sum()))
    log_mass = np.log(gap) + factor
    mass = np.exp(log_mass - log_mass.max())
    mass /= mass.sum()
    reached = np.cumsum(mass)
    likely = (reached > TAIL) & (reached - mass < 1 - TAIL)
    step = np.minimum(np.searchsorted(steps, reached, side="left"), len(steps) - 1)
    places = np.flatnonzero(likely & (np.append(step[1:] != step[:-1], True)))
    places = np.union1d(places, np.flatnonzero(likely)[-1:])
    summed = np.diff(np.concatenate([[0.0], reached[places]]))
    log_prior = np.log(np.maximum(summed, 1e-300)) - factor[places]
    # up to, not with, the next value: of cars that the evidence holds no sample of, all before it are meant
    cuts = sign * np.append(np.nextafter(values[1:], -np.inf), np.inf)[places]
    return End(name, high, cuts, log_prior) if high else End(name, high, cuts[::-1].copy(), log_prior[::-1])


def _sums(
    frame: pl.DataFrame, base: Bools, ends: tuple[End, ...], failures: Floats, exposure: Floats
) -> tuple[Floats, Floats]:
    """Failures and exposure inside every combination of cuts: an array with one axis an end."""
    codes = [e.codes(numbers(frame[e.attribute])) for e in ends]
    taken = base.copy()
    for end, code in zip(ends, codes, strict=True):
        taken &= (code < len(end.cuts)) if end.high else (code >= 0)
    shape = tuple(len(e.cuts) for e in ends)
    flat = np.ravel_multi_index(tuple(c[taken] for c in codes), shape)
    out: list[Floats] = []
    for values in (failures, exposure):
        grid: Any = np.bincount(flat, weights=values[taken], minlength=int(np.prod(shape))).reshape(shape)
        for axis, end in enumerate(ends):
            grid = np.cumsum(grid, axis) if end.high else np.flip(np.cumsum(np.flip(grid, axis), axis), axis)
        out.append(grid)
    return out[0], out[1]


def unknown(fleet: pl.DataFrame, conditions: Mapping[str, Any]) -> Floats:
    """The probability that a vehicle without a record meets the conditions; 0 for those whose record tells.

    It is judged by the cars built just before and after on the same line. A field that is empty for many cars is
    empty because they do not have the part; then only cars without any genealogy are unknown.
    """
    parts = [n for n in fleet.columns if n.startswith("part.")]
    bare = np.ones(fleet.height, dtype=np.bool_) if parts else np.zeros(fleet.height, dtype=np.bool_)
    for name in parts:
        bare &= fleet[name].is_null().to_numpy()
    blank = np.zeros(fleet.height, dtype=np.bool_)
    possible = np.ones(fleet.height, dtype=np.bool_)
    for name, wanted in conditions.items():
        if wanted is None:
            continue
        empty = _column(fleet, name).is_null().to_numpy()
        whole = ~bare if name.startswith("part.") else np.ones_like(bare)
        if empty[whole].mean() > STRUCTURAL if whole.any() else False:
            empty &= bare & np.bool_(name.startswith("part."))
        blank |= empty
        possible &= meets_one(fleet[name], wanted) | empty
    asked = blank & possible
    out = np.zeros(fleet.height)
    if not asked.any():
        return out
    met = meets(fleet, conditions)
    known = ~blank
    lines = [n for n in ("plant", "line") if n in fleet.columns]
    when = numbers(fleet["built_at"]) if "built_at" in fleet.columns else np.zeros(fleet.height)
    place = (
        fleet.select(pl.struct(lines).rank("dense")).to_series().to_numpy()
        if lines
        else np.zeros(fleet.height)
    )
    overall = float(met[known].mean()) if known.any() else 0.0
    for here in np.unique(place[asked]):
        beside = np.flatnonzero(known & (place == here))
        beside = beside[np.argsort(when[beside], kind="stable")]
        sums = np.concatenate([[0.0], np.cumsum(met[beside])])
        mine = np.flatnonzero(asked & (place == here))
        at = np.searchsorted(when[beside], when[mine])
        low, high = np.maximum(at - NEIGHBOURS, 0), np.minimum(at + NEIGHBOURS, len(beside))
        out[mine] = (sums[high] - sums[low] + overall) / (high - low + 1)
    return out
