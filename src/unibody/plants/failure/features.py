"""Describe a moment in a machine's life by what its signals did up to then, over several windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unibody.plants.failure.history import Floats, History, Ints

#: What is said of each signal, window by window; `names` and `describe` keep this order.
SAYINGS = ("now", "recent", "long", "level", "slope", "long slope", "scatter", "change")


def windows_of(rows: float) -> tuple[int, int, int]:
    """Short, middle and long window in rows: a 40th, a 12th and a 5th of a typical life of `rows`.

    >>> windows_of(200)
    (5, 16, 40)
    """
    return max(3, int(rows / 40)), max(5, int(rows / 12)), max(8, int(rows / 5))


def names(signals: Sequence[str]) -> tuple[str, ...]:
    """Name of each column of `describe`."""
    return (*(f"{signal}: {saying}" for saying in SAYINGS for signal in signals), "age")


def describe(z: Floats, h: History, rows: Ints, windows: tuple[int, int, int]) -> Floats:
    """Features of the moments `rows`, each from its machine's readings up to that moment and none after.

    A value that is missing takes no part in a mean; a window without any value is NaN.
    """
    short, middle, long = windows
    first = np.repeat(h.starts[:-1], np.diff(h.starts))[rows]
    sums = _Sums(z, h)
    level, mean_middle = sums.mean(first, rows), sums.mean(np.maximum(first, rows - middle + 1), rows)
    start = sums.mean(first, np.minimum(rows, first + middle - 1))
    return np.column_stack(
        [
            sums.mean(np.maximum(first, rows - short + 1), rows),
            mean_middle,
            sums.mean(np.maximum(first, rows - long + 1), rows),
            level,
            sums.slope(np.maximum(first, rows - middle + 1), rows),
            sums.slope(np.maximum(first, rows - long + 1), rows),
            sums.scatter(np.maximum(first, rows - long + 1), rows),
            mean_middle - start,
            h.clock[rows],
        ]
    )


class _Sums:
    """Running sums, so that the mean, slope and scatter of any window cost two look-ups."""

    def __init__(self, z: Floats, h: History) -> None:
        known = np.isfinite(z)
        x = np.where(known, z, 0.0)
        # time is counted from each machine's start in rows: small numbers keep the sums exact
        t = (np.arange(len(z)) - np.repeat(h.starts[:-1], np.diff(h.starts))).astype(float)[:, None] * known
        self._n, self._x, self._xx = _run(known.astype(float)), _run(x), _run(x * x)
        self._t, self._tt, self._tx = _run(t), _run(t * t), _run(t * x)

    def mean(self, low: Ints, high: Ints) -> Floats:
        n = self._n[high + 1] - self._n[low]
        total = self._x[high + 1] - self._x[low]
        return np.where(n > 0, total / np.maximum(n, 1), np.nan)

    def scatter(self, low: Ints, high: Ints) -> Floats:
        n = np.maximum(self._n[high + 1] - self._n[low], 1)
        mean = (self._x[high + 1] - self._x[low]) / n
        return np.sqrt(np.maximum((self._xx[high + 1] - self._xx[low]) / n - mean**2, 0.0))

    def slope(self, low: Ints, high: Ints) -> Floats:
        n = np.maximum(self._n[high + 1] - self._n[low], 1)
        t, x = (self._t[high + 1] - self._t[low]) / n, (self._x[high + 1] - self._x[low]) / n
        spread = (self._tt[high + 1] - self._tt[low]) / n - t**2
        joint = (self._tx[high + 1] - self._tx[low]) / n - t * x
        # a slope over two or three rows is noise: it counts as flat
        return np.where((n >= 4) & (spread > 1e-9), joint / np.maximum(spread, 1e-9), 0.0)


def _run(x: Floats) -> Floats:
    return np.vstack([np.zeros((1, x.shape[1])), np.cumsum(x, axis=0)])
