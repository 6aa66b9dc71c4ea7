"""Noticing: what some cars have is called, soon and rarely by chance; what all cars have alike is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unibody.loop.fleet import prepare
from unibody.loop.looks import looks, noticed
from unibody.loop.notice import Watch, look, notice
from unibody.loop.public import EXPOSURE, disproportionate
from unibody.methods import surveillance

NEW_YEAR = datetime(2025, 1, 1, tzinfo=UTC)
END = NEW_YEAR + timedelta(days=420)
CARS, LOTS = 800, 16
QUICK = Watch(false_calls_a_year=1.0, draws=49)


def on(days: np.ndarray | float) -> pl.Series:
    return pl.Series(np.atleast_1d(days) * 86_400e6).cast(pl.Int64).cast(pl.Duration("us")) + NEW_YEAR


class World:
    """800 cars built over 300 days in 16 lots, sold in two markets, each with twelve harmless failures of six kinds."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.vin = np.array([f"ZAC{n:014d}" for n in range(CARS)])
        self.built = np.arange(CARS) * 300 / CARS
        self.start = self.built + self.rng.uniform(10, 40, CARS)
        self.market = np.where(self.rng.random(CARS) < 0.5, "IT", "DE")
        self.lot = np.arange(CARS) * LOTS // CARS
        self.codes: list[pl.DataFrame] = []
        self.visits: list[pl.DataFrame] = []
        for kind in range(6):
            self.fails(f"C10{kind:02d}", self.rng.choice(CARS, 15, replace=False))

    def fails(
        self,
        code: str,
        cars: np.ndarray,
        at: np.ndarray | None = None,
        delay_days: float = 5.0,
        dealer: str = "",
    ) -> World:
        """Let these cars fail at some time in service (or at days after New Year), known some days later."""
        when = (
            self.start[cars] + self.rng.uniform(0, 1, len(cars)) * (420 - self.start[cars])
            if at is None
            else at
        )
        there = (when >= self.start[cars]) & (when + delay_days < 420)
        cars, when = cars[there], when[there]
        self.codes.append(
            pl.DataFrame(
                {"vin": self.vin[cars], "code": code, "set_at": on(when), "known_at": on(when + delay_days)}
            )
        )
        if dealer:
            self.visits.append(
                pl.DataFrame({
                    "dealer": dealer, "visit_id": [f"{code}{c}" for c in cars], "visited_at": on(when), "vin": self.vin[cars],
                    "known_at": on(when + delay_days),
                })
            )  # fmt: skip
        return self

    def tables(self) -> dict[str, pl.DataFrame]:
        car = {
            "vin": self.vin,
            "built_at": on(self.built),
            "brand": "jeep",
            "platform": "P",
            "market": self.market,
        }
        part = {
            "installed_in": self.vin,
            "part_number": "N",
            "position": "hose",
            "installed_at": on(self.built),
        }
        lots = {"lot": [f"L{n:02d}" for n in self.lot], "supplier": "S"}
        return {
            "build_record": pl.DataFrame(car),
            "part_installed": pl.DataFrame({**part, **lots}),
            "vehicle_held": pl.DataFrame({"vin": self.vin, "held_from": on(self.start), "customer": "c"}),
            "trouble_code": pl.concat(self.codes),
            **({"visit": pl.concat(self.visits)} if self.visits else {}),
        }


def in_lot(world: World, lot: int, cars: int = 12) -> np.ndarray:
    return np.flatnonzero(world.lot == lot)[:cars]


# ---------------------------------------------------------------- notice


def test_a_bad_lot_is_noticed_and_said_in_full():
    world = World()
    bad = in_lot(world, 5)
    world.fails("C1000", bad, world.start[bad] + 20 + np.arange(len(bad)))
    (signal,) = notice(world.tables(), END, QUICK)
    assert (signal.symptom, signal.brand, signal.platform, signal.held) == ("C1000", "jeep", "P", "")
    assert set(signal.failed) >= set(world.vin[bad])
    assert signal.observed >= 12 > 4 * signal.expected
    assert 1 < signal.low < signal.ratio < signal.high
    assert signal.p < 0.01 and signal.sure > 0.99 and signal.false_calls_a_year < 0.2
    assert signal.cars <= 150
    failed = world.start[bad] + 20
    assert abs((signal.since - NEW_YEAR).days - failed.min()) <= 14
    assert signal.per_month == 0 and signal.growth == 1  # it was over long ago


