"""What a use case proposes; its transitions (approved, sent, ...) are the ledger's."""

from __future__ import annotations

from datetime import datetime

from unibody.tables.table import Table, column


class Decision(Table):
    """One answer of one use case: about what, do what, why, on what evidence, worth how much, how sure."""

    key, at = ("decision_id", "revision"), "decided_at"
    decision_id: str = column("hash of use case, subject and window", required=True)
    revision: int = column("counts up when new evidence changes the content", required=True, low=1)
    decided_at: datetime = column("the moment it speaks of", required=True)
    usecase: str = column("use case", required=True)
    subject: str = column("about what", sensitivity="personal", required=True)
    window: str = column("the span it holds for, ISO 8601 interval or usage")
    action: str = column("do what", required=True)
    reason: str = column("why, in one line a person can read", required=True)
    evidence: str = column("JSON list of references: rows, frames, images, series to plot", required=True)
    score: float = column("higher: more so; what the measure ranks by", required=True)
    value: float = column("what is foreseen, in the use case's unit")
    low: float = column("lower end of its interval")
    high: float = column("upper end of its interval")
    label: str = column("which, where the answer is a word")
    worth_eur: float = column("what acting saves", unit="EUR")
    sure: float = column("probability that it is so", low=0, high=1)
    model: str = column("version of the model that said so")
    risk: str = column("risk class", one_of=("low", "medium", "high"))
    bundle: str = column("proposals that are approved together")
