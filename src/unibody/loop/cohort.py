"""Say which units are meant, in words a planner types: `plant = 'Mirafiori' and torque.seat_belt < 38`.

    =  !=  <  <=  >  >=      in ('a', 'b')      like 'L77*'      between 2026-03-01 and 2026-03-14
    is null      is not null      and  or  not  ( )      "a name with blanks"      a column alone: it is true

The text is parsed (sqlglot) and only these forms are translated into a polars expression; there are no functions, and
nothing of it is ever run as code or SQL. A missing value meets no comparison. A day without an hour is the whole day.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from unibody.errors import SetupError, nearest

if TYPE_CHECKING:
    from sqlglot import Expr

CHARACTERS_MAX, DEPTH_MAX, TERMS_MAX = 20_000, 30, 200
EVERYONE = ("", "all", "*", "true")
YES = ("true", "yes", "y", "1", "ja", "oui", "si", "sì")
NO = ("false", "no", "n", "0", "nein", "non")
_WORD = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\w[\w.:+-]*""")
_SAID = {"and", "or", "not", "in", "like", "ilike", "between", "is", "null", "true", "false"}
_FORMS = "use = != < <= > >= in (...) like 'x*' between a and b, is null, and or not, with text in 'quotes'"
_FLIP = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OPS: dict[str, Callable[[Any, Any], Any]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@dataclass(frozen=True)
class Condition:
    """A condition on the rows of a frame: as text, as a polars expression that is never null, and what it names."""

    text: str
    expr: pl.Expr
    columns: tuple[str, ...] = ()
    compared: tuple[tuple[str, str], ...] = ()  # (text column, value it should equal)


@dataclass(frozen=True)
class _Named:
    name: str
    dtype: pl.DataType

    @property
    def kind(self) -> str:
        return kind_of(self.dtype)

    @property
    def col(self) -> pl.Expr:
        return pl.col(self.name)


@dataclass
class _Reading:
    schema: Mapping[str, pl.DataType]
    where: str
    columns: list[str] = field(default_factory=list)
    compared: list[tuple[str, str]] = field(default_factory=list)


def kind_of(dtype: pl.DataType) -> str:
    """What may be asked of a column: number, text, truth, time or other."""
    if dtype == pl.Boolean:
        return "truth"
    if dtype.is_numeric():
        return "number"
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return "time"
    return "text" if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)) else "other"


def condition(text: str, schema: Mapping[str, pl.DataType], where: str = "condition") -> Condition:
    """Read a condition over the columns of `schema`; SetupError says which column was meant, or what is not understood.

    >>> frame = pl.DataFrame({"lot": ["L1", "L2", None], "torque": [38.0, 41.5, 40.0]})
    >>> met = condition("lot like 'L*' and not torque < 40", frame.schema)
    >>> frame.filter(met.expr)["lot"].to_list(), met.columns
    (['L2'], ('lot', 'torque'))
    """
    if text.strip().lower() in EVERYONE:
        return Condition("", pl.lit(True))
    reading = _Reading(schema, f"{where} {_short(text)}")
    met = _truth(_parsed(text, schema, where), reading).fill_null(False)
    return Condition(text.strip(), met, tuple(dict.fromkeys(reading.columns)), tuple(reading.compared))


def pieces(text: str, schema: Iterable[str]) -> list[str]:
    """The conditions that `and` joins at the top, each as text: what a form shows one by one.

    >>> pieces("plant = 'a and b' and (line = 1 or line = 2)", ["plant", "line"])
    ["plant = 'a and b'", '(line = 1 or line = 2)']
    """
    from sqlglot import exp

    if text.strip().lower() in EVERYONE:
        return []
    tree = _parsed(text, schema, "condition")
    # unnest would strip the brackets of an `or`
    parts = list(tree.flatten(unnest=False)) if isinstance(tree, exp.And) else [tree]
    for name in tree.find_all(exp.Identifier):
        name.set("quoted", written(name.name, "is null", None).startswith('"'))
    return [_as_typed(p.sql(comments=False)) for p in parts]


