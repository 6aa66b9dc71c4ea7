"""Worlds of the twin as cases: one table of vehicles a symptom, and what was planted in it.

Seeds below 1,000 are for tuning, whoever tunes; scoring starts at `SCORING_FROM`, and nothing is tuned there. The worlds from
100,000 to 999,999 were scored once and then looked at one by one; scoring has moved on to fresh ones.
Worlds of 5,000 vehicles are made from `twin.field`, their tables laid out by `loop.observed.cohort` over the whole fleet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.loop.answers import Conditions
from benchmarks.loop.scoring import ASKED_FROM, ASKED_MOST

#: A world (the generator's `Field`), to each alarm's symptom (as the loop names it) and moment (UTC).
Notice = Callable[[Any], list[tuple[str, datetime]]]

#: Whose word a case's failures are: the generator's (who was reported with which symptom: explaining alone), or what
#: the loop makes of codes, visits and texts (sorting included).
REPORTED, SORTED = "reported", "sorted"
TUNING = range(1, 1000)
SCORING_FROM = 1_000_000
_BLOCK = 10_000  # between the first seeds of kinds


@dataclass(frozen=True)
class Spec:
    """Which world: `kind` is "clean" for one without causes."""

    kind: str
    seed: int
    vehicles: int
    place: int = 0  # among the worlds of its kind

    @property
    def name(self) -> str:
        """Its name in file names."""
        return f"{self.kind}-{self.seed}-{self.vehicles}"


@dataclass(frozen=True)
class Truth:
    """A planted cause as it is scored."""

    conditions: Conditions
    failed: int
    affected: tuple[str, ...]  # vehicles
    effect: float
    noticed_days: float | None = None  # from the first failure; None: never, or nobody was asked


@dataclass(frozen=True)
class Case:
    """One symptom of one world; `frame` has one row a vehicle."""

    spec: Spec
    symptom: str
    frame: pl.DataFrame
    attributes: tuple[str, ...]
    outcome: str
    exposure: str | None
    controls: tuple[str, ...]
    truths: tuple[Truth, ...] = ()
    source: str = REPORTED
    likely: tuple[str, ...] = ()  # attributes of the component that the symptom is of, as the loop knows them

    @property
    def name(self) -> str:
        """Its name in file names."""
        return f"{self.spec.name}-{self.source}-{self.symptom}".replace("/", "_").replace(" ", "_")

    def ask(self) -> dict[str, Any]:
        """What every method is given besides table and outcome."""
        return {"exposure": self.exposure, "controls": self.controls, "attributes": list(self.attributes)}


def specs(kinds: Sequence[str], each: int, clean: int, large: int, first: int = SCORING_FROM) -> list[Spec]:
    """So many worlds of each kind, without causes, and of 50,000 vehicles.

    Kinds take turns with worlds without causes in between, so that the first so many are balanced too; large ones last.

    >>> [(s.kind, s.seed) for s in specs(["lot", "shift"], 1, 2, 1)]
    [('lot', 1000000), ('shift', 1010000), ('clean', 1800000), ('clean', 1800001), ('lot', 1850000)]
    """
    step, blank, big = _BLOCK, first + 800_000, first + 850_000
    if first < SCORING_FROM:
        step = len(TUNING) // (len(kinds) + 2)
        blank, big = first + step * len(kinds), first + step * (len(kinds) + 1)
    out = []
    for i in range(each):
        out += [Spec(kind, first + k * step + i, 5000, i) for k, kind in enumerate(kinds)]
        out += [Spec("clean", blank + c, 5000, c) for c in range(clean * i // each, clean * (i + 1) // each)]
    return out + [Spec(kinds[i * len(kinds) // large], big + i, 50_000, 1000 + i) for i in range(large)]


def save(case: Case, folder: Path) -> None:
    """Keep a case as Parquet, and what is to be known of it as JSON."""
    case.frame.write_parquet(folder / f"{case.name}.parquet")
    kept = {k: v for k, v in vars(case).items() if k not in ("frame", "spec", "truths")}
    text = json.dumps(
        {**kept, "spec": asdict(case.spec), "truths": [asdict(t) for t in case.truths]}, default=str
    )
    (folder / f"{case.name}.json").write_text(text)


def load(path: Path) -> Case:
    """A case that was saved; `path` is its JSON."""
    told = json.loads(path.read_text())
    truths = tuple(Truth(**{**t, "affected": tuple(t["affected"])}) for t in told.pop("truths"))
    told |= {n: tuple(told[n]) for n in ("attributes", "controls", "likely")}
    frame = pl.read_parquet(path.with_suffix(".parquet"))
    return Case(**{**told, "spec": Spec(**told["spec"]), "truths": truths, "frame": frame})


@dataclass(frozen=True)
class World:
    """A world's cases; `false_alarms` on symptoms without a cause in `years` of observation, None if nobody was asked."""

    spec: Spec
    cases: tuple[Case, ...]
    years: float
    false_alarms: int | None


