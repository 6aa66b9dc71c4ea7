"""Prepare a fleet to be watched: its cars, what they belong to, and all reports, as arrays made once for many looks.

A car costs 28 bytes, 4 more for each option, and 4 for each thing it is followed by (supplier and lot of each position:
8): a million cars with 100 parts are 900 MB beside the tables themselves. Smaller fleets are followed by everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unibody.loop.cars import genealogy
from unibody.loop.evidence import Evidence, evidence
from unibody.loop.exposure import exposure
from unibody.loop.frames import Frames, Problem, rows

Codes = NDArray[np.int32]
DAY_US = 86_400_000_000
TREE = ("supplier", "lot")  # below a part, in the order of the tree
EVERY = ("sub_supplier", "station", "tool")
EVERY_CARS_MAX = 200_000  # larger fleets are followed by parts' suppliers and lots, and by software, alone
TAILS = (0.02, 0.05, 0.1)  # of what is measured: the lowest and the highest shares of the cars
OPTION_LEAST = 10


@dataclass(frozen=True)
class Member:
    """What a car belongs to by one attribute: a place in `labels` for each car, -1 where it is not known.

    A label is a condition as a cause is written ({attribute: value}); None: the rest, which is nothing to look at.
    """

    tree: tuple[str, ...]  # where it hangs: the part, its supplier
    codes: Codes
    labels: tuple[dict[str, Any] | None, ...]


@dataclass(frozen=True)
class Fleet:
    """Cars as arrays (one place a car), and the reports about them."""

    vins: pl.Series
    built: NDArray[np.float64]  # days since 1970
    start: NDArray[np.float64]  # in service since; NaN: not yet
    stream: Codes  # place in `streams`
    market: Codes  # place in `markets`
    streams: tuple[tuple[str, str], ...]  # brand, platform
    markets: tuple[str, ...]
    members: tuple[Member, ...]
    designs: tuple[Member, ...]  # engine, options: by which cars differ by right
    reports: pl.DataFrame  # as Evidence.reports, with `row`, the car's place
    loose: pl.DataFrame
    components: dict[str, str]  # symptom -> the component named most often
    problems: tuple[Problem, ...]


def prepare(
    frames: Frames, as_of: datetime, field: Evidence | None = None, *, every: bool | None = None
) -> Fleet:
    """Prepare all that is known at `as_of`; a look may then be taken at any time before.

    Takes frames of build_record, part_installed, software_installed, vehicle_held, trouble_code, visit, complaint.
    Takes tightening and inspection too. `every`: follow cars not only by parts' suppliers and lots and by software,
    but also by sub-supplier, station, tool, line, shift, hardware, options and what was measured (default: in fleets
    of up to `EVERY_CARS_MAX` cars; see the module for the memory).
    """
    field = evidence(frames, as_of) if field is None else field
    found = list(field.problems)
    lived = exposure(frames, as_of, found)
    named = rows(frames, "build_record").select("vin", "platform").unique("vin", keep="last")
    lived = lived.join(named, on="vin", how="left", maintain_order="left").with_columns(
        pl.col("brand", "platform", "market").fill_null("")
    )
    streams = lived.select("brand", "platform").unique().sort("brand", "platform")
    cars = lived.join(streams.with_row_index("stream"), on=["brand", "platform"], maintain_order="left")
    markets = tuple(lived["market"].unique().sort())
    market = cars["market"].replace_strict({m: i for i, m in enumerate(markets)}, return_dtype=pl.Int32)
    place = cars.select("vin").with_row_index("row")
    reports = field.reports.join(place, on="vin").sort("happened_at", "known_at", "source")
    components = (
        reports.drop_nulls("component")
        .group_by("symptom", "component")
        .len()
        .sort("len", "component", descending=[True, False])
        .unique("symptom", keep="first", maintain_order=True)
    )
    return Fleet(
        cars["vin"],
        days(cars["built_at"]),
        days(cars["start"]),
        cars["stream"].cast(pl.Int32).to_numpy(),
        market.to_numpy(),
        tuple((b, p) for b, p in streams.rows()),
        markets,
        _members(frames, place, found, place.height <= EVERY_CARS_MAX if every is None else every),
        _designs(frames, place),
        reports,
        field.loose,
        dict(zip(components["symptom"], components["component"], strict=True)),
        tuple(found),
    )


def days(instants: pl.Series) -> NDArray[np.float64]:
    """Instants as days since 1970 (UTC); NaN where empty."""
    whole = instants.cast(pl.Int64).cast(pl.Float64) / DAY_US
    return whole.fill_null(float("nan")).to_numpy()


def instant(day: float) -> datetime:
    """The instant of a day since 1970."""
    return datetime.fromtimestamp(round(day * 86_400), UTC)


def _members(frames: Frames, place: pl.DataFrame, found: list[Problem], every: bool) -> tuple[Member, ...]:
    """All that cars are followed by, as built: what was put in first."""
    parts = genealogy(frames, found)
    parts = parts.join(place, on="vin", maintain_order="left")
    parts = parts.sort("installed_at", descending=True, maintain_order=True)
    members = _coded(parts, place.height, "position", TREE + EVERY * every, "part.{}.{}")
    software = rows(frames, "software_installed").join(place, on="vin", maintain_order="left")
    software = software.sort("installed_at", descending=True, maintain_order=True)
    software = software.with_columns(software=pl.coalesce("software_version", "software"))
    members += _coded(software, place.height, "ecu", ("software", "hardware")[: 1 + every], "{1}.{0}")
    if not every:
        return tuple(members)
    members += _both(members, "software.", "hardware.")
    build = rows(frames, "build_record").join(place, on="vin").with_columns(all=pl.lit(""))
    members += _coded(build, place.height, "all", ("plant", "line", "shift"), "{1}")
    members += _both(members, "line", "shift")
    bolts = rows(frames, "tightening").drop_nulls(["vin", "bolt", "torque_nm"]).join(place, on="vin")
    members += _tails(bolts.sort("tightened_at"), place.height, "bolt", "torque_nm", "torque")
    looks = rows(frames, "inspection").drop_nulls(["subject", "measure", "value"])
    looks = looks.rename({"subject": "vin"}).join(place, on="vin")
    members += _tails(looks.sort("inspected_at"), place.height, "measure", "value", "gauge")
    return tuple(members)


def _designs(frames: Frames, place: pl.DataFrame) -> tuple[Member, ...]:
    build = rows(frames, "build_record").join(place, on="vin").with_columns(all=pl.lit(""))
    members = _coded(build, place.height, "all", ("engine", "model"), "{1}")
    options = build.select("row", code=pl.col("options").str.split(" ")).explode("code")
    for (code,), cars in sorted(
        options.filter(pl.col("code") != "").partition_by("code", as_dict=True).items()
    ):
        if cars.height >= OPTION_LEAST:
            has = np.zeros(place.height, dtype=np.int32)
            has[cars["row"].to_numpy()] = 1
            members.append(Member((), has, ({f"option.{code}": False}, {f"option.{code}": True})))
    return tuple(members)


def _coded(facts: pl.DataFrame, height: int, key: str, values: tuple[str, ...], name: str) -> list[Member]:
    """Members by each value of each key; of several facts of a car the last row counts."""
    members = []
    groups = facts.select("row", key, *values).partition_by(key, as_dict=True, include_key=False)
    for group in sorted(groups, key=str):
        part = groups[group]
        place = part["row"].to_numpy()
        for value in values:
            labels = part[value].drop_nulls().unique().sort()
            if not len(labels):
                continue
            codes = np.full(height, -1, dtype=np.int32)
            spelt = part[value].cast(pl.Enum(labels)).to_physical().cast(pl.Int32).fill_null(-1)
            codes[place] = spelt.to_numpy()
            attribute = name.format(group[0], value)
            tree = (str(group[0]),) if group[0] else ()
            members.append(Member(tree, codes, tuple({attribute: label} for label in labels)))
    return members


def _both(members: list[Member], one: str, other: str) -> list[Member]:
    """Pairs that act together: a software on a hardware, a shift on a line."""
    by_name = {next(iter(m.labels[0])): m for m in members if m.labels[0]}
    found = []
    for name, mine in by_name.items():
        partner = by_name.get(other + name.removeprefix(one)) if name.startswith(one) else None
        if partner is None or len(mine.labels) < 2 or len(partner.labels) < 2:
            continue
        pair = mine.codes.astype(np.int64) * len(partner.labels) + partner.codes
        pair[(mine.codes < 0) | (partner.codes < 0)] = -1
        there = np.unique(pair[pair >= 0])
        codes = np.where(pair < 0, -1, np.searchsorted(there, pair)).astype(np.int32)
        labels = [divmod(int(p), len(partner.labels)) for p in there]
        found.append(
            Member(
                mine.tree,
                codes,
                tuple({**(mine.labels[a] or {}), **(partner.labels[b] or {})} for a, b in labels),
            )
        )
    return found


def _tails(facts: pl.DataFrame, height: int, key: str, value: str, name: str) -> list[Member]:
    """The lowest and the highest shares of what was measured; of several measurements of a car the last counts."""
    members = []
    groups = facts.select("row", key, value).partition_by(key, as_dict=True, include_key=False)
    for group in sorted(groups, key=str):
        measured = np.full(height, np.nan)
        measured[groups[group]["row"].to_numpy()] = groups[group][value].to_numpy()
        known = ~np.isnan(measured)
        attribute = f"{name}.{group[0]}"
        for share in TAILS:
            low, high = np.quantile(measured[known], (share, 1 - share))
            for inside, limits in (
                (measured <= low, [None, float(low)]),
                (measured >= high, [float(high), None]),
            ):
                codes = np.where(known, np.where(inside, 0, 1), -1).astype(np.int32)
                members.append(Member((), codes, ({attribute: limits}, None)))
    return members
