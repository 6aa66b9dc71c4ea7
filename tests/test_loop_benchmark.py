"""The benchmark of the loop scores rightly: hits, false causes, intervals, the oracle; and its peers find what is easy."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.loop import cases, complaints, peers, plain_scan, report, run, scoring, subgroups
from benchmarks.loop.__main__ import CLEAN, EACH, LARGE
from benchmarks.loop.answers import Answer, Found, jaccard, meets

START = datetime(2026, 1, 1)


def fleet(
    units: int = 3000,
    seed: int = 1,
    rate: float = 0.004,
    cause: dict[str, Any] | None = None,
    times: float = 25,
) -> pl.DataFrame:
    """A fleet with lots, stations, torque, software, a market that reports twice as much, and perhaps a cause."""
    random = np.random.default_rng(seed)
    at = np.sort(random.integers(0, 300 * 86400, units))
    lot = (at // (15 * 86400)) * 2 + random.integers(0, 2, units)
    market = random.choice(["DE", "FR", "IT"], units, p=[0.5, 0.3, 0.2])
    frame = pl.DataFrame({
        "vin": [f"V{i}" for i in range(units)],
        "built_at": [START + timedelta(seconds=int(s)) for s in at],
        "market": market,
        "climate": random.choice(["hot", "mild"], units),
        "station": random.choice([f"S{i}" for i in range(4)], units),
        "lot": [f"L{i}" for i in lot],
        "torque": random.normal(40, 2, units),
        "software": random.choice(["7.0.4", "7.0.5"], units),
        "option": random.random(units) < 0.3,
        "days": 400 - at / 86400,
    })  # fmt: skip
    reports = np.where(market == "IT", 2.0, 1.0) * frame["days"].to_numpy() / frame["days"].mean()
    risk = rate * reports * np.where(meets(frame, cause), times, 1.0) if cause else rate * reports
    return frame.with_columns(
        failed=pl.Series(random.random(units) < risk), other=pl.Series(random.poisson(0.3 * reports))
    )


ASK: dict[str, Any] = {"exposure": "days", "controls": ("other",)}
ATTRIBUTES = ["built_at", "market", "climate", "station", "lot", "torque", "software", "option"]


@dataclass
class Said:
    """An answer by hand."""

    causes: list[Found] = field(default_factory=list)
    ranked: list[Found] = field(default_factory=list)


UNITS = pl.DataFrame({
    "lot": ["a"] * 10 + ["b"] * 10,
    "same_as_lot": ["x"] * 10 + ["y"] * 10,
    "almost": ["x"] * 8 + ["y"] * 12,  # Jaccard .8 with lot a
    "climate": ["hot", "mild"] * 10,
    "torque": [float(i) for i in range(20)],
    "built_at": [START + timedelta(days=i) for i in range(20)],
})  # fmt: skip


@pytest.mark.parametrize(
    ("named", "truth", "hit"),
    [
        ({"lot": "a"}, {"lot": "a"}, True),
        ({"lot": "b"}, {"lot": "a"}, False),
        ({"same_as_lot": "x"}, {"lot": "a"}, True),  # nobody could tell them apart
        ({"almost": "x"}, {"lot": "a"}, False),  # other words, Jaccard .8 only
        ({"torque": [None, 9.5]}, {"lot": "a"}, True),  # the same units in other words
        ({"torque": [None, 7.5]}, {"torque": [None, 9.5]}, True),  # the same words, Jaccard .8
        ({"torque": [None, 6.5]}, {"torque": [None, 9.5]}, False),  # .7
        ({"torque": [10.5, None]}, {"torque": [None, 9.5]}, False),  # the other side
        ({"lot": "a", "climate": "hot"}, {"climate": "hot", "lot": "a"}, True),
        ({"lot": "a"}, {"lot": "a", "climate": "hot"}, False),  # half of a pair is a miss
        ({"lot": "a", "built_at": ["2026-01-02", None]}, {"lot": "a", "built_at": ["2026-01-03T00:00:00", None]}, True),
        ({"lot": "a", "built_at": ["2026-01-08", None]}, {"lot": "a", "built_at": ["2026-01-03T00:00:00", None]}, False),
        ({"lots": "a"}, {"lot": "a"}, False),  # no such column
    ],
)  # fmt: skip
def test_what_is_a_hit(named, truth, hit):
    assert scoring.hits(UNITS, named, truth) is hit


def test_same_units_with_another_value_is_a_hit_by_units_only():
    """Jaccard .8 suffices for the truth's own words, not where a name has another value."""
    units = UNITS.with_columns(tool=pl.lit("t"))
    assert not scoring.hits(units, {"almost": "x", "tool": "t"}, {"almost": "y", "tool": "t"})


