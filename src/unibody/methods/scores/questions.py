"""The questions that were asked, with truth and answer, as columns ready to be measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unibody.errors import SetupError, nearest

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

#: The columns of `pairs`; of `past`, all up to `truth_label`. One that is absent counts as null in every row.
SHAPE: dict[str, pl.DataType] = {
    "unit": pl.String(),
    "subject": pl.String(),
    "at": pl.Datetime("us"),
    "usage": pl.Float64(),
    "truth": pl.Float64(),
    "truth_label": pl.String(),
    "score": pl.Float64(),
    "value": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "label": pl.String(),
    "worth_eur": pl.Float64(),
}


@dataclass(frozen=True)
class Questions:
    """Questions in an order of their own, so that the order they came in changes no number.

    >>> q = Questions.of(pl.DataFrame({"unit": ["b", "a", "b"], "truth": [1, 0, None]}))
    >>> q.unit.tolist(), q.units, q.numbers("truth").tolist()
    ([0, 1, 1], 2, [0.0, nan, 1.0])
    """

    rows: pl.DataFrame
    unit: Ints  # the number of each row's unit, 0 .. units - 1
    units: int
    given: tuple[str, ...]  # the columns that came

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Questions:
        """Put `frame` into shape: every column of SHAPE, NaN as null, sorted by question, units numbered."""
        rows = shaped(frame)
        if rows["unit"].null_count():
            raise SetupError(
                f"{rows['unit'].null_count()} of {rows.height} questions have no unit to resample by"
            )
        unit = rows["unit"].rank("dense").to_numpy().astype(np.int64) - 1
        return cls(rows, unit, int(unit.max()) + 1 if rows.height else 0, tuple(frame.columns))

    def demand(self, *names: str) -> None:
        """SetupError when a column without which nothing can be measured did not come at all."""
        for name in names:
            if name not in self.given:
                raise SetupError(f"pairs has no column {name}; {nearest(name, self.given)}")

    def numbers(self, name: str) -> Floats:
        """One column as floats, NaN where null."""
        return numbers(self.rows, name)

    def words(self, name: str) -> list[str | None]:
        """One column as words, None where null."""
        return self.rows[name].to_list()

    def sums(self, values: Floats) -> Floats:
        """The sum of a row's values (one or several) by unit."""
        out = np.zeros((self.units, *values.shape[1:]))
        np.add.at(out, self.unit, values)
        return out

    def units_where(self, rows: Flags) -> int:
        """How many units have such a row."""
        return len(np.unique(self.unit[rows]))

    def truths(self, what: str) -> Floats:
        """The true numbers; SetupError where one is missing, for no question is dropped."""
        truth = self.numbers("truth")
        if missing := int(np.isnan(truth).sum()):
            raise SetupError(
                f"{missing} of {len(truth)} questions have no truth; it must be {what} in every row"
            )
        return truth

    def yes_no(self) -> Flags:
        """The truth as yes or no; SetupError where it is neither, or always the same."""
        truth = self.truths("1 (yes) or 0 (no)")
        if odd := sorted(set(np.unique(truth)) - {0.0, 1.0}):
            raise SetupError(
                f"truth must be 1 (yes) or 0 (no), is {odd[0]:g} in {int((truth == odd[0]).sum())} rows"
            )
        if len(set(truth)) == 1:
            only, other = ("yes", "no") if truth[0] else ("no", "yes")
            raise SetupError(
                f"the truth of all {len(truth)} questions is {only}: nothing to tell apart. At least one {other} "
                "is needed: judge on a longer time or on more units, or change the horizon"
            )
        yes: Flags = truth == 1.0
        return yes

    def true_words(self) -> list[str]:
        """The true words; SetupError where one is missing."""
        words = [w for w in self.words("truth_label") if w is not None]
        if missing := self.rows.height - len(words):
            raise SetupError(
                f"{missing} of {self.rows.height} questions have no truth_label: say which word is right"
            )
        return words


def shaped(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with every column of SHAPE in its type, absent and NaN as null, in an order of its own.

    >>> shaped(pl.DataFrame({"unit": ["a"], "truth": [float("nan")]})).row(0)[:6]
    ('a', None, None, None, None, None)
    """
    columns: list[pl.Expr] = []
    for name, kind in SHAPE.items():
        if name not in frame.columns:
            columns.append(pl.lit(None, kind).alias(name))
        elif kind == pl.Float64():
            columns.append(pl.col(name).cast(kind).fill_nan(None))
        elif isinstance(kind, pl.Datetime) and isinstance(zone := frame.schema[name], pl.Datetime):
            utc = pl.col(name).dt.convert_time_zone("UTC") if zone.time_zone else pl.col(name)
            columns.append(utc.dt.replace_time_zone(None).cast(kind))
        else:
            columns.append(pl.col(name).cast(kind))
    others = sorted(c for c in frame.columns if c not in SHAPE and frame.schema[c].is_numeric())
    return frame.with_columns(columns).sort([*SHAPE, *others])


def numbers(frame: pl.DataFrame, name: str) -> Floats:
    """A column as floats, NaN where null or where the frame has no such column."""
    if name not in frame.columns:
        return np.full(frame.height, np.nan)
    return frame[name].cast(pl.Float64).to_numpy().astype(np.float64)


def share(flags: NDArray[Any]) -> float:
    """The share of rows that are so; NaN of none."""
    return float(np.mean(flags)) if len(flags) else float("nan")
