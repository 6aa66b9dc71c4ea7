"""Investigations by hand over one home: a table somebody brought, or the lake through the gate; saved, listed, opened.

An investigation is a use case made in a form: the ledger keeps the same fields (name, room, solution, question, owner,
settings), each saving as a row of its own, so what was looked at then stays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from unibody.errors import RefusedError, SetupError, nearest
from unibody.ledger import METADATA
from unibody.loop import anytable
from unibody.loop.investigate import Investigation, investigate, of_file

if TYPE_CHECKING:
    from unibody.backbone import Backbone

Progress = Callable[[str, int, int], None]
INVESTIGATIONS = sa.Table(
    "investigation",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String(200), nullable=False, index=True),
    sa.Column("room", sa.String(64), nullable=False),
    sa.Column("solution", sa.String(64), nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("settings", sa.Text, nullable=False),  # JSON: what is asked
    sa.Column("at", sa.String(32), nullable=False),
)
NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
UPLOAD_BYTES_MAX, UPLOADS_MAX = 64 * 1024 * 1024, 200
_KEPT = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Asked:
    """What is asked. `table` is a file's path, or the id of one that was uploaded; empty: the lake."""

    outcome: str
    cohort: str = ""
    table: str = ""
    exposure: str = ""
    controls: tuple[str, ...] = ()
    attributes: tuple[str, ...] = field(default=())  # empty: all
    alpha: float = 0.05
    as_of: str = ""

    @property
    def question(self) -> str:
        """In words."""
        among = f", among units with {self.cohort.strip()}" if self.cohort.strip() else ""
        return f"What do the failing units share? Failed: {self.outcome}{among}"


def ask(backbone: Backbone, asked: Asked, progress: Progress | None = None) -> Investigation:
    """Answer; see loop/investigate.py. Raises SetupError, FormatError where a column or the table is not right."""
    if not asked.table:
        from unibody.backbone.field import ask_lake

        return ask_lake(backbone, asked, progress)
    prepared = of_file(
        table_path(backbone, asked.table),
        asked.outcome,
        exposure=asked.exposure or None,
        controls=asked.controls,
        attributes=asked.attributes or None,
        progress=progress,
    )
    return investigate(prepared, asked.cohort, alpha=asked.alpha, progress=progress)


def ask_signed_in(backbone: Backbone, asked: Asked, progress: Progress | None = None) -> Investigation:
    """As `ask`, for who comes over the network: a table is one that was uploaded, never a path of this machine."""
    if asked.table:
        uploaded(backbone, asked.table)
    return ask(backbone, asked, progress)


def answer(backbone: Backbone, asked: Asked) -> dict[str, Any]:
    """As `ask_signed_in`, as JSON."""
    return ask_signed_in(backbone, asked).plain()


# ---- saved


def save(backbone: Backbone, name: str, asked: Asked, by: str) -> dict[str, Any]:
    """Keep an investigation under a name; the name may be used again, the newest is the one that opens."""
    name = name.strip()
    if not NAME.fullmatch(name):
        raise SetupError("a name has 1 to 200 characters on one line")
    row = {
        "name": name, "room": "loop", "solution": "investigate", "question": asked.question, "owner": by,
        "settings": json.dumps(asdict(asked)), "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    with backbone.ledger.write() as con:
        _there(con)
        number = (con.execute(sa.insert(INVESTIGATIONS).values(row)).inserted_primary_key or (0,))[0]
    return {**row, "id": int(number), "settings": asdict(asked)}


def saved(backbone: Backbone) -> list[dict[str, Any]]:
    """The newest of each name, newest first."""
    newest = sa.select(sa.func.max(INVESTIGATIONS.c.id)).group_by(INVESTIGATIONS.c.name)
    wanted = (
        sa.select(INVESTIGATIONS).where(INVESTIGATIONS.c.id.in_(newest)).order_by(INVESTIGATIONS.c.id.desc())
    )
    with backbone.ledger.read() as con:
        if not sa.inspect(con).has_table(INVESTIGATIONS.name):
            return []
        rows = [dict(r._mapping) for r in con.execute(wanted)]
    return [{**r, "settings": json.loads(r["settings"])} for r in rows]


def reopened(backbone: Backbone, name: str) -> Asked:
    """What was saved under a name; SetupError says what there is."""
    rows = {r["name"]: r for r in saved(backbone)}
    if name not in rows:
        raise SetupError(f"no investigation {name!r}; {nearest(name, rows)}")
    return asked_of(rows[name])


def asked_of(row: dict[str, Any]) -> Asked:
    """What a saved row asks."""
    known: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v
        for k, v in row["settings"].items()
        if k in Asked.__dataclass_fields__
    }
    return Asked(**known)


def _there(con: sa.Connection) -> None:
    # a ledger that was opened before this module was imported has not made it
    METADATA.create_all(con, tables=[INVESTIGATIONS])


# ---- tables that were brought


def table_path(backbone: Backbone, table: str) -> Path:
    """The file of an uploaded table by its id, else the path as given."""
    if _KEPT.fullmatch(table):
        found = next(iter(sorted(_folder(backbone).glob(f"{table}.*"))), None)
        if found is not None:
            return found
    return Path(table)


def uploaded(backbone: Backbone, table: str) -> Path:
    """The file of an uploaded table; a path is refused: who is signed in on the web reads what was uploaded, no more."""
    if not _KEPT.fullmatch(table):
        raise RefusedError("a table is named by the id it got when it was uploaded")
    path = table_path(backbone, table)
    if not path.is_file():
        raise SetupError(f"no table {table}; upload it again")
    return path


def upload(backbone: Backbone, name: str, content: bytes, by: str) -> dict[str, Any]:
    """Keep a table in the home; the same content is the same table.

    Raises RefusedError where it is too large or there are too many, SetupError or FormatError where it is no table.
    """
    if len(content) > UPLOAD_BYTES_MAX:
        raise RefusedError(f"{name}: larger than {UPLOAD_BYTES_MAX:,} bytes")
    plain = Path(name.replace("\\", "/")).name[:120]
    suffix = next((s for s in _suffixes() if plain.lower().endswith(s)), None)
    if suffix is None:
        raise SetupError(f"{plain}: should end in {', '.join(_suffixes()[-9:])}")
    folder = _folder(backbone)
    folder.mkdir(parents=True, exist_ok=True)
    digest = sha256(content).hexdigest()[:16]
    path = folder / f"{digest}{suffix}"
    if not path.exists():
        if len(list(folder.glob("*.json"))) >= UPLOADS_MAX:
            raise RefusedError(
                f"{UPLOADS_MAX} tables are kept already; delete some in {folder.name} of the home"
            )
        part = folder / f".{digest}.part{suffix}"
        part.write_bytes(content)
        try:
            anytable.read(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    about = {
        "id": digest,
        "name": plain,
        "bytes": len(content),
        "by": by,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (folder / f"{digest}.json").write_text(json.dumps(about))
    return about


def uploads(backbone: Backbone) -> list[dict[str, Any]]:
    """The tables that were uploaded, newest first."""
    found = []
    for path in _folder(backbone).glob("*.json"):
        try:
            found.append(json.loads(path.read_text()))
        except (OSError, ValueError):
            continue
    return sorted(found, key=lambda t: str(t.get("at")), reverse=True)


def _suffixes() -> Sequence[str]:
    text = (".csv", ".tsv", ".txt")
    return (*(t + p for t in text for p in anytable.PACKED), *anytable.SUFFIXES)


def _folder(backbone: Backbone) -> Path:
    return backbone.settings.home / "investigations"
