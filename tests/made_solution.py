"""A whole solution in thirty lines, as a user writes it into a folder of his own: warm machines are worn."""

SOLUTION = '''
"""Say which machines are worn: those that run warmer than the middle between worn and good ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from unibody.solution import Kind, Tables, UseCase
from unibody.tables import MachineReading, Outcome

READS = (MachineReading, Outcome)
KIND = (Kind.EVENT, Kind.LIFE, Kind.DETECTION)
SUBJECT = "machine"


@dataclass(frozen=True)
class Settings:
    """What a use case may set."""

    signal: str = field(default="temp", metadata={"meaning": "which signal tells"})
    margin: float = 0.0


@dataclass(frozen=True)
class Warm:
    """Above `edge` it is worn."""

    edge: float
    spread: float


def learn(tables: Tables, case: UseCase, base=None) -> Warm:
    truth = tables[Outcome].polars()
    means = _means(tables, case).join(truth.select(machine="subject", worn="value"), on="machine")
    good, worn = (means.filter(pl.col("worn") == w)["value"].mean() or 0.0 for w in (0, 1))
    return Warm((good + worn) / 2 + case.settings.margin, max(abs(worn - good), 1.0))


def decide(model: Warm, tables: Tables, case: UseCase) -> pl.DataFrame:
    means = _means(tables, case)
    return means.select(
        subject="machine",
        decided_at="at",
        action=pl.lit("look at it"),
        reason=pl.format("runs at {}", pl.col("value").round(1)),
        evidence=pl.lit("[]"),
        score=(pl.col("value") - model.edge) / model.spread,
        value=(pl.col("value") - model.edge).clip(0.0),
    )


def _means(tables: Tables, case: UseCase) -> pl.DataFrame:
    rows = tables[MachineReading].polars().filter(pl.col("signal") == case.settings.signal).drop_nulls("value")
    return rows.group_by("machine").agg(pl.col("value").mean(), at=pl.col("read_at").max()).sort("machine")
'''

USECASE = """
solution = "warm"
question = "Which machine is worn?"
owner    = "the tests"
truth    = "worn"
split    = "by machine"
where.machine = "M*"
settings.margin = 0.5
"""