def found(*conditions: dict[str, Any]) -> list[Found]:
    return [Found(c) for c in conditions]


@pytest.mark.parametrize(
    ("causes", "ranked", "truths", "expected"),
    [
        # an accepted cause that hits
        ([{"lot": "a"}], [{"lot": "a"}], [{"lot": "a"}], (1, 1, 1, 0, 0, 0)),
        # not accepted, but ranked first: top-1 and not named
        ([], [{"lot": "a"}], [{"lot": "a"}], (1, 1, 0, 0, 0, 0)),
        # third of the ranked
        ([], [{"climate": "hot"}, {"lot": "b"}, {"lot": "a"}], [{"lot": "a"}], (0, 1, 0, 0, 0, 0)),
        # fourth: lost
        ([], [{"climate": "hot"}, {"lot": "b"}, {"climate": "mild"}, {"lot": "a"}], [{"lot": "a"}], (0, 0, 0, 0, 0, 0)),
        # a neighbour of the truth (Jaccard .8, other words): no false cause, but strictly one
        ([{"almost": "x"}], [], [{"lot": "a"}], (0, 0, 0, 0, 0, 1)),
        # far away: false by both counts
        ([{"lot": "b"}], [], [{"lot": "a"}], (0, 0, 0, 0, 1, 1)),
        # both of two
        ([{"lot": "a"}, {"torque": [14.5, None]}], [], [{"torque": [15, None]}, {"lot": "a"}], (1, 1, 1, 1, 0, 0)),
        # the second among the ranked only
        ([{"lot": "a"}], [{"torque": [14.5, None]}], [{"torque": [15, None]}, {"lot": "a"}], (1, 1, 1, 0, 0, 0)),
        # one found twice is not both
        ([{"lot": "a"}, {"same_as_lot": "x"}], [], [{"torque": [15, None]}, {"lot": "a"}], (1, 1, 1, 0, 0, 0)),
        # a clean case: every accepted cause is false
        ([{"lot": "a"}, {"lot": "b"}], [], [], (0, 0, 0, 0, 2, 2)),
        ([], [{"lot": "a"}], [], (0, 0, 0, 0, 0, 0)),
    ],
)  # fmt: skip
def test_scores(causes, ranked, truths, expected):
    s = scoring.score(UNITS, truths, Said(found(*causes), found(*ranked)))
    assert (s.top1, s.top3, s.named, s.both, s.false, s.false_strict) == expected


def test_both_in_three_counts_ranked_ones():
    said = Said(found({"lot": "a"}), found({"lot": "a"}, {"torque": [14.5, None]}))
    assert scoring.score(UNITS, [{"torque": [15, None]}, {"lot": "a"}], said).both_in_three


def test_times_in_any_zone_and_resolution_select_the_same():
    zoned = UNITS.with_columns(pl.col("built_at").dt.replace_time_zone("UTC").dt.cast_time_unit("ns"))
    wanted = {"built_at": ["2026-01-05T00:00:00", "2026-01-08T12:00:00+00:00"]}
    assert meets(zoned, wanted).sum() == meets(UNITS, wanted).sum() == 4
    day = UNITS.with_columns(pl.col("built_at").cast(pl.Date))
    assert meets(day, {"built_at": ["2026-01-05", None]}).sum() == 16


def test_wilson_holds_its_level_and_bootstrap_its_difference():
    low, high = scoring.wilson(0, 60)
    assert low == 0 and 0.05 < high < 0.07
    assert scoring.wilson(3, 3)[1] == 1 and scoring.wilson(0, 0) == (0.0, 1.0)
    better, low, high = scoring.mean_between([1.0] * 30 + [0.0] * 70)
    assert better == pytest.approx(0.3) and 0.2 < low < 0.3 < high < 0.4
    assert scoring.mean_between([]) != scoring.mean_between([])  # nothing asked, nothing said


