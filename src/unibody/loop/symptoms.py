"""Say which symptom a trouble code, a named component or a text stands for, as this maker's own workshops teach it.

A symptom has the name of the component that workshops name most often where its code was read. The map is learned
from the tables at hand; a code that nobody has named a component for stands for itself, and is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from unibody.loop.frames import Frames, beside, rows
from unibody.loop.words import NOTHING, Words, learn

NEAR = "10d"  # a claim is filed, and a code read, within this of the visit they belong to
NAMED_MIN = 3  # a component named fewer times for a code says nothing
NAMED_SHARE = 0.1  # nor one named this seldom when it is read: stray codes meet every component
CODED_SHARE = 0.3  # of the visits that name a component have its code; fewer are slips of the dealer's


@dataclass(frozen=True)
class Symptoms:
    """The map: codes, components and words to symptoms."""

    codes: pl.DataFrame  # code, symptom, component, seen (times read), named (times with a component), share
    components: pl.DataFrame  # component, symptom
    numbers: pl.DataFrame  # part_number, position: a workshop may name a part by its number
    words: Words | None

    def component(self) -> pl.Expr:
        """The column `component` as one spelling: a part number by its position, else lower case."""
        return component_named(self.numbers)


def learned(frames: Frames, names: Mapping[str, str] | None = None) -> Symptoms:
    """Learn the map from trouble codes, visits and complaints.

    `names` overrules what is learned: a code, or a component as workshops write it, to the symptom it stands for.
    """
    parts = rows(frames, "part_installed")
    numbers = (
        (parts.group_by("part_number", "position").len().sort("len", "position", descending=[True, False]))
        .unique("part_number", keep="first", maintain_order=True)
        .select("part_number", "position")
    )
    named = component_named(numbers)
    visits = rows(frames, "visit").with_columns(component=named, code=pl.col("code").str.strip_chars())
    read = rows(frames, "trouble_code").select("vin", "code", at="set_at")
    pairs = _pairs(read, visits)
    seen = pl.concat([read.select("code"), visits.select("code")]).drop_nulls().group_by("code").len("seen")
    given = _given(names or {}, named)
    table = _codes(pairs, seen, given)
    ours = given.select(component="name", symptom="given")
    learned_ = _components(pairs, table, visits).join(ours, on="component", how="anti")
    components = pl.concat([ours, learned_])
    texts = _sorted_texts(frames, visits, read, table, components, named)
    return Symptoms(table, components, numbers, learn(texts))


def component_named(numbers: pl.DataFrame) -> pl.Expr:
    """The column `component` in one spelling."""
    plain = pl.col("component").str.strip_chars()
    known = dict(zip(numbers["part_number"], numbers["position"], strict=True))
    lower = plain.str.to_lowercase().str.replace_all(r"[\s_]+", "_")
    spelt = plain.replace_strict(known, default=lower, return_dtype=pl.String) if known else lower
    return pl.when(spelt != "").then(spelt)


def _pairs(read: pl.DataFrame, visits: pl.DataFrame) -> pl.DataFrame:
    """code, component: the same visit names both, or the visit nearest to where the code was read does."""
    same = visits.select("code", "component").drop_nulls()
    named = visits.drop_nulls("component").select("vin", "component", at="visited_at")
    near = beside(read.drop_nulls(), named, NEAR)
    return pl.concat([same, near.select("code", "component").drop_nulls()])


def _given(names: Mapping[str, str], named: pl.Expr) -> pl.DataFrame:
    """name (as spelt, and as a component in one spelling), given (its symptom)."""
    as_said = pl.DataFrame(
        {"name": list(names), "given": list(names.values())}, schema={"name": pl.String, "given": pl.String}
    )
    spelt = as_said.select("given", component="name").select(named.alias("name"), "given")
    return pl.concat([as_said, spelt.select("name", "given")]).unique(
        "name", keep="first", maintain_order=True
    )


def _codes(pairs: pl.DataFrame, seen: pl.DataFrame, given: pl.DataFrame) -> pl.DataFrame:
    together = pairs.group_by("code", "component").len("both")
    best = (
        together.with_columns(named=pl.col("both").sum().over("code"))
        .sort("both", "component", descending=[True, False])
        .unique("code", keep="first", maintain_order=True)
        .filter(pl.col("both") >= NAMED_MIN)
        .select("code", "component", "named", "both", share=pl.col("both") / pl.col("named"))
    )
    best = (
        best.join(seen, on="code").filter(pl.col("both") >= NAMED_SHARE * pl.col("seen")).drop("seen", "both")
    )
    table = (
        seen.join(best, on="code", how="left")
        .join(given.rename({"name": "code"}), on="code", how="left")
        .join(given.select(component="name", by_component="given"), on="component", how="left")
    )
    return table.select(
        "code",
        pl.coalesce("given", "by_component", "component", "code").alias("symptom"),
        pl.coalesce("component", "given").alias("component"),  # null: nobody knows what the code is about
        pl.col("seen").fill_null(0),
        pl.col("named").fill_null(0),
        pl.col("share").fill_null(0.0),
    ).sort("code")


def _components(pairs: pl.DataFrame, codes: pl.DataFrame, visits: pl.DataFrame) -> pl.DataFrame:
    """component, symptom: that of a code read at a good part of the visits that name it; else it is one of its own."""
    often = visits.drop_nulls("component").group_by("component").len("visits")
    return (
        pairs.join(codes.drop_nulls("component").select("code", "symptom"), on="code")
        .group_by("component", "symptom")
        .len("both")
        .join(often, on="component")
        .filter(pl.col("both") >= NAMED_MIN, pl.col("both") >= CODED_SHARE * pl.col("visits"))
        .sort("both", "symptom", descending=[True, False])
        .unique("component", keep="first", maintain_order=True)
        .select("component", "symptom")
    )


def _sorted_texts(
    frames: Frames,
    visits: pl.DataFrame,
    read: pl.DataFrame,
    codes: pl.DataFrame,
    components: pl.DataFrame,
    named: pl.Expr,
) -> pl.DataFrame:
    """text, component, label: texts whose symptom is known by a code near them, else by the component alone."""
    complaints = rows(frames, "complaint").with_columns(component=named)
    both = pl.concat(
        [
            visits.select("vin", "text", "component", "code", at="visited_at", claim="warranty"),
            complaints.select(
                "vin",
                "text",
                "component",
                code=pl.lit(None, pl.String),
                at=pl.coalesce("failed_at", "made_at"),
                claim=pl.lit(True),  # a complaint is never about nothing
            ),
        ]
    ).drop_nulls("text")
    coded = read.drop_nulls().rename({"code": "near"})
    both = beside(both, coded, NEAR)
    meant = codes.drop_nulls("component")
    by_code = dict(zip(meant["code"], meant["symptom"], strict=True))
    by_component = dict(zip(components["component"], components["symptom"], strict=True))
    none = pl.lit(None, pl.String)
    code = pl.coalesce("code", "near")
    label = code.replace_strict(by_code, default=None, return_dtype=pl.String) if by_code else none
    if not by_code:  # nobody reads codes here, as in public complaints: the component is all there is
        label = pl.col("component")
    else:
        own = pl.col("component")
        label = pl.coalesce(label, own.replace(by_component) if by_component else own)
    quiet = pl.col("component").is_null() & code.is_null() & ~pl.col("claim").fill_null(False)
    label = pl.when(quiet).then(pl.lit(NOTHING)).otherwise(label)
    return both.select("text", "component", label=label).drop_nulls("label")
