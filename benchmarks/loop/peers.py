"""What people reach for first, as they are usually used: chi-square, a decision tree, boosting with SHAP.

None of them knows exposure or who reports more, except boosting, which takes exposure as its offset. Chi-square names
its best where the Bonferroni-adjusted p is <= alpha; tree and boosting have no such test and stand for their first
candidate always. The SHAP values are LightGBM's own (`pred_contrib`): the exact TreeSHAP of Lundberg et al. 2020
(Nature Machine Intelligence 2:56-67) which the `shap` package calls too. Subgroup discovery is in `subgroups.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from benchmarks.loop.answers import Answer, Floats, Found, asked, numbers, ordered, outcome_numbers, told

TEN = 10
LEAST = 3
CARDINALITY = 2000  # of a name's values, the commonest so many are told apart by tree and boosting


def chi_square(
    frame: pl.DataFrame,
    outcome: str,
    *,
    exposure: str | None = None,
    controls: Sequence[str] = (),
    attributes: Sequence[str] | None = None,
    time: str | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Answer:
    """One test of independence an attribute (ordered ones in tenths), Bonferroni over attributes.

    A candidate is an attribute's value with the largest standardised residual.
    """
    from scipy import stats

    failed = outcome_numbers(frame, outcome) > 0
    candidates: list[tuple[float, float, dict[str, Any]]] = []
    columns = asked(frame, attributes, (outcome, exposure, time, *controls))
    for name in columns:
        codes, said = _values(frame[name])
        known = codes >= 0
        table = np.column_stack(
            [np.bincount(codes[known & (failed == f)], minlength=len(said)) for f in (True, False)]
        )
        table = table[table.sum(1) > 0]
        kept = [s for s, n in zip(said, np.bincount(codes[known], minlength=len(said)), strict=True) if n]
        if len(table) < 2 or not table[:, 0].sum() or not table[:, 1].sum():
            continue
        result = stats.chi2_contingency(table, correction=False)
        residual = (table[:, 0] - result.expected_freq[:, 0]) / np.sqrt(result.expected_freq[:, 0])
        at = int(residual.argmax())
        # p underflows to 0 for many: the statistic breaks ties
        candidates.append((float(result.pvalue), -float(result.statistic), {name: kept[at]}))
    candidates.sort(key=lambda c: c[:2])
    ranked = tuple(Found(c, min(1.0, p * len(candidates))) for p, _, c in candidates[:TEN])
    return Answer(tuple(f for f in ranked[:1] if f.p_adjusted <= alpha), ranked, len(candidates))


def tree(
    frame: pl.DataFrame,
    outcome: str,
    *,
    exposure: str | None = None,
    controls: Sequence[str] = (),
    attributes: Sequence[str] | None = None,
    time: str | None = None,
    alpha: float = 0.05,
    seed: int = 0,
    depth: int = 3,
    leaf: int = 10,
) -> Answer:
    """scikit-learn's decision tree, names one-hot, classes balanced; its nodes by their failures' likelihood ratio.

    Inner nodes count as well as leaves: a leaf of a single faulty lot is cut further by noise. A node's conditions
    are those of its path that say what a unit has; "is not that value" is left out.
    """
    from scipy import sparse
    from sklearn.tree import DecisionTreeClassifier

    failed = outcome_numbers(frame, outcome) > 0
    blocks: list[Any] = []
    said: list[tuple[str, Any]] = []  # attribute, and the value or None for an ordered one
    for name in asked(frame, attributes, (outcome, exposure, time, *controls)):
        column = frame[name]
        if ordered(column):
            x = numbers(column)
            middle = np.median(x[~np.isnan(x)]) if (~np.isnan(x)).any() else 0.0
            blocks.append(sparse.csc_matrix(np.where(np.isnan(x), middle, x)[:, None]))
            said.append((name, None))
            continue
        codes, values = _values(column)
        rows = np.flatnonzero(codes >= 0)
        blocks.append(
            sparse.csc_matrix((np.ones(len(rows)), (rows, codes[rows])), shape=(frame.height, len(values)))
        )
        said += [(name, v) for v in values]
    x = sparse.hstack(blocks, format="csc").astype(np.float32)
    fitted = DecisionTreeClassifier(
        max_depth=depth, min_samples_leaf=leaf, class_weight="balanced", random_state=seed
    )
    fitted.fit(x, failed)
    reached = fitted.decision_path(x).tocsc()
    paths = _paths(fitted.tree_, frame, said)
    scored = []
    for at in range(reached.shape[1]):
        inside = np.zeros(frame.height, dtype=np.bool_)
        inside[reached.indices[reached.indptr[at] : reached.indptr[at + 1]]] = True
        n, e = float(failed[inside].sum()), float(failed.mean() * inside.sum())
        if n >= LEAST and n > e and paths[at]:
            scored.append(
                (
                    -n * np.log(n / e) + n - e,
                    Found(paths[at], failed=n, expected=e, units=int(inside.sum())),
                )
            )
    scored.sort(key=lambda s: s[0])
    ranked = tuple(f for _, f in scored[:TEN])
    return Answer(ranked[:1], ranked, len(said))


def boosting(
    frame: pl.DataFrame,
    outcome: str,
    *,
    exposure: str | None = None,
    controls: Sequence[str] = (),
    attributes: Sequence[str] | None = None,
    time: str | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Answer:
    """LightGBM (Poisson, exposure as offset) and SHAP: attributes by what they add for the units that failed.

    A candidate is an attribute's value that is most enriched among the failed, by likelihood ratio.
    """
    import lightgbm

    failed = outcome_numbers(frame, outcome)
    of = exposure or time
    base = (
        np.ones(frame.height)
        if of is None
        else np.maximum(frame[of].cast(pl.Float64).fill_null(0).to_numpy(), 1e-9)
    )
    columns = asked(frame, attributes, (outcome, exposure, time, *controls))
    if not failed.any():
        return Answer((), (), len(columns))
    coded = {name: _values(frame[name]) for name in columns}
    names = [c for c in columns if not ordered(frame[c])]
    x = np.column_stack([
        coded[c][0].astype(np.float64) if c in names else numbers(frame[c]) for c in columns
    ])  # fmt: skip
    x[:, [columns.index(c) for c in names]] = np.where(
        x[:, [columns.index(c) for c in names]] < 0, np.nan, x[:, [columns.index(c) for c in names]]
    )
    data = lightgbm.Dataset(
        x,
        failed,
        init_score=np.log(base * failed.sum() / base.sum()),
        categorical_feature=[columns.index(c) for c in names],
        params={"verbose": -1},
    )
    settings = {
        "objective": "poisson", "num_leaves": 15, "learning_rate": 0.1, "min_data_in_leaf": 10, "num_threads": 1,
        "seed": seed, "deterministic": True, "verbose": -1,
    }  # fmt: skip
    model = lightgbm.train(settings, data, num_boost_round=60)
    shares = model.predict(x[failed > 0], pred_contrib=True)[:, :-1].sum(0)
    scored = []
    for i in np.argsort(-shares)[:TEN]:
        best = _most_enriched(columns[i], *coded[columns[i]], failed, base)
        if best is not None:
            scored.append(best)
    return Answer(tuple(scored[:1]), tuple(scored), len(columns))


def _values(column: pl.Series) -> tuple[Any, list[Any]]:
    """A code a unit (-1: nothing) and what each code says: a value, or a tenth of an ordered column."""
    if ordered(column):
        x = numbers(column)
        known = x[~np.isnan(x)]
        if not len(known):
            return np.full(len(x), -1), []
        cuts = np.unique(np.quantile(known, np.linspace(0.1, 0.9, 9)))
        codes = np.where(np.isnan(x), -1, np.searchsorted(cuts, x))
        ends: list[float | None] = [None, *(float(c) for c in cuts), None]
        return codes, [told(column, a, b) for a, b in pairwise(ends)]
    text = column.cast(pl.String)
    order = text.drop_nulls().value_counts(sort=True).sort(["count", text.name], descending=[True, False])
    kept = order[text.name].to_list()[:CARDINALITY]
    codes = (
        text.replace_strict(kept, list(range(len(kept))), default=-1, return_dtype=pl.Int64).to_numpy()
        if kept
        else (np.full(len(text), -1))
    )
    return codes, [v == "true" for v in kept] if column.dtype == pl.Boolean else kept


def _most_enriched(name: str, codes: Any, said: list[Any], failed: Floats, base: Floats) -> Found | None:
    """The value of one attribute whose failures stand out most."""
    known = codes >= 0
    n = np.bincount(codes[known], failed[known], minlength=len(said))
    e = np.bincount(codes[known], base[known], minlength=len(said)) * failed.sum() / base.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        likely = np.where((n > e) & (n > 0), n * np.log(n / e) - n + e, 0.0)
    if not len(said) or not likely.max() > 0:
        return None
    at = int(likely.argmax())
    return Found({name: said[at]}, failed=float(n[at]), expected=float(e[at]), units=int((codes == at).sum()))


def _paths(fitted: Any, frame: pl.DataFrame, said: list[tuple[str, Any]]) -> dict[int, dict[str, Any]]:
    """The conditions of each node."""
    out: dict[int, dict[str, Any]] = {}

    def walk(node: int, names: dict[str, Any], ends: dict[str, list[float | None]]) -> None:
        out[node] = {**names, **{a: told(frame[a], *e) for a, e in ends.items()}}
        if fitted.children_left[node] < 0:
            return
        attribute, value = said[fitted.feature[node]]
        cut = float(fitted.threshold[node])
        if value is not None:
            walk(fitted.children_left[node], names, ends)
            walk(fitted.children_right[node], {**names, attribute: value}, ends)
            return
        low, high = ends.get(attribute, [None, None])
        walk(
            fitted.children_left[node],
            names,
            {**ends, attribute: [low, cut if high is None else min(high, cut)]},
        )
        walk(
            fitted.children_right[node],
            names,
            {**ends, attribute: [cut if low is None else max(low, cut), high]},
        )

    walk(0, {}, {})
    return out
