"""Open the ledger's database: SQLite (WAL) in a home, or PostgreSQL by URL; bring its tables to this version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError, SQLAlchemyError

from unibody.errors import SetupError, StoreError
from unibody.ledger.schema import METADATA, MIGRATED

#: The newest migration; a home that has it opens without loading Alembic. A test holds it against the folder.
HEAD = "0002"
MIGRATIONS = Path(__file__).parent / "migrations"
#: Of several processes that open an empty or old PostgreSQL at once, one migrates. Any number; ours alone.
MIGRATION_LOCK = 7_305_413_218


class Store:
    """A database: transactions, with every fault of it said in words."""

    def __init__(self, url: str) -> None:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self.engine = _engine(url)
        if self.engine.dialect.name == "sqlite":
            sa.event.listen(self.engine, "connect", _wal)
            sa.event.listen(self.engine, "begin", _begin)
        self._writing = self.engine.execution_options(unibody_writes=True)
        with self.faults():
            self._bring_up_to_date()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection to read with."""
        with self.faults(), self.engine.connect() as con:
            yield con

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction, committed at the end or not at all; IntegrityError where another was faster."""
        with self.faults(), self._writing.begin() as con:
            yield con

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Say as StoreError what the database says; IntegrityError passes, for callers know what it means."""
        try:
            yield
        except sqlite3.Error as e:  # of a file that is no database, before SQLAlchemy has a hand in it
            raise StoreError(f"{self.name}: {e}") from e
        except OperationalError as e:
            raise StoreError(f"{self.name}: {e.orig}") from e
        except IntegrityError:
            raise
        except SQLAlchemyError as e:
            raise StoreError(f"{self.name}: {e}") from e

    @property
    def name(self) -> str:
        """How messages name it; never with a password."""
        return f"ledger {self.engine.url.render_as_string()}"

    def _bring_up_to_date(self) -> None:
        rooms = [t for n, t in METADATA.tables.items() if n not in MIGRATED]
        with self.engine.connect() as con:
            there = set(sa.inspect(con).get_table_names())
            if _revision(con, there) == HEAD and there >= {t.name for t in rooms}:
                return
        with self._writing.begin() as con:
            if con.dialect.name == "postgresql":
                con.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            migrate(con, self.name)
            METADATA.create_all(con, tables=rooms)


def migrate(con: sa.Connection, name: str, upto: str = HEAD) -> None:
    """Bring a database to a revision, inside the caller's transaction: all of it or nothing.

    Raises StoreError where the database was made by a newer version.
    """
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory
    from alembic.script.revision import RevisionError
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    context = MigrationContext.configure(con)
    at = context.get_current_revision()
    try:
        steps = list(script.iterate_revisions(upto, at or "base"))
    except (CommandError, RevisionError) as e:
        raise StoreError(
            f"{name}: is at revision {at}, which this version does not know: open it with a newer Unibody"
        ) from e
    for step in reversed(steps):
        with Operations.context(context):
            step.module.upgrade()
        context.stamp(script, step.revision)


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except ArgumentError as e:
        raise SetupError(
            "ledger: not a database URL; it should be like sqlite:////folder/ledger.sqlite or postgresql://user@host/name"
        ) from e
    if parsed.password is not None:
        raise SetupError(
            f"ledger {parsed.render_as_string()}: a password in the URL; "
            "put it into PGPASSWORD, or into a file that PGPASSFILE names"
        )
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise SetupError(
            f"ledger {parsed.render_as_string()}: {parsed.get_backend_name()} is none of sqlite, postgresql"
        )
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        # a server that was restarted is noticed before a statement is lost on a dead connection
        return sa.create_engine(parsed, pool_pre_ping=parsed.get_backend_name() == "postgresql")
    except ModuleNotFoundError as e:
        raise SetupError(
            f"ledger {parsed.render_as_string()}: no driver: pip install 'psycopg[binary]'"
        ) from e


def _revision(con: sa.Connection, there: set[str]) -> str | None:
    if "alembic_version" not in there:
        return None
    found: str | None = con.scalar(sa.text("select version_num from alembic_version"))
    return found


def _wal(connection: Any, _: object) -> None:
    connection.isolation_level = None  # we begin ourselves: the driver would leave DDL outside transactions
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()


def _begin(con: sa.Connection) -> None:
    # a writer takes its lock at once and waits for it; one that begins as a reader would be refused, not made wait
    writes = con.get_execution_options().get("unibody_writes")
    con.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