def _as_typed(sql: str) -> str:
    """SQL's spelling as people type it, outside of quotes."""
    parts = re.split(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")""", sql)
    plain = {
        "<>": "!=",
        "AND": "and",
        "OR": "or",
        "NOT": "not",
        "IN": "in",
        "LIKE": "like",
        "BETWEEN": "between",
        "IS": "is",
        "NULL": "null",
    }
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"<>|\b(?:AND|OR|NOT|IN|LIKE|BETWEEN|IS|NULL)\b", lambda m: plain[m[0]], parts[i])
    return "".join(parts)


def written(name: str, op: str, value: Any) -> str:
    """One comparison, quoted as it must be.

    >>> written("part.hose.lot", "=", "L'1"), written("torque", "<", 38.5), written("order", "is null", None)
    ("part.hose.lot = 'L''1'", 'torque < 38.5', '"order" is null')
    """
    plain = re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name) and not set(name.lower().split(".")) & _RESERVED
    column = name if plain else '"' + name.replace('"', '""') + '"'
    if op in ("is null", "is not null"):
        return f"{column} {op}"
    if isinstance(value, bool):
        return f"{column} {op} {'true' if value else 'false'}"
    if isinstance(value, (int, float)):
        return f"{column} {op} {value}"
    return f"{column} {op} '" + str(value).replace("'", "''") + "'"


_RESERVED = _SAID | {
    "order",
    "group",
    "case",
    "end",
    "select",
    "from",
    "where",
    "date",
    "interval",
    "cast",
    "exists",
}


# ---- text to tree


def _parsed(text: str, names: Iterable[str], where: str) -> Expr:
    from sqlglot import exp, parse_one
    from sqlglot.errors import SqlglotError

    if len(text) > CHARACTERS_MAX:
        raise SetupError(f"{where}: longer than {CHARACTERS_MAX:,} characters")
    known = {n.lower() for n in names}
    bare = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", "", text)
    depth = deepest = 0
    for c in bare:
        depth += (c in "([") - (c in ")]")
        deepest = max(deepest, depth)
    joined = len(re.findall(r"(?i)\b(?:and|or|not|case|like|is)\b|[-~!+*]", bare))
    if deepest > DEPTH_MAX or joined > 4 * TERMS_MAX:
        raise SetupError(
            f"{where} {_short(text)}: too deep or too long; at most {DEPTH_MAX} brackets, {TERMS_MAX} conditions"
        )
    try:
        tree: Expr = parse_one(_WORD.sub(lambda m: _word(m[0], known), text), into=exp.Condition)
    except (SqlglotError, RecursionError) as e:
        raise SetupError(f"{where} {_short(text)}: cannot be read; {_FORMS}") from e
    return tree


def _word(word: str, known: set[str]) -> str:
    """Quote what SQL would misread: known columns as names; dates, versions and T-12 as text."""
    if word[0] in "'\"" or word.lower() in _SAID:
        return word
    if word.lower() in known:
        return f'"{word}"'
    if word[0].isdigit():
        try:
            float(word)
        except ValueError:
            return f"'{word}'"
        return word
    return f"'{word}'" if set("-:+") & set(word) else word


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= 80 else flat[:79] + "…")


# ---- tree to expression


