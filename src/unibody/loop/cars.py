"""Lay everything that was built into each car beside it, one row a car: the frame on which causes are looked for.

A wide frame costs 16 bytes a cell: 5,000 cars with 40 parts are 20 MB, a million with 100 parts would be 8 GB. For
large fleets name the `positions` wanted, or take the failed cars and a sample of the others (`observed.sampled`): the
tables are cut to those cars before anything is laid out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources

import numpy as np
import polars as pl

from unibody.loop.exposure import exposure
from unibody.loop.frames import Frames, Problem, newest, problem, rows

BUILD = ("brand", "platform", "model", "plant", "line", "shift", "market", "engine", "colour")
PART = ("lot", "supplier", "sub_supplier", "station", "tool")
DEPTH_MAX = 5  # a part in a part in a part ...
OPTIONS_MAX, KEYS_MAX = 500, 500  # distinct options, positions, bolts: more are counted and left out
CLOCK = "1d"  # clocks of plants and suppliers differ by less than this


@dataclass(frozen=True)
class Cars:
    """One row a car with its attributes (named as the module's docstring and the reference say), and what was wrong."""

    frame: pl.DataFrame
    problems: tuple[Problem, ...]


def cars(
    frames: Frames,
    as_of: datetime,
    *,
    vins: pl.Series | None = None,
    moments: pl.DataFrame | None = None,
    positions: Collection[str] | None = None,
    climates: Mapping[str, str] | None = None,
) -> Cars:
    """The cohort frame: every car built by `as_of` (or only `vins`), with what was in it at its moment.

    `moments` (vin, at) says when a car is looked at, e.g. when it failed; the others are looked at `as_of`. Columns:
    vin, built_at, brand, platform, model, plant, line, shift, market, engine, colour,
    climate (of the market: `climates`, country -> word, else climates.toml), option.<code>, part.<position>.
    lot, .supplier, .sub_supplier, .station, .tool (a part within a part: part.<parent>/<position>.lot), torque.<bolt>
    (N·m), angle.<bolt> (deg), tool.<bolt>, station.<bolt>, gauge.<measure>, software.<ecu>, hardware.<ecu>, rxswin,
    sold_at, odometer_km (at as_of; where no reading is known, what cars of its market drive). What is empty for all
    cars is left out.
    """
    found: list[Problem] = []
    build = newest(rows(frames, "build_record").filter(pl.col("built_at") <= as_of), "build_record", found)
    if vins is not None:
        build = build.filter(pl.col("vin").is_in(vins.implode()))
    build = build.sort("built_at", "vin").with_row_index("row")
    when = build.select("vin", "row", at=pl.lit(as_of).dt.cast_time_unit("us"))
    if moments is not None:
        failed = moments.select("vin", failed_at="at").unique("vin", keep="first")
        when = when.join(failed, on="vin", how="left", maintain_order="left").select(
            "vin", "row", at=pl.coalesce("failed_at", "at")
        )
    lived = build.select("vin").join(
        exposure(frames, as_of, found).select("vin", "sold_at", "odometer_km"),
        on="vin",
        how="left",
        maintain_order="left",
    )
    frame = pl.concat(
        [
            build.select("vin", "built_at", *BUILD, climate=_climate(climates or climate_of_market())),
            _options(build, found),
            _parts(frames, when, build, positions, found),
            _tightenings(frames, when, found),
            _gauges(frames, when, found),
            _software(frames, when, found),
            lived.drop("vin"),
        ],
        how="horizontal",
    )
    empty = [
        n for n, count in zip(frame.columns, frame.null_count().row(0), strict=True) if count == frame.height
    ]
    kept = [n for n in frame.columns if n not in empty or n in ("vin", "built_at", "brand")]
    return Cars(frame.select(kept), tuple(found))


@cache
def climate_of_market() -> dict[str, str]:
    """Country (ISO 3166-1 alpha-2) to climate: cold, temperate, warm or hot.

    >>> climate_of_market()["SE"], climate_of_market()["AE"]
    ('cold', 'hot')
    """
    table = tomllib.loads(resources.files("unibody.loop").joinpath("climates.toml").read_text("utf-8"))
    return {country: climate for climate, countries in table.items() for country in countries}


def _climate(of: Mapping[str, str]) -> pl.Expr:
    return pl.col("market").replace_strict(dict(of), default=None, return_dtype=pl.String)


def _options(build: pl.DataFrame, found: list[Problem]) -> pl.DataFrame:
    """option.<code>: a car whose options nobody stated has neither yes nor no."""
    split = build.select("row", code=pl.col("options").str.split(" ")).explode("code")
    split = split.filter(pl.col("code") != "")
    stated = build["options"].is_not_null()
    columns = {}
    codes = split["code"].value_counts().sort("count", "code", descending=[True, False])["code"]
    if len(codes) > OPTIONS_MAX:
        found.append(
            Problem(
                "options beyond the most frequent ones: left out", "build_record", len(codes) - OPTIONS_MAX
            )
        )
    by = split.partition_by("code", as_dict=True)
    for code in sorted(codes.head(OPTIONS_MAX)):
        has = np.zeros(build.height, dtype=bool)
        has[by[(code,)]["row"].to_numpy()] = True
        columns[f"option.{code}"] = pl.select(pl.when(stated).then(pl.Series(has))).to_series()
    return pl.DataFrame(columns)


def _parts(
    frames: Frames,
    when: pl.DataFrame,
    build: pl.DataFrame,
    positions: Collection[str] | None,
    found: list[Problem],
) -> pl.DataFrame:
    parts = genealogy(frames, found)
    if positions is not None:
        parts = parts.filter(pl.col("position").is_in(list(positions)))
    parts = _in_place(parts, when, ("position",), "installed_at", "part_installed", found)
    if parts.height:
        bare = when.join(parts.select("row").unique(), on="row", how="anti")
        problem(found, "vehicle without genealogy: its parts are unknown", "part_installed", bare, "vin")
        split = (
            parts.join(build.select("row", "plant"), on="row")
            .group_by("position", "lot")
            .agg(pl.col("plant").n_unique(), pl.col("supplier").drop_nulls().n_unique().alias("suppliers"))
            .drop_nulls("lot")
        )
        problem(
            found,
            "lot fitted at several plants: kept as one",
            "part_installed",
            split.filter(pl.col("plant") > 1),
            "lot",
        )
        problem(
            found, "lot named by several suppliers: kept as one", "part_installed", split.filter(pl.col("suppliers") > 1), "lot"
        )  # fmt: skip
    return wide(
        parts,
        when.height,
        "position",
        PART,
        lambda key, value: f"part.{key}.{value}",
        found,
        "part_installed",
    )


def genealogy(frames: Frames, found: list[Problem]) -> pl.DataFrame:
    """Every part with the vehicle it is in: columns of part_installed, and vin.

    A part within a part is followed up to its vehicle by the parent's serial. A serial that two vehicles carry leads
    nowhere: its children are left out, and counted.
    """
    parts = newest(rows(frames, "part_installed"), "part_installed", found)
    vins = rows(frames, "build_record").select(installed_in="vin", vin="vin").unique()
    parts = parts.join(vins, on="installed_in", how="left", maintain_order="left")
    ours = pl.col("vin").is_not_null()
    direct, rest = parts.filter(ours), parts.filter(~ours).drop("vin")
    # a part that moved to another place of the same car is not two parts
    holders = (
        parts.drop_nulls("serial").group_by("part_number", "serial").agg(pl.col("installed_in").n_unique())
    )
    twins = holders.filter(pl.col("installed_in") > 1)
    problem(found, "one serial on several vehicles", "part_installed", twins, "serial")
    levels, above = [direct], direct
    for _ in range(DEPTH_MAX):
        if not rest.height or not above.height:
            break
        parents = above.drop_nulls("serial").select("serial", "vin", parent="position")
        parents = parents.unique("serial", keep="none")
        level = rest.join(parents, left_on="installed_in", right_on="serial")
        rest = rest.join(parents, left_on="installed_in", right_on="serial", how="anti")
        above = level.with_columns(position=pl.col("parent") + "/" + pl.col("position")).drop("parent")
        levels.append(above.select(direct.columns))
    problem(
        found,
        "part of no vehicle we know, or of a serial that several carry: left out",
        "part_installed",
        rest,
        "installed_in",
    )
    return pl.concat(levels)


def _tightenings(frames: Frames, when: pl.DataFrame, found: list[Problem]) -> pl.DataFrame:
    """The last tightening of each bolt: a rework replaces what was before."""
    bolts = newest(rows(frames, "tightening").drop_nulls(["vin", "bolt"]), "tightening", found)
    bolts = _in_place(bolts, when, ("bolt",), "tightened_at", "tightening", found).rename(
        {"torque_nm": "torque", "angle_deg": "angle"}
    )
    values = ("torque", "angle", "tool", "station")
    return wide(bolts, when.height, "bolt", values, lambda key, value: f"{value}.{key}", found, "tightening")


def _gauges(frames: Frames, when: pl.DataFrame, found: list[Problem]) -> pl.DataFrame:
    looks = rows(frames, "inspection").drop_nulls(["subject", "measure", "value"])
    looks = newest(looks, "inspection", found).with_columns(vin="subject")
    looks = _in_place(looks, when, ("measure",), "inspected_at", "inspection", found)
    return wide(looks, when.height, "measure", ("value",), lambda key, _: f"gauge.{key}", found, "inspection")


def _software(frames: Frames, when: pl.DataFrame, found: list[Problem]) -> pl.DataFrame:
    """What each control unit ran at the car's moment."""
    kept = newest(rows(frames, "software_installed"), "software_installed", found)
    kept = _in_place(kept, when, ("ecu",), "installed_at", "software_installed", found)
    kept = kept.with_columns(software=pl.coalesce("software_version", "software"))
    last = (
        kept.drop_nulls("rxswin")
        .sort("installed_at", "ecu")
        .with_columns(ecu=pl.lit("rxswin"), software="rxswin")
    )
    last = last.unique("row", keep="last", maintain_order=True)
    return pl.concat(
        [
            wide(
                kept,
                when.height,
                "ecu",
                ("software", "hardware"),
                lambda key, value: f"{value}.{key}",
                found,
                "software_installed",
            ),
            wide(
                last, when.height, "ecu", ("software",), lambda key, _: str(key), found, "software_installed"
            ),
        ],
        how="horizontal",
    )


def _in_place(
    facts: pl.DataFrame,
    when: pl.DataFrame,
    keys: tuple[str, ...],
    time: str,
    table: str,
    found: list[Problem],
) -> pl.DataFrame:
    """One row a car and key: the last fact before the car's moment, with the car's `row`.

    Where every fact lies after the moment, clocks disagree (or the car was failing on the line): the first is taken.
    """
    facts = facts.join(when, on="vin", maintain_order="left")
    late = pl.col(time) > pl.col("at").dt.offset_by(CLOCK)
    ids = ["row", *keys]
    early = _only(facts.filter(~late | pl.col(time).is_null()), ids, time, "last")
    after = facts.filter(late)
    if after.height:
        after = _only(after.join(early.select(ids), on=ids, how="anti"), ids, time, "first")
        problem(
            found, "put in after the moment looked at: clocks disagree, taken as there", table, after, "vin"
        )
        early = pl.concat([early, after])
    return early


def _only(facts: pl.DataFrame, ids: list[str], time: str, keep: str) -> pl.DataFrame:
    if facts.select(pl.struct(ids).n_unique()).item() == facts.height:
        return facts
    ordered = facts.sort(time, *ids, maintain_order=True)
    return ordered.unique(ids, keep="last" if keep == "last" else "first", maintain_order=True)


def wide(
    facts: pl.DataFrame,
    height: int,
    key: str,
    values: tuple[str, ...],
    name: Callable[[str, str], str],
    found: list[Problem],
    table: str,
) -> pl.DataFrame:
    """Lay out one row a (row, key) as columns: `name(key, value)` of `height` rows, empty where there is no fact.

    By places and not by a pivot: linear in the facts, and each column keeps its type.
    """
    groups = facts.select("row", key, *values).partition_by(key, as_dict=True, include_key=False)
    order = sorted(groups, key=lambda k: (-groups[k].height, str(k[0])))
    if len(order) > KEYS_MAX:
        found.append(
            Problem(
                f"more than {KEYS_MAX} kinds of {key}: the rarest are left out", table, len(order) - KEYS_MAX
            )
        )
    columns: dict[str, pl.Series] = {}
    for group in sorted(order[:KEYS_MAX], key=lambda k: str(k[0])):
        part = groups[group]
        place = np.full(height, -1, dtype=np.int64)
        place[part["row"].to_numpy()] = np.arange(part.height)
        at = pl.Series(place).replace(-1, None)
        for value in values:
            if part[value].null_count() < part.height:
                columns[name(str(group[0]), value)] = part[value].gather(at)
    return pl.DataFrame(columns)