def test_the_oracle_loses_where_an_alike_is_likelier():
    units = pl.DataFrame({
        "lot": ["a"] * 30 + ["b"] * 170,
        "option": ["x"] * 20 + ["y"] * 180,  # two thirds of lot a
        "failed": [1] * 10 + [0] * 10 + [0] * 10 + [0] * 170,
    })  # fmt: skip
    # all ten failures lie in the smaller set: it is likelier than the true lot
    assert scoring.oracle(units, {"lot": "a"}, ["lot", "option"], "failed", None) == 0
    spread = units.with_columns(failed=pl.Series([1, 0, 0] * 10 + [0] * 170))
    assert scoring.oracle(spread, {"lot": "a"}, ["lot", "option"], "failed", None) == 1


EASY = {
    "lot": {"lot": "L7"},
    "torque": {"torque": [None, 36.7]},
    "lot and climate": {"lot": "L4", "climate": "hot"},
    "station since": {"station": "S2", "built_at": ["2026-08-01T00:00:00", None]},
}


@pytest.mark.parametrize("truth", EASY.values(), ids=EASY)
def test_plain_scan_finds_what_is_easy(truth):
    frame = fleet(5000, seed=3, cause=truth, times=90)
    answer = plain_scan.explain(frame, "failed", attributes=ATTRIBUTES, **ASK)
    score = scoring.score(frame, [truth], answer)
    assert score.named and not score.false_strict, answer.causes


def test_plain_scan_names_both_of_two():
    one, two = {"lot": "L7"}, {"torque": [None, 36.7]}
    frame = fleet(5000, seed=4, cause=one, times=90)
    more = fleet(5000, seed=4, cause=two, times=60)
    both = frame.with_columns(failed=frame["failed"] | more["failed"])
    assert scoring.score(
        both, [one, two], plain_scan.explain(both, "failed", attributes=ATTRIBUTES, **ASK)
    ).both


def test_plain_scan_keeps_its_level_where_there_is_no_cause():
    """At .05 a fleet, nine or more of sixty happen once in 600 times."""
    named = [
        plain_scan.explain(fleet(1500, seed=s, rate=0.015), "failed", attributes=ATTRIBUTES, **ASK).causes
        for s in range(60)
    ]
    assert sum(map(bool, named)) < 9


def test_exposure_and_reporting_are_what_keeps_it_silent():
    """Without them old cars and the market that reports more stand out: so the columns are really used."""
    frame = fleet(20_000, seed=5, rate=0.02)
    assert not plain_scan.explain(frame, "failed", attributes=["market"], **ASK).causes
    bare = plain_scan.explain(frame, "failed", attributes=["market"])
    assert bare.causes[0].conditions == {"market": "IT"}
    aged = frame.with_columns(
        failed=pl.Series(np.random.default_rng(1).random(20_000) < frame["days"].to_numpy() / 20_000)
    )
    assert plain_scan.explain(aged, "failed", attributes=["built_at"]).causes
    assert not plain_scan.explain(aged, "failed", attributes=["built_at"], exposure="days").causes


def test_ranked_ones_select_different_units():
    frame = fleet(3000, seed=6, cause={"lot": "L7"}, times=90).with_columns(again=pl.col("lot"))
    masks = [
        meets(frame, c.conditions)
        for c in plain_scan.explain(frame, "failed", attributes=[*ATTRIBUTES, "again"]).ranked
    ]
    assert all(jaccard(a, b) < 0.9 for i, a in enumerate(masks) for b in masks[:i])


@pytest.mark.parametrize("method", [peers.chi_square, peers.tree, peers.boosting], ids=lambda m: m.__name__)
def test_peers_find_a_strong_lot(method):
    frame = fleet(4000, seed=7, cause={"lot": "L7"}, times=150)
    answer = method(frame, "failed", attributes=ATTRIBUTES, **ASK)
    assert {"lot": "L7"} in [c.conditions for c in answer.ranked[:3]]


@pytest.mark.parametrize(
    "method",
    [plain_scan.explain, peers.chi_square, peers.tree, peers.boosting],
    ids=lambda m: m.__module__ + m.__name__,
)
@pytest.mark.parametrize("odd", ["nobody failed", "all failed", "empty columns", "one unit"])
def test_methods_survive_odd_tables(method, odd):
    frame = {
        "nobody failed": fleet(200).with_columns(failed=pl.lit(False)),
        "all failed": fleet(200).with_columns(failed=pl.lit(True)),
        "empty columns": fleet(200).with_columns(
            lot=pl.lit(None, pl.String), torque=pl.lit(None, pl.Float64)
        ),
        "one unit": fleet(1),
    }[odd]
    assert isinstance(method(frame, "failed", attributes=ATTRIBUTES, **ASK), Answer)


