"""What a use case asks and what a solution is: the contract between the backbone and every capability.

A solution is a MODULE with `READS`, `KIND`, `Settings`, `learn` and `decide` (and, if it streams, `watch`). A use
case is a TOML file that asks it one question. The backbone cuts the data, hands out tables through the gate, calls
`learn` and `decide`, and judges the answers; a solution sees neither disk, clock nor truth it may not see.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from unibody.errors import SetupError, UnibodyError
from unibody.tables import Decision, Table

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import polars as pl


class Kind(StrEnum):
    """What kind of answer a solution gives; it fixes measure, baseline and chance level (methods/scores.py)."""

    LIFE = "life"  # how much usage is left
    EVENT = "event"  # will it happen (or: is it so), yes or no, ranked by score
    FORECAST = "forecast"  # how much, with an interval
    DETECTION = "detection"  # which moments are unusual
    RANKING = "ranking"  # which first
    CHOICE = "choice"  # which one of several
    PLAN = "plan"  # what to do, at what cost
    TEXT = "text"  # an answer in words


@dataclass(frozen=True)
class Split:
    """How the backbone parts rows to learn from and rows to be judged on; never by random row.

    `how` is "time" (the last part of the time span is the test), "by" (whole values of `column` in five folds),
    "is" (rows whose `column` is `value` are the test) or "blocks" (five contiguous blocks of the subjects' order).
    """

    how: str
    column: str = ""
    value: str = ""

    FORMS: ClassVar[str] = "'time', 'by COLUMN', 'COLUMN = VALUE' or 'blocks'"

    @classmethod
    def parse(cls, text: str) -> Split:
        """Read a use case's `split`.

        >>> Split.parse("by machine"), Split.parse("part = test")
        (Split(how='by', column='machine', value=''), Split(how='is', column='part', value='test'))
        """
        words = text.split()
        if words in (["time"], ["blocks"]):
            return cls(words[0])
        if len(words) == 2 and words[0] == "by":
            return cls("by", words[1])
        column, equals, value = (w.strip() for w in text.partition("="))
        if equals and column.isidentifier() and value:
            return cls("is", column, value)
        raise SetupError(f"split = {text!r} is not {cls.FORMS}")

    def __str__(self) -> str:
        return {"by": f"by {self.column}", "is": f"{self.column} = {self.value}"}.get(self.how, self.how)


@dataclass(frozen=True)
class UseCase:
    """One question asked of one solution, as its TOML file states it."""

    name: str
    room: str
    solution: str
    question: str
    owner: str
    kind: Kind
    truth: str | None = None  # rows of the outcome table
    split: Split | None = None
    subject: str = ""  # the column that names what is decided about; default: the solution's SUBJECT
    where: Mapping[str, object] = field(default_factory=dict)  # only rows whose column is (one of) this
    settings: Any = None  # the solution's Settings
    when: str = ""  # "every 1 h", "new rows in stock"
    tags: tuple[str, ...] = ()
    starts_from: str = ""  # adapt the model that this use case learned
    notify: tuple[str, ...] = ()
    risk: str = "low"
    data: str = "real"  # "real" or "twin": what it is judged on
    unit: str = ""  # unit of the decision's value
    cap: float | None = None  # true remaining life above this counts as this
    horizon_hours: float | None = None  # an event counts when it comes within this
    path: str = ""


class Rows(Protocol):
    """A table as the gate hands it out: lazy, already cut, one row a value."""

    @property
    def expr(self) -> ir.Table:
        """The rows as a lazy ibis table, to filter, join and aggregate."""
        ...

    def polars(self, expr: ir.Table | None = None) -> pl.DataFrame:
        """Collect the rows (or an expression over them) under the limit `collect_rows_max`."""
        ...


class Tables(Protocol):
    """The tables that this use case may read now: `tables[MachineReading]`."""

    def __getitem__(self, table: type[Table]) -> Rows:
        """One table; RefusedError where READS or the gate says no."""
        ...


class Model(Protocol):
    """What was learned: a frozen dataclass of scalars, text, numpy arrays, Arrow tables or bytes."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class Solution(Protocol):
    """The names a solution module must have."""

    @property
    def READS(self) -> tuple[type[Table], ...]:
        """The tables it reads."""

    @property
    def KIND(self) -> Kind | tuple[Kind, ...]:
        """What it answers; of several the use case says which it asks for, and the first is the default."""

    @property
    def SUBJECT(self) -> str:
        """The column that names what it decides about, where the use case states none; "": it names them itself."""

    @property
    def Settings(self) -> type[Any]:
        """A frozen dataclass: what a use case may set."""

    def learn(self, tables: Tables, case: UseCase, base: Model | None = None) -> Any:
        """Learn from the training rows and their truth; `base` is another use case's model, to adapt."""
        ...

    def decide(self, model: Any, tables: Tables, case: UseCase) -> pl.DataFrame:
        """Answer: one row a decision, with the columns of `ANSWER`."""
        ...


#: What `decide` returns: these columns of the decision table; the backbone adds id, revision, use case and model.
ANSWER: tuple[str, ...] = tuple(
    c for c in Decision.columns if c not in ("decision_id", "revision", "usecase", "model", "risk")
)
#: Of these, the ones a solution must fill in every row.
ANSWER_REQUIRED: tuple[str, ...] = ("subject", "decided_at", "action", "reason", "evidence", "score")

_SIGNATURES = {"learn": ("tables", "case", "base"), "decide": ("model", "tables", "case")}


def learned(module: ModuleType, tables: Tables, case: UseCase, base: Any = None) -> Any:
    """Call a solution's `learn`; whatever it raises names the use case and the solution."""
    try:
        return module.learn(tables, case, base)
    except UnibodyError:
        raise
    except Exception as e:  # a solution is anybody's code
        raise SetupError(_fault(case, "learn", e)) from e


def decided(module: ModuleType, model: Any, tables: Tables, case: UseCase) -> Any:
    """Call a solution's `decide`; whatever it raises names the use case and the solution."""
    try:
        return module.decide(model, tables, case)
    except UnibodyError:
        raise
    except Exception as e:  # a solution is anybody's code
        raise SetupError(_fault(case, "decide", e)) from e


def _fault(case: UseCase, step: str, e: Exception) -> str:
    return f"use case {case.name}: solution {case.solution} broke in {step}: {type(e).__name__}: {e}"


def kinds(module: ModuleType) -> tuple[Kind, ...]:
    """The kinds of answer a solution can give, its default first."""
    return module.KIND if isinstance(module.KIND, tuple) else (module.KIND,)


def check(module: ModuleType) -> None:
    """Check that a module is a solution; SetupError names what is missing or wrong.

    mypy checks ours where catalog.py lists them; this checks a user's when it is loaded.
    """
    where = f"solution {module.__name__} ({module.__file__})"
    for name in ("READS", "KIND", "SUBJECT", "Settings", "learn", "decide"):
        if not hasattr(module, name):
            raise SetupError(
                f"{where}: has no {name}; a solution has READS, KIND, SUBJECT, Settings, learn, decide"
            )
    if not module.__doc__:
        raise SetupError(f"{where}: has no docstring saying what it is for")
    tables = module.READS if isinstance(module.READS, tuple) else (None,)
    if not all(isinstance(t, type) and issubclass(t, Table) for t in tables):
        raise SetupError(f"{where}: READS must be a tuple of tables, is {module.READS!r}")
    if not all(isinstance(k, Kind) for k in kinds(module)):
        raise SetupError(f"{where}: KIND must be one or several of {', '.join(Kind)}, is {module.KIND!r}")
    for name, expected in _SIGNATURES.items():
        found = tuple(inspect.signature(getattr(module, name)).parameters)
        if found != expected:
            raise SetupError(f"{where}: {name}({', '.join(found)}) should be {name}({', '.join(expected)})")
