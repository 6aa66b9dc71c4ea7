"""Make readings comparable: find the regimes a machine is run in, and what each signal is like in each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from unibody.plants.failure.history import Floats, History, Ints, carry, condense, gather

_LEVELS_MOST = 12  # a setting has few levels
_REGIMES_MOST = 24


@dataclass(frozen=True)
class Basis:
    """What every model of this solution starts from: which signals count, and their normal state by regime."""

    signals: tuple[str, ...]  # inputs of the model
    dropped: tuple[str, ...]  # constant within every regime: they say nothing
    settings: tuple[str, ...]  # how the machine is run: they make the regimes
    centres: Floats  # regimes x settings
    spans: Floats  # range of each setting
    mean: Floats  # regimes x signals
    deviation: Floats  # regimes x signals
    stretch: float  # usage that one row spans, 0: each instant by itself
    on_usage: bool  # the clock is usage; else hours since the first reading
    words: tuple[str, ...]  # see History
    events: tuple[str, ...]
    notes: str  # what a reader of the model should know

    def gather(self, readings: pl.DataFrame, name_signal: str) -> History:
        """New readings, made a matrix as those learned from were."""
        h = gather(readings, name_signal, words=self.words, events=self.events, on_usage=self.on_usage)
        return condense(h, self.stretch)

    def regime(self, h: History) -> Ints:
        """Which regime each row is in: the nearest centre."""
        if not self.settings:
            return np.zeros(len(h.x), dtype=np.int64)
        x = carry(h.columns(self.settings), h) / self.spans
        far = [np.nansum((x - c / self.spans) ** 2, axis=1) for c in self.centres]
        return np.asarray(np.argmin(np.column_stack(far), axis=1), dtype=np.int64)

    def corrected(self, h: History) -> Floats:
        """Each signal in standard deviations from its mean in the regime of the moment; limited to +-20.

        What was not read is carried forward here and not before: a raw value may come from another regime.
        """
        regime = self.regime(h)
        z = (h.columns(self.signals) - self.mean[regime]) / self.deviation[regime]
        return carry(np.clip(z, -20, 20), h)


def find(h: History, *, normalise: bool = True) -> Basis:
    """Find settings, regimes and dead signals in the training history; `normalise` off keeps raw values."""
    levels = {s: found for s in h.signals if (found := _levels(h, s)) is not None} if normalise else {}
    settings = tuple(s for s in levels if _matters(h, s, levels))
    centres, spans = np.zeros((1, 0)), np.zeros(0)
    if settings:
        x = carry(h.columns(settings), h)
        spans = np.maximum(np.nanmax(x, axis=0) - np.nanmin(x, axis=0), 1e-12)
        places = np.column_stack(
            [np.argmin(np.abs(x[:, [i]] - levels[s]), axis=1) for i, s in enumerate(settings)]
        )
        combos, which, counts = np.unique(places, axis=0, return_inverse=True, return_counts=True)
        often = np.argsort(-counts, kind="stable")[:_REGIMES_MOST]
        often = np.sort(often[counts[often] >= 0.005 * len(x)])
        centres = np.array([np.nanmedian(x[which.ravel() == i], axis=0) for i in often])
        if not 2 <= len(centres) < len(combos) + 1:
            settings, centres, spans = (), np.zeros((1, 0)), np.zeros(0)
    none = np.zeros((0, 0))
    first = Basis(h.signals, (), settings, centres, spans, none, none, 0.0, h.on_usage, h.words, h.events, "")
    regime = first.regime(h)
    mean, deviation = _by_regime(h.x, regime, len(centres))
    overall = np.maximum(np.nanstd(h.x, axis=0), 1e-12)
    alive = (np.median(deviation, axis=0) > 1e-6 * np.maximum(np.abs(mean).max(axis=0), 1e-9)) & (
        np.median(deviation, axis=0) > 1e-5 * overall
    )
    alive &= np.isfinite(h.x).sum(axis=0) >= max(3, 0.05 * len(h.machines))
    keep = [i for i, s in enumerate(h.signals) if alive[i] and s not in settings]
    signals = tuple(h.signals[i] for i in keep)
    dropped = tuple(s for i, s in enumerate(h.signals) if not alive[i] and s not in settings)
    notes = f"{len(signals)} signals, {len(centres)} regime(s)" + (
        f" by {', '.join(settings)}" if settings else ""
    )
    notes += f"; constant, so dropped: {', '.join(dropped)}" if dropped else ""
    mean, deviation = mean[:, keep], np.maximum(deviation[:, keep], 1e-9)
    if not normalise:
        mean, deviation = np.zeros_like(mean), np.ones_like(deviation)
    return replace(first, signals=signals, dropped=dropped, mean=mean, deviation=deviation, notes=notes)


def _by_regime(x: Floats, regime: Ints, regimes: int) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each signal in each regime; one seen too rarely borrows the whole."""
    whole = np.where(
        np.isfinite(x).any(axis=0), np.nanmean(np.where(np.isfinite(x).any(axis=0), x, 0), axis=0), 0
    )
    mean, deviation = (
        np.tile(whole, (regimes, 1)),
        np.tile(np.nan_to_num(np.nanstd(x - whole, axis=0)), (regimes, 1)),
    )
    for r in range(regimes):
        part = x[regime == r]
        enough = np.isfinite(part).sum(axis=0) >= 10
        if enough.any():
            mean[r, enough] = np.nanmean(part[:, enough], axis=0)
            deviation[r, enough] = np.nanstd(part[:, enough], axis=0)
    return mean, deviation


