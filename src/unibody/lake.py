"""The facts: append once, versions, read as of a time, quarantine, lineage. Delta tables in one folder.

- A row is a version: same key and later `known_at` is a correction, `deleted` a tombstone.
- Exactly once: each append carries (source, last record) as a Delta app-transaction; a second append of the same
  records, by this process after a kill or by another at the same time, is refused by the log itself.
- Series are packed (docs/decisions/0001-signal-layout.md): one stored row holds up to 4,096 values of one series.
"""

from __future__ import annotations

from datetime import datetime
from os import getpid
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from unibody import engine
from unibody.errors import SetupError, StoreError, nearest
from unibody.tables import SYSTEM, TABLES, Instant, Table, column

if TYPE_CHECKING:
    import ibis.expr.types as ir

SAID = 256  # expressions kept
PACK = 4096  # values of one series in one stored row


class Quarantined(Table):
    """One raw record that could not land: where, what is wrong, what would have been right."""

    key, at = ("from_source", "from_record"), "found_at"
    from_source: str = column("source it came from", required=True)
    from_record: int = column("its place there; -1: the file as a whole", required=True)
    found_at: datetime = column("when it was found", required=True)
    path: str = column("file as it was named")
    dialect: str = column("dialect that refused it")
    kind: str = column("kind of file within the dialect")
    rule: str = column("what is wrong, and what would have been right")
    raw: str = column("the raw record", sensitivity="personal")
    parsed: bool = column("the raw record is JSON of its columns, so `replay` can map it again")
    state: str = column("waiting or landed")


class Source(Table):
    """One raw file or stream as brought in, known by its content, not its path."""

    key, at = ("source_id", "bytes"), "seen_at"
    source_id: str = column("hash of the system's name and the content as first seen", required=True)
    bytes: int = column("length as brought in then", required=True)
    seen_at: datetime = column("when", required=True)
    system: str = column("the dialect's system", required=True)
    dialect: str = column("dialect")
    dialect_version: str = column("hash of the dialect as resolved")
    kind: str = column("kind of file within the dialect")
    path: str = column("file as it was named")
    sha256: str = column("hash of these bytes")
    head: str = column("hash of the first kilobyte, to find candidates fast")
    head_bytes: int = column("how many bytes `head` covers")
    records: int = column("records read so far; null: begun and not finished")
    landed: int = column("of these, landed")
    quarantined: int = column("of these, quarantined")
    set_aside: str = column("JSON: rule -> records set aside")
    job: str = column("the run that did it")


#: The lake's own tables, beside the canonical ones.
OWN: dict[str, type[Table]] = {"_quarantine": Quarantined, "_sources": Source}


