"""A small home for tests of faces: a made CSV through a dialect of its own, four decisions, one judged use case."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from unibody.backbone import Backbone
from unibody.backbone.run import decision_id
from unibody.settings import Settings
from unibody.tables import Decision, Instant

MACHINE = "pump 1"
SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
HOSTILE = f"pump {SCRIPT}"
DIALECT = """
system = "test.pumps"
about = "Pumps of a made-up hall"
[[files]]
name = "readings"
match = "pumps_{day}.csv"
reader = "delimited"
[[files.rows]]
table = "machine_reading"
columns.machine = "pump"
columns.usage = "hours"
columns.read_at = { from = "hours", unit = "h", since = "2026-01-01T00:00:00Z" }
signals.from = ["vibration_mm_s", "load_pct"]
"""
USECASE = """solution = "failure"
question = "How many hours does each pump have left?"
owner    = "hall 7"
kind     = "life"
truth    = "pump_failed"
split    = "by machine"
unit     = "h"
"""
SCORE = {
    "metric": "rmse", "higher_is_better": False, "ours": 11.0, "low": 8.0, "high": 14.0, "baseline": 36.0, "baseline_name": "mean life minus age",
    "chance": 56.0, "beats": True, "units": 4, "rows": 4, "gain": 25.0, "gain_low": float("nan"), "gain_high": float("nan"), "extra": {"mae": 8.0},
}  # fmt: skip


def decided(subject: str) -> str:
    """The id of the decision about this subject."""
    return decision_id("pump_life", subject, "")


def empty_home(folder: Path) -> Backbone:
    """A home where nothing came in yet."""
    return Backbone(Settings(
        home=folder / "home", dialects=folder / "dialects", usecases=folder / "usecases", solutions=folder / "solutions", quiet_seconds=0,
    ))  # fmt: skip


def make_home(folder: Path) -> Backbone:
    """A home with a little of everything."""
    for name, text in (
        ("dialects/pumps.toml", DIALECT),
        ("usecases/pump_life.toml", USECASE),
        ("usecases/never_judged.toml", USECASE),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    lines = ["pump,hours,vibration_mm_s,load_pct"]
    for pump in (1, 2, 3, 4):
        for hour in range(120):
            spike = 9.75 if hour == 77 else 1 + 0.01 * (hour % 7) + max(0, hour - 80) * 0.02
            lines.append(f"pump {pump},{hour},{spike},50")
    lines.append(f'"{HOSTILE.replace(chr(34), chr(34) * 2)}",not an hour,1,1')
    (folder / "raw").mkdir()
    (folder / "raw/pumps_1.csv").write_text("\n".join(lines) + "\n")
    backbone = empty_home(folder)
    tally = backbone.ingest([folder / "raw"])
    assert (tally.landed, tally.quarantined) == (480, 1)
    propose(backbone, [MACHINE, "pump 3", "pump 4", HOSTILE])
    kept = folder / "home/judged/pump_life/made"
    kept.mkdir(parents=True)
    (kept / "judgement.json").write_text(json.dumps({"score": SCORE, "leaks": []}))
    return backbone


def propose(backbone: Backbone, subjects: list[str]) -> None:
    """Put decisions before people, as a run would."""
    now = datetime.now(UTC)
    rows = [
        {
            "decision_id": decided(subject), "revision": 1, "decided_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=119), "usecase": "pump_life",
            "subject": subject, "window": None, "action": "plan a stop", "reason": f"{subject}: about {7 + i} h left, vibration rising",
            "evidence": json.dumps([{"table": "machine_reading", "machine": MACHINE, "signals": ["vibration_mm_s", "load_pct"]}]), "score": -7.0 - i,
            "value": 7.0 + i, "low": 4.0, "high": 11.0 + i, "label": None, "worth_eur": 9000.0 - 1000 * i, "sure": 0.97, "model": "pump_life v1", "risk": "low",
            "known_at": now, "known_assumed": False, "deleted": False, "record": i,
        }
        for i, subject in enumerate(subjects)
    ]  # fmt: skip
    schema = {
        **Decision.dtypes(),
        "known_at": Instant,
        "known_assumed": pl.Boolean(),
        "deleted": pl.Boolean(),
        "record": pl.Int64(),
    }
    backbone.lake.append(
        Decision,
        pl.DataFrame(rows, schema=schema),
        "usecase:pump_life",
        "made",
        now,
        len(rows),
        app=f"made:{now.isoformat()}",
    )
    backbone.ledger.propose({str(r["decision_id"]): 1 for r in rows}, by="usecase pump_life")
