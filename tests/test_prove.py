"""A cure that works is proven and becomes truth, once; one that was not acted on, or not long enough ago, says so."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
from made_case import AS_OF, CARS, FAILING, WITH_LOT, case_home, vin

from unibody.backbone import Backbone
from unibody.backbone.proving import prove
from unibody.backbone.tracing import cases
from unibody.tables import Instant, Outcome, TroubleCode


def later(backbone: Backbone, failing: list[int]) -> None:
    """Cars that fail in the 200 days after the case was found; all else is quiet."""
    at = [AS_OF + timedelta(days=2 + i % 150) for i in failing]
    rows = pl.DataFrame(
        {
            "vin": [vin(i) for i in failing],
            "code": "C1246",
            "set_at": at,
            "ecu": "ABS",
            "status": "confirmed",
        },
        schema_overrides={"set_at": Instant},
    )
    # a car heard of at the end says until when there is news
    last = pl.DataFrame(
        {
            "vin": [vin(0)],
            "code": ["P0001"],
            "set_at": [AS_OF + timedelta(days=200)],
            "ecu": ["ECM"],
            "status": ["pending"],
        },
        schema_overrides={"set_at": Instant},
    )
    both = pl.concat([rows, last])
    missing = [pl.lit(None, d).alias(n) for n, d in TroubleCode.dtypes().items() if n not in both.columns]
    both = both.with_columns(missing).select(*TroubleCode.columns, known_at="set_at")
    land_more(backbone, both)


def land_more(backbone: Backbone, frame: pl.DataFrame) -> None:
    rows = frame.with_columns(
        known_assumed=False, deleted=False, record=pl.int_range(pl.len(), dtype=pl.Int64)
    )
    backbone.lake.append(TroubleCode, rows, "made:later", "made", AS_OF, rows.height)


def test_a_cure_that_works_is_proven_and_becomes_truth_once(tmp_path: Path) -> None:
    backbone = case_home(tmp_path)
    [case] = cases(backbone)
    assert prove(backbone)[0]["verdict"].startswith("Not acted yet")
    well = [i for i in range(CARS) if i not in FAILING]
    # 30 more of the others fail, and one of those that were called
    later(backbone, [*[i for i in well if i not in WITH_LOT][:60], next(i for i in well if i in WITH_LOT)])
    [proof] = prove(backbone, case["bundle"], AS_OF)
    assert proof["label"] == "proven" and proof["low"] > 0 and proof["reduction"] > 0.5, proof
    truth = backbone.lake.rows(Outcome)
    stored = truth.filter(truth["subject"] == case["bundle"]).to_polars()
    assert set(stored["truth"]) == {"cure_effect", "cure_effect_low", "cure_effect_high"}
    before = backbone.lake.count(Outcome)
    assert prove(backbone, case["bundle"], AS_OF) == [proof]
    assert backbone.lake.count(Outcome) == before


def test_a_cure_of_today_is_too_early_to_be_proven(tmp_path: Path) -> None:
    backbone = case_home(tmp_path)
    [case] = cases(backbone)
    ids = [d["decision_id"] for d in case["decisions"]]
    backbone.ledger.move_all(ids, "approved", "anna", "")
    [proof] = prove(backbone)
    assert proof["verdict"].startswith("Too early")
    assert backbone.lake.count(Outcome) == 0
