"""Replay the weeks gone by: on which day would each finding have been noticed, with what was known then.

The fleet is prepared once; each look sees only reports known by its day, and cars built and sold by then. What the codes
stand for is taken as known at the end: it names the symptoms, and says nothing of causes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from unibody.loop.evidence import Evidence
from unibody.loop.fleet import Fleet, prepare
from unibody.loop.frames import Frames
from unibody.loop.notice import SAME_CARS, Signal, Watch, look


@dataclass(frozen=True)
class Noticed:
    """One finding, called the first time: when, and what was seen then."""

    at: datetime
    signal: Signal


def looks(fleet: Fleet, last: datetime, watch: Watch) -> Iterator[datetime]:
    """The days one looks, up to and with the last; the first is when the first report came."""
    known = fleet.reports["known_at"].min()
    if isinstance(known, datetime):
        step = timedelta(days=watch.look_days)
        count = int((last - known) / step)
        yield from (last - step * i for i in range(count, -1, -1))


def noticed(
    frames: Frames,
    as_of: datetime,
    watch: Watch | None = None,
    *,
    symptom: str | None = None,
    at: Iterable[datetime] | None = None,
    field: Evidence | None = None,
    fleet: Fleet | None = None,
) -> list[Noticed]:
    """All calls in the order they would have come, looking every `watch.look_days` (or `at` given days) until `as_of`.

    A finding that shares its failed cars with one called before is the same; it comes again only if another symptom
    or other cars stand out. `symptom`: only calls about it, and stop at the first.
    """
    watch = watch or Watch()
    fleet = prepare(frames, as_of, field) if fleet is None else fleet
    called: list[Noticed] = []
    for day in sorted(at) if at is not None else looks(fleet, as_of, watch):
        for signal in look(fleet, day, watch):
            if signal.held or symptom not in (None, signal.symptom):
                continue
            if not any(_same(signal, before.signal) for before in called):
                called.append(Noticed(day, signal))
        if symptom is not None and called:
            break
    return called


def _same(one: Signal, other: Signal) -> bool:
    """Whether two findings are about the same failed cars; the later holds the earlier's and more."""
    mine, others = set(one.failed), set(other.failed)
    return one.symptom == other.symptom and len(mine & others) > SAME_CARS * min(len(mine), len(others))
