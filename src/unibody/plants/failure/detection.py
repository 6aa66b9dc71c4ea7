"""Is this reading unusual: how far each signal leaves its usual level, pace and scatter, over several windows.

Learned without labels from a span taken as mostly normal. Each signal is seen against its regime, its time of day
where that matters, a slow baseline of the machine itself, and (from two signals on) what the other signals say. The
limit is the level that normal readings pass with the chosen probability, found from the tails of blocks of the
training span that were left out in turn (peaks over threshold, as in Siffer et al., KDD 2017): a new week differs from
the weeks learned from more than one reading from the next. The score is 0.5 at the limit, on every machine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from unibody.errors import SetupError
from unibody.plants.failure import answers, history, regimes
from unibody.plants.failure.history import Floats, History, Ints

if TYPE_CHECKING:
    from unibody.plants.failure import Settings
    from unibody.solution import UseCase

_BLOCKS = 5
_ROWS_MACHINE_MOST = 50_000  # of a longer training span the newest instants
_HOUR_US, _DAY_US = 3_600_000_000, 86_400_000_000
_WAYS = ("level", "change", "scatter")


@dataclass(frozen=True)
class DetectionModel(regimes.Basis):
    """What normal readings look like."""

    machines: tuple[str, ...]
    centre: Floats  # machines + 1 x signals: usual level; the last row is for a machine not seen in training
    profile: Floats  # 24 x signals: usual departure at each hour of the day (UTC), 0 where it does not matter
    others: Floats  # signals x signals: each signal from the others, no signal from itself
    windows: Ints  # in rows
    memory: float  # rows over which the slow baseline forgets
    usual: Floats  # median of each statistic
    scale: Floats  # robust deviation of each statistic
    limit: float  # of the largest statistic


def learn(
    readings: pl.DataFrame, truth: pl.DataFrame, case: UseCase, settings: Settings, base: Any
) -> DetectionModel:
    """Learn from a span that is mostly normal; what lies in a labelled window (or has a label 1) is left out."""
    h = _newest(history.gather(readings, settings.name_signal))
    basis = regimes.find(h)
    if not basis.signals or len(h.x) < 20:
        raise SetupError(
            f"use case {case.name}: {len(h.x)} instants with {len(basis.signals)} signals that vary; "
            "learning what is normal takes 20 instants of a signal"
        )
    good = ~_labelled(h, truth)
    rows = float(np.median(np.diff(h.starts)))
    windows = np.array([w for w in (1, 6, 36, 216) if w <= max(rows / 20, 1)], dtype=np.int64)
    z, memory = basis.corrected(h), max(200.0, rows / 4)
    model = _fit(basis, h, z, good, windows, memory)
    # what each block looks like to a model that never saw it
    block = (np.arange(len(h.x)) - h.starts[h.owner]) * _BLOCKS // np.diff(h.starts)[h.owner]
    tails = []
    for k in range(_BLOCKS):
        part = good & (block == k)
        if part.any() and (good & ~part).any():
            blind = _fit(basis, h, z, good & ~part, windows, memory)
            tails.append(_far(blind, h, z)[0].max(axis=1)[part])
    # the most restless block stands for what else may come; the blocks together may know the tail better still
    limit = max(_limit(t, settings.false_alarm_rate) for t in [*tails, np.concatenate(tails)])
    notes = f"{basis.notes}; {int(good.sum())} instants; windows of {', '.join(map(str, windows))} rows; limit {limit:.3g}"
    if base is not None:
        notes += "; base not used: what is normal is each machine's own"
    return replace(model, limit=limit, notes=notes)


def _fit(
    basis: regimes.Basis, h: History, z: Floats, good: Any, windows: Ints, memory: float
) -> DetectionModel:
    """What the instants `good` say is normal; the limit is still to be found."""
    centre = np.vstack([_median(z[h.rows(m)][good[h.rows(m)]]) for m in range(len(h.machines))])
    centre = np.vstack([centre, _median(z[good])])
    centre = np.where(np.isfinite(centre), centre, np.nan_to_num(centre[-1]))
    left = z - centre[h.owner]
    profile = _profile(h, left, good)
    plain = DetectionModel(
        **{f.name: getattr(basis, f.name) for f in fields(regimes.Basis)},
        machines=h.machines,
        centre=centre,
        profile=profile,
        others=_others((left - profile[_hour(h)])[good]),
        windows=windows,
        memory=memory,
        usual=np.zeros(0),
        scale=np.ones(0),
        limit=1.0,
    )
    stats = _statistics(plain, h, z)[good]
    usual = _median(stats)
    low, high = np.nanquantile(stats, [0.01, 0.99], axis=0)
    # the larger of two robust measures: heavy tails that are normal for this signal are no alarm
    mad = 1.4826 * _median(np.abs(stats - usual))
    return replace(plain, usual=usual, scale=np.maximum(np.maximum(mad, (high - low) / 4.65), 1e-6))


def _far(model: DetectionModel, h: History, z: Floats) -> tuple[Floats, Floats]:
    """How far each statistic is from usual, in its own deviations, and on which side."""
    off = _statistics(model, h, z) - model.usual
    return np.abs(off) / model.scale, off


def decide(model: DetectionModel, readings: pl.DataFrame, case: UseCase, settings: Settings) -> pl.DataFrame:
    """Say of every reading instant how unusual it is: score 0.5 and more is flagged."""
    h = model.gather(readings, settings.name_signal)
    far, off = _far(model, h, model.corrected(h))
    here, which = np.arange(len(h.x)), far.argmax(axis=1)
    peak, up = far[here, which], off[here, which] > 0
    kinds, count = _kinds(model), len(model.signals)
    named = (*model.signals, *(f"{s} against the other signals" for s in model.signals))
    named = named[: len(_derived(model))]
    said = [_said(s, way, w, high) for high in (False, True) for way, w in kinds for s in named]
    window = np.array([w for _, w in kinds])[which // len(named)]
    since = h.at[np.maximum(h.starts[h.owner], here - window + 1)]
    frame = pl.DataFrame(
        {
            "subject": pl.Series(h.machines).gather(h.owner),
            "called": pl.Series(h.called).gather(h.owner),
            "machine": pl.Series([json.dumps(m) for m in h.machines]).gather(h.owner),
            "signal": pl.Series([json.dumps(s) for s in model.signals]).gather(which % len(named) % count),
            "said": pl.Series(said).gather(which + up * len(kinds) * len(named)),
            "decided_at": h.at, "since": since, "score": peak / (peak + model.limit), "times": peak / model.limit,
        }
    )  # fmt: skip
    flagged, iso = pl.col("times") >= 1, "iso:strict"
    frame = frame.with_columns(pl.from_epoch("decided_at", "us").dt.replace_time_zone("UTC"),
                               pl.from_epoch("since", "us").dt.replace_time_zone("UTC"))  # fmt: skip
    frame = frame.with_columns(
        window=pl.col("decided_at").dt.to_string(iso),
        action=pl.when(flagged).then(pl.lit("look at it")).otherwise(pl.lit("keep running")),
        label=pl.when(flagged).then(pl.lit("unusual")).otherwise(pl.lit("usual")),
        reason=pl.when(flagged)
        .then(pl.format("{}: unusual: {}, {} times the limit", "called", "said", pl.col("times").round(1)))
        .otherwise(pl.format("{}: as usual; nearest to the limit: {}", "called", "said"))
        .str.head(answers.LINE - 1),
        evidence=pl.concat_str(
            pl.lit('[{"table": "machine_reading", "machine": '), "machine", pl.lit(', "signals": ['), "signal",
            pl.lit('], "from": "'), pl.col("since").dt.to_string(iso), pl.lit('", "until": "'),
            pl.col("decided_at").dt.to_string(iso), pl.lit('"}]'),
        ),
    )  # fmt: skip
    # how probable it is that a flagged reading is no normal one is not known, nor then what a look is worth
    return frame.select(
        pl.col(c) if c in frame.columns else pl.lit(None).alias(c) for c in answers.SCHEMA
    ).cast(
        answers.SCHEMA  # type: ignore[arg-type]
    )


def _said(signal: str, way: str, window: int, up: bool) -> str:
    over = f" over {window} readings" if window > 1 else ""
    words = {
        "level": ("high", "low"),
        "change": ("rising fast", "falling fast"),
        "scatter": ("restless", "too still"),
    }
    return f"{signal} {words[way][0 if up else 1]}{over}"


def _newest(h: History) -> History:
    keep = np.concatenate(
        [
            np.arange(max(h.starts[m], h.starts[m + 1] - _ROWS_MACHINE_MOST), h.starts[m + 1])
            for m in range(len(h.machines))
        ]
    )
    counts = np.bincount(h.owner[keep], minlength=len(h.machines))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return replace(h, starts=starts, at=h.at[keep], clock=h.clock[keep], x=h.x[keep])


def _labelled(h: History, truth: pl.DataFrame) -> Any:
    """Instants that the training truth says were not normal."""
    bad = np.zeros(len(h.x), dtype=bool)
    place = {machine: m for m, machine in enumerate(h.machines)}
    columns = truth.select("subject", "value", pl.col("happened_at", "ended_at").dt.epoch("us"))
    for subject, value, begin, end in columns.iter_rows():
        if subject in place and begin is not None and (value is None or value > 0):
            rows = h.rows(place[subject])
            bad[rows] |= (h.at[rows] >= begin) & (h.at[rows] <= (begin if end is None else end))
    return bad


def _median(x: Floats) -> Floats:
    some = np.isfinite(x).any(axis=0) if len(x) else np.zeros(x.shape[1], dtype=bool)
    found = np.full(x.shape[1], np.nan)
    found[some] = np.nanmedian(x[:, some], axis=0)
    return found


def _hour(h: History) -> Ints:
    return (h.at % _DAY_US // _HOUR_US).astype(np.int64)


def _profile(h: History, z: Floats, good: Any) -> Floats:
    """Usual departure by hour of the day, where five days were seen and it makes the signal a tenth calmer."""
    none = np.zeros((24, z.shape[1]))
    days = len(np.unique(h.at[good] // _DAY_US))
    hour = _hour(h)
    if days < 5 or len(np.unique(hour[good])) < 12:
        return none
    found = none.copy()
    for k in range(24):
        part = z[good & (hour == k)]
        if len(part) >= 10:
            found[k] = np.nan_to_num(_median(part))
    calmer = _median(np.abs(z[good] - found[hour[good]])) < 0.9 * _median(np.abs(z[good]))
    return found * calmer


def _others(z: Floats) -> Floats:
    """Ridge regression of each signal on all others, from their covariance; empty for one signal or very many."""
    count = z.shape[1]
    if not 2 <= count <= 200 or len(z) < 5 * count:
        return np.zeros((0, 0))
    a = np.clip(np.nan_to_num(z), -5, 5)
    # the inverse of the covariance holds every such regression at once (Lauritzen, Graphical Models, 1996)
    inverse = np.linalg.inv(np.cov(a.T) + 0.1 * np.eye(count))
    found = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(found, 0.0)
    return np.asarray(found, dtype=np.float64)


def _derived(model: DetectionModel) -> range:
    return range(len(model.signals) * (2 if model.others.size else 1))


def _kinds(model: DetectionModel) -> list[tuple[str, int]]:
    """Which way and window each group of statistics is about, in the order of `_statistics`."""
    return [(way, int(w)) for w in model.windows for way in _WAYS if way != "scatter" or w >= 6]


def _statistics(model: DetectionModel, h: History, z: Floats) -> Floats:
    """Level, change and scatter of each signal over each trailing window: instants x statistics."""
    known = {machine: m for m, machine in enumerate(model.machines)}
    seen = np.array([known.get(machine, len(model.machines)) for machine in h.machines])
    z = z - model.centre[seen][h.owner] - model.profile[_hour(h)]
    z = np.nan_to_num(z)
    if model.others.size:
        z = np.hstack([z, z - z @ model.others])
    made = [_of_machine(model, z[h.rows(m)]) for m in range(len(h.machines))]
    return np.vstack(made)


def _of_machine(model: DetectionModel, z: Floats) -> Floats:
    calm = z - _baseline(z, model.memory)
    sums = np.vstack([np.zeros((1, z.shape[1])), np.cumsum(calm, axis=0)])
    squares = np.vstack([np.zeros((1, z.shape[1])), np.cumsum(calm**2, axis=0)])
    here = np.arange(1, len(z) + 1)
    made = []
    for way, w in _kinds(model):
        begin = np.maximum(here - w, 0)
        n = (here - begin)[:, None]
        mean = (sums[here] - sums[begin]) / n
        if way == "level":
            # a window not yet full counts as if the rest of it were usual
            made.append(mean * n / w)
        elif way == "change":
            before = np.maximum(begin - w, 0)
            past = (sums[begin] - sums[before]) / np.maximum(begin - before, 1)[:, None]
            made.append(np.where((begin - before == w)[:, None], mean - past, 0.0))
        else:
            variance = np.maximum((squares[here] - squares[begin]) / n - mean**2, 0.0)
            made.append(np.where(n == w, np.log(np.sqrt(variance) + 0.02), np.nan))
    stats = np.hstack(made)
    usual = model.usual if len(model.usual) else _median(stats)
    return np.where(np.isfinite(stats), stats, np.nan_to_num(usual))


def _baseline(z: Floats, memory: float) -> Floats:
    """Where the machine has been of late: an average that forgets, moved little by any one reading.

    It starts at the usual level and is the value before each reading, so that a reading is never its own measure.
    """
    slow, found = np.zeros(z.shape[1]), np.empty_like(z)
    for i in range(len(z)):
        found[i] = slow
        slow = slow + np.clip(z[i] - slow, -3, 3) / memory
    return found


def _limit(peak: Floats, rate: float) -> float:
    """The level passed with probability `rate`: the tail above the 98 % level is taken as exponential.

    The largest tenth of the excesses is set aside, so that an anomaly hidden in the training span does not set it.
    """
    start = float(np.quantile(peak, 0.98))
    excess = np.sort(peak[peak > start] - start)
    kept = excess[: max(1, int(0.9 * len(excess)))] if len(excess) else np.array([0.0])
    # of an exponential, the mean below its 90 % point is 0.744 of the whole mean
    mean = float(kept.mean()) / (0.744 if len(excess) >= 10 else 1.0)
    return max(start + mean * float(np.log(max(0.02 / rate, 1.0))), 1e-6)
