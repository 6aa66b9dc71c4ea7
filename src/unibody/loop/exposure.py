"""Say how long, and how far, each vehicle has been on the road: what failures must be counted against."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from unibody.loop.frames import Frames, Problem, problem, rows

HANDOVER_DAYS = 30.0  # from line to customer, where nobody says
HELD_ENOUGH = 0.5  # of the older cars are known to be held: then a car nobody holds is not sold yet
OLDER_DAYS = 120
KM_A_DAY = 35.0  # where no car has said its odometer
KM_A_DAY_MAX = 1_500.0
DAY_S = 86_400.0


def exposure(frames: Frames, as_of: datetime, found: list[Problem] | None = None) -> pl.DataFrame:
    """One row a vehicle built by `as_of`: vin, brand, market, built_at, sold_at, start, start_by, days, odometer_km, km_by.

    `start` is when it came into service: handover to its first holder, else its first visit or code where that is
    earlier than the typical handover, else that (`start_by`: held, seen, typical; null start: not in service). `days`
    since then; `odometer_km` at as_of, from the last reading or, where none is known, from what cars of its market
    drive (`km_by`: read, typical). Takes frames of build_record, vehicle_held, visit, trouble_code, complaint.
    """
    found = [] if found is None else found
    build = _built(frames, as_of)
    held = rows(frames, "vehicle_held").filter(pl.col("held_from") <= as_of, pl.col("known_at") <= as_of)
    first = held.group_by("vin").agg(pl.col("held_from").min())
    seen = readings(frames, as_of)
    # a code set on the line, before anybody drove, is not a sign of life
    came = seen.group_by("vin").agg(pl.col("at").min().alias("seen_at"))
    cars = build.join(first, on="vin", how="left").join(came, on="vin", how="left")
    early = cars.filter(pl.col("held_from") < pl.col("built_at"))
    problem(found, "held before it was built: in service from the line on", "vehicle_held", early, "vin")
    never = pl.col("held_from").is_null()
    cars = cars.with_columns(held_from=pl.when(~never).then(pl.max_horizontal("held_from", "built_at")))
    waited = (pl.col("held_from") - pl.col("built_at")).dt.total_seconds() / DAY_S
    typical = cars.select(waited.median()).item()
    typical = HANDOVER_DAYS if typical is None else float(typical)
    older = cars.filter(pl.col("built_at") < pl.lit(as_of).dt.offset_by(f"-{OLDER_DAYS}d"))
    sold_is_known = bool(older.height) and older["held_from"].is_not_null().mean() >= HELD_ENOUGH  # type: ignore[operator]
    usual = pl.col("built_at") + pl.duration(seconds=round(typical * DAY_S))
    usual = pl.max_horizontal(pl.min_horizontal(usual, "seen_at"), "built_at")
    alive = pl.col("seen_at").is_not_null() | pl.lit(not sold_is_known)
    cars = cars.with_columns(
        start=pl.coalesce("held_from", pl.when(alive & (usual <= as_of)).then(usual))
    ).with_columns(
        start_by=pl.when(pl.col("held_from").is_not_null())
        .then(pl.lit("held"))
        .when(pl.col("start").is_null())
        .then(None)
        .when(pl.col("seen_at") == pl.col("start"))
        .then(pl.lit("seen"))
        .otherwise(pl.lit("typical")),
        days=((pl.lit(as_of) - pl.col("start")).dt.total_seconds() / DAY_S).fill_null(0.0).clip(0.0),
    )
    return _driven(cars, seen, as_of, found).select(
        "vin", "brand", "market", "built_at", pl.col("held_from").alias("sold_at"),
        "start", "start_by", "days", "odometer_km", "km_by",
    )  # fmt: skip


def readings(frames: Frames, as_of: datetime) -> pl.DataFrame:
    """Every time a car was heard of: vin, at, odometer_km (null where nobody wrote it down)."""
    known = pl.col("known_at") <= as_of
    return pl.concat(
        [
            rows(frames, "visit").filter(known).select("vin", "odometer_km", at="visited_at"),
            rows(frames, "trouble_code").filter(known).select("vin", "odometer_km", at="set_at"),
            rows(frames, "complaint")
            .filter(known)
            .select("vin", "odometer_km", at=pl.coalesce("failed_at", "made_at")),
        ]
    ).filter(pl.col("vin").is_not_null(), pl.col("at") <= as_of)


def _built(frames: Frames, as_of: datetime) -> pl.DataFrame:
    build = rows(frames, "build_record").filter(pl.col("built_at") <= as_of)
    return (
        build.sort("known_at")
        .unique("vin", keep="last", maintain_order=True)
        .sort("built_at", "vin")
        .select("vin", "brand", "market", "built_at")
    )


def _driven(cars: pl.DataFrame, seen: pl.DataFrame, as_of: datetime, found: list[Problem]) -> pl.DataFrame:
    """Adds the odometer at `as_of`: the last reading, driven on at the car's own pace."""
    read = seen.drop_nulls("odometer_km").sort("at")
    turned = read.filter(pl.col("odometer_km") < 0.9 * pl.col("odometer_km").cum_max().over("vin"))
    problem(found, "odometer ran backwards: the highest reading is taken", "field", turned, "vin")
    last = read.group_by("vin").agg(
        pl.col("at").last().alias("read_at"), pl.col("odometer_km").max().alias("read_km")
    )
    cars = cars.join(last, on="vin", how="left")
    since = (pl.col("read_at") - pl.col("start")).dt.total_seconds() / DAY_S
    # a reading in the first days says more about the delivery than about the driver
    pace = pl.when(since >= 14).then(pl.col("read_km") / since).clip(0.0, KM_A_DAY_MAX)
    cars = cars.with_columns(pace=pace)
    market = pl.col("pace").median().over("market")
    cars = cars.with_columns(usual=pl.coalesce(market, pl.col("pace").median(), pl.lit(KM_A_DAY)))
    beyond = ((pl.lit(as_of) - pl.col("read_at")).dt.total_seconds() / DAY_S).clip(0.0)
    read_on = pl.col("read_km") + beyond * pl.coalesce("pace", "usual")
    return cars.with_columns(
        odometer_km=pl.coalesce(read_on, pl.col("usual") * pl.col("days")),
        km_by=pl.when(pl.col("read_km").is_not_null()).then(pl.lit("read")).otherwise(pl.lit("typical")),
    )
