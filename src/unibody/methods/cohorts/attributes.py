"""Turns the columns of a frame into whole-number codes: values of nominal ones, fine bins of ordered ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unibody.methods.cohorts.evidence import Floats, Ints

#: Ordered attributes are cut at most here: evenly, and ever finer towards both ends.
_EVEN, _TIME, _TAIL_RATIO = 48, 96, 1.35
#: Whole numbers with at most this many values are named by value where one alone stands out.
FEW = 24
_SAMPLE = 200_000


@dataclass(frozen=True)
class Attribute:
    """One column as codes 0..bins-1; the last bin is the missing values, if any are missing."""

    name: str
    kind: str  # nominal | number | time
    codes: NDArray[np.integer[Any]]  # by row, in the smallest type that holds them
    values: tuple[Any, ...]  # nominal: the value of each code
    lows: Any  # ordered: smallest and largest value found in each bin
    highs: Any
    bins: int  # without the missing
    missing: bool
    whole: bool = False  # whole numbers with few values
    likely: bool = False  # believed to hold the cause as often as all others together

    @property
    def ordered(self) -> bool:
        """Whether bins have an order."""
        return self.kind != "nominal"

    def sums(self, weights: Floats) -> Floats:
        """Sum of weights (by row) in each bin, the missing last."""
        found = np.bincount(self.codes, weights=weights, minlength=self.bins + self.missing)
        return found.astype(np.float64)

    def condition(self, low: int, high: int) -> Any:
        """What a run of bins is called.

        >>> Attribute("torque", "number", np.array([0, 1, 2]), (), [1.0, 2.0, 5.0], [1.5, 4.0, 9.0], 3, False).condition(0, 1)
        [None, 4.0]
        """
        if low >= self.bins:
            return None
        if not self.ordered:
            return self.values[low]
        if self.whole and low == high:
            return self.lows[low]
        ends = (None if low == 0 else self.lows[low], None if high == self.bins - 1 else self.highs[high])
        return [said(e) for e in ends]


def said(value: Any) -> Any:
    """A value as JSON knows it: times as ISO 8601 text."""
    return value.isoformat() if hasattr(value, "isoformat") else value


def read(
    frame: pl.DataFrame, names: Sequence[str], failures: Floats
) -> tuple[list[Attribute], dict[str, str]]:
    """The attributes of a frame worth looking at, and the columns left out with the rule that says so."""
    kept: list[Attribute] = []
    left: dict[str, str] = {}
    cells = bool(len(failures)) and (failures.max() >= 3 or failures.mean() >= 0.25)
    for name in names:
        column = typed(frame[name])
        why = _unfit(column, failures, cells)
        if why:
            left[name] = why
            continue
        found = _ordered(column) if _is_ordered(column) else _nominal(column)
        why = _leaks(found, failures)
        if why:
            left[name] = why
        else:
            kept.append(found)
    return kept, left


def typed(column: pl.Series) -> pl.Series:
    """Text that is numbers or times all through becomes that, a duration its days; NaN and infinity count as missing."""
    if column.dtype == pl.String and column.null_count() < len(column):
        trial = column.drop_nulls().head(1000)
        if trial.str.contains(r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?$").all():
            try:
                return column.str.to_datetime(strict=True, time_zone="UTC").dt.replace_time_zone(None)
            except pl.exceptions.PolarsError:
                return column
        # codes such as 00417 are names
        if trial.str.contains(r"^-?(0|[1-9]\d{0,14})\.\d+([eE][+-]?\d+)?$").all():
            try:
                return typed(column.cast(pl.Float64, strict=True))
            except pl.exceptions.PolarsError:
                return column
    if isinstance(column.dtype, pl.Duration):
        column = column.dt.total_seconds(fractional=True) / 86_400  # days
    if column.dtype.is_decimal() or column.dtype in (pl.Int128, pl.UInt64):
        column = column.cast(pl.Float64)
    if column.dtype.is_float():
        found = pl.DataFrame({"x": column.cast(pl.Float64)})
        return found.select(pl.when(pl.col("x").is_finite()).then(pl.col("x"))).to_series().alias(column.name)
    return column


def _is_ordered(column: pl.Series) -> bool:
    kind = column.dtype
    return kind.is_numeric() or kind in (pl.Date, pl.Time) or isinstance(kind, pl.Datetime)


def _unfit(column: pl.Series, failures: Floats, cells: bool) -> str:
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        return f"holds {column.dtype}, not plain values"
    known = len(column) - column.null_count()
    if known == 0:
        return "no value known"
    ordered = _is_ordered(column)
    if known == len(column) and column.min() == column.max():
        return "one value only"
    if not ordered and not cells and known >= 20 and column.n_unique() - (known < len(column)) > known / 2:
        return "nearly every unit has a value of its own: an identifier"
    if column.null_count():
        there = column.is_not_null().to_numpy()
        failed = failures > 0
        if failed.sum() >= 3 and not (there & ~failed).any():
            return "known only of units that failed: a consequence, not a cause"
    return ""


def _leaks(found: Attribute, failures: Floats) -> str:
    failed = failures > 0
    if failed.sum() < 10 or found.ordered or failures.max() > 1:
        return ""
    touched = np.unique(found.codes[failed])
    if len(touched) == 1 and failed[found.codes == touched[0]].all():
        return "says the same as the outcome"
    return ""


def _nominal(column: pl.Series) -> Attribute:
    if column.dtype != pl.Boolean:
        column = column.cast(pl.String)
    values = column.drop_nulls().unique().sort()
    if column.dtype == pl.Boolean:
        codes = column.cast(pl.Int64) - (0 if len(values) == 2 else int(values[0]))
    else:
        codes = column.cast(pl.Enum(values)).to_physical()
    numbers: Ints = codes.fill_null(len(values)).to_numpy()
    return Attribute(
        column.name,
        "nominal",
        _small(numbers, len(values)),
        tuple(values.to_list()),
        None,
        None,
        len(values),
        bool(column.null_count()),
    )


def _ordered(column: pl.Series) -> Attribute:
    time = column.dtype.is_temporal()
    column.drop_nulls()
    numbers = column.to_physical() if time else column
    raw = numbers.to_numpy() if not column.null_count() else numbers.fill_null(0).to_numpy()
    there = column.is_not_null().to_numpy()
    x = raw[there]
    distinct = np.unique(x if len(x) <= _SAMPLE else np.random.default_rng(0).choice(x, _SAMPLE))
    pieces = _TIME if time else _EVEN
    if len(distinct) > 2 * pieces:
        sample = np.sort(x if len(x) <= _SAMPLE else np.random.default_rng(0).choice(x, _SAMPLE))
        even = np.arange(1, pieces) / pieces
        steps = int(np.log(max(len(x) / 2 / pieces, 1)) / np.log(_TAIL_RATIO))
        tail = (1 / pieces) / _TAIL_RATIO ** np.arange(1, steps + 1)
        at = np.concatenate([tail[::-1], even, 1 - tail])
        places = np.clip((at * len(sample)).astype(np.int64) - 1, 0, len(sample) - 1)
        edges = np.unique(sample[places])
    else:
        edges = distinct[:-1]
    bins_of = np.searchsorted(edges, x, side="left")
    # bins fit in 16 bits, so that sorting by them is a counting sort
    order = np.argsort(bins_of.astype(np.uint16), kind="stable")
    used, first = np.unique(bins_of[order], return_index=True)
    dense = np.searchsorted(used, bins_of)
    codes = np.full(len(column), len(used), dtype=np.uint16)
    codes[there] = dense
    sorted_x = x[order]
    kind = numbers.dtype
    lows = pl.Series(np.minimum.reduceat(sorted_x, first)).cast(kind).cast(column.dtype).to_list()
    highs = pl.Series(np.maximum.reduceat(sorted_x, first)).cast(kind).cast(column.dtype).to_list()
    whole = column.dtype.is_integer() and len(distinct) <= FEW
    return Attribute(
        column.name,
        "time" if time else "number",
        codes,
        (),
        lows,
        highs,
        len(used),
        bool((~there).any()),
        whole,
    )


def _small(codes: Ints, most: int) -> NDArray[np.integer[Any]]:
    return codes.astype(np.uint16 if most < 2**16 else np.int32)
