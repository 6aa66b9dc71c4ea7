"""Investigate by hand: among the units somebody chose, what do the failing ones share that the others don't?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from unibody.errors import SetupError, nearest
from unibody.loop import anytable, pictures, roles
from unibody.loop.cohort import Condition, condition
from unibody.loop.members import family, meets, numbers
from unibody.loop.pictures import Picture, said
from unibody.loop.roles import EXPOSURE, FAILED, Prepared, units_of
from unibody.methods.cohorts import Cause, Explanation
from unibody.methods.cohorts.evidence import ratio

Progress = Callable[[str, int, int], None]
ALPHA_MAX = 0.5


@dataclass(frozen=True)
class Part:
    """A part of the units: how many, how many failed, and how often."""

    units: int
    failed: int
    exposure: float

    @property
    def rate(self) -> float | None:
        """Failures per unit of exposure."""
        return self.failed / self.exposure if self.exposure > 0 else None


@dataclass(frozen=True)
class Investigation:
    """The answer, with all that the pictures are drawn from."""

    table: Prepared  # the cohort's rows only
    cohort: str
    outcome: str
    inside: Part
    rest: Part | None  # None: everybody is in the cohort
    against_rest: (
        tuple[float, float, float] | None
    )  # rate ratio of the cohort to the rest, with its 95 % interval
    found: Explanation
    covered: int  # units that meet a cause
    covered_probability: float | None
    alpha: float

    @property
    def verdict(self) -> str:
        """The answer in a sentence."""
        return _verdict(self)

    @property
    def left_out(self) -> dict[str, str]:
        """Columns not looked at, each with the reason."""
        return dict(self.table.left_out) | self.found.left_out

    def plain(self) -> dict[str, Any]:
        """The answer as JSON shows it; NaN and infinity are null."""
        found, first = self.found, self.found.causes[0] if self.found.causes else None
        body = {
            "symptom": self.outcome,
            "cohort": self.cohort,
            "since": first.since.isoformat() if first and first.since else None,
            "cause": [c.conditions for c in found.causes],
            "effect": first.effect if first else None,
            "low": first.low if first else None,
            "high": first.high if first else None,
            "p_adjusted": first.p_adjusted if first else None,
            "vehicles": self.covered,
            "covered_probability": self.covered_probability,
            "verdict": self.verdict,
            "units": self.inside.units,
            "failed": self.inside.failed,
            "exposure": self.table.exposure or None,
            "hypotheses": found.hypotheses,
            "alpha": self.alpha,
            "causes": [detail(c) for c in found.causes],
            "ranked": [detail(c) for c in found.ranked],
            "chance": _fields(found.chance),
            "against_rest": self._rest(),
            "adjusted_for": list(found.adjusted_for),
            "controls": list(self.table.controls),
            "left_out": dict(sorted(self.left_out.items())),
            "notes": list(self.table.notes),
        }
        clean: dict[str, Any] = finite(body)
        return clean

    def _rest(self) -> dict[str, Any] | None:
        if self.rest is None or self.against_rest is None:
            return None
        effect, low, high = self.against_rest
        both = {"cohort": self.inside, "rest": self.rest}
        return {n: {**vars(p), "rate": p.rate} for n, p in both.items()} | {
            "ratio": effect,
            "low": low,
            "high": high,
        }

    def pictures(self, look: str = "") -> list[Picture]:
        """The pictures that show it: the causes' attributes (or `look`, one attribute), then over time."""
        drawn: list[Picture] = []
        table, causes = self.table, self.found.causes
        if look and look not in table.attributes:
            raise SetupError(f"no attribute {look!r}; {nearest(look, table.attributes)[:400]}")
        shown = causes or self.found.ranked[:1]
        for cause in shown[:3] if not look else ():
            for attribute in cause.conditions:
                title = finding(cause) if causes else f"Nothing stands out beyond chance by {attribute}"
                drawn.append(pictures.of_attribute(table, attribute, cause.conditions, title))
        if look:
            cause_ = next((c for c in shown if look in c.conditions), None)
            drawn.append(
                pictures.of_attribute(
                    table, look, cause_.conditions if cause_ else None, f"How often units fail by {look}"
                )
            )
        started = next(
            (a for c in causes for a in c.conditions if table.frame.schema[a].is_temporal()), table.started
        )
        if started and table.frame[FAILED].sum() > 0:
            over = pictures.over_time(table, started, causes[0].conditions if causes else None)
            if over is not None and len(over.groups) > 1:
                drawn.append(replace(over, title=_over_time(over)))
        return drawn


