"""Chances that belong to a car and a question, so that a fleet comes out the same in chunks of any size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_STEP = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64: Steele, Lea, Flood, OOPSLA 2014
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class Chances:
    """Random numbers by name: `rng` for what is drawn once a world, the others for what is drawn once a car.

    >>> chances = Chances(7)
    >>> whole = chances.uniform("colour", np.arange(10))
    >>> bool((chances.uniform("colour", np.arange(4, 10)) == whole[4:]).all())
    True
    """

    seed: int

    def rng(self, *names: object) -> np.random.Generator:
        """A generator of its own for a name, so that no part of the world disturbs another."""
        return np.random.default_rng(int(self._key(*names)))

    def uniform(self, name: str, index: Ints) -> Floats:
        """One number in (0, 1) for each index."""
        with np.errstate(over="ignore"):
            x = index.astype(np.uint64) * _STEP + self._key(name)
            x = (x ^ (x >> np.uint64(30))) * _FIRST
            x = (x ^ (x >> np.uint64(27))) * _SECOND
            x ^= x >> np.uint64(31)
        return ((x >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def normal(self, name: str, index: Ints) -> Floats:
        """One standard normal number for each index (Box and Muller 1958)."""
        radius = np.sqrt(-2 * np.log(self.uniform(name, index)))
        return np.asarray(radius * np.cos(2 * math.pi * self.uniform(name + "/angle", index)))

    def choose(self, name: str, index: Ints, shares: Floats, group: Ints | None = None) -> Ints:
        """A place in `shares` for each index; with `group`, in that row of `shares`."""
        edges = np.cumsum(shares, axis=-1)
        edges = edges / edges[..., -1:]
        u = self.uniform(name, index)
        if group is None:
            return np.minimum(np.searchsorted(edges, u, side="right"), len(edges) - 1)
        found = np.zeros(len(index), dtype=np.int64)
        for column in range(edges.shape[1] - 1):
            found += u >= edges[group, column]
        return found

    def _key(self, *names: object) -> np.uint64:
        text = "\0".join([str(self.seed), *map(str, names)])
        return np.uint64(int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little"))


def between(rng: np.random.Generator, limits: list[float]) -> float:
    """A number between two limits, uniform."""
    return float(rng.uniform(limits[0], limits[1]))


def several(rng: np.random.Generator, limits: list[float], shape: int | tuple[int, int]) -> Floats:
    """Numbers between two limits, uniform."""
    return np.asarray(rng.uniform(limits[0], limits[1], shape))


def between_logs(rng: np.random.Generator, limits: list[float]) -> float:
    """A number between two limits, uniform on the logarithm."""
    return float(np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1]))))
