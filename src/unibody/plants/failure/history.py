"""Turn readings in long form (one row a value) into one matrix: a row an instant of a machine, a column a signal."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unibody.errors import SetupError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: A word signal becomes one 0/1 signal for each of its most frequent words, at most this many.
WORDS_MOST = 12
_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class History:
    """What all machines said, sorted by machine and time; a value not read at an instant is NaN."""

    machines: tuple[str, ...]
    starts: Ints  # machine i has the rows starts[i] .. starts[i + 1] - 1
    at: Ints  # microseconds since 1970, UTC
    clock: Floats  # usage; hours since the machine's first reading where usage is not counted
    on_usage: bool
    signals: tuple[str, ...]
    x: Floats  # instants x signals

    @property
    def owner(self) -> Ints:
        """Which machine each row belongs to."""
        return np.repeat(np.arange(len(self.machines)), np.diff(self.starts))

    @property
    def last(self) -> Ints:
        """Each machine's last row."""
        return self.starts[1:] - 1

    def rows(self, machine: int) -> slice:
        """The rows of one machine."""
        return slice(int(self.starts[machine]), int(self.starts[machine + 1]))

    def columns(self, signals: tuple[str, ...]) -> Floats:
        """These signals, in this order; one that was never read here is NaN."""
        place = {s: i for i, s in enumerate(self.signals)}
        lacking = np.full(len(self.x), np.nan)
        return np.column_stack(
            [self.x[:, place[s]] if s in place else lacking for s in signals] or [lacking[:, :0]]
        )


def gather(readings: pl.DataFrame, *, on_usage: bool | None = None) -> History:
    """Make the matrix. Equal readings in any order give the equal matrix.

    A word signal `step` with the words `rough` and `fine` becomes the 0/1 signals `step=fine` and `step=rough`: a
    state that holds until the next word, or, where words are rarer than every other instant, an event at its instant.
    """
    long = readings.select(
        "machine",
        "read_at",
        "signal",
        "usage",
        number=pl.coalesce("value", "integer").cast(pl.Float64),
        word="text",
    )
    long = long.with_columns(pl.when(pl.col("number").is_finite()).then("number").alias("number"))
    instants = long.group_by("machine", "read_at").agg(pl.col("usage").max()).sort("machine", "read_at")
    if instants.is_empty():
        raise SetupError(
            "failure: there are no machine readings; check `where` of the use case and the ingested data"
        )
    # the key is unique; where a caller broke it, the largest value counts, so that row order never does
    values = (
        pl.concat([long.filter(pl.col("number").is_not_null()).select("machine", "read_at", "signal", "number"),
                   _words(long)])
        .group_by("machine", "read_at", "signal").agg(pl.col("number").max())
    )  # fmt: skip
    signals = tuple(values["signal"].unique().sort())
    values = values.join(
        instants.select("machine", "read_at").with_row_index("row"), on=["machine", "read_at"]
    )
    values = values.join(pl.DataFrame({"signal": signals}, schema={"signal": pl.String}).with_row_index("column"),
                         on="signal")  # fmt: skip
    x = np.full((len(instants), len(signals)), np.nan)
    x[values["row"].to_numpy(), values["column"].to_numpy()] = values["number"].to_numpy()

    counts = instants.group_by("machine", maintain_order=True).len()
    starts = np.concatenate([[0], np.cumsum(counts["len"].to_numpy())]).astype(np.int64)
    at = instants["read_at"].dt.epoch("us").to_numpy().astype(np.int64)
    usage = instants["usage"].cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()
    found = History(tuple(counts["machine"]), starts, at, usage, True, signals, x)
    counted = all(np.isfinite(usage[found.rows(m)]).any() for m in range(len(found.machines)))
    found = replace(found, clock=_clock(found, counted if on_usage is None else on_usage and counted),
                    on_usage=counted if on_usage is None else on_usage and counted)  # fmt: skip
    for i, signal in enumerate(signals):
        if "=" in signal and _rare(found, signal):
            x[:, i] = np.nan_to_num(x[:, i])
    return found


