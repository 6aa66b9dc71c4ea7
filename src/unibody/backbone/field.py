"""Investigate cars by hand from the lake: any outcome the field reports, any cohort of what was built, through the gate."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from unibody import gate
from unibody.errors import SetupError, nearest
from unibody.loop import anytable, cars, evidence, observed
from unibody.loop.cohort import Condition, condition
from unibody.loop.delay import delay
from unibody.loop.exposure import exposure
from unibody.loop.frames import Frames, rows
from unibody.loop.investigate import Investigation, Part, explained, investigate
from unibody.loop.roles import EXPOSURE, FAILED, UNITS, Prepared
from unibody.solution import Kind, UseCase
from unibody.tables import (
    TABLES,
    BuildRecord,
    Complaint,
    Inspection,
    PartInstalled,
    SoftwareInstalled,
    Table,
    Tightening,
    TroubleCode,
    VehicleHeld,
    Visit,
)

if TYPE_CHECKING:
    from unibody.backbone import Backbone
    from unibody.backbone.investigate import Asked

Progress = Callable[[str, int, int], None]
#: Read whole; and read only of the cars that are laid out.
FIELD: tuple[type[Table], ...] = (BuildRecord, VehicleHeld, Visit, TroubleCode, Complaint)
BUILT: tuple[type[Table], ...] = (PartInstalled, Tightening, Inspection, SoftwareInstalled)
VIN = {"part_installed": "installed_in", "inspection": "subject"}
#: Above this many cars, all that failed and a sample of the others are laid out.
CARS_MAX = 60_000
LEVELS_MAX = 5
EVENT = {
    "symptom": pl.String(), "code": pl.String(), "component": pl.String(), "source": pl.String(), "dealer": pl.String(), "workshop": pl.Boolean(),
}  # fmt: skip
_WITHIN = re.compile(r"(?is)^(.*\S)\s+within\s+(\d{1,6}(?:\.\d+)?)\s*(day|week|month|year|km)s?\s*$")
_DAYS = {"day": 1.0, "week": 7.0, "month": 30.4375, "year": 365.25}
_NAMED = re.compile(r"(?is)^\s*(symptom|code|component)\s+(?!(?:in|like|is|between|not)\b)([\w.:-]+)\s*$")
OURS = "asked"


@dataclass(frozen=True)
class Outcome:
    """What counts as failed: reports that meet a condition, soon enough."""

    text: str
    met: Condition
    by_code: bool
    within: float | None = None  # days, or km
    unit: str = ""


def case_of(asked: Asked) -> UseCase:
    """The investigation as the use case that it is: the gate is asked in its name."""
    return UseCase(
        name="investigation", room="loop", solution="investigate", question=asked.question, owner="", kind=Kind.RANKING, subject="vin"
    )  # fmt: skip


def ask_lake(backbone: Backbone, asked: Asked, progress: Progress | None = None) -> Investigation:
    """Answer from the lake: cars that meet the outcome, among the cohort, against how long each was on the road.

    Raises SetupError where nothing is known yet or a word is not understood, RefusedError where the gate says no.
    """
    say = progress or (lambda _what, _done, _all: None)
    as_of = _as_of(asked.as_of)
    tables = gate.opened(
        backbone.lake, backbone.ledger, case_of(asked), (*FIELD, *BUILT), "decide",
        as_of=as_of, limit=backbone.settings.collect_rows_max,
    )  # fmt: skip
    read: dict[str, pl.DataFrame] = {}
    for table in FIELD:
        say(f"reading {table.title()}", 0, 0)
        read[table.title()] = tables[table].polars()
    if not read["build_record"].height:
        raise SetupError(
            "no car is known yet; bring build records in with `unibody ingest`, or name a file with --table"
        )
    now = as_of or _last(read)
    say("sorting what the field says", 0, 0)
    outcome = _outcome(asked.outcome)
    if outcome is None:
        return _by_attribute(tables, read, asked, now, say)
    return _by_reports(tables, read, asked, outcome, now, say)


def _by_reports(
    tables: gate.Opened,
    read: dict[str, pl.DataFrame],
    asked: Asked,
    outcome: Outcome,
    now: datetime,
    say: Progress,
) -> Investigation:
    field = evidence.evidence(read | {"part_installed": _numbers(tables)}, now)
    events = _events(field.events, read, outcome)
    lived = exposure(read, now, [])
    build = (
        rows(read, "build_record")
        .filter(pl.col("built_at") <= now)
        .unique("vin", keep="last", maintain_order=True)
    )
    build = build.drop("known_at").with_columns(cars._climate(cars.climate_of_market()).alias("climate"))
    watched = _within(observed.observed(build, events, OURS, lived, now, delay(field.events, now)), outcome)
    shape = {n: t for n, t in build.schema.items() if n != "options"}
    try:
        chosen: Condition | None = condition(asked.cohort, shape, "cohort")
    except SetupError:
        chosen = None  # it asks for parts: they must be laid out first
    inside = watched.filter(chosen.expr) if chosen else watched
    rest = watched.filter(~chosen.expr) if chosen and chosen.text else None
    if not inside.height:
        raise SetupError(f"cohort {asked.cohort!r}: no car that was on the road by {now:%Y-%m-%d} is in it")
    say("laying out what was built in", inside.height, inside.height)
    wide, notes = _laid(tables, read, inside, now)
    notes += (f"{outcome.text}: by {now:%Y-%m-%d}, with what was known then",)
    notes += tuple(f"{p.what}: {p.count:,} in {p.table}" for p in field.problems[:6])
    table = _prepared(wide, asked, notes)
    if chosen is None:
        return investigate(table, asked.cohort, alpha=asked.alpha, progress=say)
    part = _part(rest) if rest is not None and rest.height else None
    return explained(table, asked.cohort, part, alpha=asked.alpha, inside=_part(inside), progress=say)


def _by_attribute(
    tables: gate.Opened, read: dict[str, pl.DataFrame], asked: Asked, now: datetime, say: Progress
) -> Investigation:
    """The outcome is something built in: `software.ABS = '7.0.5'`."""
    build = rows(read, "build_record").filter(pl.col("built_at") <= now).unique("vin", keep="last")
    say("laying out what was built in", build.height, build.height)
    plain = build.select("vin", failed=pl.lit(0), expected=pl.lit(1.0), others=pl.lit(0))
    wide, notes = _laid(tables, read, plain, now)
    wide = wide.drop("failed", "expected", "others")
    from unibody.loop.roles import prepared

    try:
        table = prepared(
            wide.drop("weight", strict=False), asked.outcome, attributes=asked.attributes or None, notes=notes
        )
    except SetupError as e:
        names = ", ".join(EVENT)
        raise SetupError(f"{e}; of reports one may ask: {names}") from e
    return investigate(table, asked.cohort, alpha=asked.alpha, progress=say)


def _numbers(tables: gate.Opened) -> pl.DataFrame:
    """Which part number sits where: a workshop may name a part by its number."""
    parts = tables[PartInstalled]
    return parts.polars(parts.expr.select("part_number", "position").distinct())


def _outcome(text: str) -> Outcome | None:
    """A question about reports; None where it names none of their columns."""
    bare, within, unit = text.strip(), None, ""
    found = _WITHIN.match(bare)
    if found:
        bare, unit = found[1], found[3].lower()
        within = float(found[2]) * _DAYS.get(unit, 1.0)
    named = _NAMED.match(bare)
    if re.fullmatch(r"[A-Za-z]\w*", bare) and bare not in EVENT and bare not in BuildRecord.columns:
        bare = f"{'code' if re.fullmatch(r'[PCBU][0-9A-Fa-f]{4,6}', bare) else 'symptom'} = '{bare}'"
    elif named:
        bare = f"{named[1]} = '{named[2]}'"
    if not bare:
        raise SetupError("outcome: say what counts as failed, e.g. symptom = 'brake_hose' within 12 months")
    try:
        met = condition(bare, EVENT, "outcome")
    except SetupError:
        if found or re.search(r"(?i)\b(symptom|code|component)\b", bare):
            raise
        return None
    if not met.columns:
        raise SetupError(f"outcome {text!r}: says nothing of a report; one may ask {', '.join(EVENT)}")
    by_code = "code" in met.columns
    if by_code and set(met.columns) - {"code", "dealer"}:
        raise SetupError(
            f"outcome {text!r}: ask for codes, or for symptoms and components, not for both at once"
        )
    return Outcome(text.strip(), met, by_code, within, unit)


def _events(events: pl.DataFrame, read: Frames, outcome: Outcome) -> pl.DataFrame:
    """Reports with those that were asked for under the one name `OURS`, the first of each car; the others as they are."""
    asked = _codes(read) if outcome.by_code else events.with_columns(code=pl.lit(None, pl.String))
    ours = asked.filter(outcome.met.expr)
    if not ours.height:
        raise SetupError(f"outcome {outcome.text!r}: no car had it; {_instead(asked, outcome)}")
    first = (
        ours.sort("happened_at")
        .unique("vin", keep="first", maintain_order=True)
        .with_columns(symptom=pl.lit(OURS))
    )
    rest = events if outcome.by_code else asked.filter(~outcome.met.expr)
    shared = [c for c in events.columns if c in first.columns and c in rest.columns]
    return pl.concat([first.select(shared), rest.select(shared)], how="vertical_relaxed")


def _instead(asked: pl.DataFrame, outcome: Outcome) -> str:
    for name, value in outcome.met.compared:
        return nearest(value, asked[name].drop_nulls().unique().to_list())[:400]
    return "nothing that was reported meets it"


def _codes(read: Frames) -> pl.DataFrame:
    """Every code of every car, by itself or named by a workshop, as rows of `Evidence.events`."""
    both = pl.concat(
        [
            rows(read, "trouble_code").select("vin", "code", "known_at", "odometer_km", happened_at="set_at", dealer=pl.lit(None, pl.String)),
            rows(read, "visit").select("vin", "code", "known_at", "odometer_km", "dealer", happened_at="visited_at").select(
                "vin", "code", "known_at", "odometer_km", "happened_at", "dealer"
            ),
        ]
    )  # fmt: skip
    return both.drop_nulls(["vin", "code", "happened_at"]).with_columns(
        code=pl.col("code").str.strip_chars(), symptom=pl.lit(OURS), component=pl.lit(None, pl.String), source=pl.lit("trouble_code"),
        workshop=pl.lit(True), reports=pl.lit(1, pl.UInt32),
    )  # fmt: skip


def _within(watched: pl.DataFrame, outcome: Outcome) -> pl.DataFrame:
    """Only failures soon enough; what is expected then counts each car for as long as it could have failed so soon.

    A failure later than that ends nothing: the car was seen for the whole of the first `within`.
    """
    if outcome.within is None:
        return watched
    from unibody.methods.cohorts.expected import by_age

    name = "km" if outcome.unit == "km" else "days"
    soon = (watched[name] <= outcome.within) & (watched["failed"] > 0)
    lived = watched[name].clip(0.0, outcome.within).to_numpy()
    weight = by_age(lived, soon.cast(pl.Float64).to_numpy())
    return watched.with_columns(soon.cast(pl.Int64).alias("failed"), pl.Series("expected", weight).clip(1e-9))


def _laid(
    tables: gate.Opened, read: dict[str, pl.DataFrame], wanted: pl.DataFrame, now: datetime
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The cars with all that is in them; of very many, those that failed and a sample of the others, with its weight."""
    notes: tuple[str, ...] = ()
    weight = pl.lit(1.0)
    if wanted.height > CARS_MAX:
        failed = wanted.filter(pl.col("failed") > 0)
        others = wanted.filter(pl.col("failed") == 0)
        drawn = others.sample(CARS_MAX, seed=0) if others.height > CARS_MAX else others
        share = others.height / max(drawn.height, 1)
        notes = (
            f"{wanted.height:,} cars: all that failed, and {drawn.height:,} of the others, each for {share:.1f}",
        )
        wanted = pl.concat([failed, drawn])
        weight = pl.when(pl.col("failed") > 0).then(1.0).otherwise(share)
    wanted = wanted.with_columns(weight=weight)
    vins = wanted["vin"]
    whole = vins.len() >= rows(read, "build_record")["vin"].n_unique()
    built = {t.title(): tables[t].polars() if whole else _of(tables, t, vins) for t in BUILT}
    moments = None
    if "failed_at" in wanted.columns:
        moments = wanted.filter(pl.col("failed") > 0).select("vin", at="failed_at")
    laid = cars.cars(read | built, now, vins=vins, moments=moments)
    kept = [c for c in ("failed", "expected", "others", "weight") if c in wanted.columns]
    notes += tuple(f"{p.what}: {p.count:,} in {p.table}" for p in laid.problems[:8])
    return laid.frame.join(wanted.select("vin", *kept), on="vin", maintain_order="left"), notes