def investigate(
    table: Prepared, cohort: str = "", *, alpha: float = 0.05, seed: int = 0, progress: Progress | None = None
) -> Investigation:
    """Explain the failures among the units of `cohort`, and set the cohort against the rest.

    Raises SetupError where no unit is in the cohort; what is missing is named.
    """
    if not 0 < alpha <= ALPHA_MAX:
        raise SetupError(f"alpha {alpha}: should be above 0 and at most {ALPHA_MAX}")
    chosen = condition(
        cohort, {n: t for n, t in table.frame.schema.items() if not n.startswith("__")}, "cohort"
    )
    mask = table.frame.select(chosen.expr.alias("in"))["in"] if chosen.text else None
    inside = table.frame if mask is None else table.frame.filter(mask)
    if not inside.height:
        raise SetupError(f"cohort {cohort!r}: no unit is in it; {_why_none(table.frame, chosen)}")
    rest = None if mask is None else table.frame.filter(~mask)
    return explained(
        replace(table, frame=inside),
        cohort,
        _part(rest) if rest is not None and rest.height else None,
        alpha=alpha,
        seed=seed,
        progress=progress,
    )


def explained(
    table: Prepared,
    cohort: str,
    rest: Part | None,
    *,
    alpha: float = 0.05,
    seed: int = 0,
    inside: Part | None = None,
    progress: Progress | None = None,
) -> Investigation:
    """As `investigate`, with a table that holds the cohort's rows alone; `inside` counts them where it is a sample."""
    from unibody.methods.cohorts import explain

    frame = table.frame
    if progress:
        progress("comparing the failing with the others", frame.height, frame.height)
    columns = [FAILED, *table.attributes, *table.controls]
    columns += [EXPOSURE] if EXPOSURE in frame.columns else []
    columns += [table.duration] if table.duration else []
    looked = explain(
        frame.select(list(dict.fromkeys(columns))),
        FAILED,
        exposure=EXPOSURE if EXPOSURE in frame.columns else None,
        controls=table.controls,
        attributes=table.attributes,
        likely=table.likely,
        time=table.duration,
        alpha=alpha,
        seed=seed,
    )
    mine = inside or _part(frame)
    against = None
    if rest is not None and rest.exposure + mine.exposure > 0:
        against = ratio(
            mine.failed, mine.exposure / (mine.exposure + rest.exposure), mine.failed + rest.failed
        )
    covered = np.zeros(frame.height, dtype=np.bool_)
    for cause in looked.causes:
        covered |= meets(frame, cause.conditions)
    return Investigation(
        table, cohort.strip(), table.outcome, mine, rest, against, looked,
        units_of(frame.filter(pl.Series(covered))), _coverage(frame, looked, covered), alpha,
    )  # fmt: skip


