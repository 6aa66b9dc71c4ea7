"""Prove: the cells by hand, intervals that hold what they promise, and nothing seen where nothing is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf, isnan

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from unibody.errors import SetupError
from unibody.loop.delay import Delay
from unibody.loop.prove import outcomes, placebo, prove
from unibody.loop.rates import Cell, compare, days_needed
from unibody.tables import Outcome

ACTED = datetime(2026, 3, 1, tzinfo=UTC)
AS_OF = datetime(2026, 7, 1, tzinfo=UTC)


def day(n):
    return ACTED + timedelta(days=n)


def made(seed, cars=2500, ratio=0.2, treated_rate=2.0, rate=0.0008, wear=0.0, season=1.0):
    """A fleet of which half was called on day 0: failures fall to `ratio` there; both groups share age and season."""
    random = np.random.default_rng(seed)
    treated = np.arange(cars) < cars // 2
    # treated cars are older: what wears out fails more often among them, cure or not
    start = ACTED - random.uniform(0, 400, cars) * np.timedelta64(86_400_000_000, "us").astype(timedelta)
    start = [s + timedelta(days=-200.0) if t else s for s, t in zip(start, treated, strict=True)]
    age = np.array([(ACTED - s).total_seconds() / 86_400 for s in start])
    failed_at = []
    for a, t, s in zip(age, treated, start, strict=True):
        at = None
        for low, high in ((max(-365.0, -a), 0.0), (0.0, (AS_OF - ACTED).days)):
            # piecewise, by months: a hazard that grows with age
            step = low
            while step < high and at is None:
                end = min(step + 30, high)
                hazard = rate * (treated_rate if t else 1.0) * (1 + wear * (a + step) / 365)
                hazard *= (ratio if t and step >= 0 else 1.0) * (season if step >= 0 else 1.0)
                wait = random.exponential(1 / hazard)
                at = step + wait if wait < end - step else None
                step = end
        failed_at.append(None if at is None else day(at))
        del s
    frame = pl.DataFrame({"vin": [f"V{i}" for i in range(cars)], "treated": treated, "start": start})
    events = frame.select(
        "vin", happened_at=pl.Series(failed_at, dtype=pl.Datetime("us", "UTC"))
    ).drop_nulls()
    return frame, events.with_columns(known_at="happened_at")


# ---------------------------------------------------------------- by hand


def test_the_four_cells_by_hand():
    """Six cars; each failure counts once, a failed car is at risk no more, and nothing before the window counts."""
    cars = pl.DataFrame(
        {
            "vin": list("ABCDEF"),
            "treated": [True, True, True, False, False, False],
            "start": [day(-100), day(-50), day(10), day(-100), day(-50), None],
        }
    )
    events = pl.DataFrame(
        {
            "vin": ["A", "A", "D", "E", "C"],
            "happened_at": [day(-30), day(20), day(40), day(-60), day(200)],
            "known_at": [day(-25), day(25), day(60), day(-55), day(210)],
        }
    )
    found = prove(cars, events, ACTED, day(100), window_days=80)
    # A from -80 to -30; B from -50; C from 10; D from -80 to 40; E failed at -60 before it was in service: out
    assert found.treated_before == Cell(1, 100.0, found.treated_before.expected)
    assert found.treated_after == Cell(0, 190.0, found.treated_after.expected)
    assert found.untreated_before == Cell(1, 80.0, found.untreated_before.expected)
    assert found.untreated_after == Cell(1, 40.0, found.untreated_after.expected)
    assert found.left_out == 1
    # one band of age: two before and one after in 220 days of all but the treated after
    assert found.treated_after.expected == pytest.approx(190 * 3 / 220)


def test_only_what_was_known_then_counts_and_the_newest_days_count_less():
    cars = pl.DataFrame(
        {"vin": ["A", "B"], "treated": [True, False], "start": [day(-100)] * 2, "cured_at": [day(5), None]}
    )
    events = pl.DataFrame({"vin": ["A"], "happened_at": [day(40)], "known_at": [day(70)]})
    assert prove(cars, events, ACTED, day(60)).treated_after.failed == 0
    assert prove(cars, events, ACTED, day(80)).treated_after.failed == 1
    # all is reported after 10 days, half of it at once: of the last ten days five count
    late = Delay(np.array([0.5] * 10 + [1.0]), 100)
    found = prove(cars, events, ACTED, day(60), late=late)
    assert found.treated_after.days == pytest.approx(55.0)
    assert found.treated_before.days == pytest.approx(100.0)
    assert found.done_share == 1.0


def test_days_of_the_call_itself_count_for_neither_side():
    cars = pl.DataFrame({"vin": ["A", "B"], "treated": [True, False], "start": [day(-50)] * 2})
    events = pl.DataFrame({"vin": ["A"], "happened_at": [day(10)], "known_at": [day(10)]})
    found = prove(cars, events, ACTED, day(100), ramp_days=30)
    assert (found.treated_after.failed, found.treated_after.days) == (0, 0.0)
    assert found.untreated_after.days == 70.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"treated": [True, True]}, "2 treated and 0 untreated"),
        ({"start": [None, day(-9)]}, "0 treated and 1 untreated"),
        ({"start": None}, "no column 'start'"),
    ],
)
def test_what_cannot_be_compared_is_said(change, said):
    columns = {"vin": ["A", "B"], "treated": [True, False], "start": [day(-50)] * 2} | change
    cars = pl.DataFrame({n: v for n, v in columns.items() if v is not None})
    events = pl.DataFrame(schema={"vin": pl.String, "happened_at": pl.Datetime("us", "UTC"), "known_at": pl.Datetime("us", "UTC")})  # fmt: skip
    with pytest.raises(SetupError, match=said):
        prove(cars, events, ACTED, AS_OF)


def test_a_cure_of_tomorrow_cannot_be_proven():
    cars, events = made(1, cars=20)
    with pytest.raises(SetupError, match="should lie before"):
        prove(cars, events, AS_OF, ACTED)


# ---------------------------------------------------------------- the interval


def cell(n, expected=10.0):
    return Cell(n, 1.0, expected)


def test_the_interval_is_fishers_but_for_mid_p():
    """Two-by-two table 8, 40 / 30, 30 of equal exposure: inside scipy's exact conditional interval, around its estimate."""
    ratio, low, high, _ = compare(cell(40), cell(8), cell(30), cell(30))
    exact = stats.contingency.odds_ratio([[8, 40], [30, 30]], kind="conditional")
    span = exact.confidence_interval(0.95)
    assert span.low < low < exact.statistic < high < span.high
    assert ratio == pytest.approx(8 / 40)
    assert low == pytest.approx(span.low, rel=0.25) and high == pytest.approx(span.high, rel=0.15)


