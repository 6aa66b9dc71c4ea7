"""Notice that something new fails: symptoms that meet some cars more often than others of their age, market and time.

Each car is compared with what its age, brand, market, season, engine and options let expect (stream.py), so that a
season, a wave in the media, a market or a month that reports more, and reports that come late, do not call by
themselves. What is left is which cars: those built in some weeks, or with some lot, supplier, station, software (the
tree: symptom > platform > brand > weeks of building; symptom > part > supplier > lot). A defect that all cars have alike
from the first day on cannot be seen this way: it is their level.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unibody.loop.delay import delay
from unibody.loop.evidence import Evidence
from unibody.loop.fleet import Fleet, Member, instant, prepare
from unibody.loop.frames import Frames
from unibody.loop.stream import Stream, first_of, seen_at
from unibody.methods import surveillance

MONTH_DAYS = 28.0
ONE_DEALER = 2 / 3  # of the events: then it is a dealer, not yet a defect
MEMBERS_MAX = 50  # lots and suppliers said something of; one bad lot shows in the lots that came with it
SAME_CARS = 0.5  # two findings with so many failed cars in common are one


@dataclass(frozen=True)
class Watch:
    """How to look: at most how many false calls a year over the whole fleet, and how often one looks.

    That looks within `alike_days` are paid for once is an approximation: it has been measured, not proved (docs/log.md).
    """

    false_calls_a_year: float = 1.0
    look_days: float = 7.0
    alike_days: float = 28.0  # looks within so many days see nearly the same events, and are paid for once
    draws: int = 99
    seed: int = 0

    def paid_days(self) -> float:
        """Days of the yearly budget that one look may spend."""
        return max(self.look_days, self.alike_days)


@dataclass(frozen=True)
class Signal:
    """A symptom that some cars have more often than chance explains."""

    symptom: str
    component: str
    brand: str | None  # None: several
    platform: str | None
    node: tuple[str, ...]  # where in the tree
    conditions: dict[str, Any]  # which cars, as a cause is written
    observed: int
    expected: float  # of such cars at their age, in their markets and weeks
    ratio: float  # their rate against the others'
    low: float  # its 95 % interval
    high: float
    p: float  # chance that a look finds something as strong where nothing is behind it
    sure: float  # 1 - p
    false_calls_a_year: float  # as many findings as strong would chance make
    since: datetime
    per_month: float  # cars that failed in the last four weeks, those not yet reported included
    growth: float  # the last eight weeks against the eight before
    cars: int  # in service, within the node
    failed: tuple[str, ...]  # VINs
    workshop: int  # failed cars of which a workshop or the car itself says so
    dealers: int
    as_of: datetime
    held: str = ""  # why it is not called yet
    exposure: str = "vehicles in service, by age, market, season and equipment"


def notice(
    frames: Frames, as_of: datetime, watch: Watch | None = None, field: Evidence | None = None
) -> tuple[Signal, ...]:
    """What stands out at `as_of`, surest first; see `prepare` for the frames and `Signal` for what is said of each."""
    return look(prepare(frames, as_of, field), as_of, watch or Watch())


def look(fleet: Fleet, as_of: datetime, watch: Watch) -> tuple[Signal, ...]:
    """One look at a prepared fleet with what was known at `as_of`, which must not lie after `prepare`'s."""
    events = first_of(fleet, as_of)
    if events.height < surveillance.CASES_MIN:
        return ()
    late = delay(events, as_of)
    seen, start = seen_at(fleet, events, as_of, late)
    alpha = surveillance.spent(watch.false_calls_a_year, watch.paid_days())
    found: list[Signal] = []
    counts, expected, names, of_symptom = [], [], [], {}
    for (symptom,), mine in sorted(events.partition_by("symptom", as_dict=True).items()):
        if mine.height < surveillance.CASES_MIN:
            continue
        one = Stream(fleet, seen, str(symptom), mine, start, late)
        of_symptom[str(symptom)] = one
        names.append(str(symptom))
        counts.append(one.by_build())
        expected.append(one.expected_by_build())
    if not names:
        return ()
    streams = len(fleet.streams)
    groups, nodes = _groups(names, fleet, np.concatenate(counts).sum(axis=1))
    for w in surveillance.scan(
        np.concatenate(counts), np.concatenate(expected), groups, alpha=alpha / 2, draws=watch.draws, seed=watch.seed
    ):  # fmt: skip
        symptom, brand, platform = nodes[w.group]
        begin = seen.built_end - (seen.built_bins - w.first) * seen.built_days
        end = (
            None
            if w.last == seen.built_bins - 1
            else instant(begin + (w.last - w.first + 1) * seen.built_days)
        )
        inside = np.zeros(len(fleet.vins), dtype=bool)
        inside[seen.rows] = np.isin(seen.stream, [s % streams for s in groups[w.group]])
        inside[seen.rows] &= (seen.built >= w.first) & (seen.built <= w.last)
        window = {"built_at": [instant(begin).isoformat(), None if end is None else end.isoformat()]}
        place = tuple(v for v in (symptom, platform, brand, f"built {instant(begin):%Y-%m-%d}") if v)
        found += _signal(of_symptom[symptom], place, window, brand, platform, inside, 2 * w.p, watch, as_of)
    found += _members(fleet, of_symptom, alpha, watch, as_of)
    return _distinct(found)


