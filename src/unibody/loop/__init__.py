"""From failures in the field to their cause, the cars that have it, and what cures it.

Notice (`notice`) → explain (`observed`, methods.cohorts) → scope → propose (`proposals`) → prove. As a solution it
answers, of each brand and symptom that stands out, which cause stands behind it; its decisions belong together in one
`bundle` a case. `trace` goes round once; `investigate` answers the same by hand, of any table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unibody.solution import ANSWER, Kind, Model, Tables, UseCase
from unibody.tables import (
    BuildRecord,
    Complaint,
    Consent,
    Customer,
    Delivery,
    Inspection,
    PartInstalled,
    SoftwareInstalled,
    Stock,
    Tightening,
    TroubleCode,
    VehicleHeld,
    Visit,
)

if TYPE_CHECKING:
    import polars as pl

READS = (
    BuildRecord, PartInstalled, Tightening, Inspection, SoftwareInstalled, TroubleCode, Visit, Complaint,
    VehicleHeld, Customer, Consent, Stock, Delivery,
)  # fmt: skip
KIND = Kind.CHOICE
SUBJECT = ""  # "jeep: brake_hose_front": no table names what fails where


@dataclass(frozen=True)
class Settings:
    """What a use case may set."""

    false_calls_a_year: float = 1.0  # over the whole fleet, by chance alone
    alpha: float = 0.05  # chance that a cause is named where there is none, over all that was looked at
    cover: float = 0.95  # probability with which an affected car is in the set
    safety: tuple[str, ...] = ()  # symptoms or components that are a matter of safety: recall, not service
    eur_failure: float = 900.0
    eur_visit: float = 110.0


@dataclass(frozen=True)
class Learned:
    """Nothing is learned ahead: what codes and words stand for is learned from what is known when it is asked."""

    known: int  # reports there were


def learn(tables: Tables, case: UseCase, base: Model | None = None) -> Learned:
    """Count what there is to learn from; the map of symptoms is made as of each question."""
    return Learned(tables[Visit].polars().height + tables[TroubleCode].polars().height)


def decide(model: Learned, tables: Tables, case: UseCase) -> pl.DataFrame:
    """One decision that accepts the cause, and those that cure it, for each brand and symptom that stands out."""
    import polars as pl

    from unibody.loop.frames import frames
    from unibody.loop.notice import Watch
    from unibody.loop.scope import Settings as Costs
    from unibody.loop.trace import opening, trace
    from unibody.tables import Decision

    s: Settings = case.settings or Settings()
    read = frames(tables, READS)
    field = (
        "build_record",
        "trouble_code",
        "visit",
        "complaint",
    )  # stock and deliveries speak of days to come
    known = [read[n]["known_at"].max() for n in field if read[n].height]
    schema = {c: Decision.dtypes()[c] for c in ANSWER}
    empty = pl.DataFrame(schema=schema)
    if not known or not read["build_record"].height:
        return empty
    as_of: Any = max(k for k in known if k is not None)
    costs = Costs(probability=s.cover, eur_failure=s.eur_failure, eur_visit=s.eur_visit)
    found = trace(read, as_of, Watch(s.false_calls_a_year), costs, alpha=s.alpha, safety=s.safety)
    rows = []
    for traced in found.traced:
        if (first := opening(traced)) is not None:
            rows += [pl.DataFrame([first], schema=schema), traced.proposals.select(list(schema))]
    return pl.concat([empty, *rows])
