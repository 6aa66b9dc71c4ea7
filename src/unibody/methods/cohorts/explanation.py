"""What an explanation says: causes, how strong, how sure, and what chance alone would give."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

#: {attribute: value} for a nominal attribute, {attribute: [low, high]} (both ends belong to it, None = open) for an
#: ordered one; times as ISO 8601 text.
Conditions = dict[str, Any]


@dataclass(frozen=True)
class Cause:
    """A cohort that fails more often than the others, and how well that is founded."""

    conditions: Conditions
    effect: float  # rate ratio of units that meet the conditions against the others
    low: float  # its 95 % interval
    high: float
    p_adjusted: (
        float  # chance that the best of everything looked at is as good as this where nothing is behind it
    )
    sure: float  # share of the evidence among all hypotheses looked at, 0..1
    failed: int  # within the cohort
    expected: float  # failures within the cohort if its rate were everybody's
    units: int
    exposure: float
    since: datetime | None = None  # onset along the first time attribute, where the evidence shows one
    alike: tuple[Conditions, ...] = ()  # what these data cannot tell apart from it
    evidence: float = 0.0  # natural log of the odds against chance, the search paid for
    explained: float = 0.0  # share of all failures that would not be there without it
    explained_by: int | None = None  # in `ranked`: place in `causes` of the cause that explains it


@dataclass(frozen=True)
class Chance:
    """What the same search finds where nothing is behind the failures: failing units drawn anew by expectation."""

    draws: int
    evidence_needed: float  # evidence that chance alone reaches with probability alpha
    evidence_median: float  # of the best hypothesis, by chance
    alpha: float


@dataclass(frozen=True)
class Explanation:
    """What the failing units share that the others don't."""

    causes: tuple[Cause, ...]  # accepted, strongest first; none: not enough evidence
    ranked: tuple[Cause, ...]  # the best ten, accepted or not, for a person to look at
    verdict: str
    hypotheses: int  # how many were looked at
    failed: int
    units: int
    chance: Chance
    left_out: dict[str, str]  # columns not looked at, with the rule that says so
    adjusted_for: tuple[str, ...] = ()  # attributes by which units report more of everything
