"""From tables to the cohort frame: what the field says, once a car; how long on the road; what was in each car."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unibody.errors import SetupError
from unibody.loop.cars import cars
from unibody.loop.delay import delay, prior
from unibody.loop.evidence import evidence
from unibody.loop.exposure import exposure
from unibody.loop.frames import rows
from unibody.loop.observed import cohort, observed, sampled

DAY = timedelta(days=1)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
SUMMER = datetime(2026, 7, 1, tzinfo=UTC)


def vin(number: int) -> str:
    return f"ZAC{number:014d}"


def on(day: float) -> datetime:
    """This many days after New Year 2026."""
    return NEW_YEAR + day * DAY


def table(title: str, *facts: dict[str, object]) -> dict[str, pl.DataFrame]:
    """Some rows of one table; `known_at` is the time of the fact where it is not said."""
    frame = pl.DataFrame(list(facts), infer_schema_length=None) if facts else pl.DataFrame()
    return {title: rows({title: frame}, title)}


def built(*facts: dict[str, object]) -> dict[str, pl.DataFrame]:
    return table("build_record", *({"brand": "jeep", "market": "IT", "plant": "melfi", **f} for f in facts))


def fleet(cars: int = 20) -> dict[str, pl.DataFrame]:
    """Cars built a day apart from New Year on, each handed over ten days later."""
    return {
        **built(*({"vin": vin(n), "built_at": on(n)} for n in range(cars))),
        **table(
            "vehicle_held",
            *({"vin": vin(n), "held_from": on(n + 10), "customer": f"c{n}"} for n in range(cars)),
        ),
    }


def words(problems: object) -> str:
    return " | ".join(f"{p.what} {p.count}" for p in problems)  # type: ignore[attr-defined]


# ---------------------------------------------------------------- evidence


def hoses(cars: int = 6) -> dict[str, pl.DataFrame]:
    """Cars with a brake code and, two days later, a visit of which the dealer says what it was, in two languages."""
    said = ["brake pedal soft, fluid under the car", "pédale de frein molle, fuite de liquide"]
    return {
        **fleet(),
        **table("trouble_code", *({"vin": vin(n), "code": "C1246", "set_at": on(40 + n)} for n in range(cars))),
        **table(
            "visit",
            *(
                {
                    "dealer": "d1", "visit_id": f"v{n}", "vin": vin(n), "visited_at": on(42 + n), "component": "Brake Hose", "odometer_km": 900.0 + n,
                    "language": ["en", "fr"][n % 2], "text": said[n % 2], "known_at": on(43 + n),
                }
                for n in range(cars)
            ),
            *(
                {"dealer": "d1", "visit_id": f"s{n}", "vin": vin(n), "visited_at": on(90 + n), "language": "en", "text": "first inspection, no complaint"}
                for n in range(10, 16)
            ),
        ),
    }  # fmt: skip


def test_a_code_and_its_visit_are_one_failure_named_after_the_component():
    found = evidence(hoses(), SUMMER)
    assert found.events.select("vin", "symptom", "source", "reports", "dealer").rows() == [
        (vin(n), "brake_hose", "trouble_code", 2, "d1") for n in range(6)
    ]
    assert found.events["happened_at"].to_list() == [on(40 + n) for n in range(6)]


def test_nothing_counts_before_it_is_known():
    early = hoses()
    early["trouble_code"] = early["trouble_code"].with_columns(known_at=pl.col("set_at") + 30 * DAY)
    found = evidence(early, on(45.5))
    # visits of the first cars are known, their codes not yet; a component alone is enough
    assert found.events.select("vin", "source").rows() == [
        (vin(0), "visit"),
        (vin(1), "visit"),
        (vin(2), "visit"),
    ]
    assert found.events["known_at"].max() <= on(45.5)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "language", "symptom"),
    [
        ("the brake pedal is soft", "en", "brake_hose"),
        ("FREIN mou, fuite!", "fr", "brake_hose"),
        ("Liquide de frien par terre", "fr", "brake_hose"),  # badly spelt
        ("inspection please", "en", None),  # nothing wrong
        ("ブレーキが甘い", "ja", None),  # no text of this language was ever sorted
    ],
)
def test_a_complaint_is_sorted_by_its_words(text, language, symptom):
    field = hoses()
    field |= table(
        "complaint",
        {
            "complaint_id": "k",
            "made_at": on(120),
            "failed_at": on(100),
            "vin": vin(9),
            "language": language,
            "text": text,
        },
    )
    found = evidence(field, SUMMER).events.filter(pl.col("source") == "complaint")
    assert found["symptom"].to_list() == ([symptom] if symptom else [])
    if symptom:
        assert found.select("happened_at", "known_at", "workshop").rows() == [(on(100), on(120), False)]


def test_what_cannot_be_sorted_is_counted_with_its_language():
    field = hoses() | table(
        "complaint",
        *({"complaint_id": f"k{n}", "made_at": on(120), "vin": vin(n), "language": "ja", "text": "止まらない"} for n in range(4)),
    )  # fmt: skip
    assert "language ja: 0 of 4 texts sorted 4" in words(evidence(field, SUMMER).problems)


def test_a_code_that_nobody_knows_stands_for_itself_and_is_counted():
    field = hoses()
    field["trouble_code"] = pl.concat(
        [
            field["trouble_code"],
            table("trouble_code", {"vin": vin(8), "code": "U3FFF", "set_at": on(50)})["trouble_code"],
        ]
    )
    found = evidence(field, SUMMER)
    assert found.events.filter(pl.col("vin") == vin(8))["symptom"].to_list() == ["U3FFF"]
    assert "code that no workshop has named a component for" in words(found.problems)


def test_clocks_that_disagree_are_counted_and_mended():
    field = fleet() | table(
        "trouble_code",
        {"vin": vin(5), "code": "C1246", "set_at": on(-30), "known_at": on(20)},  # before it was built
        {"vin": vin(6), "code": "C1246", "set_at": on(60), "known_at": on(50)},  # known before it happened
    )
    found = evidence(field, SUMMER)
    assert found.events.select("vin", "happened_at", "known_at").rows() == [
        (vin(5), on(5), on(20)),
        (vin(6), on(50), on(50)),
    ]
    assert "failed before it was built: taken as new 1" in words(found.problems)
    assert "known before it happened: the earlier time is taken 1" in words(found.problems)


def test_reports_of_vehicles_we_do_not_know_are_kept_apart():
    field = hoses() | table(
        "complaint",
        {"complaint_id": "k", "made_at": on(120), "vin": "1C4RJFAG0", "brand": "jeep", "model": "Compass", "component": "brake hose"},
    )  # fmt: skip
    found = evidence(field, SUMMER)
    assert found.loose.select("brand", "symptom").rows() == [("jeep", "brake_hose")]
    assert found.events.height == 6


def test_evidence_of_empty_tables_is_empty():
    found = evidence({}, SUMMER)
    assert (found.events.height, found.loose.height, found.problems) == (0, 0, ())


# ---------------------------------------------------------------- delay


def test_the_delay_is_right_although_the_late_ones_are_not_yet_there():
    rng = np.random.default_rng(5)
    happened = rng.uniform(0, 365, 20_000)
    late = rng.exponential(40, 20_000)
    events = pl.DataFrame(
        {"happened_at": [on(d) for d in happened], "known_at": [on(d) for d in happened + late]}
    )
    found = delay(events, on(365))
    truth = 1 - np.exp(-np.array([1, 11, 41, 121]) / 40)
    assert found.share[[0, 10, 40, 120]] == pytest.approx(truth, abs=0.03)
    seen = events.filter(pl.col("known_at") <= on(365))
    naive = ((seen["known_at"] - seen["happened_at"]).dt.total_days() <= 40).mean()
    assert naive > truth[2] + 0.03  # without the correction it would look quicker than it is


def test_without_reports_the_delay_is_the_published_one():
    nothing = pl.DataFrame(
        schema={"happened_at": pl.Datetime("us", "UTC"), "known_at": pl.Datetime("us", "UTC")}
    )
    assert delay(nothing, SUMMER).share == pytest.approx(prior())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 2000)), max_size=40))
def test_a_delay_is_a_distribution(pairs):
    events = pl.DataFrame(
        {"happened_at": [on(a) for a, _ in pairs], "known_at": [on(a + b) for a, b in pairs]},
        schema=dict.fromkeys(("happened_at", "known_at"), pl.Datetime("us", "UTC")),
    )
    found = delay(events, on(300))
    assert (np.diff(found.share) >= -1e-12).all()
    assert found.share[0] >= 0 and found.share[-1] == 1.0
    ages = np.array([0.0, 1.0, 50.0, 4000.0])
    assert (found.effective(ages) <= ages + 1e-9).all()


# ---------------------------------------------------------------- exposure


def test_a_car_is_at_risk_from_its_handover():
    lived = exposure(fleet(), on(100))
    assert lived["start_by"].unique().to_list() == ["held"]
    assert lived["days"].to_list() == pytest.approx([90.0 - n for n in range(20)])


def test_a_car_that_nobody_holds_where_holders_are_known_is_not_sold_yet():
    field = fleet(200)
    field["vehicle_held"] = field["vehicle_held"].filter(pl.col("vin") != vin(150))
    lived = exposure(field, on(160)).filter(pl.col("vin") == vin(150))
    assert lived.select("start", "sold_at", "days").rows() == [(None, None, 0.0)]


def test_where_no_holder_is_known_the_typical_handover_counts_or_the_first_visit():
    field = built(
        {"vin": vin(1), "built_at": on(0)},
        {"vin": vin(2), "built_at": on(0)},
        {"vin": vin(3), "built_at": on(95)},
    )
    field |= table("visit", {"dealer": "d", "visit_id": "1", "vin": vin(2), "visited_at": on(12)})
    lived = exposure(field, on(100)).sort("vin")
    assert lived.select("start_by", "days").rows() == [("typical", 70.0), ("seen", 88.0), (None, 0.0)]


def test_the_odometer_goes_on_at_the_cars_own_pace():
    field = fleet()
    field |= table(
        "visit",
        {"dealer": "d", "visit_id": "1", "vin": vin(0), "visited_at": on(60), "odometer_km": 5000.0},
        {"dealer": "d", "visit_id": "2", "vin": vin(1), "visited_at": on(61), "odometer_km": 1000.0},
        {"dealer": "d", "visit_id": "3", "vin": vin(1), "visited_at": on(62), "odometer_km": 100.0},
    )
    problems: list[object] = []
    lived = exposure(field, on(110), problems).sort("vin")  # type: ignore[arg-type]
    assert lived["odometer_km"][0] == pytest.approx(10_000.0)
    assert lived["odometer_km"][3] == pytest.approx(97 * (100 + 1000 / 51) / 2, rel=0.02)
    assert lived["km_by"].to_list()[:4] == ["read", "read", "typical", "typical"]
    assert "odometer ran backwards" in words(problems)


# ---------------------------------------------------------------- cars


def test_a_car_is_one_row_with_all_that_was_built_into_it():
    field = built(
        {"vin": vin(1), "built_at": on(1), "options": "SUN TOW", "plant": "melfi"},
        {"vin": vin(2), "built_at": on(2), "options": "TOW", "plant": "tychy", "market": "SE"},
    )
    field |= table(
        "part_installed",
        {"installed_in": vin(1), "part_number": "317", "position": "brake_hose_front", "installed_at": on(0.9), "lot": "L1", "supplier": "S1", "tool": "T1", "serial": "A1"},
        {"installed_in": "A1", "part_number": "9", "position": "valve", "installed_at": on(-20), "lot": "V7"},
        {"installed_in": vin(2), "part_number": "317", "position": "brake_hose_front", "installed_at": on(1.9), "lot": "L2", "supplier": "S2"},
    )  # fmt: skip
    field |= table(
        "tightening",
        {
            "tightening_id": "1",
            "vin": vin(1),
            "bolt": "hose",
            "tightened_at": on(0.8),
            "torque_nm": 20.0,
            "tool": "W1",
        },
        {
            "tightening_id": "2",
            "vin": vin(1),
            "bolt": "hose",
            "tightened_at": on(0.9),
            "torque_nm": 32.0,
            "tool": "W2",
        },
    )
    field |= table(
        "inspection",
        {"inspection_id": "1", "subject": vin(2), "measure": "gap_mm", "value": 4.5, "inspected_at": on(1.8)},
    )
    field |= table(
        "software_installed",
        *({"vin": vin(n), "ecu": "ABS", "installed_at": on(n), "software": "X", "software_version": "7.0.2", "hardware": "B"} for n in (1, 2)),
        {"vin": vin(1), "ecu": "ABS", "installed_at": on(50), "software": "X", "software_version": "7.0.5", "hardware": "B", "rxswin": "R13H 7"},
    )  # fmt: skip
    frame = cars(field, on(100)).frame
    assert frame.select(
        *("vin", "plant", "climate", "option.SUN", "option.TOW", "part.brake_hose_front.lot", "part.brake_hose_front/valve.lot"),
        *("torque.hose", "tool.hose", "gauge.gap_mm", "software.ABS", "hardware.ABS", "rxswin"),
    ).rows() == [
        (vin(1), "melfi", "warm", True, True, "L1", "V7", 32.0, "W2", None, "7.0.5", "B", "R13H 7"),
        (vin(2), "tychy", "cold", False, True, "L2", None, None, None, 4.5, "7.0.2", "B", None),
    ]  # fmt: skip
    # the first car failed before it had the update
    moments = pl.DataFrame({"vin": [vin(1)], "at": [on(40)]})
    assert cars(field, on(100), moments=moments).frame["software.ABS"].to_list() == ["7.0.2", "7.0.2"]
    assert cars(field, on(100), vins=pl.Series([vin(2)])).frame["vin"].to_list() == [vin(2)]
    assert "part.brake_hose_front.lot" not in cars(field, on(100), positions=["x"]).frame.columns


def part(car: str, position: str, **more: object) -> dict[str, object]:
    return {"installed_in": car, "part_number": position, "position": position, "installed_at": on(1), **more}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([part(vin(1), "hose", lot="L")], "vehicle without genealogy: its parts are unknown 1"),
        ([part(vin(n), "ecu", serial="S") for n in (1, 2)], "one serial on several vehicles 1"),
        (
            [*(part(vin(n), "ecu", serial="S") for n in (1, 2)), part("S", "chip")],
            "part of no vehicle we know, or of a serial that several carry: left out 1",
        ),
        ([part(vin(n), "hose", lot="L") for n in (1, 2)], "lot fitted at several plants: kept as one 1"),
        (
            [part(vin(n), "hose", lot="L", supplier=f"S{n}") for n in (1, 2)],
            "lot named by several suppliers: kept as one 1",
        ),
        (
            [part(vin(n), "hose", lot="L") | {"installed_at": on(300)} for n in (1, 2)],
            "put in after the moment looked at: clocks disagree, taken as there 2",
        ),
    ],
)
def test_bad_genealogy_is_counted_and_not_fatal(parts, said):
    field = built(
        {"vin": vin(1), "built_at": on(1), "plant": "melfi"},
        {"vin": vin(2), "built_at": on(2), "plant": "tychy"},
    )
    found = cars(field | table("part_installed", *parts), on(100))
    assert said in words(found.problems)
    assert found.frame["vin"].to_list() == [vin(1), vin(2)]


# ---------------------------------------------------------------- observed


def test_failures_expected_add_up_to_failures_and_young_cars_expect_fewer():
    made = cohort(hoses(), SUMMER, "brake_hose")
    frame = made.frame.sort("built_at")
    assert frame["failed"].to_list() == [1] * 6 + [0] * 14
    assert frame["expected"].sum() == pytest.approx(6)
    assert frame["expected_km"].sum() == pytest.approx(6, rel=0.2)
    calm = frame.filter(pl.col("failed") == 0)["expected"].to_list()
    assert calm == sorted(calm, reverse=True)
    assert frame["days"][0] == pytest.approx(30.0)  # handed over on day 10, failed on day 40
    assert frame["days"][19] == pytest.approx((SUMMER - on(29)).days)
    assert "failed" not in made.attributes and "vin" not in made.attributes and "plant" in made.attributes


def test_other_symptoms_count_who_reports_more_but_not_those_of_the_same_visit():
    field = hoses()
    more = table(
        "trouble_code",
        {"vin": vin(0), "code": "U0100", "set_at": on(41)},  # read with the failure
        {"vin": vin(0), "code": "P0562", "set_at": on(90)},
        {"vin": vin(9), "code": "P0562", "set_at": on(90)},
    )
    field["trouble_code"] = pl.concat([field["trouble_code"], more["trouble_code"]])
    frame = cohort(field, SUMMER, "brake_hose").frame.sort("built_at")
    assert frame["others"].to_list()[:10] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]


def test_a_symptom_that_nobody_reports_is_an_error_that_names_the_others():
    with pytest.raises(SetupError, match="did you mean brake_hose"):
        cohort(hoses(), SUMMER, "brake_hoses")


def test_days_at_risk_count_by_what_is_already_reported():
    field = fleet(2)
    nothing = evidence(field, on(40)).events
    frame = observed(cars(field, on(40)).frame, nothing, "x", exposure(field, on(40)), on(40))
    assert frame["days_at_risk"][0] < 30.0 * 0.55  # half of the reports take twenty days or more


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 15), st.integers(0, 3))
def test_a_sample_stands_for_the_whole(others, seed):
    field = hoses()
    found, lived = evidence(field, SUMMER), exposure(field, SUMMER)
    chosen = sampled(found.events, lived, "brake_hose", others=others, seed=seed)
    assert chosen["weight"].sum() == pytest.approx(20)
    frame = cars(field, SUMMER, vins=chosen["vin"]).frame.join(chosen, on="vin", maintain_order="left")
    table = observed(frame, found.events, "brake_hose", lived, SUMMER)
    assert table["failed"].sum() == 6
    assert (table["expected"] * table["weight"]).sum() == pytest.approx(6)
