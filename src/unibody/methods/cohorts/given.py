"""Takes what the asker gives (outcome, exposure, other symptoms, time) and refuses what is not that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from unibody.errors import FormatError, SetupError, nearest
from unibody.methods.cohorts.evidence import Floats


def there(frame: pl.DataFrame, name: str) -> None:
    """Refuse a name that is no column."""
    if name not in frame.columns:
        raise SetupError(f"no column {name!r} in the frame; {nearest(name, frame.columns)}")


def outcome(frame: pl.DataFrame, name: str) -> Floats:
    """Failures by row: true or false, 0 or 1, or a count."""
    values = _numbers(frame, name, "an outcome is true or false, 0 or 1, or a count of failures")
    odd = (values < 0) | (values != np.rint(values))
    if odd.any():
        raise FormatError(
            f"{name}: {int(odd.sum())} rows hold such as {values[odd][0]:g}; an outcome is true or false, 0 or 1, or a "
            "whole count of failures"
        )
    if values.sum() > 2**53:
        raise FormatError(f"{name}: {values.sum():.3g} failures in all; counts above 2^53 are not exact")
    return values


def exposure(frame: pl.DataFrame, name: str, failures: Floats) -> Floats:
    """Exposure by row: days, expected failures or number of units; zero only where nothing failed."""
    values = _numbers(frame, name, "exposure is a number above 0")
    if (values < 0).any():
        raise FormatError(
            f"{name}: {int((values < 0).sum())} rows are negative; exposure is a number above 0"
        )
    odd = int(((values == 0) & (failures > 0)).sum())
    if odd:
        raise FormatError(
            f"{name}: {odd} rows have failures and exposure 0; what failed must have been exposed"
        )
    if not (values > 0).any():
        raise FormatError(f"{name}: all rows are 0; at least one unit must have been exposed")
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.sum())
    if not finite:
        raise FormatError(f"{name}: the sum of all rows is no finite number; give exposure in a larger unit")
    return values


def controls(frame: pl.DataFrame, names: Sequence[str]) -> Floats:
    """Counts of other symptoms, added up by row; a missing one is none."""
    total = np.zeros(len(frame))
    for name in names:
        there(frame, name)
        column = frame[name].fill_null(0) if _countable(frame[name]) else frame[name]
        values = _numbers(frame.select(column), name, "a control is a count of other symptoms")
        if (values < 0).any():
            raise FormatError(f"{name}: {int((values < 0).sum())} rows are negative; a control is a count")
        total += values
    return total


def _countable(column: pl.Series) -> bool:
    return column.dtype.is_numeric()


def _numbers(frame: pl.DataFrame, name: str, right: str) -> Floats:
    there(frame, name)
    column = frame[name]
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise FormatError(f"{name}: holds {column.dtype}; {right}")
    values = column.cast(pl.Float64).to_numpy()
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise FormatError(f"{name}: {bad} of {len(values)} rows are missing, NaN or infinite; {right}")
    out: Floats = values
    return out
