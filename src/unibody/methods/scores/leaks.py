"""Columns that know the answer too well: what looks like skill but is the truth, leaked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from unibody.errors import SetupError
from unibody.methods.scores.questions import Flags, Floats, Ints
from unibody.methods.scores.ranked import auc, midranks
from unibody.solution import Kind

#: One column alone that ranks yes above no this often is not a signal but the answer: the best single sensors of
#: published sets stay below 0.98, and a leaked flag or a column filled in afterwards stands at 1.
AUC_MAX = 0.99
#: One column whose order is the truth's this closely is a copy of it: remaining life against the best single sensor of
#: C-MAPSS stays below 0.9.
RHO_MAX = 0.995
#: One column that names the right class this often beyond luck (Cohen's kappa) is the class under another name.
KAPPA_MAX = 0.99
#: With fewer units of either answer (or fewer questions) a perfect column is luck.
UNITS_MIN, ROWS_MIN = 3, 10
#: Numbers with more values than this are cut into as many equal parts before a model looks them up.
_VALUES_MAX = 50
_FOLDS = 5

_YES_NO = (Kind.EVENT, Kind.DETECTION)
_WORDS = (Kind.CHOICE, Kind.TEXT)


@dataclass(frozen=True)
class Leak:
    """A column that alone foretells the truth implausibly well."""

    column: str
    power: float
    why: str


def leak_check(
    features: pl.DataFrame, truth: pl.Series, units: pl.Series, kind: Kind, seed: int = 0
) -> list[Leak]:
    """How well each column alone foretells the truth of other units; those that do it implausibly well.

    Yes or no (event, detection): AUC of the column's order, either way up, and of the event rate that its values have
    in other units (so codes and words are seen too), and of its being absent. Numbers (life, forecast, ranking, plan):
    |Spearman's rho|. Words (choice, text): Cohen's kappa between the truth and the commonest truth that the value has
    in other units. S. Kaufman et al., "Leakage in data mining", ACM TKDD 6 (2012), section 4: look for what is too good.

    >>> features = pl.DataFrame({"repair_code": [0, 1] * 20, "temp": list(range(40))})
    >>> truth, units = pl.Series([0, 1] * 20), pl.Series([f"m{i // 4}" for i in range(40)])
    >>> [(leak.column, leak.power) for leak in leak_check(features, truth, units, Kind.EVENT)]
    [('repair_code', 1.0)]
    """
    if not features.height == len(truth) == len(units):
        raise SetupError(
            f"{features.height} rows of features, {len(truth)} truths and {len(units)} units: must be equal"
        )
    known = truth.is_not_null() & units.is_not_null()
    features, truth, units = features.filter(known), truth.filter(known), units.filter(known)
    codes = units.cast(pl.String).rank("dense").to_numpy().astype(np.int64) - 1
    if truth.len() < ROWS_MIN or len(np.unique(codes)) < UNITS_MIN:
        return []
    fold = np.random.default_rng(seed).permutation(int(codes.max()) + 1)[codes] % _FOLDS
    if kind in _YES_NO:
        yes = truth.cast(pl.Float64).to_numpy() >= 0.5
        if min(len(np.unique(codes[yes])), len(np.unique(codes[~yes]))) < UNITS_MIN:
            return []
        found = [(c.name, _yes_no_power(c, yes, fold)) for c in features]
        limit, what = AUC_MAX, "ranks yes above no with AUC"
    elif kind in _WORDS:
        word = truth.cast(pl.String).rank("dense").to_numpy().astype(np.int64) - 1
        found = [(c.name, _kappa(_looked_up(_values(c), word, fold), word)) for c in features]
        limit, what = KAPPA_MAX, "names the right word in other units with kappa"
    else:
        number = truth.cast(pl.Float64).to_numpy().astype(np.float64)
        found = [(c.name, _rho(n, number)) for c in features if (n := _number(c)) is not None]
        limit, what = RHO_MAX, "orders the truth with |rho|"
    return [
        Leak(
            name,
            power,
            f"{name} alone {what} {power:.4f} (limit {limit}): known only afterwards, or the truth itself?",
        )
        for name, power in found
        if power >= limit
    ]


def _number(column: pl.Series) -> Floats | None:
    """A column as floats, NaN where null; None where it is words or nested."""
    if not (column.dtype.is_numeric() or column.dtype.is_temporal() or column.dtype == pl.Boolean):
        return None
    plain = column.to_physical() if column.dtype.is_temporal() else column
    return plain.cast(pl.Float64).to_numpy().astype(np.float64)


def _values(column: pl.Series) -> Ints:
    """A column as codes of its values, 0 where absent, numbers of many values cut into equal parts."""
    number = _number(column)
    if number is None:
        text = column if column.dtype == pl.String else column.cast(pl.String, strict=False)
        return text.rank("dense").fill_null(0).to_numpy().astype(np.int64)
    there = ~np.isnan(number)
    codes = np.zeros(len(number), dtype=np.int64)
    distinct, group = np.unique(number[there], return_inverse=True)
    if len(distinct) > _VALUES_MAX:
        group = ((midranks(number[there]) - 1) * _VALUES_MAX / there.sum()).astype(np.int64)
    codes[there] = group + 1
    return codes


def _yes_no_power(column: pl.Series, yes: Flags, fold: Ints) -> float:
    """The best AUC that the column alone reaches."""
    values = _values(column)
    rates = np.zeros(len(values))
    for f in np.unique(fold):
        here, n = fold == f, int(values.max()) + 1
        rows = np.bincount(values[~here], minlength=n)
        events = np.bincount(values[~here], weights=yes[~here], minlength=n)
        rates[here] = ((events + yes[~here].mean()) / (rows + 1))[values[here]]
    powers = [auc(rates, yes)]
    number = _number(column)
    orders = [column.is_null().to_numpy().astype(np.float64)]
    if number is not None and not np.isnan(number).all():
        orders.append(np.where(np.isnan(number), np.nanmedian(number), number))
    for order in orders:
        straight = auc(order, yes)
        powers += [straight, 1 - straight]
    return float(np.nanmax(powers))


def _rho(number: Floats, truth: Floats) -> float:
    """|Spearman's rho| where both are known; 0 where that is too few or constant."""
    both = ~np.isnan(number) & ~np.isnan(truth)
    if both.sum() < ROWS_MIN:
        return 0.0
    a, b = midranks(number[both]), midranks(truth[both])
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return abs(float(a @ b)) / scale if scale else 0.0


def _looked_up(values: Ints, word: Ints, fold: Ints) -> Ints:
    """For each row, the commonest word that its value has in other units; -1 where the value is new there."""
    out = np.full(len(values), -1, dtype=np.int64)
    for f in np.unique(fold):
        here = fold == f
        table = pl.DataFrame({"value": values[~here], "word": word[~here]}).group_by("value", "word").len()
        best = table.sort("len", "word", descending=[True, False]).unique("value", keep="first")
        rows = pl.DataFrame({"value": values[here]}).join(best, on="value", how="left", maintain_order="left")
        out[here] = rows["word"].fill_null(-1).to_numpy()
    return out


def _kappa(named: Ints, word: Ints) -> float:
    """Cohen's kappa: agreement beyond what the words' frequencies give by luck; 0 where there is but one word."""
    k = int(word.max()) + 1
    agree = float(np.mean(named == word))
    said = np.bincount(named[named >= 0], minlength=k) / len(word)
    luck = float(said @ (np.bincount(word, minlength=k) / len(word)))
    return (agree - luck) / (1 - luck) if luck < 1 else 0.0
