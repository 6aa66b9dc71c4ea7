"""Disproportionality: known numbers, its levels and shrinkage, strata, and what is refused."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibody.errors import SetupError
from unibody.methods.disproportion import (
    GammaPoisson,
    disproportion,
    gamma_poisson,
    information_component,
)

PRIOR = GammaPoisson((0.2, 2.0), (0.1, 4.0), 1 / 3)  # DuMouchel's own starting values


def test_information_component_is_the_closed_form():
    found = information_component([0, 3, 100], [1.0, 1.0, 100.0])
    assert found.ic.tolist() == pytest.approx([np.log2(0.5 / 1.5), np.log2(3.5 / 1.5), 0.0])
    # three reports against one expected are no signal, ten are: what half a report of shrinking is for
    assert information_component([3], [1.0]).low[0] < 0 < information_component([10], [1.0]).low[0]


def test_information_component_gives_few_false_signals():
    """Where nothing is associated, IC025 > 0 in at most about 2.5 % of cells, at any size."""
    random = np.random.default_rng(1)
    for mean in (0.05, 0.5, 5.0, 50.0):
        signals = information_component(random.poisson(mean, 40_000), np.full(40_000, mean)).low > 0
        assert signals.mean() < 0.035


@given(st.integers(0, 500), st.floats(0.001, 500), st.floats(1.05, 10))
def test_more_reports_are_more_and_more_expected_are_less(n, e, times):
    found = information_component([n, n + 1, n], [e, e, e * times])
    for side in (found.ic, found.low, found.high):
        assert side[1] > side[0] > side[2]
    assert (found.low < found.ic).all()
    bayes = PRIOR.ebgm([n, n + 1, n], [e, e, e * times])
    assert bayes[1] > bayes[0] > bayes[2]


@pytest.mark.parametrize(("n", "e"), [(0, 0.5), (3, 0.2), (20, 2.0), (7, 30.0)])
def test_gamma_poisson_equals_integration_by_hand(n, e):
    """The posterior of a rate ratio, summed on a fine grid without any of the closed forms."""
    from scipy import stats

    grid = np.exp(np.linspace(np.log(1e-60), np.log(200), 400_001))
    prior = PRIOR.weight * stats.gamma.pdf(grid, 0.2, scale=10) + (1 - PRIOR.weight) * stats.gamma.pdf(
        grid, 2, scale=0.25
    )
    mass = prior * stats.poisson.pmf(n, grid * e) * grid  # evenly spaced in the logarithm
    mass /= mass.sum()
    assert PRIOR.ebgm([n], [e])[0] == pytest.approx(np.exp((mass * np.log(grid)).sum()), rel=1e-3)
    assert PRIOR.quantile([n], [e], 0.05)[0] == pytest.approx(
        grid[np.searchsorted(np.cumsum(mass), 0.05)], rel=1e-3, abs=1e-4
    )


@pytest.mark.parametrize("least", [0, 3])
def test_gamma_poisson_learns_the_scatter_also_from_a_cut_table(least):
    """A table that holds only cells with three reports or more (a watch-list) must not look all suspicious."""
    random = np.random.default_rng(2)
    true = np.where(random.random(8_000) < 0.1, random.gamma(2, 2, 8_000), random.gamma(8, 1 / 8, 8_000))
    expected = random.uniform(0.5, 6, 8_000)
    n = random.poisson(true * expected)
    kept = n >= least
    prior = gamma_poisson(n[kept], expected[kept], least=least)
    mean = prior.weight * prior.shape[0] / prior.rate[0] + (1 - prior.weight) * prior.shape[1] / prior.rate[1]
    assert mean == pytest.approx(1.3, abs=0.15)  # .1 * 4 + .9 * 1
    # its 5 % quantile lies below the true ratio 95 times of 100, also for the cells that were kept because they were high
    assert (prior.quantile(n[kept], expected[kept]) < true[kept]).mean() == pytest.approx(0.95, abs=0.02)


def test_ignoring_the_cut_is_what_would_go_wrong():
    random = np.random.default_rng(3)
    n, expected = random.poisson(1.0, 10_000), np.ones(10_000)
    cut = n[n >= 3]
    naive = gamma_poisson(cut, expected[: len(cut)]).ebgm([3], [1.0])[0]
    honest = gamma_poisson(cut, expected[: len(cut)], least=3).ebgm([3], [1.0])[0]
    assert naive > 2 > 1.3 > honest


BEFORE = pl.DataFrame({
    "model": ["A", "A", "B", "B", "B", None],
    "part": ["brakes", "seats", "brakes", "seats", "seats", "seats"],
    "year": [2020, 2020, 2020, 2020, 2021, 2020],
    "reports": [20, 30, 10, 40, 100, 7],
})  # fmt: skip


def test_expected_reports_are_shares_of_the_margins():
    """A has 50 of 200 reports, brakes 30 of 200: 50 * 30 / 200 = 7.5 expected where 20 came."""
    row = disproportion(BEFORE, "model", "part", "reports").row(0, named=True)
    assert (row["model"], row["part"], row["observed"], row["expected"]) == ("A", "brakes", 20, 7.5)
    assert row["ic"] == pytest.approx(np.log2(20.5 / 8)) and row["ic025"] > 0


def test_strata_compare_like_with_like():
    """Seats of 2021 are B's alone, so they say nothing; in 2020: 50 * 30 / 100 = 15."""
    rows = disproportion(BEFORE, "model", "part", "reports", within=["year"])
    expected = {(m, p): e for m, p, e in rows.select("model", "part", "expected").iter_rows()}
    assert expected == {
        ("A", "brakes"): 15,
        ("A", "seats"): 35,
        ("B", "brakes"): 15,
        ("B", "seats"): 35 + 100,
    }


@given(
    st.lists(
        st.tuples(st.sampled_from("ABC"), st.sampled_from("xyz"), st.integers(0, 50)), min_size=1, max_size=30
    )
)
def test_expected_add_up_to_observed_where_all_cells_are_told(cells):
    frame = pl.DataFrame(cells, schema=["u", "e", "n"], orient="row")
    full = pl.DataFrame([(u, e, 0) for u in "ABC" for e in "xyz"], schema=["u", "e", "n"], orient="row")
    found = disproportion(pl.concat([frame, full]), "u", "e", "n")
    assert found["expected"].sum() == pytest.approx(frame["n"].sum())
    assert found["observed"].sum() == frame["n"].sum()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: information_component([1, 2], [1.0]), "one number each"),
        (lambda: information_component([-1], [1.0]), "not below 0"),
        (lambda: information_component([1], [float("nan")]), "finite"),
        (lambda: information_component([1], [1.0], level=1.5), "between 0 and 1"),
        (lambda: gamma_poisson([1, 2], [1.0, 1.0]), "at least 10"),
        (lambda: gamma_poisson([1] * 20, [1.0] * 20, least=3), "fewer than least"),
        (lambda: PRIOR.quantile([1], [1.0], 0), "between 0 and 1"),
        (lambda: disproportion(BEFORE, "modle", "part", "reports"), "did you mean model"),
        (lambda: disproportion(BEFORE, "model", "model", "reports"), "different columns"),
        (lambda: disproportion(BEFORE.with_columns(-pl.col("reports")), "model", "part", "reports"), "below 0"),
    ],
)  # fmt: skip
def test_what_is_refused_says_what_would_be_right(wrong, says):
    with pytest.raises(SetupError, match=says):
        wrong()


def test_an_empty_table_has_no_signals():
    assert disproportion(BEFORE.clear(), "model", "part", "reports").height == 0
