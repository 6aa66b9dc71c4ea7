"""Boosted trees that give the same answer for the same rows: seeded, averaged, kept as LightGBM text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from unibody.plants.failure.history import Floats

A = TypeVar("A")
B = TypeVar("B")
_BETWEEN = b"\0"  # between two boosters; LightGBM text has none


def fit(
    x: Floats,
    y: Floats,
    weight: Floats,
    *,
    yes_no: bool = False,
    seeds: int = 1,
    trees: int = 600,
    rate: float = 0.03,
    leaves: int = 15,
    share: float = 0.3,
    sharp: bool = False,
    bold: bool = False,
) -> bytes:
    """Learn `y` from `x`; `yes_no` gives log odds. `share` of the columns is tried in each tree.

    `sharp` is for rows that stand each by itself: leaves may be small and edges fine. Rows of one history are so
    much alike that small leaves would learn single machines by heart.
    `bold` takes a third of the trees, each twice as strong: small sets do not wait for what they cannot tell.
    """
    import lightgbm

    trees, rate = (trees // 3, 2 * rate) if bold else (trees, rate)
    # few rows want small leaves, or no tree could split at all
    smallest = int(np.clip(len(x) // 200, 3, 30))
    options: dict[str, Any] = {
        "objective": "binary" if yes_no else "l2",
        "learning_rate": rate,
        "num_leaves": leaves,
        "lambda_l2": 1.0 if sharp else 5.0,
        "min_data_in_leaf": min(smallest, 5) if sharp else smallest,
        "feature_fraction": share,
        "bagging_fraction": 0.9 if sharp else 0.6,
        "bagging_freq": 1,
        "max_bin": 255 if sharp else 63,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }

    def one(seed: int) -> bytes:
        data = lightgbm.Dataset(x, y, weight=weight, params={**options, "seed": seed})
        return bytes(lightgbm.train({**options, "seed": seed}, data, trees).model_to_string().encode())

    return _BETWEEN.join(together(one, range(1, seeds + 1)))


def together(do: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """Do it for each, two at a time, in order.

    Two boosters with a thread each, not one with two: on a machine that others used too, the same learning took
    119 s with two threads a booster and 6 s so (seen once each; presumably threads that wait for a busy core).
    """
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(do, items))


@lru_cache(maxsize=32)
def _boosters(text: bytes) -> tuple[Any, ...]:
    import lightgbm

    return tuple(lightgbm.Booster(model_str=part.decode()) for part in text.split(_BETWEEN))


def predict(text: bytes, x: Floats) -> Floats:
    """The mean of the averaged boosters; for `yes_no` the mean of their log odds."""
    if not len(x):
        return np.zeros(0)
    found = [b.predict(x, raw_score=True, num_threads=1) for b in _boosters(text)]
    return np.asarray(np.mean(found, axis=0), dtype=np.float64)


def gains(text: bytes) -> Floats:
    """How much each column took part: its share of the total gain."""
    total = np.mean([b.feature_importance("gain") for b in _boosters(text)], axis=0)
    return np.asarray(total / max(float(total.sum()), 1e-12), dtype=np.float64)


def contributions(text: bytes, x: Floats) -> Floats:
    """What each column added to each row's forecast (TreeSHAP; Lundberg et al., 2020), by the first booster."""
    first = _boosters(text)[0]
    return np.asarray(first.predict(x, pred_contrib=True, num_threads=1)[:, :-1], dtype=np.float64)
