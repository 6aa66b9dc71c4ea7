"""Answers what the failing units share that the others don't."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from unibody.errors import FormatError, SetupError
from unibody.methods.cohorts import attributes as columns
from unibody.methods.cohorts import chance, expected, given, naming, refine
from unibody.methods.cohorts.attributes import Attribute
from unibody.methods.cohorts.evidence import Floats, Table, ratio
from unibody.methods.cohorts.evidence import table as table_of
from unibody.methods.cohorts.explanation import Cause, Chance, Conditions, Explanation
from unibody.methods.cohorts.hypotheses import Found
from unibody.methods.cohorts.naming import Bools, Cohort
from unibody.methods.cohorts.search import Space

MOST_CAUSES = 3
#: A cause beside the first must be this much less likely by chance, for the first may be misdescribed.
LATER_ALPHA = 0.4
#: Log odds against chance that a cause must have besides its p-value: not clearly below even. It halves the false causes of
#: clean frames (about .026 at alpha = .05) for one true cause in a hundred.
ENOUGH = -0.5
#: Fewer failures inside are no cause, whatever the odds.
FEWEST = 3
#: Of more failures than these the search takes some by chance; the figures reported count all.
MOST_EVENTS = Table.MOST
BLOCK = 40  # draws at once; then see whether more are needed
KEPT, SHOWN = 400, 10  # hypotheses looked at again; shown


def explain(
    frame: pl.DataFrame,
    outcome: str,
    *,
    exposure: str | None = None,
    controls: Sequence[str] = (),
    attributes: Sequence[str] | None = None,
    likely: Sequence[str] = (),
    time: str | None = None,
    alpha: float = 0.05,
    draws: int = 400,
    seed: int = 0,
) -> Explanation:
    """What the failing units share that the others don't, with what chance alone would give.

    frame: one row a unit, or a row a cell of alike units. outcome: true/false, 0/1 or a count. exposure: days, expected
    failures or number of units (default 1 a row). controls: counts of other symptoms of the same units, by which groups
    that report more of everything are set right. attributes: the columns to look at (default: all others). likely: those of them in which, before the data, the cause is
    believed to lie as often as in all the rest together: the part itself that fails. time: days
    (or km, or hours) to the failure or to the end of observation; expected failures then follow the age of each unit, and
    exposure is the number of units in the row.
    alpha: how often a clean frame may be given a cause. draws: repetitions on chance, at most. The same seed gives the same
    answer. Raises FormatError for values, SetupError for names.

    The evidence of a hypothesis is a Bayes factor given the number of failures, times a prior that pays for the search (by
    attribute, by value; a pair pays for both); p is from the best of the whole search on failures drawn anew, so it holds
    over everything looked at (P. Westfall and S. Young, "Resampling-Based Multiple Testing" (1993), single step). A cause is
    accepted when p is at most alpha and its odds are not clearly against it (ENOUGH); then its units are set aside and the
    search is made again, for a second and a third.

    >>> units = pl.DataFrame({"torque": [30.0 + i % 40 for i in range(400)], "days": [9.0] * 400})
    >>> units = units.with_columns(failed=(pl.col("torque") < 33) & (pl.int_range(400) % 3 == 0))
    >>> found = explain(units, "failed", exposure="days")
    >>> found.causes[0].conditions, found.causes[0].failed, found.causes[0].units
    ({'torque': [None, 32.0]}, 10, 30)
    """
    if not len(frame):
        raise FormatError("the frame has no rows; at least one unit is needed")
    if not 0 < alpha < 1:
        raise SetupError(f"alpha is {alpha}; it must lie between 0 and 1, such as 0.05")
    if draws < BLOCK:
        raise SetupError(f"draws is {draws}; it must be at least {BLOCK}")
    failures = given.outcome(frame, outcome)
    base = given.exposure(frame, exposure, failures) if exposure else np.ones(len(frame))
    others = given.controls(frame, controls)
    taken = [c for c in (outcome, exposure, time, *controls) if c is not None]
    names = [c for c in frame.columns if c not in taken] if attributes is None else list(attributes)
    for name in names:
        given.there(frame, name)
        if name in taken:
            raise SetupError(f"{name!r} cannot be an attribute too: it is outcome, exposure, control or time")
    for name in likely:
        given.there(frame, name)
    found, left = columns.read(frame, names, failures)
    found = [replace(a, likely=a.name in likely) for a in found]
    weight = base
    if time:
        ages = given.exposure(frame, time, np.zeros(len(frame)))
        weight = base * np.maximum(expected.by_age(ages, failures, base), 1e-12)
    factor, adjusted = expected.reporting(weight, others, found)
    weight = weight * factor
    case = _Case(
        frame, failures, base, weight / weight.sum(), found, alpha, draws, np.random.default_rng(seed)
    )
    return case.explanation(left, adjusted)


@dataclass
class _Case:
    frame: pl.DataFrame
    failures: Floats
    base: Floats
    share: Floats
    attributes: list[Attribute]
    alpha: float
    draws: int
    random: np.random.Generator

    def explanation(self, left: dict[str, str], adjusted: tuple[str, ...]) -> Explanation:
        live = self.share > 0
        accepted: list[tuple[Found, Cohort, float, float, list[Found]]] = []
        first: list[tuple[Found, float, float]] = []
        hypotheses, said = 0, Chance(0, float("nan"), float("nan"), self.alpha)
        alpha = self.alpha
        while len(accepted) < MOST_CAUSES and self.attributes and self.failures[live].sum() >= FEWEST:
            space, by_chance, found, screened = self._look(live)
            if not accepted:
                hypotheses = space.hypotheses
                said = Chance(
                    len(by_chance),
                    float(np.quantile(by_chance, 1 - self.alpha)),
                    float(np.median(by_chance)),
                    self.alpha,
                )
            if not found:
                break
            evidence = np.array([f.evidence for f in screened])
            total = np.logaddexp.reduce(np.append(evidence, 0.0))  # chance itself has odds 1
            listed = [
                (f, chance.p_value(f.screened, by_chance), float(np.exp(f.evidence - total)))
                for f in found[:SHOWN]
            ]
            first = first or listed
            best, p, sure = listed[0]
            cohort = naming.sharp(self.frame, self.attributes, best, self.failures, self.share, live)
            if p > alpha or best.evidence < ENOUGH or self.failures[cohort.inside & live].sum() < FEWEST:
                break
            same = naming.alike(best, screened, self.attributes, self.failures, live)
            accepted.append((best, cohort, p, sure, same))
            live = live & ~cohort.inside
            alpha = self.alpha * LATER_ALPHA
        causes = tuple(self._cause(accepted, k) for k in range(len(accepted)))
        ranked = tuple(self._ranked(f, p, sure, accepted, causes) for f, p, sure in first)
        failed = int(self.failures.sum())
        return Explanation(
            causes,
            ranked,
            self._verdict(causes, ranked, said),
            hypotheses,
            failed,
            len(self.frame),
            said,
            left,
            adjusted,
        )

    def _look(self, live: Bools) -> tuple[Space, Floats, list[Found], list[Found]]:
        rows = np.flatnonzero(live)
        part = (
            self.attributes
            if len(rows) == len(live)
            else [replace(a, codes=a.codes[rows]) for a in self.attributes]
        )
        share = self.share[rows] / self.share[rows].sum()
        ends = np.cumsum(self.failures[rows])
        failed, once = int(ends[-1]), bool(self.failures.max() <= 1)
        chosen = (
            np.arange(failed)
            if failed <= MOST_EVENTS
            else np.sort(self.random.choice(failed, MOST_EVENTS, False))
        )
        events = np.searchsorted(ends, chosen, side="right")
        space = Space(part, share)
        table = table_of(len(events))
        best, found = space.look(events[None, :], table, keep=KEPT)
        by_chance = np.zeros(0)
        while len(by_chance) < self.draws and not chance.clear(float(best[0]), by_chance, self.alpha):
            drawn = chance.draw(share, len(events), BLOCK, once, self.random)
            by_chance = np.append(by_chance, space.look(drawn, table)[0])
        counts = np.bincount(events, minlength=len(rows)).astype(np.float64)
        screened = refine.closely(space, counts, table, found)
        return space, by_chance, refine.distinct(screened), screened

    def _measured(self, inside: Bools, rows: Bools) -> tuple[float, float, float, int, float, int, float]:
        inside = inside & rows
        failed, hit = int(self.failures[rows].sum()), int(self.failures[inside].sum())
        share = float(self.share[inside].sum() / self.share[rows].sum())
        effect, low, high = ratio(hit, share, failed)
        return effect, low, high, hit, failed * share, int(inside.sum()), float(self.base[inside].sum())

    def _cause(self, accepted: list[tuple[Found, Cohort, float, float, list[Found]]], k: int) -> Cause:
        found, cohort, p, sure, same = accepted[k]
        rows = self.share > 0
        for i, other in enumerate(accepted):
            if i != k:  # the others' units are no fair comparison
                rows = rows & ~(other[1].inside & ~cohort.inside)
        effect, low, high, hit, chances, units, exposure = self._measured(cohort.inside, rows)
        without = hit - hit / effect if effect > 1 else 0.0
        return Cause(
            cohort.conditions, effect, low, high, p, min(sure, 1.0), hit, chances, units, exposure,
            since=naming.onset(self.attributes, cohort, self.failures, self.share, rows),
            alike=tuple(naming.cohort(self.frame, self.attributes, f).conditions for f in same),
            evidence=found.evidence,
            explained=without / max(float(self.failures.sum()), 1.0),
        )  # fmt: skip

    def _ranked(
        self,
        found: Found,
        p: float,
        sure: float,
        accepted: list[tuple[Found, Cohort, float, float, list[Found]]],
        causes: tuple[Cause, ...],
    ) -> Cause:
        for k, a in enumerate(accepted):
            if a[0] == found:
                return causes[k]
        rows = self.share > 0
        cohort = naming.sharp(self.frame, self.attributes, found, self.failures, self.share, rows)
        by = None
        for k, a in enumerate(accepted):
            left = rows & ~a[1].inside
            effect, low, _, hit, _, _, _ = self._measured(cohort.inside, left)
            if hit < FEWEST or low <= 1.0:
                by = k
                break
        effect, low, high, hit, chances, units, exposure = self._measured(cohort.inside, rows)
        return Cause(
            cohort.conditions, effect, low, high, p, min(sure, 1.0), hit, chances, units, exposure,
            evidence=found.evidence,
            explained=(hit - hit / effect if effect > 1 else 0.0) / max(float(self.failures.sum()), 1.0),
            explained_by=by,
        )  # fmt: skip

    def _verdict(self, causes: tuple[Cause, ...], ranked: tuple[Cause, ...], said: Chance) -> str:
        failed = int(self.failures.sum())
        if failed < FEWEST:
            return f"not enough evidence: {failed} failed, and at least {FEWEST} must share something"
        if not self.attributes:
            return "not enough evidence: no attribute to look at"
        if not causes:
            best = (
                f"; the best, {_say(ranked[0].conditions)}, would come by chance with p = {ranked[0].p_adjusted:.2g}"
                if ranked
                else ""
            )
            return f"not enough evidence: nothing that {failed} failures share is beyond chance{best}"
        parts = [
            f"{_say(c.conditions)}: {c.failed} failed, {c.expected:.2g} by chance, {c.effect:.2g} times the others' rate "
            f"({c.low:.2g} to {c.high:.2g}), p = {c.p_adjusted:.2g}"
            + (f"; cannot be told apart from {' or '.join(_say(a) for a in c.alike[:3])}" if c.alike else "")
            for c in causes
        ]
        return ". Besides, ".join(parts)


def _say(conditions: Conditions) -> str:
    """Conditions as a person says them.

    >>> _say({"lot": "L1", "torque": [None, 38.2]})
    'lot = L1 and torque up to 38.2'
    """
    said = []
    for name, wanted in conditions.items():
        if isinstance(wanted, list):
            low, high = wanted
            if low is None:
                said.append(f"{name} up to {high}")
            elif high is None:
                said.append(f"{name} from {low}")
            else:
                said.append(f"{name} from {low} to {high}")
        else:
            said.append(f"{name} missing" if wanted is None else f"{name} = {wanted}")
    return " and ".join(said)
