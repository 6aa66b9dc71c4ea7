"""Part subjects into those to learn from and those to be asked about: by subject, group, block or time, never by row."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from types import ModuleType

import numpy as np
import polars as pl

from unibody import engine
from unibody.errors import SetupError
from unibody.gate import filtered, subject_column
from unibody.lake import Lake
from unibody.solution import UseCase
from unibody.tables import Outcome, Table

FOLDS = 5
TEST_SHARE = 0.3  # of the time span, at its end
SEED = 20260101


def parts(
    lake: Lake, case: UseCase, module: ModuleType, subjects: pl.DataFrame
) -> Iterator[tuple[str, pl.Series, pl.Series]]:
    """Name, training subjects and test subjects of each fold. `subjects`: subject, at (its place in time)."""
    split = case.split
    assert split is not None
    # a subject that is named several times stands where it was last: it must not lie on both sides
    ordered = subjects.group_by("subject").agg(pl.col("at").max()).sort("at", "subject")
    if split.how == "time":
        border = edge(ordered["at"])
        early, late = ordered.filter(pl.col("at") < border), ordered.filter(pl.col("at") >= border)
        if early.is_empty():
            raise SetupError(
                f"use case {case.name}: split = 'time': no subject ends before {border:%Y-%m-%d %H:%M}"
            )
        yield "time", early["subject"], late["subject"]
        return
    if split.how == "blocks":
        names = ordered["subject"]
        if len(names) < 2:
            raise SetupError(
                f"use case {case.name}: split = 'blocks' needs at least 2 subjects, there is {len(names)}"
            )
        count = min(FOLDS, len(names))
        place = pl.Series(np.arange(len(names)) * count // len(names))
        for k in range(count):
            yield f"block {k + 1}", names.filter(place != k), names.filter(place == k)
        return
    groups = _groups(lake, case, module, subjects)
    if split.how == "is":
        test = groups["group"] == split.value
        if not test.any():
            there = ", ".join(map(str, groups["group"].unique().sort().head(8)))
            raise SetupError(
                f"use case {case.name}: no subject has {split.column} = {split.value}; there are {there}"
            )
        yield str(split), groups.filter(~test)["subject"], groups.filter(test)["subject"]
        return
    names = groups["group"].unique().sort()
    if len(names) < 2:
        raise SetupError(
            f"use case {case.name}: split by {split.column} needs at least 2 values, there is {names.to_list()}"
        )
    shuffled = names.gather(np.random.default_rng(SEED).permutation(len(names)))
    count = min(FOLDS, len(names))
    for k in range(count):
        test = groups["group"].is_in(shuffled.gather_every(count, k).implode())
        yield f"{split} {k + 1}", groups.filter(~test)["subject"], groups.filter(test)["subject"]


def _groups(lake: Lake, case: UseCase, module: ModuleType, subjects: pl.DataFrame) -> pl.DataFrame:
    """subject, group: the value of the split's column for each subject."""
    column = case.split.column if case.split else ""
    names = subjects.select(pl.col("subject").unique().sort())
    if column in (case.subject, "subject"):
        return names.with_columns(group=pl.col("subject"))
    tables: list[type[Table]] = [Outcome, *(t for t in module.READS if t is not Outcome)]
    for table in tables:
        name = subject_column(table, case)
        if name is None or column not in table.columns:
            continue
        rows = filtered(lake.rows(table), table, case)
        found = engine.frame(
            rows.group_by(subject=rows[name]).aggregate(group=rows[column].cast("string").min())
        )
        groups = names.join(found, on="subject", how="left").drop_nulls("group")
        if groups.height:
            return groups
    raise SetupError(
        f"use case {case.name}: split: no table it reads fills a column {column!r} for its subjects"
    )


def edge(at: pl.Series) -> datetime:
    """Where the test part of a span of time begins."""
    first, last = at.min(), at.max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    return first + (last - first) * (1 - TEST_SHARE)