def test_it_is_noticed_soon_and_never_before_it_is_known():
    world = World()
    bad = in_lot(world, 5)
    at = world.start[bad].max() + np.arange(12) * 3.0
    world.fails("C1000", bad, at, delay_days=30)
    first = noticed(world.tables(), END, QUICK, symptom="C1000")[0]
    known = NEW_YEAR + timedelta(days=float(at[2])) + timedelta(days=30)
    assert known <= first.at <= known + timedelta(days=50)
    assert first.signal.as_of == first.at


@pytest.mark.parametrize(
    "decoy",
    [
        "nothing",
        "a market that reports more",
        "a season",
        "a wave in one market",
        "an option with a weakness of its own",
    ],
)
def test_what_is_no_defect_of_some_cars_is_not_called(decoy):
    world = World(2)
    everyone = world.rng.choice(CARS, 60, replace=False)
    italy = everyone[world.market[everyone] == "IT"]
    if decoy == "a market that reports more":
        for kind in range(6):
            world.fails(f"C10{kind:02d}", world.rng.choice(np.flatnonzero(world.market == "IT"), 30))
    elif decoy == "a season":
        world.fails("C1001", everyone, world.rng.uniform(330, 390, 60))
    elif decoy == "a wave in one market":
        world.fails("C1001", italy, world.rng.uniform(360, 380, len(italy)))
    elif decoy == "an option with a weakness of its own":
        world.fails("C1001", everyone[:30])
    tables = world.tables()
    if decoy == "an option with a weakness of its own":
        has = pl.col("vin").is_in(list(world.vin[everyone[:30]])) | (pl.col("vin").str.slice(-1) == "7")
        tables["build_record"] = tables["build_record"].with_columns(
            options=pl.when(has).then(pl.lit("SUN")).otherwise(pl.lit("TOW"))
        )
    assert notice(tables, END, QUICK) == ()


def test_one_dealer_alone_is_held_back():
    world = World()
    world.codes.clear()
    for kind in range(6):
        world.fails(f"C10{kind:02d}", world.rng.choice(CARS, 15, replace=False), dealer=f"d{kind}")
    bad = in_lot(world, 5)
    world.fails("C1000", bad, world.start[bad] + 20, dealer="noisy")
    (signal,) = notice(world.tables(), END, QUICK)
    assert signal.held == "one dealer alone"
    assert noticed(world.tables(), END, QUICK, at=[END]) == []


def test_complaints_alone_are_held_back():
    world = World()
    bad = in_lot(world, 5)
    tables = world.tables()
    at = on(world.start[bad] + 20)
    tables["complaint"] = pl.DataFrame(
        {"complaint_id": [str(c) for c in bad], "made_at": at, "vin": world.vin[bad], "component": "hose"}
    )
    (signal,) = notice(tables, END, QUICK)
    assert signal.symptom == "hose" and signal.held.startswith("complaints alone")


def test_an_empty_fleet_says_nothing():
    assert notice({}, END) == ()
    assert noticed({}, END) == []


def test_one_looks_up_to_the_last_day_a_week_apart():
    fleet = prepare(World().tables(), END)
    days = list(looks(fleet, END, QUICK))
    assert days[-1] == END and {b - a for a, b in pairwise(days)} == {timedelta(days=7)}
    assert days[0] >= fleet.reports["known_at"].min()  # type: ignore[operator]


def test_a_look_back_sees_what_a_look_then_saw():
    world = World()
    bad = in_lot(world, 2)
    world.fails("C1000", bad, world.start[bad] + 20)
    then = NEW_YEAR + timedelta(days=200)
    tables = world.tables()
    known = {
        n: t.filter(pl.col("known_at") <= then) if "known_at" in t.columns else t for n, t in tables.items()
    }
    back, live = look(prepare(tables, END), then, QUICK), notice(known, then, QUICK)
    assert [s.symptom for s in back] == [s.symptom for s in live] == ["C1000"]
    assert set(back[0].failed) <= set(live[0].failed) or set(live[0].failed) <= set(back[0].failed)
    assert max(s.observed for s in (*back, *live)) <= 14  # of the 15 + 12 there will be