def made(spec: Spec, folder: Path, notice: Notice | None) -> World:
    """The cases of a world: read where it was made before in this folder, else made and kept there."""
    index = folder / f"{spec.name}.world.json"
    if index.is_file():
        told = json.loads(index.read_text())
        cases = tuple(load(folder / name) for name in told["cases"])
        return World(spec, cases, told["years"], told["false_alarms"])
    from unibody.twin.field import world

    found = of_world(spec, world(spec.vehicles, spec.seed, spec.kind), notice)
    for case in found.cases:
        save(case, folder)
    names = [f"{c.name}.json" for c in found.cases]
    index.write_text(json.dumps({"cases": names, "years": found.years, "false_alarms": found.false_alarms}))
    return found


def of_world(spec: Spec, field: Any, notice: Notice | None) -> World:
    """Cases of a world: each symptom that has a cause; in a world without, each that enough vehicles show.

    A symptom with a cause is asked about twice: with the failures as the generator reports them, and as the loop sorts
    them.
    """
    from unibody.loop.evidence import evidence

    seen = evidence(field.tables, field.as_of)
    reported = field.failures.filter(pl.col("known_at") <= field.as_of).rename({"failed_at": "happened_at"})
    by_key = reported.sort("happened_at", "vin").unique(["vin", "symptom"], keep="first", maintain_order=True)
    names = {
        c["symptom"]: stream(seen.events, by_key.filter(pl.col("symptom") == c["symptom"])["vin"].to_list())
        for c in field.causes
    }
    alarms = None if notice is None else sorted(notice(field), key=lambda a: a[1])
    truths: dict[str, list[Truth]] = {}
    for cause in field.causes:
        affected = tuple(sorted(cause["vins"]))
        began = by_key.filter(pl.col("symptom") == cause["symptom"], pl.col("vin").is_in(list(affected)))[
            "happened_at"
        ].min()
        days = [
            (at - began).total_seconds() / 86_400
            for symptom, at in alarms or ()
            if isinstance(began, datetime) and symptom == names[cause["symptom"]] and at >= began
        ]
        truths.setdefault(cause["symptom"], []).append(
            Truth(
                cause["conditions"],
                int(cause["failed"]),
                affected,
                float(cause["effect"]),
                days[0] if days else None,
            )
        )
    cases: list[Case] = []
    for source, events in (
        (REPORTED, _as_events(by_key, seen.events, field.symptoms)),
        (SORTED, seen.events),
    ):
        asked = {s if source == REPORTED else names[s]: tuple(t) for s, t in truths.items()}
        if not field.causes:
            asked = dict.fromkeys(_shown(events, field.symptom), ()) if source == REPORTED else {}
        cases += [_case(spec, field, replace(seen, events=events), s, t, source) for s, t in asked.items()]
    begun = field.tables["build_record"]["built_at"].min()
    false_alarms = None if alarms is None else sum(s not in names.values() for s, _ in alarms)
    return World(spec, tuple(cases), (field.as_of - begun).days / 365.25, false_alarms)


def _shown(events: pl.DataFrame, first: str) -> list[str]:
    """The symptoms of a world without causes to be asked about: the one that its decoys aim at, then the alphabet."""
    counts = events.group_by("symptom").agg(pl.col("vin").n_unique().alias("cars"))
    often = counts.filter(pl.col("cars") >= ASKED_FROM).sort(pl.col("symptom") != first, "symptom")
    return often["symptom"].head(ASKED_MOST).to_list()


def _as_events(reported: pl.DataFrame, like: pl.DataFrame, symptoms: Any) -> pl.DataFrame:
    """The generator's reports with the columns of the loop's own events."""
    parts = {name: about["component"] for name, about in symptoms.items()}
    component = pl.col("symptom").replace_strict(parts, default=None, return_dtype=pl.String)
    told = reported.with_columns(component=component, source=pl.lit("key"), workshop=True, reports=1)
    missing = [pl.lit(None, t).alias(c) for c, t in like.schema.items() if c not in told.columns]
    return told.with_columns(missing).select(pl.col(c).cast(t) for c, t in like.schema.items())


def _case(spec: Spec, field: Any, seen: Any, symptom: str, truths: tuple[Truth, ...], source: str) -> Case:
    from unibody.loop.observed import cohort

    laid = cohort(field.tables, field.as_of, symptom, field=seen)
    columns = [laid.unit, laid.outcome, laid.exposure, "days_at_risk", *laid.controls, *laid.attributes]
    frame = laid.frame.select(list(dict.fromkeys(columns)))
    return Case(
        spec,
        symptom,
        frame,
        laid.attributes,
        laid.outcome,
        laid.exposure,
        laid.controls,
        truths,
        source,
        laid.likely,
    )


def stream(events: pl.DataFrame, reported: Sequence[str]) -> str:
    """The loop's name for a symptom: the one that most of the vehicles reported with it show, rarer ones first.

    The loop names symptoms by itself, from what workshops say. Which of them to look at is what noticing decides, and
    noticing is scored apart.

    >>> events = pl.DataFrame({"vin": ["a", "b", "c", "c", "d"], "symptom": ["x", "x", "x", "y", "y"]})
    >>> stream(events, ["a", "b"])
    'x'
    """
    inside = pl.col("vin").is_in(list(reported))
    counts = events.group_by("symptom").agg(n=inside.sum(), of=pl.len())
    return str(counts.sort("n", "of", "symptom", descending=[True, False, False])["symptom"][0])