def of_file(
    path: Any,
    outcome: str,
    *,
    exposure: str | None = None,
    controls: Sequence[str] = (),
    attributes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Read a table file and find the roles of its columns."""
    if progress:
        progress(f"reading {path.name}", 0, 0)
    read = anytable.read(path)
    return roles.prepared(
        read.frame, outcome, exposure=exposure, controls=controls, attributes=attributes, notes=read.notes
    )


def _part(frame: pl.DataFrame) -> Part:
    base = float(frame[EXPOSURE].sum()) if EXPOSURE in frame.columns else float(frame.height)
    return Part(units_of(frame), int(frame[FAILED].sum()), base)


def _why_none(frame: pl.DataFrame, chosen: Condition) -> str:
    for name, value in chosen.compared:
        values = frame[name].cast(pl.String).drop_nulls().unique()
        if value not in values:
            return f"no {name} is {value!r}; {nearest(value, values.head(2000))[:300]}"
    return (
        "each condition is met by some, all together by none"
        if len(chosen.columns) > 1
        else "look at its limits"
    )


def _coverage(frame: pl.DataFrame, found: Explanation, covered: np.ndarray) -> float | None:
    """Share of the affected that the named units hold, over what else may be the cause, each by its evidence.

    The ends of a range are not known to the last digit either: each place that one may lie counts by its posterior.
    """
    if not found.causes:
        return None
    likely = [c for c in found.ranked if c.explained_by is None] or list(found.causes)
    weight = np.exp(np.array([c.evidence for c in likely]) - max(c.evidence for c in likely))
    base = frame[EXPOSURE].to_numpy() if EXPOSURE in frame.columns else np.ones(frame.height)
    failed = frame[FAILED].to_numpy().astype(np.float64)
    share = np.zeros(len(likely))
    for i, cause in enumerate(likely):
        if weight[i] < 1e-6:
            continue
        may = family(frame, cause.conditions, failed, base)
        ends = {e.attribute for e in may.ends}
        rest = meets(frame, {n: w for n, w in cause.conditions.items() if n not in ends})
        sets = may.members(rest, [e.codes(numbers(frame[e.attribute])) for e in may.ends])
        held = sets @ (base * covered) / np.maximum(sets @ base, 1e-12)
        share[i] = float((may.weight * held).sum() / may.weight.sum())
    return float(np.clip((weight * share).sum() / weight.sum(), 0.0, 1.0))


# ---- words


def detail(cause: Cause) -> dict[str, Any]:
    """All that is known of one cause, for JSON."""
    body = _fields(cause)
    body["since"] = cause.since.isoformat() if cause.since else None
    body["alike"] = [dict(a) for a in cause.alike]
    body["said"] = said(cause.conditions)
    clean: dict[str, Any] = finite(body)
    return clean


def _fields(of: Any) -> dict[str, Any]:
    return {name: getattr(of, name) for name in of.__dataclass_fields__}


def finite(body: Any) -> Any:
    """JSON has no NaN and no infinity: both become null.

    >>> finite({"high": float("inf"), "ends": (1.0, float("nan"))})
    {'high': None, 'ends': [1.0, None]}
    """
    if isinstance(body, float):
        return body if np.isfinite(body) else None
    if isinstance(body, np.generic):
        return finite(body.item())
    if isinstance(body, Mapping):
        return {str(k): finite(v) for k, v in body.items()}
    if isinstance(body, (list, tuple)):
        return [finite(v) for v in body]
    return body


def times(x: float, word: str = " times") -> str:
    """A ratio in words.

    >>> times(9.06), times(14.7), times(float("inf"))
    ('9.1 times', '15 times', 'far more')
    """
    return "far more" if not np.isfinite(x) else f"{x:,.0f}{word}" if x >= 10 else f"{x:.1f}{word}"


def finding(cause: Cause) -> str:
    """A cause as the title of its picture."""
    often = (
        f"{times(cause.effect)} as often" if np.isfinite(cause.effect) else "far more often than the others"
    )
    return f"{said(cause.conditions)}: fails {often}"


def num(x: float) -> str:
    """Two digits that count, never as a power of ten.

    >>> num(9.06), num(0.7), num(19116.2)
    ('9.1', '0.7', '19,116')
    """
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.2g}"


def span(low: float, high: float) -> str:
    """An interval in words; open where it has no upper end."""
    return f"{num(low)} to {num(high)}" if np.isfinite(high) else f"at least {num(low)}"


def _verdict(i: Investigation) -> str:
    failed, units = i.inside.failed, i.inside.units
    if not failed:
        return f"Not enough evidence: none of the {units:,} units failed."
    if not i.found.causes:
        why = "too few to say anything" if failed < 3 else "what they share, chance alone would give as well"
        return f"Not enough evidence: {failed:,} of {units:,} units failed, and {why}."
    first = i.found.causes[0]
    head = f"{first.failed:,} of the {failed:,} failures are of {said(first.conditions)}, where {num(first.expected)} were to be expected"
    effect = (
        f": {times(first.effect)} as often as the others ({span(first.low, first.high)}, 95\u00a0%)"
        if np.isfinite(first.effect)
        else ""
    )
    more = (
        ""
        if len(i.found.causes) == 1
        else "; and, apart from it, " + "; ".join(said(c.conditions) for c in i.found.causes[1:])
    )
    alike = (
        f". It cannot be told apart from {' or '.join(said(a) for a in first.alike[:3])}"
        if first.alike
        else ""
    )
    return f"{head}{effect}{more}{alike}."


def _over_time(over: Picture) -> str:
    above = [g for g in over.groups if g.stands_out]
    if not above:
        return f"Failures by {over.attribute} are within what is to be expected"
    return f"Failures by {over.attribute} lie above the expected in {above[0].label}" + (
        f" and {len(above) - 1} more" if len(above) > 1 else ""
    )
