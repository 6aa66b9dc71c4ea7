"""Ask of every brand and symptom whether its own component explains it: a lot, maker, station, torque or software of it.

Noticing looks at all that cars have in common and pays for all of it. Here little is looked at, so that a cause in the
component itself, where most lie, shows after a few failures.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from unibody.loop.evidence import Evidence
from unibody.loop.frames import Frames
from unibody.loop.notice import ONE_DEALER, Signal, Watch
from unibody.loop.observed import Cohort, cohort
from unibody.loop.pictures import said
from unibody.methods import surveillance
from unibody.methods.cohorts import Cause, explain

FEWEST = 5  # cars of a brand with a symptom; fewer cannot show anything
STREAMS_MAX = 400  # brands x symptoms, those with the most failures first
MONTH = timedelta(days=28)


def own_causes(
    frames: Frames, as_of: datetime, watch: Watch, field: Evidence, known: set[tuple[str | None, str]]
) -> list[Signal]:
    """Signals of brands and symptoms not among `known`; all of them together keep to the stated rate of false calls."""
    build = frames["build_record"].select("vin", "brand").unique("vin", keep="last")
    streams = (
        field.events.join(build, on="vin")
        .group_by("brand", "symptom")
        .agg(pl.col("vin").n_unique().alias("cars"))
        .filter(pl.col("cars") >= FEWEST, pl.col("brand").is_not_null())
        .sort("cars", "brand", "symptom", descending=[True, False, False])
        .head(STREAMS_MAX)
    )
    alpha = surveillance.spent(watch.false_calls_a_year, watch.paid_days()) / max(streams.height, 1)
    found = []
    for brand, symptom, _ in streams.rows():
        if (brand, symptom) in known:
            continue
        laid = cohort(frames, as_of, symptom, brand=brand, field=field)
        if not laid.likely:
            continue
        answer = explain(
            laid.frame, laid.outcome, exposure=laid.exposure, controls=laid.controls, attributes=laid.likely,
            alpha=alpha, seed=watch.seed,
        )  # fmt: skip
        if answer.causes:
            found.append(_signal(brand, laid, answer.causes[0], field, as_of, watch, streams.height))
    return found


def _signal(
    brand: str, laid: Cohort, cause: Cause, field: Evidence, as_of: datetime, watch: Watch, streams: int
) -> Signal:
    from unibody.loop.members import meets

    inside = laid.frame.filter(pl.Series(meets(laid.frame, cause.conditions)))
    events = field.events.filter(pl.col("symptom") == laid.symptom).join(
        inside.filter(pl.col(laid.outcome) > 0).select("vin"), on="vin", how="semi"
    )
    ages = [as_of - at for at in events["happened_at"]]
    lately, before = (sum(low <= a < low + 2 * MONTH for a in ages) for low in (timedelta(0), 2 * MONTH))
    dealers = events["dealer"].drop_nulls()
    largest = int(dealers.value_counts()["count"].max()) if len(dealers) else 0  # type: ignore[arg-type]
    workshop = int(events["workshop"].sum())
    held = "" if workshop else "complaints alone: no workshop and no car says so"
    if not held and largest >= surveillance.CASES_MIN and largest > ONE_DEALER * events.height:
        held = "one dealer alone"
    component = events["component"].drop_nulls().mode().sort().head(1).to_list()
    p = min(1.0, cause.p_adjusted * streams)
    first = events["happened_at"].min()
    return Signal(
        laid.symptom, component[0] if component else laid.symptom, brand, None,
        (laid.symptom, brand, said(cause.conditions)), cause.conditions, cause.failed, cause.expected, cause.effect,
        cause.low, cause.high, p, 1 - p, p * 365.25 / watch.paid_days(),
        cause.since or (first if isinstance(first, datetime) else as_of), float(sum(a < MONTH for a in ages)),
        (lately + 0.5) / (before + 0.5), inside.height, tuple(sorted(events["vin"])), workshop,
        int(dealers.n_unique()), as_of, held,
    )  # fmt: skip
