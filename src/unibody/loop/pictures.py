"""The numbers behind the pictures of an investigation: failing share by value, over an ordered attribute, over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from unibody.loop.cohort import kind_of
from unibody.loop.members import meets, meets_one
from unibody.loop.roles import EXPOSURE, FAILED, UNITS, Prepared

VALUES_MAX, BINS, PERIODS = 12, 12, 24


@dataclass(frozen=True)
class Group:
    """One dot: units of one value, one bin or one period."""

    label: str
    units: int
    failed: int
    expected: float  # failures, if this group failed as all do
    rate: float | None  # per unit of `Picture.per`; None where there was no exposure
    low: float  # 95 % interval
    high: float
    inside: bool  # belongs to the cause
    at: Any = None  # ordered: where on the axis
    band: tuple[float, float] = (0.0, 0.0)  # over time: what chance would give around `expected`, 95 %
    stands_out: bool = False  # over time: above that, all periods looked at paid for


@dataclass(frozen=True)
class Picture:
    """One picture: its title says the finding."""

    kind: str  # values | bins | time
    attribute: str
    title: str
    per: str  # what the rate counts: "of units", "per 1,000 vehicle_days", "times the expected"
    rate: float  # of all
    groups: tuple[Group, ...]
    among: str = ""  # only units that meet this too


def of_attribute(
    table: Prepared, attribute: str, conditions: Mapping[str, Any] | None = None, title: str = ""
) -> Picture:
    """How often units fail by one attribute; of a pair of conditions among the units that meet the other."""
    frame, among = table.frame, ""
    rest = {k: v for k, v in (conditions or {}).items() if k != attribute}
    if rest:
        frame, among = frame.filter(pl.Series(meets(frame, rest))), said(rest)
    column = frame[attribute]
    ordered = kind_of(column.dtype) in ("number", "time")
    wanted = (conditions or {}).get(attribute, ...)
    inside = np.zeros(frame.height, dtype=np.bool_) if wanted is ... else meets_one(column, wanted)
    base = _base(frame)
    failed = frame[FAILED].to_numpy().astype(np.float64)
    whole = table.frame
    scale, per = _scale(table)
    rate = float(whole[FAILED].sum()) / max(float(_base(whole).sum()), 1e-12)
    few = ordered and column.n_unique() <= VALUES_MAX
    if ordered and not few:
        code, labels, places = _bins(column, wanted)
    else:
        code, labels, places = _values(column, failed, inside, ordered)
    counted = (
        pl.DataFrame({"c": code, "f": failed, "e": base, "i": inside, "u": _units(frame)})
        .group_by("c")
        .agg(pl.col("f", "e", "u").sum(), pl.col("i").mean())
    )
    groups = []
    for c, f, e, u, i in counted.sort("c").rows():
        low, high = _interval(int(f), e, table.once and not table.exposure)
        groups.append(
            Group(
                labels[c], int(u), int(f), e * rate, f / e * scale if e > 0 else None, low * scale, high * scale,
                i > 0.5, places[c] if places else None,
            )
        )  # fmt: skip
    return Picture(
        "bins" if ordered and not few else "values", attribute, title, per, rate * scale, tuple(groups), among
    )


def over_time(
    table: Prepared, attribute: str, conditions: Mapping[str, Any] | None = None, title: str = ""
) -> Picture | None:
    """Failures by period of build (or of another time), beside what is to be expected of as many units."""
    from scipy import stats

    frame = table.frame.filter(pl.col(attribute).is_not_null())
    if frame.height < 2:
        return None
    first, last = frame[attribute].min(), frame[attribute].max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        frame = frame.with_columns(pl.col(attribute).cast(pl.Datetime("us")))
        first, last = frame[attribute].min(), frame[attribute].max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    span = (last - first) / PERIODS
    every, width = next(
        ((e, w) for e, w in (("1h", 1 / 24), ("1d", 1), ("1w", 7), ("2w", 14), ("1mo", 30), ("1q", 91), ("1y", 365)) if timedelta(days=w) >= span),
        ("1y", 365),
    )  # fmt: skip
    rate = float(table.frame[FAILED].sum()) / max(float(_base(table.frame).sum()), 1e-12)
    inside = meets(frame, conditions) if conditions else np.zeros(frame.height, dtype=np.bool_)
    periods = (
        frame.select(at=pl.col(attribute).dt.truncate(every), f=pl.col(FAILED), e=pl.Series(_base(frame)), u=pl.Series(_units(frame)), i=pl.Series(inside))
        .group_by("at").agg(pl.col("f", "e", "u").sum(), ins=(pl.col("f") * pl.col("i")).sum()).sort("at")
    )  # fmt: skip
    _, per = _scale(table)
    groups = []
    for at, f, e, u, ins in periods.rows():
        expected = e * rate
        band = (float(stats.poisson.ppf(0.025, expected)), float(stats.poisson.ppf(0.975, expected)))
        form = (
            "%Y" if every == "1y" else "%b %Y" if width >= 30 else "%d %b %Y" if width >= 1 else "%d %b %H:%M"
        )
        label = at.strftime(form).lstrip("0")
        beyond = float(stats.poisson.sf(f - 1, expected)) < 0.025 / periods.height
        groups.append(
            Group(label, int(u), int(f), expected, float(f), 0.0, 0.0, 0 < f <= 2 * ins, at, band, beyond)
        )
    return Picture("time", attribute, title, per, rate, tuple(groups))


def said(conditions: Mapping[str, Any]) -> str:
    """Conditions in words.

    >>> said({"part.hose.lot": "L7741", "torque.belt": [None, 38.2]})
    'part.hose.lot L7741 and torque.belt up to 38.2'
    """
    return " and ".join(_one(n, w) for n, w in conditions.items())


def _one(name: str, wanted: Any) -> str:
    if wanted is None:
        return f"{name} not stated"
    if isinstance(wanted, bool):
        return f"{name} {'yes' if wanted else 'no'}"
    if isinstance(wanted, (list, tuple)) and len(wanted) == 2:
        low, high = (_short(w) for w in wanted)
        day = any(isinstance(w, str) for w in wanted)
        if wanted[0] is None:
            return f"{name} until {high}" if day else f"{name} up to {high}"
        if wanted[1] is None:
            return f"{name} from {low} on"
        return f"{name} {low} to {high}"
    return f"{name} {_short(wanted)}"


def _short(x: Any) -> str:
    if isinstance(x, float):
        return f"{x:.6g}"
    text = str(x)
    if len(text) >= 19 and text[4:5] == "-" and text[10:11] == "T":
        return text[:16].replace("T", " ") if text[11:16] != "00:00" else text[:10]
    return text


def _base(frame: pl.DataFrame) -> np.ndarray:
    if EXPOSURE in frame.columns:
        return frame[EXPOSURE].to_numpy()
    return np.ones(frame.height)


def _units(frame: pl.DataFrame) -> np.ndarray:
    return frame[UNITS].to_numpy() if UNITS in frame.columns else np.ones(frame.height, dtype=np.int64)


def _scale(table: Prepared) -> tuple[float, str]:
    """What a rate is multiplied by, and how it is called."""
    if table.exposure in ("expected", "expected failures"):
        return 1.0, "times the expected"
    if table.exposure:
        rate = float(table.frame[FAILED].sum()) / max(float(table.frame[EXPOSURE].sum()), 1e-12)
        scale = 10.0 ** int(np.clip(np.ceil(-np.log10(max(rate, 1e-12))), 0, 9))
        return scale, f"failures per {scale:,.0f} {table.exposure}"
    return 100.0, "% of units fail"


def _interval(failed: int, base: float, share: bool) -> tuple[float, float]:
    """95 %: Wilson's of a share, the exact one of a count (Garwood 1936)."""
    if base <= 0:
        return 0.0, 0.0
    if share:
        z, p = 1.959964, failed / base
        middle = (p + z * z / (2 * base)) / (1 + z * z / base)
        half = z * np.sqrt(p * (1 - p) / base + z * z / (4 * base * base)) / (1 + z * z / base)
        return max(0.0, float(middle - half)), min(1.0, float(middle + half))
    from scipy import special

    low = float(special.gammaincinv(failed, 0.025)) if failed else 0.0
    return low / base, float(special.gammaincinv(failed + 1, 0.975)) / base


