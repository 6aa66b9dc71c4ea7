"""What dealers are to do and what customers are told, in their language, and only where duty or consent allows.

A recall notice is owed to everyone who holds such a vehicle, whatever he consented to (Regulation (EU) 2023/988, Art. 35
and 36; 2018/858, Art. 14): all are told. Of a free repair or an update only those are told whose latest word on one of
CONSENT is yes. Messages name customers by number; the writer that sends them looks the address up.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources

import polars as pl

from unibody.loop.case import Case, Proposal, why
from unibody.loop.frames import Frames, rows

CONSENT = ("service", "contact")  # purposes that allow a message about a free repair
LANGUAGE = "en"  # for customers whose language we have no words in


def dealers(case: Case) -> Proposal:
    """Tell the dealers what to do with a listed car."""
    component = case.component or case.symptom
    do = {
        "update": "Install the update where the car cannot take it over the air; read the version back.",
        "recall": "Do not hand a listed car over before it is mended. Replace or retighten, note part and lot found.",
        "service": "Mend a listed car when it is in; note part and lot found.",
    }[case.kind]
    text = f"{case.brand}, {component}: {why(case)}. {do} Say what you found even where nothing was wrong."
    message = {"kind": "dealer_instruction", "campaign": case.bundle, "language": LANGUAGE, "text": text}
    counter = {**message, "text": f"Withdrawn, do not do this any more: {text}"}
    return Proposal(
        f"dealers of {case.brand}", "instruct the dealers", f"{why(case)}; {do}", message, counter, "low",
        None, "helps the campaign; counted there",
    )  # fmt: skip


@cache
def words() -> dict[str, dict[str, dict[str, str]]]:
    """Texts to customers: kind -> language -> subject, text, taken_back.

    >>> sorted(words()["recall"])
    ['de', 'en', 'es', 'fr', 'it', 'nl', 'pl', 'pt']
    """
    return tomllib.loads(resources.files("unibody.loop").joinpath("messages.toml").read_text("utf-8"))


def customers(case: Case, frames: Frames) -> list[Proposal]:
    """Tell those who hold the cars, in their language, where duty or consent allows."""
    known = pl.col("known_at") <= case.as_of
    holders = (
        rows(frames, "vehicle_held")
        .filter(known, pl.col("held_from") <= case.as_of, pl.col("vin").is_in(list(case.scope.vehicles)))
        .filter(pl.col("held_until").is_null() | (pl.col("held_until") > case.as_of))
        .unique(["vin", "customer"])
    )
    if not holders.height:
        return []
    customers = rows(frames, "customer").filter(known).sort("known_at").unique("customer", keep="last")
    said = (
        rows(frames, "consent").filter(known, pl.col("purpose").is_in(CONSENT)).sort("given_at", "known_at")
    )
    # a yes to one purpose and a later no to another: what was said last counts
    latest = said.unique("customer", keep="last", maintain_order=True).select("customer", "allowed")
    language = pl.col("language").str.split("-").list.first().str.to_lowercase()
    told = holders.join(customers.select("customer", "language"), on="customer", how="left").join(
        latest, on="customer", how="left"
    )
    told = told.with_columns(
        language=pl.when(language.is_in(list(words()[case.kind]))).then(language).otherwise(pl.lit(LANGUAGE)),
        basis=pl.when(pl.lit(case.kind == "recall"))
        .then(pl.lit("safety duty"))
        .when(pl.col("allowed"))
        .then(pl.lit("consent")),
    ).sort("vin", "customer")
    may = told.filter(pl.col("basis").is_not_null())
    if not may.height:
        return []
    basis = "owed to every holder as a safety notice" if case.kind == "recall" else "who consented"
    fill = {
        "brand": _plainly(case.brand).title(), "component": _plainly(case.component or case.symptom),
        "reference": case.bundle,
    }  # fmt: skip
    texts = {n: _filled(words()[case.kind][n], fill) for n in may["language"].unique().sort()}
    people = may.select("customer", "vin", "language", "basis").to_dicts()
    message = {"kind": "customer_message", "campaign": case.bundle, "recipients": people,
               "texts": {n: {"subject": t["subject"], "text": t["text"]} for n, t in texts.items()}}  # fmt: skip
    counter = {
        **message,
        "texts": {n: {"subject": t["subject"], "text": t["taken_back"]} for n, t in texts.items()},
    }
    counts = ", ".join(f"{n} {c}" for n, c in may["language"].value_counts().sort("language").rows())
    out_of = (
        f"{told.height - may.height:,} are not told: no consent"
        if may.height < told.height
        else "nobody is left out"
    )
    return [
        Proposal(
            f"customers of {len(may['vin'].unique()):,} {case.brand} cars", "tell the customers",
            f"{may.height:,} customers, {basis} ({counts}); {out_of}.", message, counter,
            "high" if case.safety else "medium", None, "helps the campaign; counted there",
        )
    ]  # fmt: skip


def _plainly(name: str) -> str:
    return name.replace("_", " ")


def _filled(text: Mapping[str, str], fill: Mapping[str, str]) -> dict[str, str]:
    """Words in place of {names}, in one go: what a word holds is not read again."""
    return {k: re.sub(r"\{(\w+)\}", lambda m: fill[m[1]], v) for k, v in text.items()}
