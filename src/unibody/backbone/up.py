"""Everything on one machine: fill an empty lake with a small made-up car maker, run what has data, keep the schedule."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from unibody.catalog import every
from unibody.errors import UnibodyError
from unibody.tables import TABLES

if TYPE_CHECKING:
    from unibody.backbone import Backbone

Progress = Callable[[str, int, int], None]
DEMO = "demo"
DEMO_DAYS, DEMO_SEED = 60, 1


def first_pass(backbone: Backbone, vehicles: int, progress: Progress | None = None) -> dict[str, Any]:
    """Fill an empty lake, bring raw files in, run the use cases tagged `demo`; gives the scoreboard.

    What is done already is not done again. A use case that fails does not stop the others: `failed` says why.
    """
    began = time.perf_counter()
    raw = backbone.settings.home / "twin"
    if not raw.is_dir() and not backbone.lake.status():
        from unibody import twin

        twin.make(raw, vehicles, DEMO_DAYS, DEMO_SEED, progress)
    tally = backbone.ingest([raw], progress=progress).plain() if raw.is_dir() else None
    judged, failed = [], {}
    for case in backbone.usecases.values():
        if DEMO not in case.tags or not (case.truth is None or backbone.has_truth(case)):
            continue
        try:
            ran = backbone.run(case.name, progress=progress)
        except UnibodyError as e:
            failed[case.name] = str(e)
            continue
        if ran.judgement:
            judged.append(ran.judgement.plain())
    return {
        "ingested": tally,
        "judged": judged,
        "decisions": sum(d["state"] == "proposed" for d in backbone.decisions()),
        "failed": failed,
        "seconds": round(time.perf_counter() - began, 1),
    }


def due(backbone: Backbone, now: datetime, seen: dict[str, int]) -> list[str]:
    """The use cases whose `when` says they should run now.

    `seen` holds the version of each table at the last look, for "new rows in TABLE"; it is brought up to date.
    """
    runs, found = backbone.ledger.last_runs(), []
    versions = {t: backbone.lake.version(table) for t, table in TABLES.items()}
    for case in backbone.usecases.values():
        if not case.when or (case.truth is not None and not backbone.has_truth(case)):
            continue
        rule, last = every(case.when, case.path), runs.get(case.name)
        if isinstance(rule, str):
            if versions[rule] > seen.get(rule, versions[rule]):
                found.append(case.name)
        elif (
            last is None
            or last["ended_at"] is None
            or (now - datetime.fromisoformat(last["began_at"])).total_seconds() >= rule
        ):
            found.append(case.name)
    seen |= versions
    return found


def keep_schedule(backbone: Backbone, seen: dict[str, int]) -> dict[str, str]:
    """Run what is due, send what was approved; returns what failed and why. Called again and again by `unibody up`."""
    failed = {}
    for name in due(backbone, datetime.now(UTC), seen):
        try:
            backbone.run(name)
        except UnibodyError as e:
            failed[name] = str(e)
    try:
        failed |= {f"act on {i}": why for i, why in (backbone.act().refused or {}).items()}
    except UnibodyError as e:
        failed["act"] = str(e)
    return failed