def test_scoring_seeds_and_tuning_seeds_are_apart():
    kinds = [f"kind_{i}" for i in range(14)]
    scoring_worlds = cases.specs(kinds, EACH, CLEAN, LARGE)
    tuning_worlds = cases.specs(kinds, EACH, CLEAN, LARGE, first=cases.TUNING[0])
    for worlds in (scoring_worlds, tuning_worlds):
        assert len({s.seed for s in worlds}) == len(worlds) == 14 * EACH + CLEAN + LARGE
    assert min(s.seed for s in scoring_worlds) >= cases.SCORING_FROM == 1_000_000
    assert {s.seed for s in tuning_worlds} <= set(cases.TUNING)
    assert EACH >= 15 and 14 * EACH >= 240 and CLEAN >= 60 and LARGE >= 5
    assert {s.vehicles for s in scoring_worlds} == {5_000, 50_000}


def case(
    kind: str = "lot", seed: int = 9, truth: dict[str, Any] | None = None, times: float = 150
) -> cases.Case:
    truths = (cases.Truth(truth, 12, ("V1", "V2"), times),) if truth else ()
    return cases.Case(
        cases.Spec(kind, seed, 3000), "noise", fleet(3000, seed, cause=truth, times=times), tuple(ATTRIBUTES),
        "failed", "days", ("other",), truths,
    )  # fmt: skip


def test_a_case_comes_back_from_its_files(tmp_path):
    before = case(truth={"lot": "L7", "built_at": ["2026-02-01T00:00:00", None]})
    cases.save(before, tmp_path)
    after = cases.load(next(tmp_path.glob("*.json")))
    assert after.frame.equals(before.frame)
    assert {**vars(after), "frame": None} == {**vars(before), "frame": None}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    worlds = [
        cases.World(c.spec, (c,), 1.5, None)
        for c in (case(truth={"lot": "L7"}), case("shift", 10, {"climate": "hot"}, 1.5), case("clean", 11))
    ]
    return [r for w in worlds for r in run.asked(w, ["plain scan", "chi-square"])]


def test_a_run_asks_all_methods_and_scores_them(rows):
    scored = {(r["kind"], r["method"]): r for r in rows if "top1" in r}
    assert set(scored) == {(k, m) for k in ("lot", "shift", "clean") for m in ("plain scan", "chi-square")}
    assert scored["lot", "plain scan"]["named"] and not scored["shift", "plain scan"]["named"]
    assert next(r["right"] for r in rows if r["method"] == "oracle") == 1


def test_the_report_counts_by_world_and_says_of_how_many(rows):
    page = report.tables(rows, "Three worlds.")
    assert "| plain scan | 2 | 0.50 (" in page and "| lot | 1 | 1.00 (" in page and "0 of 1" in page
    top1 = next(f for f in report.figures(rows) if f.claim.endswith("top-1"))
    assert (top1.value, top1.met) == (0.5, False) and "2 cases" in top1.note


def test_the_paired_difference_is_over_worlds_both_answered():
    def one(world: str, method: str, hit: bool) -> dict[str, Any]:
        return {"world": world, "method": method, "top1": hit, "truths": 1, "vehicles": 5000}

    rows = [one(f"w{i}", "ours", i < 60) for i in range(80)] + [
        one(f"w{i}", "plain scan", i < 40) for i in range(90)
    ]
    gain, low, high = report.difference(rows, "top1")
    assert gain == pytest.approx(0.25) and 0.1 < low < 0.25 < high < 0.4


def test_false_causes_of_a_world_are_added_over_its_cases():
    rows = [
        {"world": "a", "method": "m", "vehicles": 5000, "false": 1},
        {"world": "a", "method": "m", "vehicles": 5000, "false": 2},
        *({"world": w, "method": "notice", "vehicles": 5000, "kind": "clean"} for w in "ab"),
    ]
    assert sorted(report.each_world(rows, "m", "false")) == [0, 3]  # b had nothing to ask about, and counts


