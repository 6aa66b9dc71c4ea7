"""Foresee failures of machines and tools: how much life is left, will it fail, is this reading unusual.

The use case's kind says which: LIFE (usage left at the last reading), EVENT (yes or no, within the horizon or as
labelled) or DETECTION (each instant normal or unusual). Any number of signals, regimes found from the data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from unibody.errors import SetupError
from unibody.plants.failure import answers, detection, event, life
from unibody.solution import Kind, Model, Tables, UseCase
from unibody.tables import MachineReading, Outcome

READS = (MachineReading, Outcome)
KIND = (Kind.LIFE, Kind.EVENT, Kind.DETECTION)
SUBJECT = "machine"


@dataclass(frozen=True)
class Settings:
    """What a use case may set."""

    cost_of_stop_eur: float = field(default=10_000.0, metadata={"meaning": "cost of one unplanned stop"})
    cost_of_visit_eur: float = field(default=1_000.0, metadata={"meaning": "cost of one planned visit"})
    coverage: float = field(
        default=0.85, metadata={"meaning": "share of true values the interval should hold"}
    )
    cap: float | None = field(
        default=None, metadata={"meaning": "LIFE: more life than this left counts as this"}
    )
    plan_ahead: float | None = field(
        default=None, metadata={"meaning": "LIFE: usage until the next planned stop"}
    )
    yes_from: float | None = field(
        default=None,
        metadata={"meaning": "EVENT: probability from which the answer is yes; none: where F1 was best"},
    )
    false_alarm_rate: float = field(
        default=0.001, metadata={"meaning": "DETECTION: share of normal readings that may be flagged"}
    )
    name_signal: str = field(
        default="asset", metadata={"meaning": "the signal that says what people call the machine"}
    )
    seeds: int = field(default=3, metadata={"meaning": "LIFE, EVENT: how many models are averaged"})
    moments: int = field(
        default=40_000,
        metadata={"meaning": "LIFE: moments of the training lives learned from; fewer are faster"},
    )


def learn(tables: Tables, case: UseCase, base: Model | None = None) -> Any:
    """Learn from the training readings and their outcomes; `base` is adapted where its signals are there too."""
    settings = case.settings or Settings()
    readings, truth = tables[MachineReading].polars(), tables[Outcome].polars()
    if case.kind == Kind.LIFE:
        return life.learn(readings, truth, case, settings, base)
    if case.kind == Kind.EVENT:
        return event.learn(readings, truth, case, settings, base)
    if case.kind == Kind.DETECTION:
        return detection.learn(readings, truth, case, settings, base)
    raise SetupError(f"use case {case.name}: failure answers {', '.join(KIND)}, not {case.kind}")


def decide(model: Any, tables: Tables, case: UseCase) -> pl.DataFrame:
    """Answer with one row a machine (LIFE, EVENT) or one row a reading instant (DETECTION)."""
    settings, readings = case.settings or Settings(), tables[MachineReading].polars()
    if readings.is_empty():
        return answers.frame([])
    if isinstance(model, life.LifeModel):
        return life.decide(model, readings, case, settings)
    if isinstance(model, event.EventModel):
        return event.decide(model, readings, case, settings)
    return detection.decide(model, readings, case, settings)