def _values(
    column: pl.Series, failed: np.ndarray, inside: np.ndarray, ordered: bool
) -> tuple[np.ndarray, list[str], list[Any]]:
    """A place for each value: those of the cause, then those with most failures; the rest together."""
    table = pl.DataFrame({"v": column, "f": failed, "i": inside})
    ranked = table.group_by("v").agg(pl.col("f").sum(), pl.col("i").any(), n=pl.len())
    keys = ["v"] if ordered else ["i", "f", "n", "v"]
    ranked = ranked.sort(keys, descending=[False] if ordered else [True, True, True, False], nulls_last=True)
    shown = ranked.head(VALUES_MAX)
    order = pl.DataFrame({"v": shown["v"], "c": np.arange(shown.height, dtype=np.int64)})
    code = table.join(order, on="v", how="left", nulls_equal=True, maintain_order="left")["c"].fill_null(
        shown.height
    )
    labels = [
        "not stated" if v is None else {True: "yes", False: "no"}[v] if isinstance(v, bool) else _short(v)
        for v in shown["v"]
    ]
    return code.to_numpy(), [*labels, f"{ranked.height - shown.height} others"], []


def _bins(column: pl.Series, wanted: Any) -> tuple[np.ndarray, list[str], list[Any]]:
    """About equally many units a bin, cut where the cause's limits lie; the last is what is not stated."""
    time = column.dtype.is_temporal()
    x = column.to_physical().cast(pl.Float64).fill_null(float("nan")).to_numpy()
    there = ~np.isnan(x)
    inner = list(np.quantile(x[there], np.linspace(0, 1, BINS + 1)[1:-1]))
    if isinstance(wanted, (list, tuple)) and len(wanted) == 2:
        held = x[meets_one(column, wanted)]
        if len(held):
            low, high = held.min(), held.max()
            below, above = x[there & (x < low)], x[there & (x > high)]
            cuts = [(below.max() + low) / 2] if len(below) else []
            cuts += [(above.min() + high) / 2] if len(above) else []
            near = np.ptp(x[there]) / (4 * BINS)
            inner = [c for c in inner if all(abs(c - k) > near for k in cuts)] + cuts
    edges = np.unique(inner)
    code = np.where(there, np.searchsorted(edges, x, side="left"), len(edges) + 1)
    labels: list[str] = []
    places: list[Any] = []
    for c in range(len(edges) + 1):
        held = x[there & (code == c)]
        if not len(held):
            labels.append("")
            places.append(None)
            continue
        ends: list[Any] = [float(held.min()), float(held.max()), float(np.median(held))]
        if time:
            ends = pl.Series(ends).cast(pl.Int64).cast(column.dtype).to_list()
        low, high, middle = ends
        a, b = (_short(v.isoformat()) if time else _short(v) for v in (low, high))
        labels.append(a if a == b else f"{a} to {b}")
        places.append(middle)
    return code, [*labels, "not stated"], [*places, None]
