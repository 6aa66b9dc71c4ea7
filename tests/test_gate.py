"""A use case gets the tables it READS, cut to what it may see now, and every request is remembered."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from small import facts

from unibody.errors import RefusedError
from unibody.gate import Cut, opened
from unibody.lake import Lake
from unibody.ledger import Ledger
from unibody.solution import Kind, Split, UseCase
from unibody.tables import Delivery, MachineReading, Outcome, Tightening

READS = (MachineReading, Outcome, Delivery)
CASE = UseCase(
    "wear",
    "plants",
    "s",
    "?",
    "me",
    Kind.EVENT,
    truth="worn",
    split=Split("by", "machine"),
    subject="machine",
)


def day(n: float) -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=n)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    lake, now = Lake(folder / "lake"), datetime(2026, 6, 1, tzinfo=UTC)
    names = ("FD1 a", "FD1 b", "FD2 a", "F.1 a")
    rows = {
        MachineReading: [
            {"machine": m, "signal": "t", "read_at": day(d), "value": 1.0} for m in names for d in range(4)
        ],
        Outcome: [
            {"truth": t, "subject": m, "happened_at": day(2), "value": 1.0}
            for m in names
            for t in ("worn", "stolen")
        ],
        Delivery: [{"delivery_id": "D", "part_number": "P", "due_at": day(30), "known_at": day(1)}],
        Tightening: [{"tightening_id": "B", "tightened_at": day(1)}],
    }
    for table, made in rows.items():
        lake.append(table, facts(table, made), "s", "r", now, len(made))
    return lake, Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")


def seen(stores, purpose="learn", case=CASE, cut=None, as_of=None, table=MachineReading):
    rows = opened(*stores, case, READS, purpose, cut=cut, as_of=as_of)[table].polars()
    column = "subject" if table is Outcome else "machine"
    return dict(rows.group_by(column).len().sort(column).rows())


def test_only_the_tables_of_reads_are_given(stores):
    with pytest.raises(
        RefusedError, match=r"tightening is refused: its solution READS machine_reading, outcome"
    ):
        opened(*stores, CASE, READS, "learn")[Tightening]


@pytest.mark.parametrize("purpose", ["learn", "judge"])
def test_truth_is_open_to_learn_and_judge_and_only_the_truth_that_was_asked_for(stores, purpose):
    rows = opened(*stores, CASE, READS, purpose)[Outcome].polars()
    assert set(rows["truth"]) == {"worn"} and rows.height == 4


def test_truth_is_refused_to_decide(stores):
    with pytest.raises(RefusedError, match="truth"):
        opened(*stores, CASE, READS, "decide")[Outcome]


def test_learn_sees_the_truth_of_the_training_part_only(stores):
    cut = Cut(pl.DataFrame({"subject": ["FD1 a", "FD2 a"]}))
    assert seen(stores, cut=cut, table=Outcome) == {"FD1 a": 1, "FD2 a": 1}
    assert seen(stores, cut=cut) == {"FD1 a": 4, "FD2 a": 4}


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("FD1 a", {"FD1 a"}),
        ("FD1 *", {"FD1 a", "FD1 b"}),
        ("* a", {"FD1 a", "FD2 a", "F.1 a"}),
        ("F.1*", {"F.1 a"}),
        ("F*1 *", {"FD1 a", "FD1 b", "F.1 a"}),
        (["FD2 a", "FD1 *"], {"FD1 a", "FD1 b", "FD2 a"}),
        ("fd1 a", set()),
        ("(FD1)+ a", set()),
        ("", set()),
        ("*", {"FD1 a", "FD1 b", "FD2 a", "F.1 a"}),
    ],
)
def test_where_takes_only_what_it_names_and_of_truth_too(stores, where, names):
    case = replace(CASE, where={"machine": where})
    assert set(seen(stores, case=case)) == set(seen(stores, case=case, table=Outcome)) == names


def test_a_cut_by_subject_until_an_instant(stores):
    cut = Cut(
        pl.DataFrame(
            {"subject": ["FD1 a", "FD1 b"], "until": [day(1), None]},
            schema_overrides={"until": pl.Datetime("us", "UTC")},
        )
    )
    assert seen(stores, cut=cut) == {"FD1 a": 2, "FD1 b": 4}


def test_a_cut_before_an_instant(stores):
    assert set(seen(stores, cut=Cut(before=day(2))).values()) == {2}
    assert seen(stores, cut=Cut(before=day(2)), table=Outcome) == {}


def test_a_subject_named_twice_in_a_cut_is_seen_once(stores):
    assert seen(stores, cut=Cut(pl.DataFrame({"subject": ["FD1 a", "FD1 a"]}))) == {"FD1 a": 4}


@pytest.mark.parametrize(("before", "rows"), [(0.5, 0), (2, 1)])
def test_what_is_foreseen_is_cut_by_when_it_was_known(stores, before, rows):
    assert (
        opened(*stores, CASE, READS, "learn", cut=Cut(before=day(before)))[Delivery].polars().height == rows
    )


def test_as_of_is_what_was_known_then(stores):
    assert set(seen(stores, as_of=day(2)).values()) == {2}


def test_every_request_is_remembered_with_its_answer(stores):
    ledger = stores[1]
    before = len(ledger.reads(1000))
    opened(*stores, CASE, READS, "learn")[MachineReading]
    with pytest.raises(RefusedError):
        opened(*stores, CASE, READS, "decide")[Outcome]
    refused, granted = ledger.reads(2)
    assert len(ledger.reads(1000)) == before + 2
    assert (granted["by"], granted["purpose"], granted["table_name"], granted["granted"]) == (
        "wear",
        "learn",
        "machine_reading",
        True,
    )
    assert (refused["purpose"], refused["table_name"], refused["granted"]) == ("decide", "outcome", False)
    assert "truth" in refused["why"]
