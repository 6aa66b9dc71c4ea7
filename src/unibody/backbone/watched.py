"""What the loop watches beside its cases: symptoms that are quiet, signals held back and why, and faults in the data.

A look is kept in the home, for a page must not wait for it; it holds counts and names no vehicle.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unibody import catalog, gate
from unibody.solution import UseCase

if TYPE_CHECKING:
    import polars as pl

    from unibody.backbone import Backbone
    from unibody.loop.evidence import Evidence
    from unibody.loop.frames import Frames, Problem
    from unibody.loop.notice import Signal

Progress = Callable[[str, int, int], None]
LOOP = "loop"  # the solution whose decisions are cases
FIELD = ("build_record", "trouble_code", "visit", "complaint")
#: Above so many cars their parts are not laid out beside them only to count what is wrong there.
CARS_MAX = 60_000
WATCHED_MAX, HELD_MAX = 500, 200
SAID = (
    "symptom", "component", "brand", "platform", "observed", "expected", "ratio", "low", "high", "sure", "held", "cars",
)  # fmt: skip
_VEHICLE = re.compile(r"[A-HJ-NPR-Z0-9]{17}")


def looked(backbone: Backbone) -> list[dict[str, Any]]:
    """The last look of each use case of the loop, as kept; empty where nobody looked yet."""
    found = []
    for case in _ours(backbone):
        try:
            kept = json.loads(_path(backbone, case).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(kept, dict) and isinstance(kept.get("watched"), list):
            found.append(kept)
    return found


def keep_looking(backbone: Backbone, progress: Progress | None = None) -> int:
    """Look for each use case of the loop that ran since it was last looked for; returns how many were."""
    runs, kept = backbone.ledger.last_runs(), {k["usecase"]: k for k in looked(backbone)}
    done = 0
    for case in _ours(backbone):
        ran = (runs.get(case.name) or {}).get("ended_at")
        if ran is not None and ran > kept.get(case.name, {}).get("looked_at", ""):
            look(backbone, case, progress)
            done += 1
    return done


def look_now(backbone: Backbone) -> int:
    """Look for all use cases of the loop; returns how many there are. Raises what the lake and the gate raise."""
    return sum(bool(look(backbone, case)) for case in _ours(backbone))


def look(backbone: Backbone, case: UseCase, progress: Progress | None = None) -> dict[str, Any]:
    """Look once, with what is known now, and keep it: {"as_of", "cars", "watched", "held", "called", "problems", ...}."""
    from unibody.loop.evidence import evidence
    from unibody.loop.frames import frames
    from unibody.loop.notice import Watch, notice

    began = time.monotonic()
    (progress or (lambda *_: None))(f"{case.name}: counting what is quiet", 0, 1)
    module = catalog.solution(case.solution, backbone.settings.solutions)
    tables = gate.opened(
        backbone.lake, backbone.ledger, case, module.READS, "decide", limit=backbone.settings.collect_rows_max
    )
    read = frames(tables, module.READS)
    known = [read[n]["known_at"].max() for n in FIELD if read[n].height]
    moments = [k for k in known if isinstance(k, datetime)]
    cars = read["build_record"]
    body: dict[str, Any] = {
        "usecase": case.name, "as_of": None, "cars": cars["vin"].n_unique(), "watched": [], "held": [], "called": [], "problems": [],
    }  # fmt: skip
    if moments and cars.height:
        as_of = max(moments)
        field = evidence(read, as_of)
        signals = notice(read, as_of, Watch(case.settings.false_calls_a_year), field)
        held = [s for s in signals if s.held]
        body |= {
            "as_of": as_of.isoformat(),
            "watched": _watched(field, cars, signals),
            "held": [_said(s) for s in held[:HELD_MAX]],
            "called": [_said(s) for s in signals if not s.held][:HELD_MAX],
            "problems": [_counted(p) for p in (*field.problems, *_faults(read, as_of, cars.height))],
        }
    body |= {
        "looked_at": datetime.now(UTC).isoformat(timespec="microseconds"),
        "seconds": round(time.monotonic() - began, 1),
    }
    path = _path(backbone, case)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(body, default=str), "utf-8")
    part.replace(path)
    return body


def _watched(field: Evidence, cars: pl.DataFrame, signals: tuple[Signal, ...]) -> list[dict[str, Any]]:
    """Brand by symptom: cars that failed, of how many, and whether that stands out; most failures first."""
    import polars as pl

    from unibody.methods.surveillance import CASES_MIN

    brands = cars.select("vin", "brand").unique("vin", keep="last")
    of = dict(brands["brand"].value_counts().iter_rows())
    counted = (
        field.events.join(brands, on="vin").group_by("brand", "symptom").agg(failed=pl.col("vin").n_unique())
    )
    loud = {(s.brand, s.symptom) for s in signals}
    found = []
    for brand, symptom, failed in counted.sort(
        "failed", "brand", "symptom", descending=[True, False, False]
    ).iter_rows():
        out = (brand, symptom) in loud or (None, symptom) in loud
        says = "stands out" if out else "quiet" if failed >= CASES_MIN else "too few to say"
        found.append({"brand": brand, "symptom": symptom, "failed": failed, "cars": of[brand], "says": says})
    return found[:WATCHED_MAX]


def _faults(read: Frames, as_of: datetime, cars: int) -> tuple[Problem, ...]:
    """What is wrong with what was built into the cars."""
    from unibody.loop import cars as laid

    if cars <= CARS_MAX:
        return laid.cars(read, as_of).problems
    found: list[Problem] = []
    laid.genealogy(read, found)
    return tuple(found)


def _said(signal: Signal) -> dict[str, Any]:
    from unibody.loop.investigate import finite

    said: dict[str, Any] = finite({name: getattr(signal, name) for name in SAID})
    return said | {"since": signal.since.isoformat()}


def _counted(p: Problem) -> dict[str, Any]:
    """A problem with examples that are no vehicles: who the examples are, the tables say."""
    return {
        "what": p.what, "table": p.table, "count": p.count,
        "examples": [e[:80] for e in p.examples if not _VEHICLE.search(e)],
    }  # fmt: skip


def _ours(backbone: Backbone) -> list[UseCase]:
    return [c for c in backbone.usecases.values() if c.solution == LOOP]


def _path(backbone: Backbone, case: UseCase) -> Path:
    return backbone.settings.home / "loop" / f"{case.name}.json"
