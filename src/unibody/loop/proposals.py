"""Make of a case the decisions that belong together: hold, stop, tell, call back, and what takes each of them back.

One `bundle`, a hash of the case, ties them: they are approved together. Only what fits the cause is proposed:

    what the cause names                          hold     stop or check     tell supplier     cars
    a lot or supplier of a part                   lot      -                 yes               recall or service
    a tool, station, line, shift, torque, gauge   -        yes               -                 recall or service
    software (with or without hardware)           -        -                 -                 update over the air
    climate, market, distance, option, model      -        -                 -                 recall or service

Cars not handed over are held in each case but that of an update; dealers and customers: `letters`.

`worth_eur` = failures avoided x EUR a failure - cost of acting, counted once in a bundle: what only helps another
decision to work (dealers, customers, supplier) says so and has none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from unibody.loop.case import Case, Proposal, avoided, finite, why
from unibody.loop.frames import Frames
from unibody.loop.letters import customers, dealers
from unibody.loop.members import meets
from unibody.loop.stock import in_stock
from unibody.solution import ANSWER
from unibody.tables import Decision

CAMPAIGN = {"recall": "recall", "service": "service campaign", "update": "update over the air"}
PLACE = ("plant", "line", "shift")
NAMED_SHARE = 0.5  # a torque's tool is named where it tightened at least this share of the affected cars


def proposals(case: Case, fleet: pl.DataFrame, frames: Frames) -> pl.DataFrame:
    """The decisions of a case: the columns of ANSWER (with `bundle`), and `risk`.

    `fleet` is the cohort frame of all cars (`cars.cars`), `frames` hold part_installed, delivery, stock, vehicle_held,
    customer, consent where there are such. `value`, `low`, `high` are the effect (rate ratio) and its interval.
    """
    parts = in_stock(frames, case.cause.conditions, fleet, case.as_of)
    inside = fleet.filter(pl.Series(meets(fleet, case.cause.conditions)))
    made = [
        *_hold(case, parts),
        *_stop(case, inside),
        *_supplier(case, inside, parts),
        *_unsold(case),
        *_campaign(case),
        dealers(case),
        *customers(case, frames),
    ]
    return pl.DataFrame(
        [_row(case, p) for p in made],
        schema={**{c: Decision.dtypes()[c] for c in ANSWER}, "risk": pl.String},
    )


def _row(case: Case, p: Proposal) -> dict[str, Any]:
    cause, scope = case.cause, case.scope
    about = {
        "kind": "case", "bundle": case.bundle, "brand": case.brand, "platform": case.platform,
        "symptom": case.symptom, "component": case.component, "cause": cause.conditions,
        "effect": finite(cause.effect), "low": finite(cause.low), "high": finite(cause.high),
        "p_adjusted": finite(cause.p_adjusted), "failed": cause.failed, "expected": finite(cause.expected),
        "units": cause.units, "alike": list(cause.alike), "vehicles": len(scope.vehicles),
        "covered_probability": scope.covered_probability, "risk": p.risk, "worth": p.formula,
        "references": [dict(r) for r in case.references],
    }  # fmt: skip
    told = {"message": p.message, "counter": p.counter}
    return {
        "subject": p.subject, "decided_at": case.as_of, "window": f"case {case.bundle}", "action": p.action,
        "reason": p.reason, "evidence": json.dumps([about, *p.evidence, told], default=str, ensure_ascii=False),
        "score": cause.sure if p.sure is None else p.sure, "value": finite(cause.effect), "low": finite(cause.low),
        "high": finite(cause.high), "label": case.kind, "worth_eur": p.worth_eur,
        "sure": cause.sure if p.sure is None else p.sure, "bundle": case.bundle, "risk": p.risk,
    }  # fmt: skip


def _named(case: Case, *ends: str) -> list[tuple[str, Any]]:
    return [
        (n, w) for n, w in case.cause.conditions.items() if n.endswith(ends) and n.startswith("part.") and w
    ]


def _hold(case: Case, parts: pl.DataFrame) -> list[Proposal]:
    """Hold the lot, or what the supplier has sent: blocked at the sites where it lies, or everywhere if none is known."""
    named = _named(case, ".lot") or _named(case, ".supplier", ".sub_supplier")
    if not named or case.scope.over_the_air:
        return []
    name, value = named[0]
    kind, position = name.rpartition(".")[2], name.split(".")[1]
    left, how = parts.filter(pl.col("left").fill_null(1.0) > 0), case.scope.settings
    if kind != "lot" and not (left.height or _goes_on(case)):
        return []  # that supplier's parts are used no more
    lots = [value] if kind == "lot" else sorted(left["lot"].drop_nulls().unique())
    sites = left.select("site", "part_number", "lot", pieces="left").to_dicts()
    pieces = float(left["left"].sum()) if left.height and left["left"].null_count() == 0 else None
    eur, formula = avoided(case, pieces or 0.0)
    worth = None if eur is None or pieces is None else eur - pieces * how.eur_part
    where = (
        f"{pieces:,.0f} parts lie at {left['site'].n_unique()} sites"
        if pieces
        else "how many lie where is not known"
    )
    status = {
        "kind": "stock_block",
        "lots": lots,
        "supplier": value if kind != "lot" else None,
        "sites": sites,
    }
    return [
        Proposal(
            f"{kind.replace('_', '-')} {value} of {position}", "hold the lot" if kind == "lot" else "hold the parts",
            f"{why(case)}; {where}.", {**status, "status": "blocked"}, {**status, "status": "unrestricted"}, "medium",
            worth, f"{formula} - {pieces or 0:,.0f} parts x EUR {how.eur_part:,.0f}",
            ({"lot": lots, "part": sorted(left["part_number"].unique()), "site": sorted(left["site"].unique())},),
        )
    ]  # fmt: skip


def _goes_on(case: Case) -> bool:
    """Cars of the cause were built within the last days: it still happens."""
    return case.scope.built_lately > 0


def _stop(case: Case, inside: pl.DataFrame) -> list[Proposal]:
    """Stop the station while it goes on, else check the tool: where and by what the affected cars were made."""
    if case.scope.over_the_air:
        return []
    found = _maker(case.cause.conditions, inside)
    if found is None:
        return []
    kind, name, share = found
    how = case.scope.settings
    going_on = _goes_on(case)
    action = f"stop the {kind}" if going_on and kind in ("station", "tool") else f"check the {kind}"
    cost = how.eur_check + (how.stop_hours * how.eur_stop_hour if action.startswith("stop") else 0.0)
    more = case.scope.built_lately / how.going_on_days * how.until_found_days if going_on else 0.0
    eur, formula = avoided(case, more)
    state = (
        f"{case.scope.built_lately:,} such cars were built in the last {how.going_on_days:.0f} days: it goes on"
        if going_on
        else "no such car was built lately: find out what was wrong, so that it does not come back"
    )
    order = {"kind": "work_order", "equipment": name, "what": kind, "order": action, "for": why(case)}
    return [
        Proposal(
            f"{kind} {name}", action, f"{why(case)}; {state}.", order, {**order, "order": f"release the {kind}"},
            "high" if action.startswith("stop") else "low", None if eur is None else eur - cost,
            f"{formula} (cars of the next {how.until_found_days:.0f} days) - EUR {cost:,.0f}",
            ({kind: name},), case.cause.sure * share,
        )
    ]  # fmt: skip


def _maker(conditions: Mapping[str, Any], inside: pl.DataFrame) -> tuple[str, str, float] | None:
    """tool, station, line or shift, its name, and the share of the affected cars it made; None: no matter of the plant."""
    for kind in ("tool", "station"):
        for name, wanted in conditions.items():
            if (
                name.startswith(f"{kind}.") or (name.startswith("part.") and name.endswith(f".{kind}"))
            ) and wanted:
                return kind, str(wanted), 1.0
    for name in conditions:
        measured, _, bolt = name.partition(".")
        if measured in ("torque", "angle"):
            for kind in ("tool", "station"):
                if f"{kind}.{bolt}" in inside.columns and inside.height:
                    top = inside[f"{kind}.{bolt}"].drop_nulls().value_counts(sort=True).head(1)
                    if top.height and top["count"][0] >= NAMED_SHARE * inside.height:
                        return kind, str(top[f"{kind}.{bolt}"][0]), float(top["count"][0] / inside.height)
            return "tightening", bolt, 1.0
        if measured == "gauge":
            return "process", bolt, 1.0
    if any(n.startswith("part.") for n in conditions):
        return None  # the supplier's matter; plant or line only say where it went
    said = [(n, str(conditions[n])) for n in PLACE if conditions.get(n)]
    return (said[-1][0], " ".join(w for _, w in said), 1.0) if said else None


def _supplier(case: Case, inside: pl.DataFrame, parts: pl.DataFrame) -> list[Proposal]:
    """Tell every supplier of the part in the affected cars: an 8D opened, and a Catena-X quality notification."""
    named = _named(case, ".lot", ".supplier", ".sub_supplier")
    if not named or case.scope.over_the_air:
        return []
    stem = named[0][0].rpartition(".")[0]
    column = f"{stem}.supplier"
    stated = case.cause.conditions.get(column)
    known = [stated] if stated else []
    if not known and column in inside.columns:
        known = inside[column].drop_nulls().unique().sort().to_list()
    lots = sorted({str(w) for n, w in named if n.endswith(".lot")})
    severity = "CRITICAL" if case.safety else "MAJOR"
    out = []
    for supplier in known or parts["supplier"].drop_nulls().unique().sort().to_list():
        text = why(case)
        message = {
            "kind": "quality_notification",
            "report_8d": {"steps": "D0 to D2", "complaint": case.bundle, "supplier": supplier, "problem": text,
                          "symptom": case.symptom, "part": stem.removeprefix("part."), "answer_days": 2},
            "notification": {"type": "qualityInvestigation", "severity": severity, "status": "SENT", "receiver": supplier,
                             "description": text, "affected_lots": lots},
        }  # fmt: skip
        counter = {
            "kind": "quality_notification",
            "report_8d": {"complaint": case.bundle, "supplier": supplier, "withdrawn": True},
            "notification": {"status": "CLOSED", "receiver": supplier, "description": f"Withdrawn: {text}"},
        }
        reason = (
            f"{text}; what is wrong in {stem.removeprefix('part.')}, and since when, only {supplier} can say."
        )
        lot = ({"lot": lots, "supplier": supplier},) if lots else ({"supplier": supplier},)
        out.append(
            Proposal(f"supplier {supplier}", "tell the supplier", reason, message, counter, "low",
                     None, "helps the hold and the campaign; counted there", lot)
        )  # fmt: skip
    return out


def _unsold(case: Case) -> list[Proposal]:
    """Hold the cars of the set that nobody has yet."""
    if case.scope.over_the_air:
        return []
    vins = case.scope.table.filter(pl.col("where") != "on_road")["vin"].to_list()
    if not vins:
        return []
    c, how = case.scope.choice, case.scope.settings
    eur, formula = avoided(case, _affected(case, "where", unsold=True))
    cost = len(vins) * (how.eur_unsold + how.eur_part)
    order = {"kind": "vehicle_hold", "vehicles": len(vins), "for": case.symptom}
    return [
        Proposal(
            f"{len(vins):,} {case.brand} cars not handed over", "hold the cars",
            f"{why(case)}; {c.at_plant:,} are at the plant, {c.not_sold:,} on their way: mended before anyone drives them.",
            {**order, "status": "held"}, {**order, "status": "released"}, "medium", None if eur is None else eur - cost,
            f"{formula} - {len(vins):,} cars x EUR {how.eur_unsold + how.eur_part:,.0f}", ({"vin": vins},),
        )
    ]  # fmt: skip


def _affected(case: Case, column: str, unsold: bool) -> float:
    """Affected cars expected among those of the set that are handed over, or are not."""
    here = pl.col(column) != "on_road" if unsold else pl.col(column) == "on_road"
    return float(case.scope.table.filter(here)["sure"].sum())


def _campaign(case: Case) -> list[Proposal]:
    """Call back, or update, exactly the set's cars."""
    scope, how = case.scope, case.scope.settings
    vins = (
        scope.vehicles
        if scope.over_the_air
        else scope.table.filter(pl.col("where") == "on_road")["vin"].to_list()
    )
    if not vins:
        return []
    choice, action = scope.choice, CAMPAIGN[case.kind]
    affected = _affected(case, "where", unsold=False) + (
        _affected(case, "where", unsold=True) if scope.over_the_air else 0.0
    )
    reached = affected * (1.0 if scope.over_the_air else how.come_share)
    unsold = (
        0.0 if scope.over_the_air else (choice.not_sold + choice.at_plant) * (how.eur_unsold + how.eur_part)
    )
    cost = choice.cost_eur - unsold
    eur, formula = avoided(case, reached)
    reason = (
        f"{why(case)}; these {len(vins):,} cars hold an affected one with {scope.covered_probability:.0%}, "
        f"all of them with {choice.all_probability:.0%}; {choice.days:,.1f} days, about EUR {cost:,.0f}."
    )
    order = {"kind": "campaign", "campaign": case.bundle, "type": case.kind, "vehicles": len(vins)}
    return [
        Proposal(
            f"{len(vins):,} {case.brand} cars", action, reason, {**order, "status": "open", "vin": "evidence.vin"},
            {**order, "status": "cancelled", "vin": "evidence.vin"}, "high" if case.safety else "medium",
            None if eur is None else eur - cost, f"{formula} - EUR {cost:,.0f}", ({"vin": list(vins)},),
        )
    ]  # fmt: skip
