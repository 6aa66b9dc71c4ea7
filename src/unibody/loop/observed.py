"""Put what happened to each car beside its attributes: did it fail, after how long, and what was to be expected."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from unibody.errors import SetupError, nearest
from unibody.loop.cars import cars
from unibody.loop.delay import Delay, delay
from unibody.loop.evidence import Evidence, evidence
from unibody.loop.exposure import exposure
from unibody.loop.frames import Frames, Problem, rows

BINS_MAX, FAILED_A_BIN = 8, 5
SAME_VISIT_DAYS = 3  # another code read at the same visit says nothing about who reports more
DAY_S = 86_400.0
TRIES = 6
STRAY = 0.1  # of the failed may lack the part: reports that were sorted wrongly
BY_CHANCE = 0.05  # that so few of the failed lack it, over all parts looked at
USAGE = ("odometer_km", "sold_at")  # how far and how long it was driven is exposure, not what it is made of

#: What `observed` adds; all other columns of a cohort frame but vin are attributes.
ADDED = (
    *("failed", "failed_at", "days", "km", "days_at_risk", "expected", "expected_km", "others"),
    *("start", "weight"),
)


@dataclass(frozen=True)
class Cohort:
    """A cohort frame ready to be explained, and the names of what is what in it."""

    frame: pl.DataFrame
    attributes: tuple[str, ...]
    problems: tuple[Problem, ...]
    symptom: str
    outcome: str = "failed"
    exposure: str = "expected"
    controls: tuple[str, ...] = ("others",)
    time: str = "built_at"
    unit: str = "vin"
    likely: tuple[
        str, ...
    ] = ()  # attributes of the component itself that the symptom is of, where most causes lie


def observed(
    frame: pl.DataFrame,
    events: pl.DataFrame,
    symptom: str,
    lived: pl.DataFrame,
    as_of: datetime,
    late: Delay | None = None,
) -> pl.DataFrame:
    """Add the outcome `symptom` to a frame with a column vin; cars that never came into service are left out.

    `events` as `Evidence.events`, `lived` as `exposure()` gives it, `late` the reporting delay (learned from `events`
    where not given). Adds: failed (0/1), failed_at, days and km (to the failure, or to now: censored), days_at_risk
    (each day by the share of its failures already reported), expected and expected_km (failures expected of such a car
    if all cars failed alike at the same age, or at the same distance driven; both add up to the failures), others
    (other symptoms of the same car: who reports more), start. A column `weight` (1 over the sampling share) is honoured.
    """
    late = delay(events, as_of) if late is None else late
    ours = events.filter(pl.col("symptom") == symptom).select(
        "vin", failed_at="happened_at", failed_km="odometer_km"
    )
    table = (
        frame.join(
            lived.select("vin", "start", lived_days="days", lived_km="odometer_km"),
            on="vin",
            how="left",
            maintain_order="left",
        )
        .join(ours, on="vin", how="left", maintain_order="left")
        .join(_others(events, symptom), on="vin", how="left", maintain_order="left")
        # a car that fails before anybody has it came into service by failing
        .with_columns(start=pl.min_horizontal("start", "failed_at"), others=pl.col("others").fill_null(0))
        .filter(pl.col("start").is_not_null())
    )
    failed = table["failed_at"].is_not_null().to_numpy()
    age = (table.select((pl.lit(as_of) - pl.col("start")).dt.total_seconds() / DAY_S)).to_series().to_numpy()
    until = table.select((pl.col("failed_at") - pl.col("start")).dt.total_seconds() / DAY_S).to_series()
    days = np.where(failed, until.fill_null(0.0).to_numpy(), age)
    pace = (
        table.select(pl.col("lived_km") / pl.max_horizontal("lived_days", 1.0))
        .to_series()
        .fill_null(0.0)
        .to_numpy()
    )
    read = table["failed_km"].to_numpy()
    km = np.where(failed & ~np.isnan(read), read, pace * days)
    weight = table["weight"].to_numpy() if "weight" in table.columns else np.ones(table.height)
    risk = late.effective(age) - late.effective(age - days)
    edges = _edges(days[failed], float(age.max(initial=1.0)))
    by_age = _expected(np.broadcast_to(edges, (table.height, len(edges))), age, days, failed, weight, late)
    # the same car in distance: where its pace takes it over each edge
    reach = _edges(km[failed], float((pace * age).max(initial=1.0)))
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = np.where(pace[:, None] > 0, reach[None, :] / pace[:, None], np.inf)
    crossing[:, 0] = 0.0
    by_km = _expected(crossing, age, days, failed, weight, late)
    return table.with_columns(
        failed=pl.Series(failed.astype(np.int64)),
        days=pl.Series(days),
        km=pl.Series(km),
        days_at_risk=pl.Series(np.maximum(risk, 1e-6)),
        expected=pl.Series(by_age),
        expected_km=pl.Series(by_km),
    ).drop("lived_days", "lived_km", "failed_km")


def _others(events: pl.DataFrame, symptom: str) -> pl.DataFrame:
    """vin, others: symptoms of a car besides this one, and not of the same visit."""
    ours = events.filter(pl.col("symptom") == symptom).select("vin", failed_at="happened_at")
    rest = events.filter(pl.col("symptom") != symptom).join(ours, on="vin", how="left")
    apart = (pl.col("happened_at") - pl.col("failed_at")).dt.total_seconds().abs() > SAME_VISIT_DAYS * DAY_S
    return rest.filter(apart.fill_null(True)).group_by("vin").agg(pl.len().cast(pl.Int64).alias("others"))


def _edges(at: np.ndarray, last: float) -> np.ndarray:
    """Bins of age (or distance) with about equally many failures each; the first begins at 0, the last never ends."""
    bins = int(np.clip(len(at) // FAILED_A_BIN, 1, BINS_MAX))
    inner = np.quantile(at, np.linspace(0, 1, bins + 1)[1:-1]) if bins > 1 else np.empty(0)
    return np.unique(np.concatenate([[0.0], inner[(inner > 0) & (inner < last)], [np.inf]]))


def _expected(
    edges: np.ndarray, age: np.ndarray, days: np.ndarray, failed: np.ndarray, weight: np.ndarray, late: Delay
) -> np.ndarray:
    """Failures expected of each car: in each bin, failures of all over days at risk of all, times its own.

    `edges` is cars x (bins + 1), in days since the start of each car.
    """
    expected = np.zeros(len(age))
    for low, high in zip(edges.T[:-1], edges.T[1:], strict=True):
        begin, end = np.minimum(low, days), np.minimum(high, days)
        risk = late.effective(age - begin) - late.effective(age - end)
        count = float((weight * (failed & (days >= low) & (days < high))).sum())
        whole = float((weight * risk).sum())
        if whole > 0:
            expected += risk * count / whole
    return np.maximum(expected, 1e-9)


def sampled(
    events: pl.DataFrame, lived: pl.DataFrame, symptom: str, *, others: int = 100_000, seed: int = 0
) -> pl.DataFrame:
    """vin, weight: all cars that failed, and a random sample of the others (case-cohort, Prentice 1986).

    Of a million cars with 60 failures, the failures carry the evidence; the others say only what is usual. Each car of
    the sample stands for `weight` cars.
    """
    failed = events.filter(pl.col("symptom") == symptom).select("vin").unique()
    rest = lived.filter(pl.col("start").is_not_null()).join(failed, on="vin", how="anti").sort("vin")
    chosen = rest if rest.height <= others else rest.sample(others, seed=seed)
    share = rest.height / max(chosen.height, 1)
    return pl.concat(
        [
            lived.join(failed, on="vin", how="semi").select("vin", weight=pl.lit(1.0)),
            chosen.select("vin", weight=pl.lit(share)),
        ]
    ).sort("vin")


def moments(
    failed: pl.DataFrame, lived: pl.DataFrame, as_of: datetime, late: Delay, seed: int = 0
) -> pl.DataFrame:
    """vin, at: when to look at each car; a failed one when it failed, any other when it might have failed.

    Seen when they failed against seen today, the failed would all have old software. So each other car is looked at at
    an age drawn by the hazard of all (incidence density sampling: D. Clayton and M. Hills, Statistical Models in
    Epidemiology, 1993, ch. 16), and among such moments by the share of failures of then that is already reported.
    """
    ours = failed.select("vin", "happened_at").join(lived.select("vin", "start"), on="vin")
    own = ours.select("vin", at="happened_at")
    rest = lived.filter(pl.col("start").is_not_null()).join(own, on="vin", how="anti").sort("vin")
    ages = np.sort(
        ours.select((pl.col("happened_at") - pl.col("start")).dt.total_seconds() / DAY_S)
        .to_series()
        .to_numpy()
    ).clip(0.0)
    age = rest["days"].to_numpy()
    at_risk = len(age) - np.searchsorted(np.sort(age), ages) + np.arange(len(ages), 0, -1)
    hazard = np.cumsum(1 / at_risk)
    lived_through = np.searchsorted(ages, age, side="right")  # failures of an age that the car has reached
    random = np.random.default_rng(seed)
    chosen = np.full(len(age), np.nan)
    for _ in range(TRIES):
        reach = np.where(
            lived_through > 0, hazard[np.maximum(lived_through - 1, 0)] if len(ages) else 0.0, 0.0
        )
        place = np.minimum(np.searchsorted(hazard, random.random(len(age)) * reach), max(len(ages) - 1, 0))
        drawn = ages[place] if len(ages) else age
        known = random.random(len(age)) < late.reported(np.maximum(age - drawn, 0.0))
        chosen = np.where(np.isnan(chosen) & known & (lived_through > 0), drawn, chosen)
    chosen = np.where(np.isnan(chosen), age, chosen)  # younger than any that failed: as it is now
    moved = rest.select(
        "vin",
        at=pl.col("start")
        + pl.duration(microseconds=pl.lit(pl.Series(np.round(chosen * DAY_S * 1e6)).cast(pl.Int64))),
    )
    return pl.concat([own, moved.with_columns(pl.col("at").cast(own.schema["at"]))])


def cohort(
    frames: Frames,
    as_of: datetime,
    symptom: str,
    *,
    brand: str | None = None,
    platform: str | None = None,
    field: Evidence | None = None,
    cars_max: int = 200_000,
    seed: int = 0,
) -> Cohort:
    """From the tables to the cohort to be explained: the cars of a brand or platform, and who of them met a symptom.

    Software is what ran when the car failed; of the others, what ran when it might have (`moments`). Above `cars_max` cars all that failed and a sample of
    the others are laid out, with their `weight`; the exposure and the controls are then multiplied by it.
    """
    field = evidence(frames, as_of) if field is None else field
    names = field.events["symptom"].unique()
    if symptom not in names:
        raise SetupError(
            f"symptom {symptom!r}: nothing of it is known at {as_of:%Y-%m-%d}; {nearest(symptom, names)}"
        )
    found: list[Problem] = list(field.problems)
    build = frames["build_record"]
    for name, wanted in (("brand", brand), ("platform", platform)):
        if wanted is not None:
            build = build.filter(pl.col(name) == wanted)
    lived = exposure({**frames, "build_record": build}, as_of, [])
    events = field.events.join(build.select("vin").unique(), on="vin", how="semi")
    late = delay(field.events, as_of)
    failed = events.filter(pl.col("symptom") == symptom)
    chosen = None
    if lived.height > cars_max:
        chosen = sampled(events, lived, symptom, others=cars_max, seed=seed)
    laid = cars(
        {**frames, "build_record": build},
        as_of,
        vins=None if chosen is None else chosen["vin"],
        moments=moments(failed, lived, as_of, late, seed),
    )
    attributes = tuple(n for n in laid.frame.columns if n not in ("vin", *USAGE))
    likely = _likely(attributes, symptom, failed, frames, field)
    frame = _that_can(laid.frame, failed)
    frame = frame if chosen is None else frame.join(chosen, on="vin", maintain_order="left")
    table = observed(frame, events, symptom, lived, as_of, late)
    if chosen is not None:
        scaled = [pl.col(n) * pl.col("weight") for n in ("days_at_risk", "expected", "expected_km", "others")]
        table = table.with_columns(scaled)
    return Cohort(table, attributes, (*found, *laid.problems), symptom, likely=likely)


def _that_can(frame: pl.DataFrame, failed: pl.DataFrame) -> pl.DataFrame:
    """Only cars that have what all the failed have and many others lack: a car without a charge port cannot fail to charge.

    Beside cars that cannot fail of it, whatever the others share stands out. A part counts where chance would hardly
    leave so few of the failed without it; of several the rarest, again until none is left. Cars that failed all stay.
    """
    ours = pl.col("vin").is_in(failed["vin"].implode())
    places: dict[str, list[str]] = {}
    for name in frame.columns:
        if name.startswith("part."):
            places.setdefault(name.rsplit(".", 1)[0], []).append(name)
    while places:
        has = {p: pl.any_horizontal(pl.col(n).is_not_null() for n in names) for p, names in places.items()}
        shares = frame.select(**{p: e.mean() for p, e in has.items()}).row(0, named=True)
        mine = frame.filter(ours)
        without = mine.select(**{p: (~e).sum() for p, e in has.items()}).row(0, named=True)
        most = STRAY * mine.height
        told = [
            p for p, share in shares.items()
            if share < 1 and without[p] <= most and share ** (mine.height - without[p]) * len(places) < BY_CHANCE
        ]  # fmt: skip
        if not told:
            return frame
        rarest = min(told, key=lambda p: (shares[p], p))
        frame = frame.filter(has[rarest] | ours)
        places.pop(rarest)
    return frame


def _likely(
    attributes: tuple[str, ...], symptom: str, failed: pl.DataFrame, frames: Frames, field: Evidence
) -> tuple[str, ...]:
    """Attributes of the component that workshops name for the symptom, and of the control unit that sets its codes."""
    component = failed["component"].drop_nulls().mode().sort().head(1).to_list()
    mine = field.symptoms.codes.filter(pl.col("symptom") == symptom)["code"]
    codes = rows(frames, "trouble_code").filter(pl.col("code").is_in(mine.implode()))
    ecu = codes["ecu"].drop_nulls().mode().sort().head(1).to_list()
    named = {symptom, *component, *ecu}
    return tuple(a for a in attributes if named & set(a.split(".")[1:]))
