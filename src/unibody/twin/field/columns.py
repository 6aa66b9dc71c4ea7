"""The shapes of the frames a field is given in, written down here and held against the canonical tables by a test."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

INSTANT = pl.Datetime("us", "UTC")
_TYPES = {"s": pl.String(), "f": pl.Float64(), "i": pl.Int64(), "b": pl.Boolean(), "t": INSTANT}

#: table -> column -> type, in the order of the canonical table, then known_at
SHAPES: dict[str, dict[str, pl.DataType]] = {
    table: {name.partition(":")[0]: _TYPES[name.partition(":")[2] or "s"] for name in columns.split()}
    | {"known_at": INSTANT}
    for table, columns in {
        "build_record": "vin built_at:t brand platform model plant line shift market engine colour options",
        "part_installed": "installed_in part_number position installed_at:t serial lot supplier sub_supplier "
        "station tool",
        "tightening": "tightening_id tightened_at:t vin station tool bolt torque_nm:f angle_deg:f ok:b",
        "inspection": "inspection_id inspected_at:t subject station product image image_sha256 verdict defect "
        "measure value:f",
        "software_installed": "vin ecu installed_at:t hardware software software_version rxswin",
        "vehicle_held": "vin held_from:t held_until:t customer role",
        "signal_reading": "vin path read_at:t odometer_km:f value:f text integer:i",
        "trouble_code": "vin code set_at:t odometer_km:f ecu status text",
        "visit": "dealer visit_id visited_at:t vin odometer_km:f code component work cost_eur:f warranty:b "
        "language text",
        "complaint": "complaint_id made_at:t failed_at:t vin brand model model_year:i component odometer_km:f "
        "crash:b fire:b injured:i language text",
        "maintenance": "machine work_order done_at:t kind component usage:f minutes:f text",
    }.items()
}


def frame(table: str, rows: int, columns: dict[str, Any]) -> pl.DataFrame:
    """A frame of a table's shape: numpy arrays, polars series or single values; what is not given is null.

    Integers for a time are seconds since 1970 (UTC); a NaN is null.
    """
    shape = SHAPES[table]
    assert not set(columns) - set(shape), f"{table} has no {set(columns) - set(shape)}"
    series = [_series(name, dtype, rows, columns.get(name)) for name, dtype in shape.items()]
    return pl.DataFrame(series)


def numbers(values: NDArray[np.int64], digits: int, prefix: str) -> pl.Series:
    """Numbers that tell nothing of the car, the order or the kind of report behind them."""
    bits = {7: 23, 9: 29, 10: 33, 12: 39}[digits]
    most, half = np.uint64((1 << bits) - 1), np.uint64(bits // 2)
    mixed = values.astype(np.uint64)
    for odd in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9):  # each step can be undone, so no number comes twice
        mixed = (mixed * np.uint64(odd)) & most
        mixed ^= mixed >> half
    return pl.select(
        (pl.lit(prefix) + pl.Series(mixed).cast(pl.String).str.zfill(digits)).alias("n")
    ).to_series()


def _series(name: str, dtype: pl.DataType, rows: int, value: Any) -> pl.Series:
    if value is None or isinstance(value, str | int | float | bool):
        return pl.Series(name, [value], dtype=dtype).new_from_index(0, rows)
    if isinstance(value, np.ndarray) and dtype == INSTANT:
        return pl.Series(name, value.astype(np.int64) * 1_000_000).cast(dtype)
    if isinstance(value, pl.Series):
        return value.alias(name) if value.dtype == dtype else value.alias(name).cast(dtype)
    return pl.Series(name, value, nan_to_null=True).cast(dtype)
