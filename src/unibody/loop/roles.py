"""Say what each column of anybody's table is: the outcome, the exposure, other symptoms, an identifier, an attribute."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from unibody.errors import FormatError, SetupError, nearest
from unibody.loop.cohort import NO, YES, condition, kind_of

#: What a prepared frame adds; no column of a user's is called so.
FAILED, EXPOSURE, UNITS = "__failed__", "__exposure__", "__units__"
_BAD = (
    *YES,
    "failed",
    "fail",
    "failure",
    "nok",
    "not ok",
    "defect",
    "defective",
    "bad",
    "ng",
    "faulty",
    "f",
    "x",
)
_GOOD = (*NO, "ok", "okay", "pass", "passed", "good", "i.o.", "io", "none", "n.i.o. no", "no failure", "p")

#: Names of exposure, the surest first; within one kind there must be one only.
_EXPOSURE = (
    r"exposure|exposures|expected|expected_failures|.*_exposure|exposure_.*|at_risk|offset",
    r"(vehicle|car|unit|machine|person|device|part|truck)s?_?(days|months|weeks|years|hours|h|km|miles|cycles)"
    r"|(days|months|weeks|years|hours|time|km|cycles)_(at_risk|in_service|on_road|on_the_road|in_field|observed|in_use|exposed)"
    r"|days|months|months_in_use|observation_(days|months)|observed_(days|months)|operating_hours|follow_?up(_days)?",
)
_UNITS = (
    r"units?|n|count|counts|vehicles|cars|n_?(units|vehicles|cars|total)|num_(units|vehicles|cars)|(unit|vehicle|car)_count"
    r"|population|fleet|produced|built|production|total|sold|trials|sample_size|n_obs|size|freq|frequency|weight"
)
_DURATION = r"(time|days|km|hours|months|weeks|cycles)_to_(failure|event|claim)|ttf|ttf_days|duration|survival_time|time_to_.*"
_OTHERS = r"(others?|controls?|other_symptoms)([_. ].*)?"
_SYMPTOM = r"(symptom|outcome|failed|failure|failures|claim|claims|code|dtc|fault|complaint|complaints|defect)s?[._ ].+"
_ID = r"(.*[_. ])?(id|ids|vin|serial|serial_no|serial_number|uuid|guid|key|index|row|nr|no|number)|unnamed.*|column_1|"


@dataclass(frozen=True)
class Prepared:
    """A table ready to be explained: its rows with `FAILED` (and `EXPOSURE`, `UNITS` where there are), and who is what."""

    frame: pl.DataFrame
    outcome: str  # in words
    attributes: tuple[str, ...]
    controls: tuple[str, ...] = ()
    duration: str | None = None  # time to failure, or to the end of observation
    exposure: str = ""  # its name in words; empty: each unit counts alike
    once: bool = True  # a row fails once at the most: a share; else counts
    left_out: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    started: str | None = None  # a time column, for the picture over time
    likely: tuple[str, ...] = ()  # attributes in which the cause is believed to lie, before the data

    @property
    def units(self) -> int:
        """How many units the rows stand for."""
        return units_of(self.frame)


def units_of(frame: pl.DataFrame) -> int:
    """How many units the rows of a prepared frame stand for."""
    return int(frame[UNITS].sum()) if UNITS in frame.columns else frame.height


def prepared(
    frame: pl.DataFrame,
    outcome: str,
    *,
    exposure: str | None = None,
    controls: Sequence[str] = (),
    attributes: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> Prepared:
    """Find the roles of a table's columns; what was taken for what is said in `notes` and `left_out`.

    `outcome` is a column (0/1, yes/no, a count, or a date that is missing where nothing failed) or a condition.
    Raises SetupError where a column is not there or cannot be the outcome, FormatError where it is incomplete.
    """
    said = list(notes)
    left: dict[str, str] = {}
    frame = frame.with_columns(pl.col(pl.Float32, pl.Float64).fill_nan(None))
    failed, defining = _outcome(frame, outcome, said)
    frame = frame.with_columns(failed.cast(pl.Int64).alias(FAILED))
    free = [c for c in frame.columns if c not in (*defining, FAILED)]
    for name in (*controls, *(attributes or ()), *([exposure] if exposure else [])):
        if name not in frame.columns:
            raise SetupError(f"no column {name!r}; {nearest(name, frame.columns)}")
    most = _most(frame, FAILED)
    frame, chosen, units = _exposure(frame, free, exposure, most, said, left)
    most = _most(frame, FAILED)
    free = [c for c in free if c not in (chosen, units, *left)]
    duration = _one(frame, free, _DURATION) if chosen in (None, units) and most <= 1 else None
    if duration:
        said.append(f"{duration} is taken as the time to failure, or to the end of observation")
    free = [c for c in free if c != duration]
    others = [c for c in free if c in controls]
    if not controls:
        others = [c for c in free if _is_other(frame, c, defining) and c not in (attributes or ())]
        if others:
            said.append(
                f"{', '.join(others[:5])}{' ...' if len(others) > 5 else ''}: other symptoms, taken as controls"
            )
    free = [c for c in free if c not in others]
    if attributes is not None:
        left |= {c: "not asked for" for c in free if c not in attributes}
        free = [c for c in attributes if c not in (FAILED, *defining)]
    left |= dict.fromkeys(defining, "says what failed")
    for name in list(free):
        why = _identifier(frame, name) if attributes is None else ""
        if why:
            left[name] = why
            free.remove(name)
    if not free:
        raise SetupError(
            "no column is left to look at; there are " + ", ".join(f"{c} ({w})" for c, w in left.items())
        )
    times = [c for c in free if kind_of(frame.schema[c]) == "time"]
    return Prepared(
        frame, outcome, tuple(free), tuple(others), duration,
        "" if chosen is None or chosen == units else chosen, most <= 1 and units is None, tuple(left.items()), tuple(said),
        times[0] if times else None,
    )  # fmt: skip


def _outcome(frame: pl.DataFrame, text: str, said: list[str]) -> tuple[pl.Series, tuple[str, ...]]:
    """Failures of each row, and the columns that say so."""
    bare = text.strip().strip('"')
    if not bare:
        raise SetupError(
            "outcome: say what counts as failed: a column, or a condition such as code = 'C1246'"
        )
    names = [c for c in frame.columns if c == bare] or [c for c in frame.columns if c.lower() == bare.lower()]
    if len(names) != 1:
        met = condition(text, frame.schema, "outcome")
        if not met.columns:
            raise SetupError(f"outcome {text!r}: names no column; {nearest(bare, frame.columns)}")
        found = frame.select(met.expr.alias(FAILED)).to_series()
        if not found.any():
            said.append(_none(frame, met.compared, text))
        return found, met.columns
    name = names[0]
    column = frame[name]
    kind = kind_of(column.dtype)
    if kind == "truth":
        return _no_gaps(column, said), (name,)
    if kind == "time":
        said.append(f"{name} is a time: failed where it is there")
        return column.is_not_null(), (name,)
    if kind == "number":
        known = column.drop_nulls().cast(pl.Float64)
        if len(known) and (known.min() < 0 or (known != known.round()).any()):  # type: ignore[operator]
            raise SetupError(
                f"outcome {name}: a measure, not a count; say when it counts as failed, e.g. {name} > {float(known.head(1).item()):g}"
            )
        return _no_gaps(column, said), (name,)
    if kind == "text":
        return _words(column, said), (name,)
    raise SetupError(f"outcome {name}: holds {column.dtype}; it should be 0/1, yes/no, a count or a date")


def _none(frame: pl.DataFrame, compared: Sequence[tuple[str, str]], text: str) -> str:
    for name, value in compared:
        values = frame[name].cast(pl.String).drop_nulls().unique()
        if value not in values and len(values) < 10_000:
            return f"nothing has {name} = {value!r}; {nearest(value, values)[:300]}"
    return f"nothing meets {text!r}"


def _no_gaps(column: pl.Series, said: list[str]) -> pl.Series:
    if column.null_count():
        said.append(f"{column.name} is not stated for {column.null_count():,} row(s): taken as not failed")
    return column.fill_null(False if column.dtype == pl.Boolean else 0)


def _words(column: pl.Series, said: list[str]) -> pl.Series:
    low = column.cast(pl.String).str.strip_chars().str.to_lowercase()
    values = low.drop_nulls().unique().to_list()
    if set(values) <= {*_BAD, *_GOOD}:
        return _no_gaps(pl.Series(column.name, low.is_in(_BAD)).set(low.is_null(), None), said)
    if len(values) > 0 and all(re.fullmatch(r"\d+", v) for v in values[:1000]):
        return _no_gaps(low.cast(pl.Int64, strict=False).alias(column.name), said)
    shown = ", ".join(repr(v) for v in column.drop_nulls().unique().sort().head(4).to_list())
    raise SetupError(
        f"outcome {column.name}: holds {shown} ...; say which of them failed, e.g. {column.name} = {column.drop_nulls().first()!r}"
    )


def _exposure(
    frame: pl.DataFrame, free: list[str], stated: str | None, most: int, said: list[str], left: dict[str, str]
) -> tuple[pl.DataFrame, str | None, str | None]:
    """Adds EXPOSURE and UNITS; gives the names of their columns."""
    units = _one(frame, [c for c in free if c != stated], _UNITS, whole=True)
    if units and not stated and _most(frame, units) <= 1:
        left[units] = "1 for every row: one unit each"
        units = None
    chosen = stated
    if not stated:
        for pattern in _EXPOSURE:
            alike = _fit(frame, free, pattern)
            if len(alike) > 1:
                said.append(
                    f"{' or '.join(alike)} could be the exposure: none is taken; say which with --exposure"
                )
                left |= dict.fromkeys(alike, "could be the exposure")
            if alike:
                chosen = alike[0] if len(alike) == 1 else None
                break
        if chosen:
            said.append(f"{chosen} is taken as the exposure, by its name")
        alike = _fit(frame, free, _UNITS, whole=True)
        if not units and len(alike) > 1 and most > 1:
            said.append(
                f"{' or '.join(alike)} could be the number of units: none is taken; say which with --exposure"
            )
            left |= dict.fromkeys(alike, "could be the number of units")
    if units and most <= 1:
        both = _by_outcome(frame, free, units, said)
        if both is not None:
            frame = both
    if units:
        frame = frame.with_columns(pl.col(units).fill_null(0).cast(pl.Int64).alias(UNITS))
        said.append(f"{units} is taken as the number of units of each row, by its name")
        short = frame.filter(pl.col(FAILED) > pl.col(UNITS)).height
        if short:
            said.append(f"{short:,} row(s) have more failures than units")
    chosen = chosen or units
    if chosen is None:
        return frame, None, units
    column = frame[chosen]
    if kind_of(column.dtype) != "number":
        raise SetupError(f"exposure {chosen}: holds {column.dtype}; it should be a number above 0")
    wrong = int((column.is_null() | (column.cast(pl.Float64) < 0)).sum())
    if wrong:
        said.append(f"{chosen} is missing or negative in {wrong:,} row(s): taken as no exposure")
    base = pl.col(chosen).cast(pl.Float64).fill_null(0.0).clip(0.0)
    frame = frame.with_columns(base.alias(EXPOSURE))
    if float(frame[EXPOSURE].sum()) <= 0:
        raise FormatError(f"exposure {chosen}: is 0 in every row; at least one unit must have some")
    return frame, chosen, units


def _by_outcome(frame: pl.DataFrame, free: list[str], units: str, said: list[str]) -> pl.DataFrame | None:
    """Where each cell stands twice, once for those that failed and once for the others, their numbers are the counts."""
    cell = [c for c in free if c != units]
    if (
        not cell
        or frame.select(cell).n_unique() == frame.height
        or frame.select(*cell, FAILED).n_unique() < frame.height
    ):
        return None
    said.append(f"{units} counts units by outcome: rows of one cell are counted together")
    return frame.with_columns((pl.col(FAILED) * pl.col(units).fill_null(0)).cast(pl.Int64).alias(FAILED))


def _fit(frame: pl.DataFrame, names: Sequence[str], pattern: str, whole: bool = False) -> list[str]:
    found = []
    for name in names:
        plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        column = frame[name]
        if (
            not re.fullmatch(pattern, plain)
            or kind_of(column.dtype) != "number"
            or column.null_count() > len(column) / 2
        ):
            continue
        low = column.min()
        if low is not None and float(low) >= 0 and (not whole or bool((column.drop_nulls() % 1 == 0).all())):  # type: ignore[arg-type]
            found.append(name)
    return found


def _most(frame: pl.DataFrame, name: str) -> int:
    most = frame[name].cast(pl.Float64).max()
    return int(most) if isinstance(most, float) else 0


def _one(frame: pl.DataFrame, names: Sequence[str], pattern: str, whole: bool = False) -> str | None:
    found = _fit(frame, names, pattern, whole)
    return found[0] if len(found) == 1 else None


def _is_other(frame: pl.DataFrame, name: str, outcome: Sequence[str]) -> bool:
    """A count of other symptoms: called so, or named as the outcome is (failed.brake beside failed.lamp)."""
    plain = name.lower()
    column = frame[name]
    if kind_of(column.dtype) not in ("number", "truth") or (
        column.dtype.is_float() and not _fit(frame, [name], ".*", True)
    ):
        return False
    if re.fullmatch(_OTHERS, plain):
        return True
    ours = [re.split(r"[._ ]", c.lower())[0] for c in outcome if re.fullmatch(_SYMPTOM, c.lower())]
    return bool(re.fullmatch(_SYMPTOM, plain)) and re.split(r"[._ ]", plain)[0] in ours


def _identifier(frame: pl.DataFrame, name: str) -> str:
    column = frame[name]
    called_so = bool(re.fullmatch(_ID, name.lower().strip())) or name == frame.columns[0]
    if called_so and frame.height >= 20 and column.dtype.is_integer() and column.n_unique() == frame.height:
        return "every row has a number of its own: an identifier"
    if frame.height >= 20 and kind_of(column.dtype) == "text" and column.n_unique() == frame.height:
        return "every row has a value of its own: an identifier"
    return ""