def test_recall_month_is_the_place_in_its_year():
    """Campaign numbers have gaps (other kinds of campaign): the place counts, not the number."""
    campaigns = pl.DataFrame({"campaign": [f"20V{n:03}" for n in range(1, 121)] + ["21V900", "21V999"]})
    month = complaints.recall_days(campaigns)["month"] - 2020 * 12
    assert month[0] == 0 and month[59] == 5 and month[60] == 6 and month[119] == 11
    assert month[-2:].to_list() == [12 + 3, 12 + 9]


def streams(flagged: float) -> pl.DataFrame:
    """Two hundred streams in each of ten months, the first fifty recalled three months on; `flagged`: how well IC025 knows."""
    random = np.random.default_rng(1)
    rows = [
        {"month": m, "make": "A", "model": f"M{s}", "component": "c", "ahead": 13 - m if s < 50 and 7 <= m < 13 else None,
         "ic025": float(random.random() < (flagged if s < 50 else 0.25)) - 0.5}
        for m in range(10) for s in range(200)
    ]  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


@pytest.mark.parametrize("flagged", [0.25, 0.9])
def test_flags_are_compared_with_as_many_at_random_in_their_month(flagged):
    live, random = streams(flagged), np.random.default_rng(2)
    flags = complaints.chosen(live, "ic025")
    assert flags.sum() == (live["ic025"] > 0).sum()
    drawn = [complaints.at_random(live, flags, random) for _ in range(50)]
    month = live["month"].to_numpy()
    assert all((np.bincount(month, d) == np.bincount(month, flags)).all() for d in drawn)
    right = live["ahead"].is_not_null().to_numpy()
    lift = right[flags > 0].mean() / np.mean([right[d > 0].mean() for d in drawn])
    assert lift > 1.7 if flagged > 0.5 else 0.7 < lift < 1.4


def test_lead_time_is_that_of_the_first_flag():
    live = pl.DataFrame({
        "make": ["A"] * 3 + ["B"], "model": "x", "component": "c", "month": [1, 2, 3, 3], "ahead": [4, 3, 2, 5],
    })  # fmt: skip
    share, lead = complaints.captured(live, np.array([0.0, 1.0, 1.0, 0.0]), ["make", "model", "component"])
    assert (share, lead) == (0.5, 3)


@pytest.mark.skipif(not subgroups.PEER.is_file(), reason="pysubgroup's environment is not there")
def test_pysubgroup_finds_a_strong_lot(tmp_path):
    easy = case(truth={"lot": "L7"}, times=250)
    found = subgroups.explain_all(
        tmp_path, [(easy.name, easy.frame, "failed", ["lot", "market", "torque", "built_at"])]
    )
    answer, _ = found[easy.name]
    assert any(c.conditions.get("lot") == "L7" for c in answer.ranked[:3])


@pytest.mark.skipif(
    not (complaints.WATCH.is_file() and complaints.RECALLS.is_file()), reason="no data/customers"
)
def test_the_watch_list_has_what_the_protocol_says():
    cells = complaints.months()
    assert cells["month"].min() == 2020 * 12 and cells["complaints"].min() >= 3
    assert set(cells["component"]) == set(complaints.WORDS)


@pytest.mark.parametrize("kind", ["bad_lot", "clean"])
def test_a_world_of_the_twin_becomes_cases(kind, tmp_path):
    world = cases.made(
        cases.Spec(kind, 5, 1000), tmp_path, lambda _: [("odd", datetime(2099, 1, 1, tzinfo=UTC))]
    )
    again = cases.made(cases.Spec(kind, 5, 1000), tmp_path, None)  # read, not made
    assert [c.name for c in again.cases] == [c.name for c in world.cases]
    assert (world.false_alarms, again.false_alarms) == (1, 1)
    if kind == "clean":
        assert 1 <= len(world.cases) <= scoring.ASKED_MOST
        assert all(not c.truths and c.source == cases.REPORTED for c in world.cases)
        assert all(c.frame[c.outcome].sum() >= scoring.ASKED_FROM - 1 for c in world.cases)
        return
    assert [c.source for c in world.cases] == [cases.REPORTED, cases.SORTED]
    reported = world.cases[0]
    (truth,) = reported.truths
    inside = meets(reported.frame, truth.conditions)
    in_service = set(reported.frame["vin"])
    assert set(reported.frame.filter(pl.Series(inside))["vin"]) == set(truth.affected) & in_service
    assert reported.frame[reported.outcome].sum() >= truth.failed - 1
    assert reported.exposure in reported.frame.columns and "vin" not in reported.attributes