def _words(long: pl.DataFrame) -> pl.DataFrame:
    """Word readings as 0/1 signals `signal=word`, one row for each frequent word at each instant it is read."""
    words = long.filter(pl.col("word").is_not_null()).select("machine", "read_at", "signal", "word")
    if words.is_empty():
        return long.head(0).select("machine", "read_at", "signal", "number")
    frequent = (
        words.group_by("signal", "word").len().sort("signal", "len", "word", descending=[False, True, False])
        .group_by("signal", maintain_order=True).head(WORDS_MOST).select("signal", common="word")
    )  # fmt: skip
    return words.join(frequent, on="signal").select(
        "machine",
        "read_at",
        signal=pl.col("signal") + "=" + pl.col("common"),
        number=(pl.col("word") == pl.col("common")).cast(pl.Float64),
    )


def _rare(h: History, signal: str) -> bool:
    return bool(np.isfinite(h.x[:, h.signals.index(signal)]).mean() < 0.5 and len(h.x) > 2 * len(h.machines))


def _clock(h: History, on_usage: bool) -> Floats:
    clock = (h.at - np.repeat(h.at[h.starts[:-1]], np.diff(h.starts))) / _HOUR_US
    if on_usage:
        for m in range(len(h.machines)):
            rows = h.rows(m)
            usage, hours = h.clock[rows], clock[rows]
            known = np.isfinite(usage)
            clock[rows] = np.interp(hours, hours[known], usage[known])
    return clock


def carry(x: Floats, h: History) -> Floats:
    """Each value that was not read is the machine's one before it; NaN until its first."""
    first = np.repeat(h.starts[:-1], np.diff(h.starts))[:, None]
    before = np.maximum.accumulate(np.where(np.isfinite(x), np.arange(len(x))[:, None], -1), axis=0)
    return np.where(before >= first, np.take_along_axis(x, np.maximum(before, 0), axis=0), np.nan)


def stretch_of(h: History, most: int) -> float:
    """How much usage one row should span, 0 for each instant by itself.

    Rows are drawn together where half of the machines have more than `most` instants, or where usage stands still
    over five and more instants (many readings a cycle, as in the charging curve of a battery).
    """
    count = float(np.median(np.diff(h.starts)))
    span = float(np.median(h.clock[h.last] - h.clock[h.starts[:-1]]))
    step = np.diff(h.clock)[np.diff(h.owner) == 0]
    standing = len(step) > 0 and float((step <= 0).mean()) > 0.8
    moving = float(np.median(step[step > 0])) if standing and (step > 0).any() else 0.0
    return max(moving, span / most if count / (1 if not standing else count) > most or count > most else 0.0)


def condense(h: History, stretch: float) -> History:
    """One row for each `stretch` of usage: each signal's mean, and as `signal.spread` its standard deviation."""
    if stretch <= 0:
        return h
    bins = np.floor((h.clock + 1e-9 * stretch) / stretch).astype(np.int64)
    new = np.concatenate([[True], (np.diff(h.owner) != 0) | (np.diff(bins) != 0)])
    first = np.flatnonzero(new)
    known = np.isfinite(h.x)
    counts = np.maximum(np.add.reduceat(known.astype(float), first, axis=0), 1e-9)
    total = np.add.reduceat(np.where(known, h.x, 0.0), first, axis=0)
    mean = np.where(counts >= 1, total / counts, np.nan)
    rest = np.where(known, h.x - np.repeat(mean, np.diff(np.append(first, len(h.x))), axis=0), 0.0)
    spread = np.where(counts >= 1, np.sqrt(np.add.reduceat(rest**2, first, axis=0) / counts), np.nan)
    last = np.append(first[1:], len(h.x)) - 1
    starts = np.searchsorted(first, h.starts).astype(np.int64)
    signals = (*h.signals, *(s + ".spread" for s in h.signals))
    return replace(
        h, starts=starts, at=h.at[last], clock=h.clock[last], signals=signals, x=np.hstack([mean, spread])
    )