def _levels(h: History, signal: str) -> Floats | None:
    """The levels a signal is set to, where it is near-discrete and does not follow age; else None.

    Near-discrete: at least 97 % of its values lie in 2 to 12 narrow humps of its histogram. A counter or a coarse
    sensor is near-discrete too, but goes with age; a recipe that a machine keeps for life is told apart by machines.
    """
    whole = carry(h.columns((signal,)), h)[:, 0]
    x = whole[np.isfinite(whole)]
    if len(x) < 100 or len(h.machines) < 2:
        return None
    low, high = float(x.min()), float(x.max())
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        return None
    counts, edges = np.histogram(x, bins=200, range=(low, high))
    full = counts > 0.001 * len(x)
    begins = np.flatnonzero(full & ~np.concatenate([[False], full[:-1]]))
    ends = np.flatnonzero(full & ~np.concatenate([full[1:], [False]]))
    narrow = (ends - begins) <= 6
    if not 2 <= len(begins) <= _LEVELS_MOST or not narrow.all() or counts[full].sum() < 0.97 * len(x):
        return None
    levels = np.array(
        [np.median(x[(x >= edges[b]) & (x <= edges[e + 1])]) for b, e in zip(begins, ends, strict=True)]
    )
    if not _shared(h, signal, levels) or _follows_age(h, whole) > 0.3:
        return None
    # a sensor that answers to the regime is near-discrete too; its rest within a level goes with age, a setting's not
    return None if _follows_age(h, whole - levels[_nearest(whole, levels)]) > 0.1 else levels


def _nearest(x: Floats, levels: Floats) -> Ints:
    """The place of the level nearest to each value."""
    return np.asarray(np.argmin(np.abs(np.nan_to_num(x)[:, None] - levels), axis=1), dtype=np.int64)


def _follows_age(h: History, x: Floats) -> float:
    """Size of the mean rank correlation with age, over the machines that show more than one value."""
    from scipy.stats import rankdata

    found = []
    for m in range(len(h.machines)):
        part = x[h.rows(m)]
        part = part[np.isfinite(part)]
        if len(part) > 5 and np.ptp(part) > 1e-9 * max(float(np.abs(part).max()), 1e-9):
            found.append(float(np.corrcoef(rankdata(part), np.arange(len(part)))[0, 1]))
    return abs(float(np.mean(found))) if found else 0.0


def _shared(h: History, signal: str, levels: Floats) -> bool:
    """Whether every level was seen by at least three machines and a fifth of them, so that it is no machine's own."""
    x = h.columns((signal,))[:, 0]
    known = np.isfinite(x)
    place = _nearest(x, levels)
    seen = np.zeros((len(h.machines), len(levels)), dtype=bool)
    seen[h.owner[known], place[known]] = True
    return bool(seen.sum(axis=0).min() >= max(min(3, len(h.machines)), 0.2 * len(h.machines)))


def _matters(h: History, signal: str, levels: dict[str, Floats]) -> bool:
    """Whether the levels explain a fifth of the variance of some signal that is not itself a setting."""
    top = np.nanmax(np.abs(np.nan_to_num(h.x)), axis=0)
    others = [i for i, s in enumerate(h.signals) if s not in levels and np.nanstd(h.x[:, i]) > 1e-6 * top[i]]
    if not others:
        return False
    x, y = carry(h.columns((signal,)), h)[:, 0], h.x[:, others]
    place = _nearest(x, levels[signal])
    y = np.nan_to_num((y - np.nanmean(y, axis=0)) / np.nanstd(y, axis=0))
    between = sum((place == i).mean() * y[place == i].mean(axis=0) ** 2 for i in range(len(levels[signal])))
    return bool(np.max(between) > 0.2)