def _of(tables: gate.Opened, table: type[Table], vins: pl.Series) -> pl.DataFrame:
    """Rows of some cars only; parts within parts are followed down by the serial of the part they are in."""
    import ibis

    rows_ = tables[table]
    name = VIN.get(table.title(), "vin")
    found: list[pl.DataFrame] = []
    wanted = vins.unique()
    for _ in range(LEVELS_MAX if table is PartInstalled else 1):
        if not wanted.len():
            break
        chosen = ibis.memtable(pl.DataFrame({"_wanted": wanted}).to_arrow())
        expr = rows_.expr.semi_join(chosen, rows_.expr[name] == chosen["_wanted"])
        found.append(rows_.polars(expr))
        if table is PartInstalled:
            wanted = found[-1]["serial"].drop_nulls().unique()
    return pl.concat(found).unique(maintain_order=True) if len(found) > 1 else found[0]


def _prepared(wide: pl.DataFrame, asked: Asked, notes: tuple[str, ...]) -> Prepared:
    added = ("failed", "expected", "others", "weight")
    attributes = tuple(asked.attributes) or tuple(c for c in wide.columns if c not in ("vin", *added))
    for name in attributes:
        if name not in wide.columns:
            raise SetupError(f"no attribute {name!r}; {nearest(name, wide.columns)[:400]}")
    frame = wide.with_columns(
        pl.col("failed").cast(pl.Int64).alias(FAILED),
        (pl.col("expected") * pl.col("weight")).alias(EXPOSURE),
        (pl.col("others") * pl.col("weight")).alias("others"),
        pl.col("weight").round().cast(pl.Int64).alias(UNITS),
    ).drop("failed", "expected", "weight")
    return Prepared(
        frame, asked.outcome, attributes, ("others",), None, "expected failures", True,
        (("vin", "every car has one of its own: an identifier"),), notes, "built_at" if "built_at" in attributes else None,
    )  # fmt: skip


