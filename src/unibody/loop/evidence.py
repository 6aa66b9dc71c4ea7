"""Turn what the field says (trouble codes, visits, complaints) into one row a failure, once per car and symptom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from unibody.loop.frames import Frames, Problem, beside, newest, problem, rows
from unibody.loop.symptoms import NEAR, Symptoms, learned
from unibody.loop.words import NOTHING

SURE_MIN = 0.6  # a text sorted with less certainty than this stays unsorted

#: The columns of `Evidence.events`.
EVENT: dict[str, pl.DataType] = {
    "vin": pl.String(),
    "symptom": pl.String(),
    "component": pl.String(),
    "happened_at": pl.Datetime("us", "UTC"),
    "known_at": pl.Datetime("us", "UTC"),
    "odometer_km": pl.Float64(),
    "source": pl.String(),
    "workshop": pl.Boolean(),
    "dealer": pl.String(),
    "reports": pl.UInt32(),
}


@dataclass(frozen=True)
class Evidence:
    """The field's word, sorted: `events` one row a car and symptom (see `EVENT`), the rest counted.

    `happened_at` is the first time, `known_at` when the maker first knew of it; `workshop` says that a car's own code
    or a workshop stands behind it, not a complaint alone. `loose` are reports of no vehicle we know (public
    complaints): brand, model, symptom, component, happened_at, known_at, source.
    """

    events: pl.DataFrame
    reports: pl.DataFrame  # every report of a vehicle of ours, sorted by symptom, not yet once a car
    loose: pl.DataFrame
    problems: tuple[Problem, ...]
    symptoms: Symptoms


def evidence(
    frames: Frames,
    as_of: datetime,
    symptoms: Symptoms | None = None,
    names: Mapping[str, str] | None = None,
) -> Evidence:
    """All field evidence known at `as_of`, from frames of trouble_code, visit, complaint and build_record.

    `symptoms` (from `symptoms.learned`) says what stands for what; without it, it is learned from what was known then.
    `names` (code or component -> symptom) overrules what is learned.
    """
    found: list[Problem] = []
    known = {
        title: newest(rows(frames, title).filter(pl.col("known_at") <= as_of), title, found)
        for title in ("trouble_code", "visit", "complaint")
    }
    if symptoms is None:
        symptoms = learned({**known, "part_installed": rows(frames, "part_installed")}, names)
    build = rows(frames, "build_record").select("vin", "built_at").unique("vin", keep="last")
    reports = pl.concat(
        [
            _codes(known, symptoms, found),
            _visits(known["visit"], symptoms, found),
            _complaints(known["complaint"], symptoms, found),
        ],
        how="diagonal",
    ).filter(pl.col("happened_at") <= as_of)
    reports = reports.join(build, on="vin", how="left").with_columns(ours=pl.col("built_at").is_not_null())
    strangers = reports.filter(~pl.col("ours"))
    problem(found, "no vehicle of ours: kept apart, without exposure", "field", strangers, "source")
    loose = strangers.select("brand", "model", "symptom", "component", "happened_at", "known_at", "source")
    ours = _clocks(reports.filter("ours"), found)
    return Evidence(first(ours), ours, loose, tuple(found), symptoms)


def _codes(known: Frames, symptoms: Symptoms, found: list[Problem]) -> pl.DataFrame:
    """Reports by codes; a code has the dealer of the visit nearest to it."""
    codes = known["trouble_code"].with_columns(code=pl.col("code").str.strip_chars())
    codes = codes.join(symptoms.codes.select("code", "symptom", "component"), on="code", how="left")
    stranger = codes.filter(pl.col("component").is_null())
    problem(
        found,
        "code that no workshop has named a component for: it stands for itself",
        "trouble_code",
        stranger,
        "code",
    )
    dealers = known["visit"].drop_nulls(["vin", "visited_at"]).select("vin", "dealer", at="visited_at")
    codes = codes.select(
        "vin",
        pl.coalesce("symptom", "code").alias("symptom"),
        *("component", "known_at", "odometer_km"),
        at="set_at",
        source=pl.lit("trouble_code"),
    )
    return beside(codes, dealers, NEAR).rename({"at": "happened_at"})


def _visits(visits: pl.DataFrame, symptoms: Symptoms, found: list[Problem]) -> pl.DataFrame:
    """Reports by workshops: the code they read, else text and component together, else the component alone."""
    visits = visits.with_columns(component=symptoms.component(), code=pl.col("code").str.strip_chars())
    codes = symptoms.codes.drop_nulls("component").select("code", coded="symptom", part="component")
    sorted_ = _by_text(visits.join(codes, on="code", how="left"), symptoms)
    # a code that nobody knows says less than the workshop's words
    symptom = pl.coalesce("coded", "said", "meant", "code")
    sorted_ = sorted_.with_columns(symptom=symptom).with_columns(
        component=pl.coalesce("part", pl.when(pl.col("coded").is_null()).then("component"))
    )
    silent = sorted_.filter(pl.col("symptom").is_null(), pl.col("text").is_not_null())
    problem(found, "text that could not be sorted", "visit", silent, "language")
    _languages(sorted_.filter(pl.col("text").is_not_null()), "visit", found)
    return sorted_.filter(pl.col("symptom").is_not_null() & (pl.col("symptom") != NOTHING)).select(
        "vin",
        "symptom",
        "component",
        "known_at",
        "odometer_km",
        "dealer",
        happened_at="visited_at",
        source=pl.lit("visit"),
    )


def _complaints(complaints: pl.DataFrame, symptoms: Symptoms, found: list[Problem]) -> pl.DataFrame:
    """Reports by customers: text and component together, else the component they name."""
    sorted_ = _by_text(complaints.with_columns(component=symptoms.component()), symptoms)
    sorted_ = sorted_.with_columns(symptom=pl.coalesce("said", "meant"))
    silent = sorted_.filter(pl.col("symptom").is_null())
    problem(found, "text that could not be sorted", "complaint", silent, "language")
    _languages(sorted_, "complaint", found)
    return sorted_.filter(pl.col("symptom").is_not_null() & (pl.col("symptom") != NOTHING)).select(
        "vin", "brand", "model", "symptom", "component", "known_at", "odometer_km",
        happened_at=pl.coalesce("failed_at", "made_at"), source=pl.lit("complaint"),
    )  # fmt: skip


def _by_text(reports: pl.DataFrame, symptoms: Symptoms) -> pl.DataFrame:
    """Adds `said`, the symptom by text and component, where sure, and `meant`, the symptom of the component alone."""
    reports = reports.join(
        symptoms.components.rename({"symptom": "meant"}), on="component", how="left"
    ).with_columns(meant=pl.coalesce("meant", "component"))
    if symptoms.words is None or not reports.height:
        return reports.with_columns(said=pl.lit(None, pl.String), sure=pl.lit(None, pl.Float64))
    sorted_ = symptoms.words.sort(reports).with_columns(
        said=pl.when(pl.col("sure") >= SURE_MIN, pl.col("text").is_not_null()).then(pl.col("label"))
    )
    return sorted_.drop("label")


def _languages(reports: pl.DataFrame, table: str, found: list[Problem]) -> None:
    """Name the languages of which hardly any text could be sorted."""
    by = reports.group_by("language").agg(
        pl.len().alias("texts"), pl.col("symptom").is_not_null().sum().alias("sorted")
    )
    strange = by.filter(pl.col("texts") >= 3, pl.col("sorted") < pl.col("texts") / 2)
    for language, texts, right in strange.sort("language", nulls_last=True).rows():
        what = f"language {language or 'not stated'}: {right} of {texts} texts sorted"
        found.append(Problem(what, table, texts - right))


def _clocks(reports: pl.DataFrame, found: list[Problem]) -> pl.DataFrame:
    """Clocks disagree: nothing fails before it is built, nor is it known before it happens."""
    early = pl.col("happened_at") < pl.col("built_at").dt.offset_by("-1d")
    late = pl.col("happened_at") > pl.col("known_at")
    problem(found, "failed before it was built: taken as new", "field", reports.filter(early), "source")
    problem(
        found, "known before it happened: the earlier time is taken", "field", reports.filter(late), "source"
    )
    happened = pl.min_horizontal("happened_at", "known_at")
    return reports.with_columns(happened_at=pl.max_horizontal(happened, "built_at")).with_columns(
        known_at=pl.max_horizontal("known_at", "happened_at")
    )


def first(reports: pl.DataFrame, as_of: datetime | None = None) -> pl.DataFrame:
    """Once per car and symptom, of what was known at `as_of`: the first time it happened, and when it was known."""
    if as_of is not None:
        reports = reports.filter(pl.col("known_at") <= as_of, pl.col("happened_at") <= as_of)
    ordered = reports.sort("happened_at", "known_at", "source", nulls_last=True)
    workshop = (pl.col("source") != "complaint").any()
    return (
        ordered.group_by("vin", "symptom", maintain_order=True)
        .agg(
            pl.col("component").drop_nulls().first(),
            pl.col("happened_at").first(),
            pl.col("known_at").min(),
            pl.col("odometer_km").drop_nulls().first(),
            pl.col("source").first(),
            workshop.alias("workshop"),
            pl.col("dealer").drop_nulls().first(),
            pl.len().alias("reports"),
        )
        .with_columns(known_at=pl.max_horizontal("known_at", "happened_at"))
        .select(*EVENT)
        .sort("happened_at", "vin", "symptom")
    )
