"""Tell kinds of machine whose lives differ in length, so that a life is counted in typical lives of its kind."""

from __future__ import annotations

import numpy as np

from unibody.plants.failure.history import Floats, History, Ints, carry


def find(h: History, end: Floats, known: Ints) -> tuple[tuple[str, ...], Floats]:
    """Kinds of machine whose lives differ in length, and the typical life of each: a press does not live as a pump.

    Told by the word signal that never changes within a machine and explains most of the logarithm of life, if it
    explains half of it beyond what chance would, and each of its words was seen on three machines.
    """
    found: list[tuple[float, tuple[str, ...], Floats]] = []
    life = np.log(np.maximum(end[known], 1e-9))
    for signal in sorted({w.partition("=")[0] for w in h.words if w not in h.events}):
        kinds = tuple(w for w in h.words if w.startswith(signal + "="))
        each = _kind(h, kinds)
        which = each[h.last]
        of = [np.flatnonzero(which[known] == k) for k in range(len(kinds))]
        steady = ((each == which[h.owner]) | (each == len(kinds))).all()
        if not steady or len(kinds) < 2 or min(map(len, of)) < 3:
            continue
        rest = sum(float(((life[i] - life[i].mean()) ** 2).sum()) for i in of) / (len(known) - len(kinds))
        explained = 1 - rest / max(float(life.var(ddof=1)), 1e-12)
        scales = [float(np.median(end[known[i]])) for i in of] + [float(np.median(end[known]))]
        found.append((explained, kinds, np.array(scales)))
    best = max(found, key=lambda f: f[0], default=(0.0, (), np.ones(1)))
    return (best[1], best[2]) if best[0] > 0.5 else ((), np.ones(1))


def _kind(h: History, kinds: tuple[str, ...]) -> Ints:
    """Which kind each row's machine is, as last said; the number of kinds where it is none of them."""
    said = carry(h.columns(kinds), h) > 0.5
    return (
        np.where(said.any(axis=1), said.argmax(axis=1), len(kinds)) if kinds else np.zeros(len(h.x), np.int64)
    )


def scale(h: History, kinds: tuple[str, ...], scales: Floats) -> Floats:
    """The typical life of each machine's kind."""
    return np.asarray(scales[_kind(h, kinds)[h.last]], dtype=np.float64)
