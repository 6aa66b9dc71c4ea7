"""TEXT: whether an answer in words says what the right one says."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

import numpy as np
import polars as pl

from unibody.methods.scores.bootstrap import Mean, Measured
from unibody.methods.scores.choice import commonest
from unibody.methods.scores.questions import Questions, share

#: Pairs of an answer and another question's truth, drawn to estimate chance.
_CHANCE_PAIRS = 2000


def measure(asked: Questions, past: pl.DataFrame, cap: float | None, seed: int) -> Measured:
    """Token F1 of label against truth_label, averaged over questions.

    P. Rajpurkar et al., "SQuAD", EMNLP 2016, section 6.1, without its dropping of English articles, for questions come in
    many languages. Baseline: the commonest answer of the past. Chance: our own answers shuffled, estimated from 2,000
    random pairs. Unanswered: 0.
    """
    asked.demand("truth_label", "label")
    truth = asked.true_words()
    answer = asked.words("label")
    usual, where = commonest(past, truth)
    random = np.random.default_rng(seed)
    mine, other = random.integers(len(truth), size=(2, _CHANCE_PAIRS))
    scores = np.array([token_f1(a, t) for a, t in zip(answer, truth, strict=True)])
    return Measured(
        metric="token f1",
        higher_is_better=True,
        ours=Mean.of(asked, scores),
        baseline=Mean.of(asked, np.array([token_f1(usual, t) for t in truth])),
        baseline_name=f"always the commonest answer {where}",
        chance=float(np.mean([token_f1(answer[i], truth[j]) for i, j in zip(mine, other, strict=True)])),
        unanswered=share(np.array([a is None for a in answer])),
        bearing=asked.units,
        extra={
            "exact": share(
                np.array([_tokens(a or "") == _tokens(t) for a, t in zip(answer, truth, strict=True)])
            )
        },
    )


@lru_cache(maxsize=100_000)
def token_f1(answer: str | None, truth: str) -> float:
    """F1 of the words two texts share, each as often as it occurs; case, accents' encoding and punctuation aside.

    >>> token_f1("Replace the pump.", "replace pump")  # 2 shared of 3 and 2: 2 * 2 / 5
    0.8
    >>> token_f1(None, "replace pump")
    0.0
    """
    if answer is None:
        return 0.0
    said, right = _tokens(answer), _tokens(truth)
    if not said or not right:
        return float(said == right)
    return 2 * (Counter(said) & Counter(right)).total() / (len(said) + len(right))


@lru_cache(maxsize=100_000)
def _tokens(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))
