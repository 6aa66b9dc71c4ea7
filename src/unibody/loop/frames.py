"""Bring tables to the loop as plain frames, with all that is wrong with them counted and shown instead of fatal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from unibody.solution import Tables
from unibody.tables import TABLES, Instant, Table

Frames = Mapping[str, pl.DataFrame]


@dataclass(frozen=True)
class Problem:
    """One kind of thing that is wrong in the data: how many rows have it, and a few of them."""

    what: str
    table: str
    count: int
    examples: tuple[str, ...] = ()


def frames(tables: Tables, types: Iterable[type[Table]]) -> dict[str, pl.DataFrame]:
    """The tables that the gate hands out, collected, by the names they have in the lake."""
    return {table.title(): tables[table].polars() for table in types}


def rows(given: Frames, title: str) -> pl.DataFrame:
    """One table with all of its columns, in their types: what is absent is empty, instants are UTC.

    `known_at` is there always; where the source does not say it, it is the time the fact happened.

    >>> rows({}, "trouble_code").height
    0
    """
    table = TABLES[title]
    frame = given[title] if title in given else pl.DataFrame(schema=table.dtypes())
    wanted = {**table.dtypes(), "known_at": Instant}
    columns = [
        _typed(frame.schema[name], name, dtype) if name in frame.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in wanted.items()
    ]
    known = pl.coalesce("known_at", table.at)
    return frame.select(columns).with_columns(known_at=known)


def _typed(have: pl.DataType, name: str, want: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(have, pl.Datetime) and have.time_zone is None:
        column = column.dt.replace_time_zone("UTC")  # a frame without a zone is taken at its word: UTC
    return column if have == want else column.cast(want, strict=False)


def problem(found: list[Problem], what: str, table: str, wrong: pl.DataFrame, show: str) -> None:
    """Add one kind of problem to a list, if any row has it."""
    if wrong.height:
        some = tuple(str(v) for v in wrong[show].drop_nulls().unique(maintain_order=True).head(3))
        found.append(Problem(what, table, wrong.height, some))


def newest(frame: pl.DataFrame, title: str, found: list[Problem]) -> pl.DataFrame:
    """One row a key: the version known last; the lake does so itself, a frame from elsewhere may not."""
    key = list(TABLES[title].key)
    # by hash first: ten times as fast where no key comes twice, which is the rule
    hashes = frame.select(pl.struct(key).hash().n_unique() if frame.height else pl.lit(0)).item()
    if hashes < frame.height and frame.select(key).is_duplicated().any():
        twice = frame.filter(pl.struct(key).is_duplicated())
        problem(found, "one key in several versions: the one known last is taken", title, twice, key[0])
        return frame.sort("known_at").unique(key, keep="last", maintain_order=True)
    return frame


def beside(left: pl.DataFrame, right: pl.DataFrame, within: str) -> pl.DataFrame:
    """To each row of `left` the row of `right` of the same vin that is nearest in time, at most `within` away.

    Both have vin and at; rows of `left` without a time find nothing and are left out.
    """
    ready = left.drop_nulls("at").sort("at", maintain_order=True)
    found = right.drop_nulls(["vin", "at"]).sort("at", maintain_order=True)
    # polars cannot check the order within each vin; sorted by time as a whole, it is sorted there too
    return ready.join_asof(
        found, on="at", by="vin", strategy="nearest", tolerance=within, check_sortedness=False
    )