def _signal(
    one: Stream,
    node: tuple[str, ...],
    conditions: dict[str, Any],
    brand: str | None,
    platform: str | None,
    inside: NDArray[np.bool_],
    p: float,
    watch: Watch,
    as_of: datetime,
) -> list[Signal]:
    """Say what is to be said of the cars `inside` (one truth value a car)."""
    seen, fleet = one.seen, one.fleet
    mine = inside[one.failed]
    events, observed = one.events.filter(pl.Series(mine)), int(mine.sum())
    expected, whole = float(one.expected[inside].sum()), len(one.failed)
    low, ratio, high = surveillance.ratio(observed, expected, whole)
    streams = {fleet.streams[s] for s in fleet.stream[one.failed[mine]]}
    brands, platforms = {b for b, _ in streams}, {p for _, p in streams}
    dealers = events["dealer"].drop_nulls()
    largest = int(dealers.value_counts()["count"].max()) if len(dealers) else 0  # type: ignore[arg-type]
    workshop = int(events["workshop"].sum())
    held = ""
    if not workshop:
        held = "complaints alone: no workshop and no car says so"
    elif largest >= surveillance.CASES_MIN and largest > ONE_DEALER * observed:
        held = "one dealer alone"
    month = one.lately(mine, 0, MONTH_DAYS)
    now, before = (
        one.lately(mine, 0, 2 * MONTH_DAYS),
        one.lately(mine, 2 * MONTH_DAYS, 4 * MONTH_DAYS),
    )
    return [Signal(
        one.symptom, fleet.components.get(one.symptom, one.symptom),
        brand or (brands.pop() if len(brands) == 1 else None),
        platform or (platforms.pop() if len(platforms) == 1 else None),
        node, conditions, observed, expected, ratio, low, high,
        min(p, 1.0), max(0.0, 1 - p), p * 365.25 / watch.paid_days(), one.since(mine, inside), month,
        (now + 0.5) / (before + 0.5), int(inside[seen.rows].sum()), tuple(sorted(events["vin"])), workshop,
        int(dealers.n_unique()), as_of, held,
    )]  # fmt: skip


def _groups(
    names: list[str], fleet: Fleet, totals: NDArray[np.int64]
) -> tuple[list[tuple[int, ...]], list[tuple[str, str | None, str | None]]]:
    """The nodes of the tree above the cells: a symptom over all, of a platform, of a brand's cars on a platform."""
    groups, nodes = [], []
    for place, symptom in enumerate(names):
        base = place * len(fleet.streams)
        kept: set[tuple[int, ...]] = set()
        platforms = sorted({p for _, p in fleet.streams})
        brands = sorted({b for b, _ in fleet.streams})
        wanted: list[tuple[str | None, str | None]] = [(b, p) for b, p in fleet.streams]
        wanted += [(None, p) for p in platforms] + [(b, None) for b in brands] + [(None, None)]
        for brand, platform in wanted:
            streams = tuple(
                base + s
                for s, (b, p) in enumerate(fleet.streams)
                if brand in (None, b) and platform in (None, p) and totals[base + s]
            )
            if streams and streams not in kept:
                kept.add(streams)
                groups.append(streams)
                nodes.append((symptom, brand, platform))
    return groups, nodes


def _members(
    fleet: Fleet, streams: dict[str, Stream], alpha: float, watch: Watch, as_of: datetime
) -> list[Signal]:
    """Lots, suppliers, tools, software ... with too many failed cars.

    Half of what may be called by chance goes to what belongs to the component itself that a symptom is of, where most
    causes lie and little has to be looked at; the other half to everything.
    """
    names = list(streams)
    own = [(name, [m for m in fleet.members if _is_of(m, fleet.components.get(name))]) for name in names]
    own = [(name, members) for name, members in own if members]
    searches = [([name], members, 4.0 * len(own)) for name, members in own]
    found: list[Signal] = []
    for asked, members, paid in [*searches, (names, list(fleet.members), 4.0)]:
        best = surveillance.belonging(
            [m.codes for m in members],
            [len(m.labels) for m in members],
            [(streams[name].failed, streams[name].expected) for name in asked],
            alpha=alpha / paid,
            draws=watch.draws,
            seed=watch.seed,
        )
        for one in best[:MEMBERS_MAX]:
            member, symptom = members[one.attribute], asked[one.stream]
            conditions = member.labels[one.label]
            if conditions is not None:
                words = " and ".join(f"{name} {said(value)}" for name, value in conditions.items())
                node = (symptom, *member.tree, words)
                inside = member.codes == one.label
                p = min(1.0, paid * one.p)
                found += _signal(streams[symptom], node, conditions, None, None, inside, p, watch, as_of)
    return found


def _is_of(member: Member, component: str | None) -> bool:
    """Does what a car belongs to by this lie in the component: its lots, makers, stations, torque, gauges?"""
    named = next((name for label in member.labels if label for name in label), "")
    return component is not None and component in (*member.tree, *named.split("."))


def said(value: Any) -> str:
    """A condition's value in words.

    >>> said("L7"), said([None, 38.2]), said([4, None])
    ('L7', 'up to 38.2', 'from 4')
    """
    if not isinstance(value, list):
        return str(value)
    low, high = value
    if low is None or high is None:
        return f"up to {high}" if low is None else f"from {low}"
    return f"{low} to {high}"


def _distinct(found: list[Signal]) -> tuple[Signal, ...]:
    """The surest of those that are about the same failed cars, surest first."""
    kept: list[Signal] = []
    for signal in sorted(found, key=lambda s: (s.p, -s.observed / max(s.expected, 1e-9))):
        mine = set(signal.failed)
        others = [set(k.failed) for k in kept if k.symptom == signal.symptom]
        if all(len(mine & o) <= SAME_CARS * min(len(mine), len(o)) for o in others):
            kept.append(signal)
    return tuple(kept)