@pytest.mark.parametrize(
    ("four", "ratio", "low", "high"),
    [
        ((10, 0, 10, 10), 0.0, 0.0, "below 1"),  # none left
        ((0, 0, 10, 10), float("nan"), 0.0, inf),  # never any: nothing to say
        ((0, 5, 10, 10), inf, "above 0", inf),
        ((0, 0, 0, 0), float("nan"), 0.0, inf),
    ],
)
def test_cells_without_failures(four, ratio, low, high):
    found = compare(*(cell(n) for n in four))
    assert isnan(found[0]) if isnan(ratio) else found[0] == ratio
    assert found[1] > 0 if low == "above 0" else found[1] == low
    assert found[2] < 1 if high == "below 1" else found[2] == high


@settings(max_examples=40, deadline=None)
@example([0, 27, 64, 0], 1.0, 1)  # the sums of chances came to 1 and a little
@given(st.lists(st.integers(0, 200), min_size=4, max_size=4), st.floats(0.1, 10), st.integers(1, 50))
def test_the_interval_holds_the_estimate_and_turns_with_the_groups(four, scale, times):
    b, a, ob, oa = (cell(n) for n in four)
    ratio, low, high, sure = compare(b, a, ob, oa)
    assert 0 <= low <= high and 0 <= sure <= 1
    if not isnan(ratio):
        assert low <= ratio * (1 + 1e-6) and ratio <= high * (1 + 1e-6)
    # the other group's view is the inverse; all exposure scaled changes nothing
    turned = compare(ob, oa, b, a)
    if low > 0 and high < inf:
        assert (turned[1], turned[2]) == pytest.approx((1 / high, 1 / low), rel=1e-4)
    scaled = compare(*(Cell(c.failed, c.days, c.expected * scale * times) for c in (b, a, ob, oa)))
    assert scaled[1:] == pytest.approx((low, high, sure), rel=1e-4, abs=1e-9)


def test_the_interval_covers_the_truth_in_about_95_of_100():
    """Poisson cells drawn 1,200 times at four sizes and three effects, none among them."""
    random = np.random.default_rng(11)
    for size in (12.0, 60.0):
        for ratio in (1.0, 0.5, 0.2):
            inside = 0
            drawn = random.poisson([size, size * 1.4 * ratio, 2 * size, 2 * size * 1.4], (200, 4))
            for b, a, ob, oa in drawn.tolist():
                _, low, high, _ = compare(
                    Cell(b, 1, size), Cell(a, 1, size), Cell(ob, 1, 2 * size), Cell(oa, 1, 2 * size)
                )
                inside += low <= ratio <= high
            # of 200 draws 95 % +- 3 standard errors; a little more is what a discrete interval must give
            assert 0.9 <= inside / 200 <= 1.0, (size, ratio)