def _truth(node: Expr, r: _Reading) -> pl.Expr:
    from sqlglot import exp

    if isinstance(node, (exp.And, exp.Or)):
        parts = list(node.flatten())
        if len(parts) > TERMS_MAX:
            raise SetupError(f"{r.where}: more than {TERMS_MAX} conditions")
        met = _truth(parts[0], r)
        for part in parts[1:]:
            met = met & _truth(part, r) if isinstance(node, exp.And) else met | _truth(part, r)
        return met
    if isinstance(node, exp.Paren):
        return _truth(node.this, r)
    if isinstance(node, exp.Not):
        return ~_truth(node.this, r)
    if isinstance(node, exp.Boolean):
        return pl.lit(bool(node.this))
    for kind, op in (
        (exp.EQ, "="),
        (exp.NEQ, "!="),
        (exp.LTE, "<="),
        (exp.GTE, ">="),
        (exp.LT, "<"),
        (exp.GT, ">"),
    ):
        if type(node) is kind:
            return _compare(_operand(node.this, r), op, _operand(node.expression, r, True), r)
    if isinstance(node, exp.Between):
        what = _operand(node.this, r)
        low = _compare(what, ">=", _operand(node.args["low"], r, True), r)
        return low & _compare(what, "<=", _operand(node.args["high"], r, True), r)
    if isinstance(node, exp.In) and node.expressions:
        what = _named(_operand(node.this, r), r)
        values = [_operand(v, r, True) for v in node.expressions]
        if what.kind == "text" and not any(isinstance(v, _Named) or v is None for v in values):
            r.compared += [(what.name, _text(v)) for v in values]
            return what.col.cast(pl.String).is_in([_text(v) for v in values])
        return pl.any_horizontal([_compare(what, "=", v, r) for v in values])
    if isinstance(node, (exp.Like, exp.ILike)):
        return _like(node, r)
    if isinstance(node, exp.Is):
        if isinstance(node.expression, exp.Null):
            return _named(_operand(node.this, r), r).col.is_null()
        return _compare(_operand(node.this, r), "=", _operand(node.expression, r, True), r)
    if isinstance(node, exp.Column):
        return _alone(_named(_operand(node, r), r), r)
    raise SetupError(f"{r.where}: {_short(node.sql())} is not understood; {_FORMS}")


def _operand(node: Expr, r: _Reading, value: bool = False) -> Any:
    """A column, or a plain value. A bare word that names no column is text where a `value` is due."""
    from sqlglot import exp

    if isinstance(node, exp.Paren):
        return _operand(node.this, r, value)
    if isinstance(node, exp.Literal):
        return node.this if node.is_string else _number(node.this)
    if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal) and not node.this.is_string:
        return -_number(node.this.this)
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if isinstance(node, exp.Null):
        return None
    if isinstance(node, (exp.Column, exp.Dot)):
        name = ".".join(i.name for i in node.find_all(exp.Identifier, bfs=False))
        name = ".".join(p.name for p in node.parts) if isinstance(node, exp.Column) else name
        found = name if name in r.schema else None
        if found is None:
            alike = [n for n in r.schema if n.lower() == name.lower()]
            found = alike[0] if len(alike) == 1 else None
        if found is not None:
            r.columns.append(found)
            return _Named(found, r.schema[found])
        if value and isinstance(node, exp.Column) and len(node.parts) == 1:
            return name
        raise SetupError(f"{r.where}: no column {name!r}; {_meant(name, r.schema)}")
    raise SetupError(f"{r.where}: {_short(node.sql())} is not understood; {_FORMS}")


def _meant(name: str, names: Iterable[str]) -> str:
    known = sorted(names)
    inside = [n for n in known if name.lower() in n.lower().split(".") or name.lower() in n.lower()]
    said = nearest(name, known)
    if said.startswith("did you mean") or not inside:
        return said if len(said) < 400 else said[:400] + " ..."
    return f"did you mean {' or '.join(inside[:3])}?"


def _number(text: str) -> float | int:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _named(what: Any, r: _Reading) -> _Named:
    if isinstance(what, _Named):
        return what
    raise SetupError(f"{r.where}: no column {_text(what)!r}; {_meant(_text(what), r.schema)}")


def _alone(what: _Named, r: _Reading) -> pl.Expr:
    """A column as a condition of its own."""
    if what.kind == "truth":
        return what.col
    if what.kind == "number":
        return what.col != 0
    if what.kind == "time":
        return what.col.is_not_null()
    if what.kind == "text":
        return what.col.cast(pl.String).str.to_lowercase().is_in(YES)
    raise SetupError(f"{r.where}: {what.name} holds {what.dtype}, which is neither true nor false")


def _like(node: Expr, r: _Reading) -> pl.Expr:
    what, pattern = _named(_operand(node.this, r), r), _operand(node.expression, r, True)
    if not isinstance(pattern, str):
        raise SetupError(f"{r.where}: like takes a text such as 'L77*'")
    # * and % stand for anything; an underscore is a letter like others, for names here are full of them
    inner = ".*".join(pl.escape_regex(p) for p in re.split(r"[*%]+", pattern))
    flags = "(?is)" if type(node).__name__ == "ILike" else "(?s)"
    return what.col.cast(pl.String).str.contains(f"{flags}^{inner}$")


