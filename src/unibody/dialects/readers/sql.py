"""A database: the rows of one SELECT, read-only, in a stated order; every value comes as text, but bytes as bytes.

The path is a SQLite file, or a text file `NAME.dburl` that holds the name of an environment variable; that variable
holds the SQLAlchemy URL, so that no password is ever in a file. Options: query (a single SELECT, with :names for its
parameters) or table, parameters (a table), order (columns that put the rows in one order and no other: records are
numbered by it).
"""

from __future__ import annotations

import datetime as dt
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import polars as pl

from unibody.dialects.readers import BROKEN, Batch, Limits, only
from unibody.dialects.readers.lines import shown
from unibody.errors import FormatError, SetupError, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Engine

_OPTIONS: dict[str, Any] = {"query": "", "table": "", "parameters": {}, "order": []}
_SQLGLOT = {"postgresql": "postgres", "mssql": "tsql", "mariadb": "mysql"}


class _NoText(bytes):
    """Text of a database that is no UTF-8."""


def read(path: Path, options: Mapping[str, Any], start: int, limits: Limits) -> Iterator[Batch]:
    """Rows of a query from `start` on; the database itself skips those before.

    Raises SetupError where query, order or URL are wrong, FormatError where a file is no database, StoreError where a
    server cannot be reached.
    """
    import sqlalchemy as sa

    o = only(options, _OPTIONS, str(path))
    remote = path.suffix == ".dburl"
    engine = _remote(path) if remote else _file(path)
    if bool(o["query"]) == bool(o["table"]):
        raise SetupError(f"{path}: read needs one of query and table")
    if not o["order"]:
        raise SetupError(
            f"{path}: read.order should list the columns that put the rows in one order, e.g. ['id']"
        )
    if o["query"]:
        inner: Any = sa.text(f"({_select(path, o['query'], engine.dialect.name)}) AS q")
    else:
        inner = sa.table(o["table"])
    query = sa.select(sa.text("*")).select_from(inner).order_by(*map(sa.column, o["order"])).offset(start)
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.text("SET TRANSACTION READ ONLY"))
            result = connection.execution_options(
                stream_results=True, max_row_buffer=limits.batch_rows
            ).execute(query, o["parameters"])
            names = list(result.keys())
            if len(set(names)) < len(names):
                raise SetupError(f"{path}: the query gives two columns one name; name them apart with AS")
            record = start
            while True:
                rows = result.fetchmany(limits.batch_rows)
                if rows or record == start:
                    yield batch(names, rows, record)
                if not rows:
                    return
                record += len(rows)
    except sa.exc.SQLAlchemyError as e:
        cause = getattr(e, "orig", None)
        wrong = str(cause or e).splitlines()[0]
        if not isinstance(e, sa.exc.DBAPIError) or _author(wrong) or isinstance(e, sa.exc.ProgrammingError):
            raise SetupError(f"{path}: the query does not fit the database: {wrong}") from e
        if not remote:
            raise FormatError(f"{path}: is no SQLite database that can be read: {wrong}") from e
        raise StoreError(f"{path}: {wrong}") from e
    except (sqlite3.DatabaseError, UnicodeDecodeError) as e:  # fetching is not wrapped by SQLAlchemy
        raise FormatError(f"{path}: cannot be read further: {e}") from e
    finally:
        engine.dispose()


def _author(wrong: str) -> bool:
    return (
        re.search(r"no such (table|column|function)|syntax error|ambiguous column|does not exist", wrong)
        is not None
    )


def _select(path: Path, query: str, dialect: str) -> str:
    """The query, if it is one SELECT and changes nothing."""
    import sqlglot
    from sqlglot import exp

    text = query.strip().rstrip(";")
    try:
        found = sqlglot.parse(text, read=_SQLGLOT.get(dialect, dialect))
    except (sqlglot.errors.SqlglotError, RecursionError) as e:
        raise SetupError(f"{path}: read.query is no SQL: {str(e).splitlines()[0]}") from e
    if len(found) != 1 or not isinstance(found[0], exp.Query):
        raise SetupError(f"{path}: read.query should be a single SELECT")
    for node in found[0].walk():
        if isinstance(node, (exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock)) and not isinstance(
            node, exp.Query
        ):
            raise SetupError(f"{path}: read.query should only read; it has {node.key.upper()}")
    return text


def _file(path: Path) -> Engine:
    import sqlalchemy as sa

    _whole(path)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
        connection.text_factory = _decoded
        connection.execute("PRAGMA query_only = 1")
        return connection

    return sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.NullPool)


def _whole(path: Path) -> None:
    """SQLite reads what was cut off as zeros, so a copy that is not finished must be seen here."""
    try:
        with path.open("rb") as f:
            head = f.read(100)
    except OSError as e:
        raise FormatError(f"{path}: cannot be read: {e.strerror}") from e
    if len(head) < 100 or not head.startswith(b"SQLite format 3\0"):
        raise FormatError(f"{path}: is no SQLite database; such a file begins with 'SQLite format 3'")
    page, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
    whole = (65536 if page == 1 else page) * pages
    if head[24:28] == head[92:96] and path.stat().st_size < whole:
        raise FormatError(f"{path}: is cut short: has {path.stat().st_size:,} of {whole:,} bytes")


def _decoded(data: bytes) -> str | _NoText:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _NoText(data)


def _remote(path: Path) -> Engine:
    import sqlalchemy as sa

    variable = path.read_text(encoding="utf-8", errors="replace").strip()
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", variable):
        raise SetupError(
            f"{path}: should hold the name of an environment variable, e.g. PLANT_DB_URL, and nothing else"
        )
    if variable not in os.environ:
        raise SetupError(f"{path}: the environment has no {variable}; set it to a SQLAlchemy URL")
    try:
        # neither the URL nor the driver's words about it are shown: they may hold the password
        return sa.create_engine(os.environ[variable], poolclass=sa.pool.NullPool, hide_parameters=True)
    except (sa.exc.SQLAlchemyError, ImportError, ValueError) as e:
        raise SetupError(
            f"{path}: {variable} is no SQLAlchemy URL whose driver is installed ({type(e).__name__})"
        ) from None


def batch(names: list[str], rows: Sequence[Any], record: int) -> Batch:
    """Rows as text columns (bytes stay bytes), numbered; a row with text that is none is broken."""
    broken = [
        (record + i, shown(repr(tuple(row))), f"{', '.join(none)} should be UTF-8 text")
        for i, row in enumerate(rows)
        if (none := [n for n, v in zip(names, row, strict=True) if isinstance(v, _NoText)])
    ]
    bad = {b[0] for b in broken}
    good = [(record + i, row) for i, row in enumerate(rows) if record + i not in bad]
    data: dict[str, pl.Series] = {}
    for i, name in enumerate(names):
        column = [row[i] for _, row in good]
        packed = any(v is not None for v in column) and all(v is None or isinstance(v, bytes) for v in column)
        data["record_" if name == "record" else name] = (
            pl.Series(column, dtype=pl.Binary)
            if packed
            else pl.Series([_text(v) for v in column], dtype=pl.String)
        )
    frame = pl.DataFrame({**data, "record": pl.Series([n for n, _ in good], dtype=pl.Int64)})
    return Batch(frame, pl.DataFrame(broken, schema=BROKEN, orient="row"))


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    return str(value)
