"""RANKING: whether the right ones stand at the top of each list."""

from __future__ import annotations

import numpy as np
import polars as pl

from unibody.errors import SetupError
from unibody.methods.scores.bootstrap import Mean, Measured
from unibody.methods.scores.questions import Flags, Floats, Ints, Questions, share

#: Places of a list that count: what fits one screen.
TOP = 10


def measure(asked: Questions, past: pl.DataFrame, cap: float | None, seed: int) -> Measured:
    """NDCG@10, averaged over lists: how much of what is relevant stands high among the first ten.

    Each row is one candidate of one list, `truth` how relevant it is (0 not at all). The candidate's name is `truth_label`
    where given, and the list then unit + subject + at; else it is the subject, and the list unit + at.
    DCG = sum of truth / log2(place + 1) over the first ten places, NDCG = DCG / that of the best order. K. Järvelin and
    J. Kekäläinen, ACM TOIS 20 (2002), section 2; candidates of equal score share their places (F. McSherry and
    M. Najork, ECIR 2008, section 2). Lists that every order serves alike (no relevant candidate, or all the same) cannot
    tell good from bad: they are left out and counted (`lists_undecidable`).
    Baseline: popularity, the sum of the candidate's truth in the past. Chance: the expectation of a random order.
    Unanswered: ranked below all answered candidates, relevant ones last. hit_at_k counts ties against us.
    """
    asked.demand("truth", "score")
    truth = asked.truths("how relevant the candidate is (0 not at all)")
    if (truth < 0).any():
        raise SetupError(f"relevance must be 0 or more, is {truth.min():g}")
    score = asked.numbers("score")
    silent = np.isnan(score)
    named = asked.rows["truth_label"].null_count() < asked.rows.height
    keys = ["unit", "subject", "at"] if named else ["unit", "at"]
    lists = asked.rows.select(pl.struct(keys).rank("dense")).to_series().to_numpy().astype(np.int64) - 1
    decidable = _decidable(lists, truth)
    if not decidable.any():
        raise SetupError(
            f"none of the {int(lists.max()) + 1} lists (same {' + '.join(keys)}) has a relevant and a less relevant "
            "candidate: nothing to rank. Ask about several candidates a list, with truth > 0 for the right ones"
        )
    _, distinct = np.unique(np.where(silent, 0.0, score), return_inverse=True)
    ranks = np.where(silent, np.where(truth > 0, -2.0, -1.0), distinct)
    popular, name = _popularity(asked, past, "truth_label" if named else "subject")
    first = _first_place(lists, ranks, truth)[decidable]

    def over_lists(values: Floats) -> Mean:
        unit = np.zeros(len(decidable), dtype=np.int64)
        unit[lists] = asked.unit
        kept = unit[decidable]
        return Mean(
            np.bincount(kept, weights=values[decidable], minlength=asked.units).astype(np.float64),
            np.bincount(kept, minlength=asked.units).astype(np.float64),
        )

    return Measured(
        metric=f"ndcg@{TOP}",
        higher_is_better=True,
        ours=over_lists(ndcg(lists, ranks, truth)),
        baseline=over_lists(ndcg(lists, popular, truth)),
        baseline_name=name,
        chance=float(ndcg(lists, np.zeros(len(truth)), truth)[decidable].mean()),
        unanswered=share(silent),
        bearing=asked.units_where(decidable[lists]),
        extra={
            "lists": float(decidable.sum()),
            "lists_undecidable": float((~decidable).sum()),
            **{f"hit_at_{k}": share(first < k) for k in (1, 3, TOP)},
        },
    )


def ndcg(lists: Ints, ranks: Floats, truth: Floats) -> Floats:
    """NDCG@10 of each list, higher rank first, ties sharing their places; 0 where nothing is relevant.

    >>> lists = np.array([0, 0, 0])
    >>> ndcg(lists, np.array([3.0, 2.0, 1.0]), np.array([0.0, 1.0, 0.0])).round(4)  # second place: 1 / log2(3)
    array([0.6309])
    >>> ndcg(lists, np.zeros(3), np.array([0.0, 1.0, 0.0])).round(4)  # tied: mean of 1, .6309 and .5
    array([0.7103])
    """
    ideal = _dcg(lists, truth, truth)
    return np.divide(_dcg(lists, ranks, truth), ideal, out=np.zeros(len(ideal)), where=ideal > 0)


def _dcg(lists: Ints, ranks: Floats, truth: Floats) -> Floats:
    """Discounted relevance of each list."""
    order = np.lexsort((-ranks, lists))
    place = _places(lists[order])
    discount = np.where(place < TOP, 1 / np.log2(place + 2.0), 0.0)
    tie = np.cumsum(np.append(True, (np.diff(lists[order]) != 0) | (np.diff(ranks[order]) != 0))) - 1
    shared = np.bincount(tie, weights=discount) / np.bincount(tie)
    relevance = truth[order] * shared[tie]
    return np.bincount(lists[order], weights=relevance, minlength=int(lists.max()) + 1).astype(np.float64)


def _places(ordered: Ints) -> Ints:
    """Place within its list, from 0, of rows ordered by list."""
    first = np.searchsorted(ordered, ordered, side="left")
    return np.arange(len(ordered)) - first


def _first_place(lists: Ints, ranks: Floats, truth: Floats) -> Floats:
    """The place, from 0, of each list's first relevant candidate, ties against us."""
    order = np.lexsort((truth > 0, -ranks, lists))
    place = np.where(truth[order] > 0, _places(lists[order]), np.inf)
    first = np.full(int(lists.max()) + 1, np.inf)
    np.minimum.at(first, lists[order], place)
    return first


def _decidable(lists: Ints, truth: Floats) -> Flags:
    """Lists in which one order is better than another."""
    n = int(lists.max()) + 1
    most, least = np.full(n, -np.inf), np.full(n, np.inf)
    np.maximum.at(most, lists, truth)
    np.minimum.at(least, lists, truth)
    return most > least


def _popularity(asked: Questions, past: pl.DataFrame, item: str) -> tuple[Floats, str]:
    """How often a candidate was right in the past."""
    if item not in past.columns or not past.height:
        return np.zeros(asked.rows.height), "random order (there is no past)"
    popular = past.group_by(item).agg(popularity=pl.col("truth").sum())
    joined = asked.rows.select(item).join(popular, on=item, how="left", maintain_order="left")
    return joined["popularity"].fill_null(0.0).to_numpy().astype(np.float64), "popularity in the past"