# ---------------------------------------------------------------- fleets


def test_a_cure_that_works_is_proven_in_spite_of_age_and_season():
    cars, events = made(1, ratio=0.2, wear=1.0, season=1.6)
    found = prove(cars, events, ACTED, AS_OF)
    assert found.label == "proven" and found.low < 0.2 < found.high and found.sure > 0.99
    assert found.bands > 1
    assert found.verdict.startswith(f"Failures fell by {100 * found.reduction:.0f} %")


def test_no_effect_is_not_proven():
    """30 fleets without an effect, treated cars older and twice as bad: the interval holds 1 in about 95 of 100."""
    holds = []
    for seed in range(30):
        cars, events = made(100 + seed, cars=600, ratio=1.0, wear=1.0, season=0.7)
        found = prove(cars, events, ACTED, AS_OF)
        holds.append(found.low <= 1 <= found.high)
        assert found.label != "proven" or not holds[-1]
    assert np.mean(holds) >= 0.83  # 3 standard errors below .95


def test_placebo_shows_nothing_where_nothing_is():
    """Eight fleets with a cure that works: none of it is seen before the cure, nor among the untreated."""
    quiet, shows, looks = 0, 0, 0
    for seed in range(8):
        cars, events = made(seed, cars=600, ratio=0.3)
        found = placebo(cars, events, ACTED, AS_OF, looks=10)
        assert found.before is not None
        quiet += found.before.low <= 1 <= found.before.high
        shows, looks = shows + found.shows, looks + found.looks
    assert quiet >= 6
    assert looks == 80 and shows <= 14


def test_placebo_shows_the_head_start_that_was_not_the_cures_doing():
    """The treated cars' failures end half a year before the cure; a proof alone would praise it."""
    cars, events = made(7, cars=1500, ratio=0.3)
    treated = pl.col("vin").is_in(cars.filter("treated")["vin"].to_list())
    fewer = events.filter(~(treated & (pl.col("happened_at") > day(-180))))
    found = placebo(cars, fewer, ACTED, AS_OF, looks=2)
    assert found.before is not None and found.before.label == "proven"


# ---------------------------------------------------------------- how long to wait


def test_too_early_says_how_long():
    cars, events = made(3, cars=1500, ratio=0.5)
    found = prove(cars, events, ACTED, day(10))
    assert found.label == "too early" and found.days_needed is not None and found.days_needed > 0
    assert f"at least {found.days_needed:,.0f} more vehicle-days" in found.verdict
    never = prove(cars, events.head(3), ACTED, day(10))
    assert never.days_needed is None and "no waiting" in never.verdict


def test_after_the_days_needed_the_power_is_80_percent():
    """Cells after the cure grown by what is asked for: a reduction by half shows in about four of five draws."""
    before, after, other, other_after = (
        Cell(60, 1000, 60.0),
        Cell(3, 100, 6.0),
        Cell(90, 1500, 90.0),
        Cell(9, 150, 9.0),
    )
    more = days_needed(before, after, other, other_after, 0.5)
    assert more is not None
    times = (after.days + more) / after.days
    random = np.random.default_rng(5)
    shows = 0
    for b, a, ob, oa in random.poisson([60, 3 * times, 90, 9 * times], (250, 4)).tolist():
        cells = (Cell(b, 1, 60.0), Cell(a, 1, 6.0 * times), Cell(ob, 1, 90.0), Cell(oa, 1, 9.0 * times))
        shows += compare(*cells)[2] < 1
    assert 0.7 <= shows / 250 <= 0.9
    with pytest.raises(SetupError, match="between 0 and 1"):
        days_needed(before, after, other, other_after, 1.0)


# ---------------------------------------------------------------- truth


def test_the_proof_becomes_rows_of_the_outcome_table():
    cars, events = made(1, ratio=0.2)
    found = prove(cars, events, ACTED, AS_OF)
    rows = outcomes("ab12", found)
    assert dict(rows.schema) == Outcome.dtypes()
    assert rows["truth"].to_list() == ["cure_effect", "cure_effect_low", "cure_effect_high"]
    assert rows["value"].to_list() == pytest.approx([found.reduction, 1 - found.high, 1 - found.low])
    assert rows.select("subject", "happened_at", "ended_at", "label", "part").unique().row(0) == (
        "ab12", ACTED, AS_OF, "proven", "field",
    )  # fmt: skip
    assert not rows.select(Outcome.key).is_duplicated().any()


def test_what_could_not_be_compared_has_no_value_in_the_truth():
    cars, events = made(1, cars=200)
    found = prove(cars, events.head(0), ACTED, AS_OF)
    assert found.label == "too early"
    assert "cure_effect" not in outcomes("ab12", found)["truth"].to_list()
