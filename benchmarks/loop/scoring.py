"""How an answer is scored against the truth; written before any result was seen, so that nobody chose it afterwards.

**What is asked.** A *case* is one symptom of one world: a table of units (vehicles), which of them failed, exposure,
counts of their other symptoms, and the truths (none, one or two planted causes). A world with causes gives a case for
each symptom that has a cause; a world without causes gives one for each of `ASKED_MOST` symptoms that `ASKED_FROM` or
more cars show, the one its decoys aim at among them.

**A hit.** A candidate hits a truth if
  (a) it has the truth's conditions: the same attributes, for names the same values, and the units it selects agree
      with the truth's to Jaccard >= `ALIKE_ENDS` = .8 (this is what an interval's ends may differ by); or
  (b) it selects the same units as the truth, Jaccard >= `SAME` = .9, whatever its words: nobody could tell them apart.
No half credit: the right station with a wrong date is a miss.
The units of a truth are those of the table that meet its conditions, whether each of them is really faulty or not.

**Order.** The candidates of an answer are its accepted causes, in its order, then its `ranked` ones not among them.
*top-1*: the first hits a truth. *top-3*: one of the first three does. Both whether accepted or not; *named*: the first
accepted cause hits (an answer "not enough evidence" counts as a miss here).
*both*: in cases with two truths, both are hit among the accepted causes; *both in three*: among the first three.

**False causes**, counted over accepted causes only, by case and by world: hits nothing *and* overlaps every truth with
Jaccard < `NEAR` = .5 (a neighbour of the truth leads an engineer to the right place, so it is no false cause, though a
miss). *Strict*: hits nothing. In a case without truths each accepted cause is false by both counts.
*Clean worlds*: share of worlds without causes where any cause was accepted, over all their cases.
A method without a test of its own (tree, subgroup discovery, SHAP) stands for its first candidate always; that is said.

**Intervals.** 95 %: Wilson (1927) for shares; for means and for differences of two methods a bootstrap over whole
worlds (2,000 draws, the same worlds for both of a pair). Methods differ clearly when the paired interval leaves 0 out.

**By failures**: by the number of cars that the cause has made fail as reported, in `BINS`.

**Oracle** (for each kind, made for the confounded ones): a method that knows the truth and must only choose between it
and its *alikes*, conditions of no more parts than the truth's (single ones; pairs too where the truth is a pair) with
.5 <= Jaccard < .9 to the truth's units, by the likelihood of the failures. It is right when no alike that misses has a
higher likelihood; a tie counts half. Where it is low, the failures do not say which it was, and only prior belief
(likelier mechanisms) can do better. (First written with pairs always: then a true lot trimmed by some noise is nearly
always likelier, and the oracle says nothing. Changed on tuning seeds; it scores no method.)

**Scope**, where it is there: *recalled per affected* = vehicles selected / truly affected vehicles, both of those in
service, over cases where the first accepted cause hits; *covered* = share of the affected that are selected, beside the
stated probability, over the same cases. **Notice**, where it is there: days from the first failure by the cause's vehicles
(as it happened, reported or not later) to the first call on that symptom; in worlds without causes each call is a false
investigation, counted by year of observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl

from benchmarks.loop.answers import Conditions, Floats, Mask, jaccard, meets, ordered, outcome_numbers
from benchmarks.loop.plain_scan import conditions as singles_of
from benchmarks.loop.plain_scan import together

ALIKE_ENDS, SAME, NEAR = 0.8, 0.9, 0.5
ASKED_FROM, ASKED_MOST = 6, 5
#: Failures that a cause has made, from and to.
BINS = ((0, 5), (6, 12), (13, 20), (21, 35), (36, 10**9))
DRAWS = 2000
Z95 = 1.959963984540054


class Candidate(Protocol):
    """What scoring reads of a cause."""

    @property
    def conditions(self) -> dict[str, Any]:
        """Its conditions."""
        ...


class Says(Protocol):
    """What scoring reads of an answer, the product's `Explanation` or a peer's `Answer`."""

    @property
    def causes(self) -> Sequence[Candidate]:
        """Those it stands for."""
        ...

    @property
    def ranked(self) -> Sequence[Candidate]:
        """The best, accepted or not."""
        ...


@dataclass(frozen=True)
class Score:
    """One answer to one case."""

    top1: bool
    top3: bool
    named: bool
    both: bool
    both_in_three: bool
    accepted: int
    false: int
    false_strict: int


def bin_of(failed: int) -> str:
    """The bin of a number of failures.

    >>> bin_of(12), bin_of(13), bin_of(400), bin_of(3)
    ('6-12', '13-20', '36+', '<6')
    """
    low, high = next(b for b in BINS if b[0] <= failed <= b[1])
    return "<6" if not low else f"{low}-{high}" if high < 10**9 else f"{low}+"


def hits(frame: pl.DataFrame, named: Conditions, truth: Conditions) -> bool:
    """Is it the truth, by words (a) or by units (b).

    >>> frame = pl.DataFrame({"lot": ["a"] * 9 + ["b"], "tool": ["x"] * 8 + ["y"] * 2})
    >>> hits(frame, {"lot": "a"}, {"lot": "a"}), hits(frame, {"tool": "x"}, {"lot": "a"})
    (True, False)
    """
    overlap = jaccard(meets(frame, named), meets(frame, truth))
    if overlap >= SAME:
        return True
    return named.keys() == truth.keys() and overlap >= ALIKE_ENDS and _same_words(frame, named, truth)


def _same_words(frame: pl.DataFrame, named: Conditions, truth: Conditions) -> bool:
    """Do all conditions on names want the same value."""
    return all(
        ordered(frame[a]) or {str(v) for v in _values(named[a])} == {str(v) for v in _values(truth[a])}
        for a in truth
        if a in frame.columns
    )


def _values(wanted: Any) -> list[Any]:
    return list(wanted) if isinstance(wanted, list | tuple | set) else [wanted]


def in_order(answer: Says) -> list[Conditions]:
    """Accepted causes, then the other ranked ones."""
    out: list[Conditions] = []
    for c in (*answer.causes, *answer.ranked):
        if c.conditions not in out:
            out.append(c.conditions)
    return out


def score(frame: pl.DataFrame, truths: Sequence[Conditions], answer: Says) -> Score:
    """Score one answer to one case with these truths (none, one or two)."""
    first_ones = in_order(answer)[:3]
    accepted = [c.conditions for c in answer.causes]
    hit = [[hits(frame, c, t) for t in truths] for c in first_ones]
    hit_accepted = [[hits(frame, c, t) for t in truths] for c in accepted]
    truth_masks = [meets(frame, t) for t in truths]
    missed = [c for c, h in zip(accepted, hit_accepted, strict=True) if not any(h)]
    far = [c for c in missed if all(jaccard(meets(frame, c), t) < NEAR for t in truth_masks)]

    def all_hit(by: list[list[bool]]) -> bool:
        return len(truths) > 1 and all(any(h[i] for h in by) for i in range(len(truths)))

    return Score(
        top1=bool(hit) and any(hit[0]),
        top3=any(any(h) for h in hit),
        named=bool(hit_accepted) and any(hit_accepted[0]),
        both=all_hit(hit_accepted),
        both_in_three=all_hit(hit),
        accepted=len(accepted),
        false=len(far),
        false_strict=len(missed),
    )


def wilson(hit: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); from 0 to 1 where nothing was asked.

    >>> [round(x, 3) for x in wilson(8, 10)]
    [0.49, 0.943]
    """
    if not of:
        return 0.0, 1.0
    share, z2 = hit / of, Z95**2
    centre = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = Z95 / (1 + z2 / of) * np.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def mean_between(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """A mean over worlds (or of paired differences) with its 95 % bootstrap interval."""
    x = np.asarray(values, dtype=np.float64)
    if not len(x):
        return float("nan"), float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(0, len(x), (DRAWS, len(x)))
    low, high = np.quantile(x[drawn].mean(1), [0.025, 0.975])
    return float(x.mean()), float(low), float(high)


def oracle(
    frame: pl.DataFrame, truth: Conditions, columns: Sequence[str], outcome: str, exposure: str | None
) -> float:
    """1 where the truth is the likeliest among its alikes, .5 where it ties, 0 where an alike is likelier."""
    failed = outcome_numbers(frame, outcome)
    base = np.ones(frame.height) if exposure is None else frame[exposure].cast(pl.Float64).to_numpy()
    truth_mask = meets(frame, truth)
    ones = np.ones(frame.height)
    singles, inside = singles_of(frame, columns, np.column_stack([failed, base, ones, truth_mask]))
    overlap = inside[:, 3] / (inside[:, 2] + truth_mask.sum() - inside[:, 3])
    likely = likelihood(inside[:, 0], inside[:, 1], failed.sum(), base.sum())
    alike = [(singles[i], likely[i]) for i in np.flatnonzero((overlap >= NEAR) & (overlap < SAME))]
    # a pair that selects much the same units has two parts that hold most of them
    holds = np.flatnonzero((inside[:, 3] >= 0.5 * truth_mask.sum()) & (inside[:, 2] < 0.9 * frame.height))
    best = holds[np.argsort(-likely[holds])][:60]
    masks = [meets(frame, singles[i]) for i in best]
    for a in range(len(best) if len(truth) > 1 else 0):
        for b in range(a):
            joined, mask = together(singles[best[a]], singles[best[b]]), masks[a] & masks[b]
            if joined is not None and NEAR <= jaccard(mask, truth_mask) < SAME:
                alike.append((joined, _likelihood_of(mask, failed, base)))
    mine = _likelihood_of(truth_mask, failed, base)
    rivals = [x for c, x in alike if x >= mine - 1e-9 and not hits(frame, c, truth)]
    return 0.0 if any(x > mine + 1e-9 for x in rivals) else 0.5 if rivals else 1.0


def likelihood(inside: Floats, exposed: Floats, failed: float, base: float) -> Floats:
    """Log likelihood ratio of a rate of its own inside against one rate for all; 0 where it is lower inside."""
    share = np.clip(exposed / base, 1e-12, 1 - 1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        in_ = np.where(inside > 0, inside * np.log(inside / (failed * share)), 0.0)
        out = np.where(
            failed > inside, (failed - inside) * np.log((failed - inside) / (failed * (1 - share))), 0
        )
    return np.where(inside > failed * share, in_ + out, 0.0)


def _likelihood_of(mask: Mask, failed: Floats, base: Floats) -> float:
    inside, exposed = np.array([failed[mask].sum()]), np.array([base[mask].sum()])
    return float(likelihood(inside, exposed, float(failed.sum()), float(base.sum()))[0])


def scoped(selected: set[str], affected: set[str]) -> tuple[float, float]:
    """Vehicles selected per truly affected, and the share of the affected that are selected.

    >>> scoped({"a", "b", "c"}, {"a", "d"})
    (1.5, 0.5)
    """
    return len(selected) / len(affected), len(selected & affected) / len(affected)