class Lake:
    """A folder of Delta tables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[type[Table], DeltaTable] = {}
        self._said: dict[
            tuple[Any, ...], ir.Table
        ] = {}  # expressions of `rows`, by thread, table, version, as_of
        self._appended: dict[type[Table], tuple[str, int, int]] = {}  # the last append: app, up_to, version

    def path(self, table: type[Table]) -> Path:
        """Folder of one table."""
        own = next((n for n, t in OWN.items() if t is table), None)
        return self.folder / (own or table.title())

    def _handle(self, table: type[Table], create: bool = False) -> DeltaTable | None:
        path = self.path(table)
        if table in self._open:
            try:
                self._open[table].update_incremental()
            except (DeltaError, OSError) as e:
                raise StoreError(f"lake {path}: {e}") from e
            return self._open[table]
        try:
            found = DeltaTable(str(path))
        except TableNotFoundError:
            if not create:
                return None
            try:
                path.mkdir(parents=True, exist_ok=True)
                found = DeltaTable.create(
                    str(path),
                    schema=stored_schema(table),
                    mode="ignore",
                    description=(table.__doc__ or "").split("\n")[0],
                    configuration={"delta.checkpointInterval": "100"},
                )
            except (DeltaError, OSError) as e:
                raise StoreError(f"lake {path}: cannot be made: {e}") from e
        except (DeltaError, OSError) as e:
            raise StoreError(f"lake {path}: is no Delta table or is broken: {e}") from e
        self._open[table] = found
        return found

    def append(
        self,
        table: type[Table],
        frame: pl.DataFrame | pa.Table,
        source: str,
        run: str,
        now: datetime,
        up_to: int,
        app: str | None = None,
    ) -> bool:
        """Append rows of one source once.

        `frame` has the table's columns and known_at, known_assumed, deleted, record; or it is `made_ready`. `up_to` is the last record the
        batch covers; `app` the name under which that is remembered (default: the source). Returns False where these
        records are there already. StoreError where the disk is full or another process appends the same source.
        """
        app = app or source
        handle, reached = self._to_append(table, app)
        if reached >= up_to:
            return False
        rows = frame if isinstance(frame, pa.Table) else made_ready(table, frame, source, run, now)
        try:
            write_deltalake(
                handle,
                rows,
                mode="append",
                schema_mode="merge" if self._older(handle, rows.column_names) else None,
                writer_properties=WriterProperties(compression="ZSTD", compression_level=1),
                commit_properties=CommitProperties(app_transactions=[Transaction(app, up_to)]),
            )
        except CommitFailedError as e:
            raise StoreError(
                f"lake {self.path(table)}: another process is bringing in source {source} now"
            ) from e
        except (DeltaError, OSError) as e:
            raise StoreError(f"lake {self.path(table)}: rows could not be written: {e}") from e
        self._appended[table] = app, up_to, handle.version()
        return True

    def _to_append(self, table: type[Table], app: str) -> tuple[DeltaTable, int]:
        """The table, and the last record of `app` in it.

        Where this process wrote the last of it, the log is not read again: a commit is checked by the log against
        all that others have written since the version we hold, so what they may have done to `app` is seen there.
        """
        handle, (last, up_to, version) = self._open.get(table), self._appended.get(table, ("", -1, -1))
        if handle is not None and last == app and handle.version() == version:
            return handle, up_to
        handle = self._handle(table, create=True)
        assert handle is not None
        return handle, self._reached(handle, app)

    @staticmethod
    def _older(handle: DeltaTable, names: list[str]) -> bool:
        return not set(names) <= {f.name for f in handle.schema().fields}

    def committed(self, table: type[Table], app: str) -> int:
        """Last record of this source that the table holds; -1: none."""
        handle = self._handle(table)
        return self._reached(handle, app) if handle else -1

    @staticmethod
    def _reached(handle: DeltaTable, app: str) -> int:
        version = handle.transaction_version(app)
        return -1 if version is None else int(version)

    def stored(self, table: type[Table]) -> ir.Table:
        """Everything stored of a table, one row a value, all versions."""
        handle = self._handle(table)
        files = handle.file_uris() if handle else []
        expr = engine.parquet(files, stored_schema(table))
        expr = _renewed(expr, table)
        if table.packs:
            lists = [f.name for f in stored_schema(table) if pa.types.is_large_list(f.type)]
            expr = engine.unnest(expr, lists)
            expr = expr.mutate(known_at=expr["known_at"].coalesce(expr[table.at]))
        return expr.select(*table.columns, *SYSTEM)

    def rows(self, table: type[Table], as_of: datetime | None = None) -> ir.Table:
        """The last version of each fact, without the deleted; with `as_of`, as known then of what happened before."""
        handle = self._handle(table)
        # writing the expression down takes ten times as long as looking at the log, so it is kept while the table is
        # what it was; the engine is asked for the files all the same, that it may not have let them go
        files = engine.parquet(handle.file_uris(), stored_schema(table)) if handle else None
        place = (get_ident(), getpid(), table, handle.version() if handle else -1, as_of)
        if files is None or place not in self._said:
            while len(self._said) >= SAID:
                self._said.pop(next(iter(self._said)))
            self._said[place] = self._rows(table, as_of)
        return self._said[place]

    def _rows(self, table: type[Table], as_of: datetime | None) -> ir.Table:
        import ibis

        expr = self.stored(table)
        if as_of is not None:
            expr = expr.filter(expr["known_at"] <= ibis.timestamp(as_of))
            if (
                table.at in table.key
            ):  # no version can move it, so what comes later may go before versions are told apart
                expr = _happened(expr, table, as_of)
        # a total order: of two versions known at the same instant the one that came in later counts
        newest = [ibis.desc(c) for c in ("known_at", "ingested_at", "source", "record")]
        rank = ibis.row_number().over(ibis.window(group_by=list(table.key), order_by=newest))
        expr = expr.mutate(_rank=rank)
        expr = expr.filter((expr["_rank"] == 0) & ~expr["deleted"]).drop("_rank")
        return expr if as_of is None or table.at in table.key else _happened(expr, table, as_of)

    def newest(self, table: type[Table]) -> pl.DataFrame:
        """`rows` of a small table that is not packed, at once: to bring files in, no engine needs to start."""
        handle = self._handle(table)
        empty = pl.DataFrame(schema={**table.dtypes(), **SYSTEM})
        try:
            files = [pl.read_parquet(f) for f in handle.file_uris()] if handle else []
        except (pl.exceptions.PolarsError, OSError) as e:
            raise StoreError(f"lake {self.path(table)}: a file cannot be read: {e}") from e
        found = pl.concat([empty, *files], how="diagonal_relaxed").sort(
            "known_at", "ingested_at", "source", "record"
        )
        return found.unique(table.key, keep="last", maintain_order=True).filter(~pl.col("deleted"))

    def status(self) -> dict[str, dict[str, int]]:
        """Rows, bytes and files of each table that is there."""
        found = {}
        for table in (*TABLES.values(), *OWN.values()):
            handle = self._handle(table)
            if handle is not None:
                actions = pl.DataFrame(handle.get_add_actions(flatten=True))
                found[self.path(table).name] = {
                    "rows": int(self.count(table)),
                    "bytes": int(actions["size_bytes"].sum()),
                    "files": actions.height,
                }
        return found

    def count(self, table: type[Table]) -> int:
        """Stored rows (all versions), one a value."""
        handle = self._handle(table)
        if handle is None:
            return 0
        if table.packs:
            expr = engine.parquet(handle.file_uris(), stored_schema(table))
            return int(engine.frame(expr.aggregate(n=expr["record"].length().sum())).item() or 0)
        return int(pl.DataFrame(handle.get_add_actions(flatten=True))["num_records"].sum())

    def version(self, table: type[Table]) -> int:
        """The table's snapshot number, for a model's record of what it learned from; -1: empty."""
        handle = self._handle(table)
        return handle.version() if handle else -1

    def compact(self, table: type[Table]) -> dict[str, Any]:
        """Rewrite many small files into few; readers keep the old files until `vacuum` (not done here)."""
        handle = self._handle(table)
        if handle is None:
            return {}
        try:
            return dict(handle.optimize.compact())
        except (DeltaError, OSError) as e:
            raise StoreError(f"lake {self.path(table)}: {e}") from e


def _happened(expr: ir.Table, table: type[Table], as_of: datetime) -> ir.Table:
    """What happened before; a table that foresees keeps what is still to come."""
    import ibis

    return expr if table.foresees else expr.filter(expr[table.at] < ibis.timestamp(as_of))


def named(title: str) -> type[Table]:
    """The table of this name; SetupError says what there is."""
    known = {**TABLES, **OWN}
    if title not in known:
        raise SetupError(f"no table {title!r}; {nearest(title, known)}")
    return known[title]


def stored_schema(table: type[Table]) -> pa.Schema:
    """How a table lies on disk: as declared, or packed into lists."""
    system = dict(SYSTEM)
    if not table.packs:
        return pl.DataFrame(schema={**table.dtypes(), **system}).to_arrow().schema
    valued: dict[str, pl.DataType] = {**table.dtypes(), "known_at": Instant, "record": pl.Int64()}
    lists = {n: pl.List(d) for n, d in valued.items() if n not in table.packs}
    plain = {n: table.dtypes()[n] for n in table.packs} | {n: d for n, d in system.items() if n not in lists}
    own = {"first_at": Instant, "last_at": Instant}
    return pl.DataFrame(schema={**plain, **own, **lists}).to_arrow().schema


def made_ready(table: type[Table], frame: pl.DataFrame, source: str, run: str, now: datetime) -> pa.Table:
    """Rows as they lie on disk: packed, with what the lake adds; to be done by one thread while another writes."""
    rows = pack(table, frame) if table.packs else frame
    rows = rows.with_columns(ingested_at=pl.lit(now, Instant), source=pl.lit(source), run=pl.lit(run))
    return rows.select(f.name for f in stored_schema(table)).to_arrow()


def pack(table: type[Table], frame: pl.DataFrame) -> pl.DataFrame:
    """One row a value to one row per run of up to 4,096 values of one series.

    A list that holds nothing, or known_at where it is `at`, is stored as null.
    """
    by = [*table.packs, "known_assumed", "deleted"]
    lists = [n for n in (*table.columns, "known_at", "record") if n not in table.packs]
    filled = frame.select(pl.col(lists).is_not_null().any()).row(0, named=True)
    filled["known_at"] = not frame.select((pl.col("known_at") == pl.col(table.at)).all()).item()
    frame = frame.with_columns(_run=pl.int_range(pl.len()).over(by) // PACK)
    packed = frame.group_by([*by, "_run"], maintain_order=True).agg(
        *(pl.col(n) for n in lists if filled[n]),
        first_at=pl.col(table.at).min(),
        last_at=pl.col(table.at).max(),
    )
    missing = [
        pl.lit(None, pl.List({**table.dtypes(), **SYSTEM}[n])).alias(n) for n in lists if not filled[n]
    ]
    return packed.with_columns(missing)


def _renewed(expr: ir.Table, table: type[Table]) -> ir.Table:
    """Old snapshots under today's columns: renamed ones carried over, new ones null."""
    import ibis

    present = set(expr.columns)
    added: dict[str, Any] = {}
    for name, old in table.renamed.items():
        if old in present:
            added[name] = expr[name].coalesce(expr[old]) if name in present else expr[old]
    schema = ibis.Schema.from_pyarrow(stored_schema(table))
    for name, dtype in schema.items():
        if name not in present and name not in added:
            added[name] = ibis.null(dtype)
    return expr.mutate(**added) if added else expr
