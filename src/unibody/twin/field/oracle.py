"""What cannot be told apart by anyone: other conditions that select nearly the same cars as a cause does."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from unibody.twin.field.cars import Cars, Coded
from unibody.twin.field.causes import Planted
from unibody.twin.field.chances import Bools, Floats, Ints
from unibody.twin.field.fleet import Fleet, instant

Tally = tuple[tuple[Any, ...], Ints, Ints]  # values, affected cars that have each, cars that have it


def alike(fleet: Fleet, cause: Planted) -> list[dict[str, Any]]:
    """Conditions whose cars have a Jaccard index of at least `same_as` with the affected cars, best first.

    Looked at: each value of each nominal column; of each ordered column the stretch from the 1st to the 99th
    percentile of the affected cars; and each nominal value within the cause's own window of build dates, or within
    the stretch of dates in which the affected cars were built. Conditions that hold the cause's own are left out.
    """
    least, hits = fleet.maker.numbers["causes"]["same_as"], 0
    inside: dict[str, list[Floats]] = defaultdict(list)
    ordered = [name for name in fleet.attributes() if name.partition(".")[0] in ("torque", "angle", "gauge")]
    ordered += ["built_at", "sold_at"]
    for chunk in fleet.chunks:
        cars = fleet.cars(chunk)
        hit = cause.affected(cars)
        hits += int(hit.sum())
        for name in ordered:
            inside[name].append(np.asarray(fleet.column(cars, name))[hit])
    if not hits:
        return []
    stretches = {name: np.percentile(np.concatenate(inside[name]), [1, 99]).tolist() for name in ordered}
    dates = cause.conditions.get("built_at") or [instant(bound) for bound in stretches["built_at"]]
    tallies: dict[tuple[str, bool], Tally] = {}
    for chunk in fleet.chunks:
        cars = fleet.cars(chunk)
        _count(fleet, cars, cause.affected(cars), stretches, fleet.meets(cars, {"built_at": dates}), tallies)
    found: list[tuple[float, dict[str, Any]]] = []
    for (name, dated), (values, both, count) in tallies.items():
        jaccard = both / (count + hits - both)
        for place in np.flatnonzero(jaccard >= least).tolist():
            conditions = {name: values[place], **({"built_at": dates} if dated else {})}
            own = all(conditions.get(k) == v for k, v in cause.conditions.items())
            # a window of dates is named only where the value alone is not the same cars already
            known = dated and {name: values[place]} in [c for _, c in found]
            if not own and not known:
                found.append((float(jaccard[place]), conditions))
    found.sort(key=lambda item: -item[0])
    return [{"conditions": conditions, "jaccard": round(jaccard, 3)} for jaccard, conditions in found]


def _count(
    fleet: Fleet,
    cars: Cars,
    hit: Bools,
    stretches: dict[str, list[float]],
    dated: Bools,
    tallies: dict[tuple[str, bool], Tally],
) -> None:
    """Add for each value of each column how many affected cars have it, and how many cars at all."""
    for name in fleet.attributes():
        column = fleet.column(cars, name)
        values: tuple[Any, ...]
        if name in stretches:
            numbers = np.asarray(column)
            met = (numbers >= stretches[name][0]) & (numbers <= stretches[name][1])
            values, codes = (_bounds(name, stretches[name]),), np.where(met, 0, -1)
        elif isinstance(column, Coded):
            values, codes = column.names, column.codes
        else:
            values, codes = (False, True), np.asarray(column).astype(np.int64)
        for within, rows in ((False, codes >= 0), (True, (codes >= 0) & dated)):
            if within and name in stretches:
                continue
            both = np.bincount(codes[rows & hit], minlength=len(values))
            count = np.bincount(codes[rows], minlength=len(values))
            before = tallies.get((name, within), (values, 0 * both, 0 * count))
            tallies[name, within] = (values, before[1] + both, before[2] + count)


def _bounds(name: str, stretch: list[float]) -> list[Any]:
    return [instant(bound) for bound in stretch] if name.endswith("_at") else stretch