def _part(frame: pl.DataFrame) -> Part:
    return Part(frame.height, int(frame["failed"].sum()), float(frame["expected"].sum()))


def _as_of(text: str) -> datetime | None:
    if not text.strip():
        return None
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise SetupError(f"as of {text!r}: should be ISO 8601, e.g. 2026-06-01T12:00:00Z") from None
    return at.replace(tzinfo=at.tzinfo or UTC)


def _last(read: Mapping[str, pl.DataFrame]) -> datetime:
    """When the field was last heard of: later than that nothing says that nothing failed."""
    heard = [read[t]["known_at"].max() for t in ("visit", "trouble_code", "complaint") if read[t].height]
    last = [h for h in heard if isinstance(h, datetime)]
    now = datetime.now(UTC)
    return min(max(last), now) if last else now


def attributes_of(backbone: Backbone) -> dict[str, list[str]]:
    """Attributes that a form offers, each with some of its values: of the lake those of the build record."""
    if backbone.lake.version(TABLES["build_record"]) < 0:
        return {}
    frame = backbone.show("build_record", 5000)
    names = [c for c in (*cars.BUILD, "built_at") if c in frame.columns]
    return {n: suggested(frame[n]) for n in names}


def columns_of(path: Any) -> dict[str, list[str]]:
    """The columns of a table that was brought, each with some of its values."""
    frame = anytable.read(path).frame
    return {n: suggested(frame[n]) for n in frame.columns}


def suggested(column: pl.Series) -> list[str]:
    """Values to offer: the most frequent of names, the ends and the middle of what is ordered."""
    if column.dtype.is_numeric() or column.dtype.is_temporal():
        known = column.drop_nulls().sort()
        if not known.len():
            return []
        places = [0, known.len() // 4, known.len() // 2, 3 * known.len() // 4, known.len() - 1]
        picked = [known[i] for i in places]
        return list(
            dict.fromkeys(v.isoformat()[:10] if hasattr(v, "isoformat") else f"{v:.6g}" for v in picked)
        )
    if column.dtype.is_nested():
        return []
    counts = (
        column.drop_nulls()
        .cast(pl.String)
        .value_counts()
        .sort("count", column.name, descending=[True, False])
    )
    return [str(v)[:100] for v in counts[column.name].head(30).to_list()]
