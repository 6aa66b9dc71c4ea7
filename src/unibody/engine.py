"""Where an expression runs: ibis on DuckDB here (on Spark in its own issue), per-group Python on a process pool.

Expressions stay within what both engines do alike: no windowed last(), every window ordered by a total key, and the
as-of join in a portable form beside DuckDB's own (`as_of_join`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from multiprocessing import get_context
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from unibody.errors import RefusedError, StoreError

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import polars as pl
    import pyarrow as pa

A = TypeVar("A")
B = TypeVar("B")


#: Snapshots of tables that a connection keeps by name; older ones go, or a service would gather them for ever.
_KEPT = 200


_ONE_AT_A_TIME = Lock()


def _ibis() -> Any:
    """ibis, imported by one thread alone: of two at once the second may be given half of it."""
    with _ONE_AT_A_TIME:
        import ibis
    return ibis


@cache
def _connection(process: int, thread: int) -> Any:
    con = _ibis().duckdb.connect()
    con.con.execute("SET TimeZone = 'UTC'").fetchall()
    return con


def connection() -> Any:
    """The DuckDB behind ibis, one a process and thread: neither a fork nor two threads may share one."""
    return _connection(os.getpid(), get_ident())


@cache
def _views(process: int, thread: int) -> dict[str, ir.Table]:
    return {}


def parquet(files: Sequence[str], empty: pa.Schema) -> ir.Table:
    """Parquet files as one lazy table; columns that a file lacks read as null. `empty` is the schema of no files."""
    ibis = _ibis()
    if not files:
        return ibis.memtable(empty.empty_table())
    views = _views(os.getpid(), get_ident())
    name = "files_" + sha256("\n".join(files).encode()).hexdigest()[:24]
    if name not in views:
        with broken_files("lake"):
            views[name] = connection().read_parquet(list(files), table_name=name, union_by_name=True)
    views[name] = views.pop(name)  # the last used comes last
    while len(views) > _KEPT:
        oldest = next(iter(views))
        del views[oldest]
        connection().raw_sql(f"DROP VIEW IF EXISTS {oldest}")
    return views[name]


@contextmanager
def broken_files(where: str) -> Iterator[None]:
    """What DuckDB says of a file that is gone or broken, as StoreError."""
    import duckdb

    try:
        yield
    except (duckdb.IOException, duckdb.InvalidInputException, duckdb.OutOfMemoryException) as e:
        raise StoreError(f"{where}: a file of the lake cannot be read: {str(e).splitlines()[0]}") from e


def frame(expr: ir.Table) -> pl.DataFrame:
    """All rows of an expression that is known to be small; `collect` is for what may be large."""
    with broken_files("lake"):
        # by our own connection: an expression over nothing stored would run on ibis's, which all threads share
        found: pl.DataFrame = connection().to_polars(expr)
    return found


def unnest(table: ir.Table, lists: Iterable[str]) -> ir.Table:
    """Packed rows to one row a value: the named list columns unrolled side by side."""
    # DuckDB unrolls several lists in one SELECT in step; a null list reads as null for every value
    return table.mutate(**{name: table[name].unnest() for name in lists})


def as_of_join(
    questions: ir.Table,
    readings: ir.Table,
    by: Sequence[str],
    at: str,
    read_at: str,
    take: Sequence[str],
    portable: bool = False,
) -> ir.Table:
    """Each distinct question (`by`, `at`) with what the last reading at or before it says; nulls where there is none.

    Of readings of one instant there must be one. `portable` is for engines without an as-of join of their own (Spark): a
    running maximum over both and an equi-join, twice as slow; a test holds the two equal.
    """
    import ibis

    asked = questions.select(*by, at).distinct()
    right = readings.select(
        **{f"_{k}": readings[k] for k in by}, _read=readings[read_at], **{t: readings[t] for t in take}
    )
    if not portable:
        same = [asked[k] == right[f"_{k}"] for k in by]
        return asked.asof_join(right, on=asked[at] >= right["_read"], predicates=same).select(*by, at, *take)
    moments = ibis.union(
        asked.select(*by, _at=asked[at], _read=ibis.null("timestamp('UTC', 6)"), _asks=1),
        right.select(**{k: right[f"_{k}"] for k in by}, _at=right["_read"], _read=right["_read"], _asks=0),
    )
    # at one instant the reading (0) comes before the question (1): a total order with the keys
    window = ibis.window(group_by=list(by), order_by=["_at", "_asks"], preceding=None, following=0)
    last = moments.mutate(_last=moments["_read"].max().over(window))
    last = last.filter(last["_asks"] == 1).select(*by, "_last", **{at: last["_at"]})
    same = [*(last[k] == right[f"_{k}"] for k in by), last["_last"] == right["_read"]]
    return last.left_join(right, same).select(*by, at, *take)


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
    with broken_files(where):
        found: pl.DataFrame = connection().to_polars(expr.limit(limit + 1))
    if found.height > limit:
        raise RefusedError(
            f"{where}: more than {limit:,} rows would come into memory; filter or aggregate `expr` first, "
            "or raise collect_rows_max"
        )
    return found


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
