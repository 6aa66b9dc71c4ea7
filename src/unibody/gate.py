"""May this data be used here, for this? The one place where tables are handed out.

First size: a use case sees the tables its solution READS and nothing else; truth is opened for purpose `judge`, and
for `learn` the training part of it; every request is remembered in the ledger. Policies come with the trust issue.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import polars as pl

from unibody.engine import Lazy
from unibody.errors import RefusedError
from unibody.lake import Lake
from unibody.ledger import Ledger
from unibody.solution import UseCase
from unibody.tables import Outcome, Table

if TYPE_CHECKING:
    import ibis.expr.types as ir

Purpose = Literal["learn", "decide", "judge"]


@dataclass(frozen=True)
class Cut:
    """What of the data a call may see: these subjects (all if None), each until its instant, all before `before`.

    `subjects` has the column subject and, where life is cut short, `until`.
    """

    subjects: pl.DataFrame | None = None
    before: datetime | None = None


@dataclass(frozen=True)
class Opened:
    """The tables of one use case for one purpose, as `learn` and `decide` get them."""

    lake: Lake
    ledger: Ledger
    case: UseCase
    reads: tuple[type[Table], ...]
    purpose: Purpose
    cut: Cut
    as_of: datetime | None
    limit: int

    def __getitem__(self, table: type[Table]) -> Lazy:
        """One table, cut; RefusedError where the use case may not read it now."""
        why = self._refusal(table)
        self.ledger.log_read(self.case.name, self.purpose, table.title(), why is None, why or "in READS")
        where = f"use case {self.case.name}, {self.purpose}"
        if why:
            raise RefusedError(f"{where}: {table.title()} is refused: {why}")
        expr = self.lake.rows(table, self.as_of).select(*table.columns, "known_at")
        expr = filtered(expr, table, self.case)
        return Lazy(cut_to(expr, table, self.case, self.cut), self.limit, f"{where}, {table.title()}")

    def _refusal(self, table: type[Table]) -> str | None:
        if table not in self.reads:
            return f"its solution READS {', '.join(t.title() for t in self.reads)}"
        if table is Outcome and self.purpose == "decide":
            return "truth is opened for learning and judging only"
        return None


def filtered(expr: ir.Table, table: type[Table], case: UseCase) -> ir.Table:
    """Only the rows that the use case's `where` names; `*` stands for anything.

    Of truth, only the rows it is judged by. A condition on the subject holds for truth too.
    """
    if table is Outcome:
        expr = expr.filter(expr["truth"] == (case.truth or ""))
    for column, wanted in case.where.items():
        name = "subject" if table is Outcome and column == case.subject else column
        if name not in expr.columns:
            continue
        values = [str(v) for v in wanted] if isinstance(wanted, (list, tuple)) else [str(wanted)]
        text = expr[name].cast("string")
        met = [text.re_search(_glob(v)) if "*" in v else text == v for v in values]
        condition = met[0]
        for other in met[1:]:
            condition = condition | other
        expr = expr.filter(condition)
    return expr


def _glob(pattern: str) -> str:
    """`FD001*` as an anchored regular expression; nothing but * is special, so it cannot run away."""
    return "^" + ".*".join(re.escape(piece) for piece in pattern.split("*")) + "$"


def subject_column(table: type[Table], case: UseCase) -> str | None:
    """The column of a table that names what the use case decides about."""
    if table is Outcome:
        return "subject"
    return case.subject if case.subject in table.columns else None


def cut_to(expr: ir.Table, table: type[Table], case: UseCase, cut: Cut) -> ir.Table:
    """Only what the cut leaves: its subjects, each until its own instant, and nothing at or after `before`."""
    import ibis

    if cut.before is not None:
        expr = expr.filter(expr["known_at"] < ibis.timestamp(cut.before))
        if not table.foresees:
            expr = expr.filter(expr[table.at] < ibis.timestamp(cut.before))
    name = subject_column(table, case)
    if cut.subjects is not None and name is not None:
        until = "until" in cut.subjects.columns and table is not Outcome
        # the name of the lasting column must not meet one of the table's own
        keep = cut.subjects.select(
            pl.col("subject").alias("_subject"), *([pl.col("until").alias("_until")] if until else [])
        )
        chosen = ibis.memtable(keep.unique().to_arrow())  # a subject named twice is seen once
        joined = expr.join(chosen, expr[name] == chosen["_subject"], how="inner")
        if until:
            # what is foreseen counts from when it was known
            at = joined["known_at"] if table.foresees else joined[table.at]
            joined = joined.filter(joined["_until"].isnull() | (at <= joined["_until"]))
        expr = joined.select(*expr.columns)
    return expr


def opened(
    lake: Lake,
    ledger: Ledger,
    case: UseCase,
    reads: tuple[type[Table], ...],
    purpose: Purpose,
    *,
    cut: Cut | None = None,
    as_of: datetime | None = None,
    limit: int = 50_000_000,
) -> Opened:
    """The tables of a use case for a purpose: what `learn` and `decide` are given."""
    return Opened(lake, ledger, case, reads, purpose, cut or Cut(), as_of, limit)
