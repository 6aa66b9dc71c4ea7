"""The signals of one machine as a page draws them: thinned, with what was normal at first and what has moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from unibody.errors import SetupError

if TYPE_CHECKING:
    from unibody.backbone import Backbone


def series(
    backbone: Backbone, machine: str, signals: tuple[str, ...] = (), points: int = 400, clocked: bool = True
) -> list[dict[str, Any]]:
    """The signals of one machine, thinned to about `points` each, with what was normal at first and what moved.

    Normal is the middle of the machine's own first 30 % of readings, plus and minus two standard deviations; it has
    "moved" where the median of its last tenth lies outside. `clocked`: over usage where it is counted, else time.
    SetupError where the machine has no readings.
    """
    frame = backbone.series(machine, list(signals) or None)
    if frame.is_empty():
        raise SetupError(
            f"no readings of machine {machine!r}" + (f" for {', '.join(signals)}" if signals else "")
        )
    named = {str(part["signal"][0]): part for part in frame.partition_by("signal", maintain_order=True)}
    order = [s for s in (signals or tuple(named)) if s in named]
    return [_signal(name, named[name], points, clocked) for name in order]


def _signal(name: str, rows: pl.DataFrame, points: int, clocked: bool) -> dict[str, Any]:
    by_usage = clocked and rows["usage"].null_count() == 0 and rows["usage"].n_unique() > 1
    clock = "usage" if by_usage else "read_at"
    rows = rows.sort(clock).drop_nans("value")
    early = rows["value"].head(max(5, int(rows.height * 0.3)))
    late = rows["value"].tail(max(3, rows.height // 10)).median()
    middle, spread = early.mean(), early.std() or 0.0
    low = high = None
    moved = ""
    span = float(rows["value"].max() or 0.0) - float(rows["value"].min() or 0.0)  # type: ignore[arg-type]
    if span <= 1e-9 * abs(float(rows["value"][-1])):  # not even a rounding error moved it
        moved = "still"
    elif (
        isinstance(middle, float)
        and rows.height >= 10
        and isinstance(spread, float)
        and isinstance(late, float)
    ):
        low, high = middle - 2 * spread, middle + 2 * spread
        moved = "above" if late > high else "below" if late < low else "within"
    shown = thinned(rows, points)
    x = shown[clock].to_list() if by_usage else [t.isoformat() for t in shown[clock]]
    last = rows.row(-1, named=True)
    return {
        "signal": name,
        "clock": "usage" if by_usage else "time",
        "x": x,
        "y": shown["value"].to_list(),
        "count": rows.height,
        "normal_low": low,
        "normal_high": high,
        "moved": moved,
        "last": last["value"],
        "last_at": last["read_at"].isoformat(),
        "last_usage": last["usage"],
    }


def thinned(rows: pl.DataFrame, points: int) -> pl.DataFrame:
    """At most about `points` rows that keep every spike: the lowest and highest of each stretch.

    >>> thinned(pl.DataFrame({"value": [0.0, 0, 9, 0, 0, -9, 0, 0]}), 4)["value"].to_list()
    [0.0, 9.0, 0.0, -9.0]
    """
    if rows.height <= points:
        return rows
    stretch = -(-rows.height // max(1, points // 2))
    at = pl.int_range(pl.len())
    numbered = rows.with_columns(_at=at, _stretch=at // stretch)
    ends = numbered.group_by("_stretch", maintain_order=True).agg(
        low=pl.col("_at").get(pl.col("value").arg_min()), high=pl.col("_at").get(pl.col("value").arg_max())
    )
    kept = pl.concat([ends["low"], ends["high"]]).unique().sort()
    return numbered[kept].drop("_at", "_stretch")