def _compare(left: Any, op: str, right: Any, r: _Reading) -> pl.Expr:
    if isinstance(left, _Named) and isinstance(right, _Named):
        if left.kind != right.kind:
            raise SetupError(f"{r.where}: {left.name} is {left.kind}, {right.name} is {right.kind}")
        made: pl.Expr = _OPS[op](left.col, right.col)
        return made
    if isinstance(right, _Named):
        return _compare(right, _FLIP[op], left, r)
    if not isinstance(left, _Named):
        if isinstance(left, str) or isinstance(right, str) or left is None or right is None:
            _named(left, r)  # says which column may have been meant
        return pl.lit(bool(_OPS[op](left, right)))
    if right is None:
        raise SetupError(f"{r.where}: write {left.name} is null, or {left.name} is not null")
    if left.kind == "number":
        made = _OPS[op](left.col, _as_number(left, right, r))
        return made
    if left.kind == "truth":
        if op not in ("=", "!=") or _text(right).lower() not in YES + NO:
            raise SetupError(f"{r.where}: {left.name} is true or false; {_text(right)!r} is neither")
        return left.col == ((_text(right).lower() in YES) == (op == "="))
    if left.kind == "time":
        return _in_time(left, op, right, r)
    if left.kind == "text":
        if op in ("=", "!="):
            r.compared += [(left.name, _text(right))] if op == "=" else []
            made = _OPS[op](left.col.cast(pl.String), _text(right))
            return made
        if isinstance(right, (int, float)):
            made = _OPS[op](left.col.cast(pl.String).cast(pl.Float64, strict=False), right)
            return made
        made = _OPS[op](left.col.cast(pl.String), right)
        return made
    raise SetupError(f"{r.where}: {left.name} holds {left.dtype}, which cannot be compared")


def _as_number(left: _Named, right: Any, r: _Reading) -> float | int:
    if isinstance(right, (bool, int, float)):
        return right
    try:
        return float(right.replace(",", "."))
    except ValueError:
        raise SetupError(f"{r.where}: {left.name} is a number; {right!r} is not") from None


def _in_time(left: _Named, op: str, right: Any, r: _Reading) -> pl.Expr:
    """A day, or a month, is all of it: `<= 2026-03-14` includes the evening."""
    said = _text(right).strip()
    try:
        if re.fullmatch(r"\d{4}-\d\d", said):
            low = datetime.fromisoformat(f"{said}-01")
            high = (low + timedelta(days=32)).replace(day=1)
        elif re.fullmatch(r"\d{4}-\d\d-\d\d", said):
            low = datetime.fromisoformat(said)
            high = low + timedelta(days=1)
        else:
            low = high = datetime.fromisoformat(said)
    except (ValueError, OverflowError):
        raise SetupError(
            f"{r.where}: {left.name} is a time; write it like 2026-03-14 or '2026-03-14T06:00'"
        ) from None
    a, b = (_instant(left.dtype, t) for t in (low, high))
    if low == high:
        made: pl.Expr = _OPS[op](left.col, a)
        return made
    inside = (left.col >= a) & (left.col < b)
    return {
        "=": inside,
        "!=": ~inside,
        "<": left.col < a,
        "<=": left.col < b,
        ">": left.col >= b,
        ">=": left.col >= a,
    }[op]


def _instant(dtype: pl.DataType, t: datetime) -> pl.Expr:
    from datetime import UTC

    if not isinstance(dtype, pl.Datetime):
        return pl.lit(date(t.year, t.month, t.day))
    if dtype.time_zone is None:
        return pl.lit(t.astimezone(UTC).replace(tzinfo=None) if t.tzinfo else t)
    return pl.lit(t if t.tzinfo else t.replace(tzinfo=UTC)).dt.convert_time_zone(dtype.time_zone)
