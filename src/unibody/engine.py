"""Where an expression runs: ibis on DuckDB here (on Spark in its own issue), per-group Python on a process pool.

Expressions stay within what both engines do alike (shared facts: no as-of join, no windowed last(), and every window
ordered by a total key).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, TypeVar

from unibody.errors import RefusedError, StoreError

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import polars as pl
    import pyarrow as pa

A = TypeVar("A")
B = TypeVar("B")


@cache
def _connection(process: int) -> Any:
    import ibis

    con = ibis.duckdb.connect()
    con.con.execute("SET TimeZone = 'UTC'").fetchall()
    return con


def connection() -> Any:
    """The DuckDB behind ibis, one a process (a forked child must not share its parent's)."""
    return _connection(os.getpid())


def parquet(files: Sequence[str], empty: pa.Schema) -> ir.Table:
    """Parquet files as one lazy table; columns that a file lacks read as null. `empty` is the schema of no files."""
    import ibis

    if not files:
        return ibis.memtable(empty.empty_table())
    return connection().read_parquet(list(files), union_by_name=True)


def unnest(table: ir.Table, lists: Iterable[str]) -> ir.Table:
    """Packed rows to one row a value: the named list columns unrolled side by side."""
    # DuckDB unrolls several lists in one SELECT in step; a null list reads as null for every value
    return table.mutate(**{name: table[name].unnest() for name in lists})


@dataclass(frozen=True)
class Lazy:
    """A table as handed out: a lazy expression, and the most rows that may be collected from it."""

    expr: ir.Table
    limit: int
    where: str

    def polars(self, expr: ir.Table | None = None) -> pl.DataFrame:
        """Collect the rows, or those of an expression over them; RefusedError above the limit."""
        return collect(self.expr if expr is None else expr, self.limit, self.where)


def collect(expr: ir.Table, limit: int, where: str) -> pl.DataFrame:
    """Run an expression and bring its rows into memory, `limit` at the most."""
    import duckdb

    try:
        frame: pl.DataFrame = expr.limit(limit + 1).to_polars()
    except duckdb.IOException as e:
        raise StoreError(f"{where}: a file of the lake cannot be read: {e}") from e
    if frame.height > limit:
        raise RefusedError(
            f"{where}: more than {limit:,} rows would come into memory; filter or aggregate `expr` first, "
            "or raise collect_rows_max"
        )
    return frame


def per_group(function: Callable[[A], B], groups: Iterable[A], processes: int = 0) -> Iterator[B]:
    """Run a module-level function over groups, on all cores; results come in the groups' order.

    >>> list(per_group(len, ["a", "bb"], processes=1))
    [1, 2]
    """
    workers = processes or os.cpu_count() or 1
    if workers == 1:
        yield from map(function, groups)
        return
    # spawn: a forked child would inherit the threads of polars and DuckDB in an unknown state
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, groups, chunksize=1)