# ---------------------------------------------------------------- surveillance, for any units


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.floats(0.01, 40.0), st.integers(0, 60))
def test_evidence_and_its_chance_agree(inside, expected, outside):
    total = inside + outside + 41
    strength = surveillance.evidence(np.array([float(inside)]), np.array([expected]), float(total))[0]
    chance = surveillance.tail(np.array([float(inside)]), np.array([expected]), float(total))[0]
    assert strength >= 0 and 0 <= chance <= 1
    if inside > expected:
        # Chernoff: the tail is never heavier than the likelihood ratio lets it be
        assert chance <= np.exp(-strength) * 1.0001
    low, middle, high = surveillance.ratio(inside, expected, total)
    assert low <= middle <= high


@pytest.mark.parametrize("method", ["scan", "belonging"])
def test_false_calls_keep_to_what_is_stated(method):
    rng, alpha, calls, worlds = np.random.default_rng(3), 0.2, 0, 60
    due = rng.uniform(0.5, 1.5, (6, 40))
    labels = [(np.arange(240) // size).astype(np.int32) for size in (10, 12, 15, 24)]
    for world in range(worlds):
        if method == "scan":
            counts = np.array([rng.multinomial(25, row / row.sum()) for row in due])
            expected = due / due.sum(axis=1, keepdims=True) * 25
            found: list[object] = [
                *surveillance.scan(
                    counts, expected, [(s,) for s in range(6)], alpha=alpha, draws=49, seed=world
                )
            ]
        else:
            share = due.ravel() / due.sum()
            units = [rng.choice(240, 25, p=share) for _ in range(6)]
            streams = [(u, share * 25) for u in units]
            found = [
                *surveillance.belonging(labels, [24, 20, 16, 10], streams, alpha=alpha, draws=49, seed=world)
            ]
        calls += bool(found)
    # 95 % of worlds with the stated rate have at most this many calls
    assert calls <= worlds * alpha + 1.65 * np.sqrt(worlds * alpha * (1 - alpha))


def test_the_scan_finds_the_cells_where_it_is():
    due = np.full((4, 30), 0.5)
    counts = np.random.default_rng(1).poisson(due)
    counts[2, 10:13] += 6
    expected = due / due.sum(axis=1, keepdims=True) * counts.sum(axis=1, keepdims=True)
    groups = [(s,) for s in range(4)] + [(0, 1, 2, 3)]
    best = surveillance.scan(counts, expected, groups, alpha=0.05, draws=49)[0]
    assert (best.group, best.first, best.last) == (2, 10, 12)


def test_a_label_is_found_among_those_that_repeat_it():
    rng = np.random.default_rng(1)
    lot = (np.arange(2000) // 50).astype(np.int32)
    line = rng.integers(0, 2, 2000).astype(np.int32)
    units = np.concatenate([rng.choice(2000, 20, replace=False), np.arange(350, 362)])
    streams = [(units, np.full(2000, len(units) / 2000))]
    best = surveillance.belonging([line, lot], [2, 40], streams, alpha=0.05, draws=49)
    assert [(b.attribute, b.label) for b in best] == [(1, 7)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=2, max_size=12), st.integers(1, 4))
def test_levels_keep_the_sum_and_follow_many_events(observed, margins):
    seen = np.array(observed, dtype=float)
    names = np.arange(len(observed)) % margins
    due = surveillance.levelled(seen, np.ones(len(seen)), [names])
    assert due.sum() == pytest.approx(seen.sum(), abs=1e-6)
    many = surveillance.levelled(seen * 1e6, np.ones(len(seen)), [names])
    if seen.sum() > 0:
        by_name = np.bincount(names, weights=many)
        assert by_name == pytest.approx(np.bincount(names, weights=seen * 1e6), rel=0.01, abs=10)


# ---------------------------------------------------------------- public complaints


def test_where_exposure_is_unknown_it_is_said():
    loose = pl.DataFrame(
        {"brand": ["b"] * 60, "model": ["A"] * 20 + ["B"] * 40, "symptom": ["seat"] * 15 + ["door"] * 45}
    )
    found = disproportionate(loose)
    assert found.filter("called").select("model", "symptom").rows()[0] == ("A", "seat")
    assert set(found["exposure"]) == {EXPOSURE}
