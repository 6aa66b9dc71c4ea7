"""What every method is asked and answers in: a table of units in, ranked causes out, as dicts of conditions.

A cause is a conjunction, `{attribute: value}` for names and `{attribute: [low, high]}` for ordered columns (ends
included, None an open end, times as ISO 8601 text). `Found` and `Answer` have the fields of the product's
`Cause` and `Explanation` that scoring reads, so that ours and the peers are scored by the same lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Conditions = Mapping[str, Any]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """One candidate; `failed` of its `units` failed where `expected` would have, had it been as all others."""

    conditions: dict[str, Any]
    p_adjusted: float = float("nan")  # family-wise; NaN where the method has no test
    effect: float = float("nan")  # rate ratio against the units outside
    failed: float = float("nan")
    expected: float = float("nan")
    units: int = 0


@dataclass(frozen=True)
class Answer:
    """What a method says: the causes it stands for, and its best candidates whether it stands for them or not."""

    causes: tuple[Found, ...]
    ranked: tuple[Found, ...]
    hypotheses: int = 0


def ordered(column: pl.Series) -> bool:
    """Is it a number or a time, so that it is cut, not compared."""
    return column.dtype.is_numeric() or column.dtype.is_temporal()


def numbers(column: pl.Series) -> Floats:
    """An ordered column as floats: times in their own ticks, NaN for nothing."""
    return column.to_physical().cast(pl.Float64).fill_null(float("nan")).to_numpy()


def end(column: pl.Series, text: Any) -> float:
    """One end of an interval in the column's own ticks.

    >>> end(pl.Series([datetime(2026, 1, 1)]), "1970-01-02T00:00:00") / 86_400e6
    1.0
    """
    if not isinstance(text, str | date):
        return float(text)
    moment = datetime.fromisoformat(text) if isinstance(text, str) else text
    if column.dtype == pl.Date:
        day = moment.date() if isinstance(moment, datetime) else moment
        return float(pl.Series([day]).to_physical()[0])
    if isinstance(moment, datetime):
        moment = moment.replace(tzinfo=None)  # the frames' times are all UTC
    return float(pl.Series([moment]).cast(pl.Datetime(column.dtype.time_unit)).to_physical()[0])  # type: ignore[attr-defined]


def told(column: pl.Series, low: float | None, high: float | None) -> list[Any]:
    """An interval in ticks as a cause says it."""

    def one(x: float | None) -> Any:
        if x is None or not column.dtype.is_temporal():
            return None if x is None else float(x)
        return pl.Series([round(x)]).cast(column.dtype)[0].isoformat()

    return [one(low), one(high)]


def meets(frame: pl.DataFrame, conditions: Conditions) -> Mask:
    """Which units meet all conditions; a column that is not there is met by none, and so is an empty field.

    >>> frame = pl.DataFrame({"lot": ["a", "a", "b", None], "torque": [1.0, 2.0, 3.0, None]})
    >>> meets(frame, {"lot": "a", "torque": [1.5, None]}).tolist()
    [False, True, False, False]
    """
    out = np.ones(frame.height, dtype=np.bool_)
    for attribute, wanted in conditions.items():
        if attribute not in frame.columns:
            return np.zeros(frame.height, dtype=np.bool_)
        column = frame[attribute]
        if ordered(column) and isinstance(wanted, list | tuple) and len(wanted) == 2:
            x = numbers(column)
            low, high = wanted
            with np.errstate(invalid="ignore"):
                out &= ~np.isnan(x)
                out &= True if low is None else x >= end(column, low)
                out &= True if high is None else x <= end(column, high)
        else:
            values = [str(v) for v in (wanted if isinstance(wanted, list | tuple | set) else [wanted])]
            told_as = column.cast(pl.String)
            if column.dtype == pl.Boolean:
                values = [v.lower() for v in values]
            out &= told_as.is_in(values).fill_null(False).to_numpy()
    return out


def jaccard(a: Mask, b: Mask) -> float:
    """How alike two sets of units are: shared by all; 1 when both are empty."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def asked(
    frame: pl.DataFrame, attributes: Sequence[str] | None, not_these: Sequence[str | None]
) -> list[str]:
    """The columns to look at: those given, else all but the outcome and its companions."""
    return (
        list(attributes) if attributes is not None else [c for c in frame.columns if c not in set(not_these)]
    )


def outcome_numbers(frame: pl.DataFrame, name: str) -> Floats:
    """The outcome as counts."""
    return frame[name].cast(pl.Float64).fill_null(0.0).to_numpy()
