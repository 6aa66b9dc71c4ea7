"""Turn readings in long form (one row a value) into one matrix: a row an instant of a machine, a column a signal."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unibody.errors import SetupError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: A word signal of more different words than this is a name or a text: it says who, not how.
WORDS_MOST = 20
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
    called: tuple[str, ...]  # what people call each machine: its name and its id, or its id alone
    words: tuple[str, ...]  # the 0/1 signals among `signals` that stand for a word: `step=fine`
    events: tuple[str, ...]  # of these, the ones that hold at their instant only

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
            [self.x[:, place[s]] if s in place else lacking for s in signals] or [self.x[:, :0]]
        )


def gather(
    readings: pl.DataFrame,
    name_signal: str = "",
    *,
    words: tuple[str, ...] | None = None,
    events: tuple[str, ...] = (),
    on_usage: bool | None = None,
) -> History:
    """Make the matrix. Equal readings in any order give the equal matrix.

    A word signal `step` with the words `rough` and `fine` becomes the 0/1 signals `step=fine` and `step=rough`: a
    state that holds until the next word, or, where words are rarer than every other instant, an event at its instant.
    A model that was learned says which: `words`, `events`, `on_usage`. `name_signal` only says what people call it.
    """
    if readings.is_empty():
        raise SetupError(
            "failure: there are no machine readings; check `where` of the use case and the ingested data"
        )
    machines, machine = _codes(readings["machine"])
    every, moment = np.unique(readings["read_at"].dt.epoch("us").to_numpy(), return_inverse=True)
    instants, row = np.unique(machine * len(every) + moment, return_inverse=True)
    starts = np.searchsorted(instants // len(every), np.arange(len(machines) + 1)).astype(np.int64)
    at = every[instants % len(every)].astype(np.int64)
    usage = np.full(len(at), np.nan)
    np.fmax.at(usage, row, _floats(readings["usage"]))

    rows = readings.select("signal", word="text", number=pl.coalesce("value", "integer").cast(pl.Float64))
    rows = rows.with_columns(row=row.astype(np.int64), machine=machine)
    spoken = rows.filter(pl.col("word").is_not_null())
    called = spoken.filter(pl.col("signal") == name_signal).sort("row", "word")
    names = dict(called.group_by("machine", maintain_order=True).agg(pl.col("word").last()).iter_rows())
    spoken = spoken.filter(pl.col("signal") != name_signal)
    found = _words(spoken, len(machines)) if words is None else words
    numbers = rows.filter(pl.col("number").is_finite())
    signals = tuple(sorted({*numbers["signal"].unique(), *found}))
    x = np.full((len(at), len(signals)), np.nan)
    # the key is unique; where a caller broke it, the largest value counts, so that row order never does
    column = numbers["signal"].cast(pl.Enum(signals)).to_physical().to_numpy()
    np.fmax.at(x.reshape(-1), numbers["row"].to_numpy() * len(signals) + column, numbers["number"].to_numpy())
    for name in found:
        signal, _, word = name.partition("=")
        said = spoken.filter(pl.col("signal") == signal)
        is_it = (said["word"] == word).cast(pl.Float64).to_numpy()
        np.fmax.at(x[:, signals.index(name)], said["row"].to_numpy(), is_it)
    h = History(tuple(machines), starts, at, usage, True, signals, x,
                tuple(_called(m, names.get(i)) for i, m in enumerate(machines)), found, events)  # fmt: skip
    counted = all(np.isfinite(usage[h.rows(m)]).any() for m in range(len(machines)))
    counted = counted if on_usage is None else on_usage and counted
    events = events if words is not None else tuple(w for w in found if _rare(h, w))
    for name in events:
        x[:, signals.index(name)] = np.nan_to_num(x[:, signals.index(name)])
    return replace(h, clock=_clock(h, counted), on_usage=counted, events=events)


def _codes(words: pl.Series) -> tuple[list[str], Ints]:
    """The different words, sorted, and the place of each row's among them."""
    known = words.unique().sort().to_list()
    return known, words.cast(pl.Enum(known)).to_physical().to_numpy().astype(np.int64)


def _floats(numbers: pl.Series) -> Floats:
    return numbers.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _called(machine: str, name: str | None) -> str:
    """What people call a machine.

    >>> _called("FAGSOXCV0263717579", "SOX-CV02"), _called("pump 7", None)
    ('SOX-CV02 (part FAGSOXCV0263717579)', 'pump 7')
    """
    return f"{name} (part {machine})" if name and name != machine else machine


def _words(spoken: pl.DataFrame, machines: int) -> tuple[str, ...]:
    """The words worth a 0/1 signal. A signal with many words, or with about one for each machine, is a name."""
    each = spoken.group_by("signal", "machine").agg(pl.col("word").n_unique())
    signals = spoken.group_by("signal").agg(words=pl.col("word").n_unique())
    signals = signals.join(each.group_by("signal").agg(most=pl.col("word").max()), on="signal")
    own = (pl.col("most") == 1) & (pl.col("words") > machines / 2)
    useful = signals.filter((pl.col("words") <= WORDS_MOST) & ~own)
    kept = spoken.join(useful, on="signal", how="semi").select("signal", "word").unique()
    return tuple(sorted(f"{signal}={word}" for signal, word in kept.iter_rows()))


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
