"""A table: one canonical kind of fact, every column with type, unit, meaning and sensitivity.

Beside its columns a table names its `key`, the column `at` that says when the fact happened, and, where life is
counted otherwise (cycles, km, hours), the column `usage_in` that counts it. A table whose rows are single values of a series (readings of a
sensor, points of a torque curve) says so with `packs`: the lake then keeps one row per series and minute and hands
out one row a value; nobody above the lake sees the packing (docs/decisions/0001-signal-layout.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_type_hints

import polars as pl

if TYPE_CHECKING:
    from pandera.polars import DataFrameSchema

Sensitivity = Literal["open", "business", "personal", "location", "health"]

#: Instants are UTC with microseconds, everywhere.
Instant = pl.Datetime("us", "UTC")

_DTYPES: dict[type, pl.DataType] = {
    str: pl.String(),
    float: pl.Float64(),
    int: pl.Int64(),
    bool: pl.Boolean(),
    bytes: pl.Binary(),
    datetime: Instant,
}


@dataclass(frozen=True)
class Column:
    """One column as declared: what it means, and what a value must be."""

    meaning: str
    unit: str | None
    sensitivity: Sensitivity
    required: bool
    low: float | None
    high: float | None
    one_of: tuple[str, ...] | None
    pattern: str | None
    name: str = ""
    dtype: pl.DataType = pl.String()

    def allowed(self) -> str:
        """What a value must be, in words: `0 .. 600 N·m`."""
        if self.one_of:
            return "one of " + ", ".join(self.one_of)
        if self.pattern:
            return f"matches {self.pattern}"
        if self.low is None and self.high is None:
            return ""
        low, high = ("" if v is None else f"{v:g}" for v in (self.low, self.high))
        return f"{low} .. {high} {self.unit or ''}".strip()


def column(
    meaning: str,
    *,
    unit: str | None = None,
    sensitivity: Sensitivity = "business",
    required: bool = False,
    low: float | None = None,
    high: float | None = None,
    one_of: tuple[str, ...] | None = None,
    pattern: str | None = None,
) -> Any:
    """Declare a column: its meaning, its unit, who may see it, and its possible values.

    `low` and `high` are what is physically possible, not what is normal: a record outside is quarantined.
    `unit` is written as pint reads it ("N·m", "degC", "km/h").
    """
    return Column(meaning, unit, sensitivity, required, low, high, one_of, pattern)


class Table:
    """Base of all canonical tables.

    >>> class Weld(Table):
    ...     '''One spot weld.'''
    ...     key, at = ("weld_id",), "welded_at"
    ...     weld_id: str = column("the weld", required=True)
    ...     welded_at: datetime = column("when", required=True)
    ...     current_ka: float = column("peak current", unit="kA", low=0, high=60)
    >>> Weld.title(), Weld.columns["current_ka"].allowed()
    ('weld', '0 .. 60 kA')
    """

    key: ClassVar[tuple[str, ...]] = ()
    at: ClassVar[str] = ""
    usage_in: ClassVar[str | None] = None
    packs: ClassVar[tuple[str, ...]] = ()
    foresees: ClassVar[bool] = False  # says what will be: `as_of` looks at known_at alone
    version: ClassVar[int] = 1
    #: renamed since an older version, new name -> old name; a column that is new reads as null in old snapshots
    renamed: ClassVar[Mapping[str, str]] = {}
    columns: ClassVar[Mapping[str, Column]] = {}

    def __init_subclass__(cls) -> None:
        # an assertion is for our own mistake: a table is code, checked when it is imported
        hints = {n: t for n, t in get_type_hints(cls).items() if isinstance(cls.__dict__.get(n), Column)}
        cls.columns = {n: replace(cls.__dict__[n], name=n, dtype=_DTYPES[t]) for n, t in hints.items()}
        assert not set(cls.columns) & set(SYSTEM), f"{cls.__name__}: a column has the name of a system column"
        assert {cls.at, *cls.key, *cls.packs} <= set(cls.columns), (
            f"{cls.__name__}: key, at or packs has no column"
        )

    @classmethod
    def title(cls) -> str:
        """The table's name in lake, dialects and SQL: `MachineReading` is `machine_reading`."""
        return "".join("_" + c.lower() if c.isupper() else c for c in cls.__name__).lstrip("_")

    @classmethod
    def dtypes(cls) -> dict[str, pl.DataType]:
        """Name -> polars type, of the declared columns."""
        return {n: c.dtype for n, c in cls.columns.items()}

    @classmethod
    def violations(cls, prefix: str = "") -> list[tuple[str, str, pl.Expr]]:
        """What can be wrong with a row: column, message, and an expression that is true where it is so.

        Works on whole columns; a row is good when no expression is true. `prefix` stands before the columns' names
        in the frame looked at. `pandera()` states the same rules.
        """
        found: list[tuple[str, str, pl.Expr]] = []
        for name, c in cls.columns.items():
            value = pl.col(prefix + name)
            if c.required:
                found.append((name, f"{name} is missing", value.is_null()))
            if c.low is not None or c.high is not None:
                low, high = (
                    (float("-inf") if c.low is None else c.low),
                    (float("inf") if c.high is None else c.high),
                )
                found.append((name, f"{name} must be within {c.allowed()}", ~value.is_between(low, high)))
            if c.dtype == pl.Float64():
                found.append((name, f"{name} must be finite", ~value.is_finite()))
            if c.one_of:
                found.append((name, f"{name} must be {c.allowed()}", ~value.is_in(c.one_of)))
            if c.pattern:
                found.append((name, f"{name} must match {c.pattern}", ~value.str.contains(c.pattern)))
        return found

    @classmethod
    def pandera(cls) -> DataFrameSchema:
        """The same table as a pandera (polars) schema, for people who check their own frames with it."""
        import pandera.polars as pa

        checks = {
            n: [
                *([pa.Check.ge(c.low)] if c.low is not None else []),
                *([pa.Check.le(c.high)] if c.high is not None else []),
                *([pa.Check.isin(list(c.one_of))] if c.one_of else []),
                *([pa.Check.str_matches(c.pattern)] if c.pattern else []),
            ]
            for n, c in cls.columns.items()
        }
        return pa.DataFrameSchema(
            {
                n: pa.Column(
                    c.dtype,
                    checks[n],
                    nullable=not c.required,
                    description=c.meaning,
                    metadata={"unit": c.unit, "sensitivity": c.sensitivity},
                )
                for n, c in cls.columns.items()
            },
            name=cls.title(),
        )


#: What the lake adds to every row.
SYSTEM: dict[str, pl.DataType] = {
    "known_at": Instant,  # when the source knew it
    "known_assumed": pl.Boolean(),  # true: not stated by the source, but `at` + the dialect's delay
    "deleted": pl.Boolean(),  # a tombstone: the source took the fact back
    "ingested_at": Instant,  # audit only
    "source": pl.String(),  # which file or stream, by content
    "record": pl.Int64(),  # the record's offset in its source
    "run": pl.String(),  # which run of which dialect version brought it
}
