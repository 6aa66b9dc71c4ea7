"""Go round the loop once: what stands out in the field, why, which cars, and what is proposed about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl

from unibody.loop.cars import cars
from unibody.loop.case import Case
from unibody.loop.component import own_causes
from unibody.loop.evidence import Evidence, evidence
from unibody.loop.frames import Frames, Problem
from unibody.loop.investigate import Investigation, detail, explained, finding, finite
from unibody.loop.notice import Signal, Watch, notice
from unibody.loop.observed import cohort
from unibody.loop.pictures import said
from unibody.loop.proposals import proposals
from unibody.loop.roles import EXPOSURE, FAILED, Prepared
from unibody.loop.scope import Scope, scope
from unibody.loop.scope import Settings as Costs

Progress = Callable[[str, int, int], None]
HEAD = "case"  # evidence of this kind, with pictures, is the case itself


@dataclass(frozen=True)
class Traced:
    """One symptom that stands out: the signal, its explanation, and a case for each cause found."""

    signal: Signal
    answer: Investigation
    cases: tuple[Case, ...]
    proposals: pl.DataFrame  # as `proposals.proposals`, of all its cases

    @property
    def subject(self) -> str:
        """How decisions, truth and people name it."""
        return subject(self.signal.brand, self.signal.symptom)


@dataclass(frozen=True)
class Trace:
    """All that stands out at a moment, and what was wrong with the data."""

    as_of: datetime
    traced: tuple[Traced, ...]
    held: tuple[Signal, ...]  # signals not called yet, each with its reason
    problems: tuple[Problem, ...]


def subject(brand: str | None, symptom: str) -> str:
    """What fails where.

    >>> subject("jeep", "brake_hose_front"), subject(None, "battery_12v")
    ('jeep: brake_hose_front', 'all brands: battery_12v')
    """
    return f"{brand or 'all brands'}: {symptom}"


def trace(
    frames: Frames,
    as_of: datetime,
    watch: Watch | None = None,
    costs: Costs | None = None,
    *,
    alpha: float = 0.05,
    safety: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Trace:
    """Notice, explain, scope and propose, with what was known at `as_of`.

    `frames` by table names, as `frames.frames` collects them; `safety` names symptoms that are a matter of safety.
    """
    say = progress or (lambda _what, _done, _all: None)
    say("sorting what the field says", 0, 0)
    field = evidence(frames, as_of)
    say("looking for what stands out", 0, 0)
    how = watch or Watch()
    half = replace(how, false_calls_a_year=how.false_calls_a_year / 2)
    signals = notice(frames, as_of, half, field)
    say("asking each component", 0, 0)
    signals = (*signals, *own_causes(frames, as_of, half, field, {(s.brand, s.symptom) for s in signals}))
    called = _once([s for s in signals if not s.held])
    fleet = cars(frames, as_of) if called else None
    found = []
    for number, signal in enumerate(called):
        say(f"explaining {subject(signal.brand, signal.symptom)}", number, len(called))
        assert fleet is not None
        found.append(_traced(signal, frames, field, fleet.frame, as_of, costs or Costs(), alpha, safety))
    held = tuple(s for s in signals if s.held)
    return Trace(as_of, tuple(found), held, (*field.problems, *(fleet.problems if fleet else ())))


def _once(signals: list[Signal]) -> list[Signal]:
    """One signal a brand and symptom: the surest, since the earliest.

    Of all brands' signal nothing is left where most of its failed cars are one brand's that stands out itself: the same cars
    would be called twice.
    """
    branded = {(s.symptom, vin) for s in signals if s.brand is not None for vin in s.failed}
    signals = [
        s for s in signals
        if s.brand is not None or 2 * sum((s.symptom, v) in branded for v in s.failed) <= len(s.failed)
    ]  # fmt: skip
    kept: dict[tuple[str | None, str], Signal] = {}
    for s in signals:
        place = (s.brand, s.symptom)
        kept[place] = replace(kept[place], since=min(kept[place].since, s.since)) if place in kept else s
    return list(kept.values())


def _traced(
    signal: Signal,
    frames: Frames,
    field: Evidence,
    fleet: pl.DataFrame,
    as_of: datetime,
    costs: Costs,
    alpha: float,
    safety: tuple[str, ...],
) -> Traced:
    looked = cohort(frames, as_of, signal.symptom, brand=signal.brand, field=field)
    table = Prepared(
        looked.frame.rename({looked.outcome: FAILED, looked.exposure: EXPOSURE}),
        signal.symptom, looked.attributes, looked.controls, exposure="expected failures", likely=looked.likely, started="built_at",
    )  # fmt: skip
    answer = explained(table, "", None, alpha=alpha)
    mine = fleet if signal.brand is None else fleet.filter(pl.col("brand") == signal.brand)
    cases = []
    for cause in answer.found.causes:
        others = [c.conditions for c in answer.found.causes if c is not cause]
        covered = scope(
            looked.frame,
            cause,
            rivals=answer.found.ranked,
            others=others,
            fleet=mine,
            as_of=as_of,
            settings=costs,
        )
        cases.append(
            Case(
                signal.brand or "all brands",
                signal.symptom,
                cause,
                covered,
                as_of,
                signal.platform,
                signal.component,
                signal.symptom in safety or signal.component in safety,
            )
        )
    made = [proposals(c, mine, frames) for c in cases]
    return Traced(signal, answer, tuple(cases), pl.concat(made) if made else pl.DataFrame())


def head(traced: Traced) -> dict[str, Any]:
    """The case as JSON: from the first signal to what is proposed, with the numbers behind its pictures.

    Its fields are those of `unibody trace --json`, then all that the page of the loop draws.
    """
    first = traced.cases[0] if traced.cases else None
    vehicles = sorted({v for c in traced.cases for v in c.scope.vehicles})
    signal = {n: getattr(traced.signal, n) for n in traced.signal.__dataclass_fields__}
    body = {
        "kind": HEAD,
        "bundle": first.bundle if first else None,
        "symptom": traced.signal.symptom,
        "brand": traced.signal.brand,
        "platform": traced.signal.platform,
        "component": traced.signal.component,
        "since": traced.signal.since.isoformat(),
        "cause": [c.cause.conditions for c in traced.cases],
        "effect": first.cause.effect if first else None,
        "low": first.cause.low if first else None,
        "high": first.cause.high if first else None,
        "p_adjusted": first.cause.p_adjusted if first else None,
        "vehicles": len(vehicles),
        "vins": vehicles,
        "covered_probability": min((c.scope.covered_probability for c in traced.cases), default=None),
        "verdict": traced.answer.verdict,
        "said": [said(c.cause.conditions) for c in traced.cases],
        "signal": signal | {"since": signal["since"].isoformat(), "as_of": signal["as_of"].isoformat()},
        "causes": [detail(c.cause) for c in traced.cases],
        "ranked": [detail(c) for c in traced.answer.found.ranked],
        "scopes": [_scope(c.scope) for c in traced.cases],
        "pictures": [_picture(p) for p in traced.answer.pictures()],
        "hypotheses": traced.answer.found.hypotheses,
        "units": traced.answer.inside.units,
        "failed": traced.answer.inside.failed,
    }
    plain: dict[str, Any] = json.loads(json.dumps(finite(body), default=str))
    return plain


def opening(traced: Traced) -> dict[str, Any] | None:
    """The decision that opens a case, before those that cure it; None where no cause was found."""
    if not traced.cases:
        return None
    first = traced.cases[0]
    cause = first.cause
    return {
        "subject": traced.subject, "decided_at": first.as_of, "window": f"case {first.bundle}",
        "action": "accept the cause", "reason": finding(cause),
        "evidence": json.dumps([head(traced)], ensure_ascii=False),
        "score": cause.sure, "value": finite(cause.effect), "low": finite(cause.low), "high": finite(cause.high),
        "label": " + ".join(label(c.cause.conditions) for c in traced.cases), "worth_eur": None,
        "sure": cause.sure, "bundle": first.bundle,
    }  # fmt: skip


def label(conditions: dict[str, Any]) -> str:
    """A cause as one word to be judged by: which values, which side of a limit; not where exactly the limit lies.

    >>> label({"torque.rack": [None, 99.2], "plant": "melfi"})
    'plant = melfi and torque.rack low'
    """

    def one(name: str, wanted: Any) -> str:
        if not isinstance(wanted, list | tuple):
            return f"{name} = {wanted}"
        return f"{name} " + ("low" if wanted[0] is None else "high" if wanted[1] is None else "within")

    return " and ".join(one(name, conditions[name]) for name in sorted(conditions))


def _scope(s: Scope) -> dict[str, Any]:
    """A scope without its vehicles one by one: the choice made, the curve, what was assumed."""
    return {
        "stated": s.stated,
        "covered_probability": s.covered_probability,
        "vehicles": len(s.vehicles),
        "choice": vars(s.choice),
        "choices": [vars(c) for c in s.choices],
        "hypotheses": [[conditions, weight, count] for conditions, weight, count in s.hypotheses],
        "affected": s.affected,
        "unknown": s.unknown,
        "over_the_air": s.over_the_air,
        "assumed": vars(s.settings),
    }


def _picture(p: Any) -> dict[str, Any]:
    return {**vars(p), "groups": [vars(g) for g in p.groups]}
