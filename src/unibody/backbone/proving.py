"""Prove cures: what became of the failures of the cars that were called, against those that were not; kept as truth."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from unibody.backbone import tracing
from unibody.errors import SetupError
from unibody.gate import opened
from unibody.tables import BuildRecord, Complaint, Outcome, TroubleCode, VehicleHeld, Visit

if TYPE_CHECKING:
    from unibody.backbone import Backbone

READS = (BuildRecord, VehicleHeld, Visit, TroubleCode, Complaint)
CALLED = ("recall", "service campaign", "update over the air")
ACTED = ("approved", "sent", "confirmed")


def prove(
    backbone: Backbone, bundle: str | None = None, acted_at: datetime | None = None
) -> list[dict[str, Any]]:
    """Look what became of each cure that was approved, or of one; the result becomes rows of the outcome table.

    `acted_at` is when the cars were called (default: when the campaign was approved). A cure of which nothing is known
    yet is named, with the reason, and no row is written. Running twice on the same facts writes nothing new. Raises
    SetupError where `bundle` names no case.
    """
    found = [c for c in tracing.cases(backbone) if bundle in (None, c["bundle"])]
    if bundle is not None and not found:
        raise SetupError(f"no case {bundle!r}; `unibody trace` lists them")
    return [_proved(backbone, case, acted_at) for case in found]


def _proved(backbone: Backbone, case: dict[str, Any], acted_at: datetime | None) -> dict[str, Any]:
    from unibody.loop import prove as proving
    from unibody.loop.delay import delay
    from unibody.loop.evidence import evidence
    from unibody.loop.exposure import exposure
    from unibody.loop.frames import frames

    said = {"bundle": case["bundle"], "symptom": case["symptom"], "brand": case["brand"]}
    done = [d for d in case["decisions"] if d["action"] in CALLED and d["state"] in ACTED]
    if acted_at is None and not done:
        return said | {"verdict": "Not acted yet: no campaign of this case is approved."}
    history = [s for d in done for s in backbone.ledger.history(d["decision_id"]) if s.state == "approved"]
    at = acted_at or min(datetime.fromisoformat(s.at) for s in history)
    asked = next(c for c in backbone.usecases.values() if c.solution == tracing.LOOP)
    tables = opened(
        backbone.lake, backbone.ledger, asked, READS, "decide", limit=backbone.settings.collect_rows_max
    )
    read = frames(tables, READS)
    as_of = max(f["known_at"].max() for f in read.values() if f.height)  # type: ignore[type-var]
    assert isinstance(as_of, datetime)
    if as_of <= at:
        return said | {
            "verdict": f"Too early: nothing is known after {at:%Y-%m-%d}, when the cars were called."
        }
    field = evidence(read, as_of)
    lived = exposure(read, as_of, [])
    if case["brand"]:
        lived = lived.filter(pl.col("brand") == case["brand"])
    cars = lived.select("vin", "start", treated=pl.col("vin").is_in(case["vins"]))
    events = field.events.filter(pl.col("symptom") == case["symptom"])
    try:
        proof = proving.prove(cars, events, at, as_of, late=delay(field.events, as_of))
    except SetupError as e:
        return said | {"verdict": f"Nothing to compare: {e}."}
    rows = proving.outcomes(case["bundle"], proof)
    if rows.height:
        now = datetime.now(UTC)
        stored = rows.with_columns(
            known_at=pl.lit(as_of).dt.cast_time_unit("us"), known_assumed=False, deleted=False,
            record=pl.int_range(pl.len(), dtype=pl.Int64),
        )  # fmt: skip
        source = f"loop:{case['bundle']}"
        backbone.lake.append(
            Outcome, stored, source, "prove", now, 0, app=f"{source}:{at.isoformat()}:{as_of.isoformat()}"
        )
    return said | {
        "verdict": proof.verdict, "label": proof.label, "reduction": _number(proof.reduction),
        "low": _number(1 - proof.high), "high": _number(1 - proof.low), "sure": _number(proof.sure),
        "acted_at": at.isoformat(), "as_of": as_of.isoformat(),
        "treated": [vars(proof.treated_before), vars(proof.treated_after)],
        "untreated": [vars(proof.untreated_before), vars(proof.untreated_after)],
        "days_needed": proof.days_needed,
    }  # fmt: skip


def _number(x: float) -> float | None:
    return x if x == x and abs(x) != float("inf") else None
