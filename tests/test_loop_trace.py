"""Once round the loop: a planted lot is noticed, explained, scoped and proposed about; a world without cause is left alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from unibody.loop import decide
from unibody.loop.notice import Signal, Watch
from unibody.loop.trace import Trace, _once, head, label, opening, trace
from unibody.solution import ANSWER
from unibody.twin.field import Field, world

WATCH = Watch(false_calls_a_year=1.0, draws=49)


def worsened(field: Field, cars: int = 30) -> dict[str, pl.DataFrame]:
    """The world's tables with `cars` more of the planted lot failing: by a code, and a visit that names the component."""
    cause = field.causes[0]
    about = field.symptoms[cause["symptom"]]
    build = field.tables["build_record"]
    failed = field.failures.filter(pl.col("symptom") == cause["symptom"])["vin"]
    old = build.filter(
        pl.col("vin").is_in(list(cause["vins"])),
        ~pl.col("vin").is_in(failed.implode()),
        pl.col("built_at") < field.as_of - timedelta(days=30),
    )
    old = old.sample(min(cars, old.height), seed=1)
    at = pl.col("built_at") + pl.duration(days=12) + pl.duration(days=pl.int_range(pl.len()) % 10)
    tables = dict(field.tables)
    for title, made in (
        ("trouble_code", {"set_at": at, "code": pl.lit(about["codes"][0]), "ecu": pl.lit(about["ecu"])}),
        (
            "visit",
            {
                "visited_at": at + pl.duration(hours=20),
                "code": pl.lit(about["codes"][0]),
                "component": pl.lit(about["component"]),
                "dealer": pl.format("D{}", pl.int_range(pl.len()) % 9),
                "visit_id": pl.format("extra{}", pl.int_range(pl.len())),
            },
        ),
    ):
        known = {"known_at": at + pl.duration(days=2)}
        more = old.select("vin", **made, **known)
        like = tables[title]
        missing = [pl.lit(None, d).alias(n) for n, d in like.schema.items() if n not in more.columns]
        more = more.with_columns(missing).select(pl.col(n).cast(d) for n, d in like.schema.items())
        tables[title] = pl.concat([like, more])
    return tables


@pytest.fixture(scope="module")
def planted() -> Field:
    return next(
        f for seed in range(1, 40) if (f := world(3000, seed, "bad_lot")).symptoms[f.symptom]["codes"]
    )


@pytest.fixture(scope="module")
def found(planted: Field) -> Trace:
    return trace(worsened(planted), planted.as_of, WATCH)


def test_a_planted_lot_is_traced_to_the_cars_that_have_it(planted: Field, found: Trace) -> None:
    cause = planted.causes[0]
    traced = [t for t in found.traced if cause["conditions"] in [c.cause.conditions for c in t.cases]]
    assert len(traced) == 1, [(t.subject, [c.cause.conditions for c in t.cases]) for t in found.traced]
    one = traced[0].cases[0]
    truly = set(cause["vins"])
    assert len(truly & set(one.scope.vehicles)) >= 0.9 * len(truly)
    assert len(one.scope.vehicles) <= 1.5 * len(truly)
    assert traced[0].proposals["bundle"].unique().to_list() == [one.bundle]
    assert "hold the lot" in traced[0].proposals["action"].to_list()


def test_a_case_says_all_that_trace_promises_as_json(found: Trace) -> None:
    for traced in found.traced:
        if not traced.cases:
            continue
        body = json.loads(json.dumps(head(traced), allow_nan=False))
        assert {
            "symptom", "since", "cause", "effect", "low", "high", "p_adjusted", "vehicles", "covered_probability",
        } <= set(body)  # fmt: skip
        assert (
            body["low"] <= body["effect"] <= (body["high"] or float("inf"))
            and 0 <= body["p_adjusted"] <= 0.05
        )
        assert datetime.fromisoformat(body["since"]) <= found.as_of
        assert (
            body["pictures"]
            and body["vins"] == sorted(set(body["vins"]))
            and body["vehicles"] == len(body["vins"])
        )
        first = opening(traced)
        assert first is not None and first["bundle"] == body["bundle"]


def test_a_world_without_cause_is_left_alone() -> None:
    field = world(3000, 11, "clean")
    assert [t.cases for t in trace(field.tables, field.as_of, WATCH).traced if t.cases] == []


def test_the_solution_gives_decisions_of_the_contract(planted: Field) -> None:
    class Given:
        """The gate's tables, from frames."""

        def __getitem__(self, table: Any) -> Any:
            frames = worsened(planted)
            frame = frames.get(
                table.title(), pl.DataFrame(schema={**table.dtypes(), "known_at": pl.Datetime("us", "UTC")})
            )
            return type("Rows", (), {"polars": lambda self: frame})()

    class Case:
        settings = None

    answers = decide(None, Given(), Case())  # type: ignore[arg-type]
    assert tuple(answers.columns) == ANSWER
    heads = answers.filter(pl.col("action") == "accept the cause")
    assert heads.height and heads["label"][0] == label(planted.causes[0]["conditions"])
    assert answers["subject"].null_count() == 0 and answers["bundle"].null_count() == 0
    nothing = decide(None, _Empty(), Case())  # type: ignore[arg-type]
    assert nothing.height == 0


def test_the_same_cars_are_not_called_twice_by_all_brands_and_by_their_own() -> None:
    at = datetime(2026, 6, 1, tzinfo=UTC)

    def signal(brand: str | None, *vins: str) -> Signal:
        return Signal(
            "camera", "camera", brand, None, (), {}, len(vins), 1.0, 9.0, 3.0, 20.0, 0.01, 0.99, 0.1, at, 1.0, 1.0, 50, vins, 3, 2, at
        )  # fmt: skip

    opel, everybody = signal("opel", "a", "b", "c"), signal(None, "a", "b", "d")
    assert _once([everybody, opel]) == [opel]
    apart = signal(None, "x", "y", "a")
    assert _once([apart, opel]) == [apart, opel]


class _Empty:
    """A lake with nothing in it."""

    def __getitem__(self, table: Any) -> Any:
        frame = pl.DataFrame(schema={**table.dtypes(), "known_at": pl.Datetime("us", "UTC")})
        return type("Rows", (), {"polars": lambda self: frame})()
