"""The evidence as plain tables for pictures: failures by value over time, along an ordered attribute, over everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from unibody.errors import FormatError, SetupError
from unibody.methods.cohorts import attributes as columns
from unibody.methods.cohorts import given
from unibody.methods.cohorts.evidence import Floats
from unibody.methods.cohorts.explanation import Conditions


def meets(frame: pl.DataFrame, conditions: Conditions) -> pl.Series:
    """Which rows meet all conditions; a missing value meets only the condition None.

    >>> units = pl.DataFrame({"lot": ["A", "B", None], "torque": [38.0, 41.5, 39.0]})
    >>> meets(units, {"torque": [None, 39.0]}).to_list(), meets(units, {"lot": None}).to_list()
    ([True, False, True], [False, False, True])
    """
    inside = pl.Series(np.ones(len(frame), dtype=np.bool_))
    for name, wanted in conditions.items():
        given.there(frame, name)
        column = columns.typed(frame[name])
        if isinstance(wanted, (list, tuple)):
            if len(wanted) != 2:
                raise SetupError(f"{name}: {wanted!r} must be [low, high], None for an open end")
            low, high = (_end(column, e) for e in wanted)
            fits = column.is_not_null()
            fits = fits & (column >= low) if low is not None else fits
            fits = fits & (column <= high) if high is not None else fits
        elif wanted is None:
            fits = column.is_null()
        else:
            said = (
                frame[name] if frame[name].dtype in (pl.Boolean, pl.String) else frame[name].cast(pl.String)
            )
            fits = said == (wanted if isinstance(wanted, bool) else str(wanted))
        inside = inside & fits.fill_null(False)
    return inside.alias("inside")


def _end(column: pl.Series, value: Any) -> Any:
    if value is None or not isinstance(value, str):
        return value
    if not column.dtype.is_temporal():
        raise FormatError(f"{column.name}: an end is {value!r}, but the column holds {column.dtype}")
    ends = pl.Series([value])
    try:
        if column.dtype == pl.Date:
            return ends.str.slice(0, 10).str.to_date(strict=True)[0]
        if column.dtype == pl.Time:
            return ends.str.to_time(strict=True)[0]
        zone = getattr(column.dtype, "time_zone", None)
        found = ends.str.to_datetime(strict=True, time_zone="UTC" if zone else None, time_unit="us")
        return (found.dt.convert_time_zone(zone) if zone else found)[0]
    except pl.exceptions.PolarsError as e:
        raise FormatError(f"{column.name}: {value!r} is no ISO 8601 time") from e


def _rate(table: pl.DataFrame, level: float = 0.95) -> pl.DataFrame:
    """Failing share (failures an exposure) with the exact Poisson interval (Garwood 1936)."""
    from scipy import special

    failed, exposure = table["failed"].to_numpy().astype(float), table["exposure"].to_numpy()
    tail = (1 - level) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(failed > 0, special.gammaincinv(np.maximum(failed, 1e-9), tail), 0.0) / exposure
        high = special.gammaincinv(failed + 1, 1 - tail) / exposure
        rate = failed / exposure
    return table.with_columns(rate=rate, low=low, high=high)


def over_time(
    frame: pl.DataFrame, outcome: str, attribute: str, time: str, *, exposure: str | None = None, every: str = "1mo",
    values: int = 6,
) -> pl.DataFrame:  # fmt: skip
    """Failing share by value over time: columns value, start, units, failed, exposure, rate, low, high (95 %).

    The values with most failures come first, the rest are one value, "others". `every` is a polars interval ("1w").

    >>> from datetime import date
    >>> units = pl.DataFrame({"lot": ["A", "A", "B", "B"], "built": [date(2026, 3, 1)] * 4, "failed": [1, 1, 0, 1]})
    >>> over_time(units, "failed", "lot", "built").select("value", "units", "failed", "rate").rows()
    [('A', 2, 2, 1.0), ('B', 2, 1, 0.5)]
    """
    table = _given(frame, outcome, exposure)
    for name in (attribute, time):
        given.there(frame, name)
    when = columns.typed(frame[time])
    if when.dtype not in (pl.Date, pl.Datetime):
        raise SetupError(f"{time}: holds {when.dtype}; failing share over time needs dates or times")
    table = table.with_columns(
        value=frame[attribute].cast(pl.String).fill_null("missing"), start=when.dt.truncate(every)
    )
    most = (
        table.group_by("value")
        .agg(pl.col("failed").sum())
        .sort(["failed", "value"], descending=[True, False])
    )
    first = most["value"].head(values)
    table = table.with_columns(
        pl.when(pl.col("value").is_in(first.implode())).then("value").otherwise(pl.lit("others"))
    )
    out = (
        table.drop_nulls("start")
        .group_by("value", "start")
        .agg(units=pl.len(), failed=pl.col("failed").sum().cast(pl.Int64), exposure=pl.col("exposure").sum())
    )
    return _rate(out).sort("value", "start")


def along(
    frame: pl.DataFrame, outcome: str, attribute: str, *, exposure: str | None = None, bins: int = 24
) -> pl.DataFrame:
    """Failures along an ordered attribute, in bins of about as many units: low, high, units, failed, exposure, rate, low_rate,
    high_rate. Thinner bins at both ends, where causes lie.

    >>> units = pl.DataFrame({"torque": [36.0, 37.0, 40.0, 41.0], "failed": [1, 1, 0, 0]})
    >>> along(units, "failed", "torque", bins=2).select("low", "high", "failed").rows()
    [(36.0, 37.0, 2), (40.0, 41.0, 0)]
    """
    given.there(frame, attribute)
    column = columns.typed(frame[attribute])
    if not (column.dtype.is_numeric() or column.dtype.is_temporal()):
        raise SetupError(f"{attribute}: holds {column.dtype}; a picture along it needs numbers or times")
    table = _given(frame, outcome, exposure).with_columns(x=column).drop_nulls("x").sort("x")
    if not len(table):
        return _rate(table.select(low="x", high="x", units=pl.lit(0), failed="failed", exposure="exposure"))
    even = np.arange(1, bins) / bins
    ends = np.array([0.25, 0.5]) / bins if bins > 4 else np.zeros(0)
    place = (np.concatenate([ends, even, 1 - ends]) * len(table)).astype(int)
    physical = table["x"].to_physical()
    edges = np.unique(physical.gather(np.clip(place - 1, 0, len(table) - 1)).to_numpy())
    table = table.with_columns(bin=np.searchsorted(edges, physical.to_numpy(), side="left"))
    out = table.group_by("bin", maintain_order=True).agg(
        left=pl.col("x").min(), right=pl.col("x").max(), units=pl.len(),
        failed=pl.col("failed").sum().cast(pl.Int64), exposure=pl.col("exposure").sum(),
    )  # fmt: skip
    shown = _rate(out.drop("bin")).rename(
        {"low": "low_rate", "high": "high_rate", "left": "low", "right": "high"}
    )
    return shown.select("low", "high", "units", "failed", "exposure", "rate", "low_rate", "high_rate")


def cumulative(
    frame: pl.DataFrame,
    outcome: str,
    order: str,
    *,
    exposure: str | None = None,
    draws: int = 400,
    seed: int = 0,
) -> pl.DataFrame:
    """Failures added up along an ordered attribute beside what chance gives: order, observed, expected, low, high.

    low..high holds the whole of a chance curve with 95 %: failures fall by exposure, `draws` times, and the band is as
    wide as the widest excursion of 95 in 100 of those curves. At most 500 rows.

    >>> units = pl.DataFrame({"day": [1, 2, 3, 4], "failed": [0, 1, 0, 1]})
    >>> cumulative(units, "failed", "day").select("observed", "expected").rows()
    [(0, 0.5), (1, 1.0), (1, 1.5), (2, 2.0)]
    """
    given.there(frame, order)
    column = columns.typed(frame[order])
    if not (column.dtype.is_numeric() or column.dtype.is_temporal()):
        raise SetupError(f"{order}: holds {column.dtype}; adding up along it needs numbers or times")
    table = _given(frame, outcome, exposure).with_columns(x=column).drop_nulls("x").sort("x")
    if not len(table):
        raise FormatError(f"{order}: no value known")
    failed = table["failed"].to_numpy()
    count = int(failed.sum())
    share: Floats = np.cumsum(table["exposure"].to_numpy())
    share = share / share[-1]
    at = np.unique(np.linspace(0, len(table) - 1, min(500, len(table))).astype(int))
    at = np.unique(np.append(at, np.flatnonzero(failed)[:: max(1, count // 250)])) if count else at
    random = np.random.default_rng(seed)
    widest = 0.0
    if count:
        drawn = np.sort(random.random((draws, count)), axis=1)
        apart = np.abs(
            np.array([np.searchsorted(d, share[at], side="right") for d in drawn]) - count * share[at]
        )
        widest = float(np.quantile(apart.max(axis=1), 0.95))
    expected = count * share[at]
    return pl.DataFrame(
        {
            "order": table["x"].gather(at),
            "observed": np.cumsum(failed)[at].astype(np.int64),
            "expected": expected,
            "low": np.maximum(expected - widest, 0.0),
            "high": np.minimum(expected + widest, float(count)),
        }
    )


def family(
    frame: pl.DataFrame, outcome: str, path: Sequence[str], *, exposure: str | None = None
) -> pl.DataFrame:
    """Failing share down a tree of attributes (supplier, sub-supplier, lot): path, level, units, failed, exposure, rate, low, high.

    >>> units = pl.DataFrame({"supplier": ["S", "S", "T"], "lot": ["1", "2", "3"], "failed": [1, 0, 0]})
    >>> family(units, "failed", ["supplier", "lot"]).select("path", "failed").rows()[:3]
    [(['S'], 1), (['S', '1'], 1), (['S', '2'], 0)]
    """
    if not path:
        raise SetupError("path is empty; name at least one attribute")
    for name in path:
        given.there(frame, name)
    table = _given(frame, outcome, exposure).with_columns(
        frame[name].cast(pl.String).fill_null("missing").alias(f"level {i}") for i, name in enumerate(path)
    )
    levels = []
    for depth in range(1, len(path) + 1):
        names = [f"level {i}" for i in range(depth)]
        levels.append(
            table.group_by(names)
            .agg(
                units=pl.len(),
                failed=pl.col("failed").sum().cast(pl.Int64),
                exposure=pl.col("exposure").sum(),
            )
            .select(
                pl.concat_list(names).alias("path"),
                pl.lit(depth).alias("level"),
                "units",
                "failed",
                "exposure",
            )
        )
    return _rate(pl.concat(levels)).sort("path")


def _given(frame: pl.DataFrame, outcome: str, exposure: str | None) -> pl.DataFrame:
    if not len(frame):
        raise FormatError("the frame has no rows; at least one unit is needed")
    failures = given.outcome(frame, outcome)
    base = given.exposure(frame, exposure, failures) if exposure else np.ones(len(frame))
    return pl.DataFrame({"failed": failures, "exposure": base})
