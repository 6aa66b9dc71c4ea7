"""Facts are appended once, versioned, read as of a time, packed without anybody seeing it, and survive what happens to disks."""

from __future__ import annotations

import os
import resource
import shutil
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import get_ident
from types import MappingProxyType

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from small import facts, process

from unibody import engine
from unibody.errors import RefusedError, StoreError
from unibody.lake import PACK, Lake, named
from unibody.tables import Delivery, MachineReading, Outcome, Tightening
from unibody.tables.table import Table, column

some = hypothesis(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def day(n: float) -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=n)


def append(
    lake: Lake, table: type[Table], rows: list[dict], source: str = "s", up_to: int | None = None
) -> bool:
    frame = facts(table, rows)
    return lake.append(table, frame, source, "run", NOW, frame.height - 1 if up_to is None else up_to)


def bolt(i: int, at: float, torque: float | None = 20.0, **more) -> dict:
    return {"tightening_id": f"B{i}", "tightened_at": day(at), "torque_nm": torque, **more}


def torques(lake: Lake, as_of: float | None = None) -> dict[str, float]:
    rows = lake.rows(Tightening, None if as_of is None else day(as_of)).to_polars()
    return dict(rows.select("tightening_id", "torque_nm").sort("tightening_id").rows())


# ---- versions: what was appended, and what is seen then

HISTORY = [
    bolt(1, 1, 20.0),
    bolt(2, 2, 30.0),
    bolt(1, 1, 21.0, known_at=day(5)),  # the tool was found to read 1 low
    bolt(2, 2, None, known_at=day(6), deleted=True),  # it was another car
    bolt(3, 3, 40.0, known_at=day(8)),  # sent in late
    bolt(2, 2, 31.0, known_at=day(9)),  # it was not, after all
]


@pytest.mark.parametrize(
    ("as_of", "seen"),
    [
        (1, {}),
        (1.5, {"B1": 20.0}),
        (2, {"B1": 20.0}),
        (4, {"B1": 20.0, "B2": 30.0}),
        (5, {"B1": 21.0, "B2": 30.0}),
        (7, {"B1": 21.0}),
        (8, {"B1": 21.0, "B3": 40.0}),
        (9, {"B1": 21.0, "B2": 31.0, "B3": 40.0}),
        (None, {"B1": 21.0, "B2": 31.0, "B3": 40.0}),
    ],
)
def test_as_of_shows_the_last_version_known_then_of_what_happened_before(tmp_path, as_of, seen):
    lake = Lake(tmp_path)
    append(lake, Tightening, HISTORY)
    assert torques(lake, as_of) == seen


def test_a_correction_that_moves_a_fact_into_the_future_hides_it_until_then(tmp_path):
    lake = Lake(tmp_path)
    append(lake, Tightening, [bolt(1, 2, 20.0), bolt(1, 6, 20.0, known_at=day(3))])
    assert torques(lake, 2.5) == {"B1": 20.0}
    assert torques(lake, 4) == {}  # by then it was known to come on day 6
    assert torques(lake, 7) == {"B1": 20.0}


def test_what_foresees_is_seen_when_it_was_known(tmp_path):
    lake = Lake(tmp_path)
    said = {"delivery_id": "D1", "part_number": "P"}
    append(lake, Delivery, [
        {**said, "due_at": day(20), "quantity": 5.0, "known_at": day(1)},
        {**said, "due_at": day(25), "quantity": 5.0, "known_at": day(10)},
    ])  # fmt: skip
    due = {n: lake.rows(Delivery, day(n)).to_polars()["due_at"].to_list() for n in (0, 1, 12)}
    assert due == {0: [], 1: [day(20)], 12: [day(25)]}


def test_one_fact_from_two_sources_is_one_fact_with_two_origins(tmp_path):
    lake = Lake(tmp_path)
    append(lake, Tightening, [bolt(1, 1, 20.0)], "tool")
    append(lake, Tightening, [bolt(1, 1, 20.0)], "plant")
    assert torques(lake) == {"B1": 20.0}
    assert sorted(lake.stored(Tightening).to_polars()["source"]) == ["plant", "tool"]


def test_of_two_versions_known_at_one_instant_the_later_record_counts(tmp_path):
    lake = Lake(tmp_path)
    append(lake, Tightening, [bolt(1, 1, float(v)) for v in range(10)])
    assert torques(lake) == {"B1": 9.0}


# ---- once


@pytest.mark.parametrize("records", [1, 2, 7])
def test_the_same_records_are_appended_once(tmp_path, records):
    rows = [bolt(i, 1) for i in range(records)]
    assert append(Lake(tmp_path), Tightening, rows)
    assert not append(Lake(tmp_path), Tightening, rows)
    lake = Lake(tmp_path)
    assert lake.count(Tightening) == records
    assert lake.committed(Tightening, "s") == records - 1
    assert lake.committed(Tightening, "t") == lake.committed(MachineReading, "s") == -1


def race(folder: Path, go: Path) -> None:
    lake = Lake(folder)
    lake.version(Tightening)
    while not go.exists():
        pass
    for n in range(5):
        try:
            append(
                lake,
                Tightening,
                [bolt(10 * n + i, 1, record=10 * n + i) for i in range(10)],
                up_to=10 * n + 9,
            )
        except StoreError as e:
            assert "another process" in str(e)


@pytest.mark.parametrize("there", [False, True], ids=["new table", "old table"])
def test_two_processes_that_append_the_same_source_at_once_land_it_once(tmp_path, there):
    if there:
        append(Lake(tmp_path / "lake"), Tightening, [bolt(99, 1)], "other")
    both = [process(race, tmp_path / "lake", tmp_path / "go") for _ in range(2)]
    (tmp_path / "go").touch()
    for each in both:
        each.join()
    assert [p.exitcode for p in both] == [0, 0]
    lake = Lake(tmp_path / "lake")
    mine = lake.stored(Tightening)
    records = mine.filter(mine["source"] == "s").to_polars()["record"].sort().to_list()
    assert records == list(range(50))


# ---- series are packed, and nobody sees it

moments = st.integers(0, 12)
readings = st.lists(
    st.tuples(
        st.sampled_from(["M1", "M2", "Ü"]), st.sampled_from(["temp", "load"]), moments, st.integers(0, 20),
        st.one_of(st.none(), st.floats(-1e3, 1e3)), st.one_of(st.none(), st.sampled_from(["", "on", "é"])),
        st.one_of(st.none(), st.integers(-(2**53), 2**53)), st.booleans(),
    ),
    max_size=40,
)  # fmt: skip


class Unpacked(MachineReading):
    """The same table as `MachineReading`, stored one row a value."""

    packs = ()
    key, at = MachineReading.key, MachineReading.at
    machine: str = column("machine", required=True)
    signal: str = column("signal", required=True)
    read_at: datetime = column("when", required=True)
    usage: float = column("usage")
    value: float = column("value")
    text: str = column("text")
    integer: int = column("integer")


@some
@given(
    rows=readings,
    cuts=st.lists(st.integers(0, 40), max_size=4),
    as_of=st.one_of(st.none(), st.integers(0, 20)),
)
def test_packed_series_are_the_same_as_unpacked_ones(tmp_path_factory, rows, cuts, as_of):
    lake = Lake(tmp_path_factory.mktemp("lake"))
    made = [
        {"machine": m, "signal": s, "read_at": day(at), "usage": float(at), "value": v, "text": t, "integer": i, "deleted": d,
         **({} if known == 0 else {"known_at": day(known)}), "record": n}
        for n, (m, s, at, known, v, t, i, d) in enumerate(rows)
    ]  # fmt: skip
    edges = [0, *sorted(c for c in cuts if c < len(made)), len(made)]
    for a, b in pairwise(edges):
        for table in (MachineReading, Unpacked):
            if b > a:
                append(lake, table, made[a:b], up_to=b - 1)
    then = None if as_of is None else day(as_of)
    columns = [*MachineReading.columns, "known_at", "known_assumed", "deleted", "record"]

    def sorted_rows(expr):
        return sorted(engine.frame(expr.select(columns)).rows(), key=repr)

    assert sorted_rows(lake.stored(MachineReading)) == sorted_rows(lake.stored(Unpacked))
    assert sorted_rows(lake.rows(MachineReading, then)) == sorted_rows(lake.rows(Unpacked, then))
    assert lake.count(MachineReading) == lake.count(Unpacked) == len(rows)


def test_a_long_series_is_packed_in_runs_and_a_correction_inside_one_counts(tmp_path):
    lake, many = Lake(tmp_path), 2 * PACK + 10
    rows = [{"machine": "M", "signal": "t", "read_at": day(i / 1440), "value": float(i)} for i in range(many)]
    append(lake, MachineReading, rows)
    stored = engine.parquet(lake._handle(MachineReading).file_uris(), None)
    assert engine.frame(stored)["value"].list.len().to_list() == [PACK, PACK, 10]
    append(lake, MachineReading, [{**rows[PACK + 5], "value": -1.0, "known_at": day(100)}], "mended")
    found = lake.rows(MachineReading).to_polars().sort("read_at")
    assert found.height == many and found["value"][PACK + 5] == -1.0
    assert lake.rows(MachineReading, day(99)).to_polars().filter(pl.col("value") < 0).is_empty()


# ---- tables change, old snapshots stay readable


def versions(name: str) -> list[type[Table]]:
    """The same table by two generations of our code; the later renames a column and has one more."""

    class Old(Table):
        """A weld."""

        key, at = ("weld",), "at_time"
        weld: str = column("weld", required=True)
        at_time: datetime = column("when", required=True)
        amps: float = column("current")

    class New(Table):
        """A weld."""

        key, at = ("weld",), "at_time"
        renamed = MappingProxyType({"current_a": "amps"})
        weld: str = column("weld", required=True)
        at_time: datetime = column("when", required=True)
        current_a: float = column("current")
        tool: str = column("tool")

    for t in (Old, New):
        t.__name__ = name
    return [Old, New]


def test_a_renamed_and_a_new_column_read_from_old_snapshots_and_new_ones(tmp_path):
    old, new = versions("Weld")
    append(Lake(tmp_path), old, [{"weld": "W1", "at_time": day(1), "amps": 8.0}])
    lake = Lake(tmp_path)
    assert lake.rows(new).select("weld", "current_a", "tool").to_polars().rows() == [("W1", 8.0, None)]
    append(lake, new, [{"weld": "W2", "at_time": day(2), "current_a": 9.0, "tool": "T"}], "b")
    for again in (lake, Lake(tmp_path)):
        found = again.rows(new).select("weld", "current_a", "tool").to_polars().sort("weld").rows()
        assert found == [("W1", 8.0, None), ("W2", 9.0, "T")]
    lake.compact(new)
    assert Lake(tmp_path).rows(new).to_polars().height == 2


def test_a_packed_table_with_a_new_column_reads_old_runs(tmp_path):
    class Reading(Table):
        """A reading."""

        key, at, packs = ("machine", "read_at"), "read_at", ("machine",)
        machine: str = column("machine", required=True)
        read_at: datetime = column("when", required=True)
        value: float = column("value")

    class Later(Table):
        """A reading."""

        key, at, packs = ("machine", "read_at"), "read_at", ("machine",)
        renamed = MappingProxyType({"number": "value"})
        machine: str = column("machine", required=True)
        read_at: datetime = column("when", required=True)
        number: float = column("value")
        quality: str = column("quality")

    Later.__name__ = "Reading"
    append(
        Lake(tmp_path), Reading, [{"machine": "M", "read_at": day(i), "value": float(i)} for i in range(3)]
    )
    lake = Lake(tmp_path)
    append(lake, Later, [{"machine": "M", "read_at": day(9), "number": 9.0, "quality": "good"}], "b")
    found = lake.rows(Later).select("number", "quality").to_polars().sort("number").rows()
    assert found == [(0.0, None), (1.0, None), (2.0, None), (9.0, "good")]


# ---- disks


def full(folder: Path) -> None:
    """Append under a limit on the size of files: the disk is full."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as a full disk: an error of the write, not a signal
    lake = Lake(folder)
    append(lake, Tightening, [bolt(1, 1)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
    rows = [bolt(i, 1, i * 0.17) for i in range(2, 3000)]
    try:
        append(lake, Tightening, rows, "big")
    except StoreError as e:
        assert "could not be written" in str(e), e
        os._exit(7)
    os._exit(1)


def test_a_full_disk_is_said_and_loses_nothing(tmp_path):
    running = process(full, tmp_path)
    running.join()
    assert running.exitcode == 7
    lake = Lake(tmp_path)
    assert torques(lake) == {"B1": 20.0}
    assert append(lake, Tightening, [bolt(2, 1)], "big")
    assert set(torques(lake)) == {"B1", "B2"}


def broken_log(path: Path) -> None:
    for log in path.glob("_delta_log/*.json"):
        log.write_text("{ not json")


def broken_parquet(path: Path) -> None:
    for file in path.rglob("*.parquet"):
        file.write_bytes(b"PAR1 nothing of the kind")


def gone_parquet(path: Path) -> None:
    for file in path.rglob("*.parquet"):
        file.unlink()


def a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("I am no folder")


@pytest.mark.parametrize("damage", [broken_log, broken_parquet, gone_parquet, a_file])
def test_a_damaged_table_is_a_store_error_that_names_it(tmp_path, damage):
    append(Lake(tmp_path), Tightening, [bolt(1, 1)])
    damage(tmp_path / "tightening")
    with pytest.raises(StoreError, match="lake"):
        engine.frame(Lake(tmp_path).rows(Tightening))


def test_a_table_damaged_while_open_is_a_store_error_too(tmp_path):
    lake = Lake(tmp_path)
    append(lake, Tightening, [bolt(1, 1)])
    shutil.rmtree(tmp_path / "tightening")
    (tmp_path / "tightening").write_text("I am no folder")
    with pytest.raises(StoreError, match="tightening"):
        append(lake, Tightening, [bolt(2, 1)], "t")


def test_a_home_where_nothing_may_be_written_is_a_store_error(tmp_path):
    (tmp_path / "lake").write_text("I am no folder")
    with pytest.raises(StoreError, match="lake"):
        append(Lake(tmp_path / "lake"), Tightening, [bolt(1, 1)])


def test_compacting_keeps_contents_and_what_was_appended(tmp_path):
    lake = Lake(tmp_path)
    for i in range(12):
        append(lake, Tightening, [bolt(i, 1, float(i), record=i)], up_to=i)
        append(
            lake,
            MachineReading,
            [{"machine": "M", "signal": "t", "read_at": day(i), "value": float(i), "record": i}],
            up_to=i,
        )
    before = {t: sorted(lake.stored(t).to_polars().rows()) for t in (Tightening, MachineReading)}
    for table, rows in before.items():
        assert lake.compact(table)["numFilesRemoved"] == 12
        again = Lake(tmp_path)
        assert sorted(again.stored(table).to_polars().rows()) == rows
        assert again.committed(table, "s") == 11
        assert again.status()[table.title()]["files"] == 1
    assert lake.compact(Outcome) == {}


def test_what_was_appended_is_remembered_past_the_logs_checkpoints(tmp_path):
    lake = Lake(tmp_path)
    for i in range(105):
        append(lake, Tightening, [bolt(i, 1, record=i)], f"s{i}", up_to=0)
    again = Lake(tmp_path)
    assert [again.committed(Tightening, f"s{i}") for i in (0, 50, 104)] == [0, 0, 0]
    assert not append(again, Tightening, [bolt(0, 1)], "s0", up_to=0)


# ---- the engine


def test_more_rows_than_fit_are_refused_with_what_to_do(tmp_path):
    lake = Lake(tmp_path)
    append(lake, Tightening, [bolt(i, 1) for i in range(5)])
    assert engine.collect(lake.rows(Tightening), 5, "here").height == 5
    with pytest.raises(RefusedError, match="collect_rows_max"):
        engine.collect(lake.rows(Tightening), 4, "here")


def test_reading_again_and_again_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_KEPT", 3)
    lake = Lake(tmp_path)
    for i in range(8):
        append(lake, Tightening, [bolt(i, 1)], f"s{i}")
        assert engine.frame(lake.rows(Tightening)).height == i + 1
    assert len(engine._views(os.getpid(), get_ident())) <= 3


names, instants = st.sampled_from(["a", "b", "ü"]), st.integers(0, 12)


@pytest.mark.parametrize("portable", [False, True])
@some
@given(
    read=st.dictionaries(st.tuples(names, instants), st.floats(-9, 9), max_size=20),
    asked=st.lists(st.tuples(names, instants), min_size=1, max_size=15),
)
def test_a_question_gets_the_last_reading_before_it(portable, read, asked):
    import ibis

    instant = pl.Datetime("us", "UTC")
    readings = pl.DataFrame(
        [(n, day(t), v) for (n, t), v in read.items()],
        schema={"name": pl.String, "read_at": instant, "value": pl.Float64},
        orient="row",
    )
    questions = pl.DataFrame(
        [(n, day(t)) for n, t in asked], schema={"name": pl.String, "at": instant}, orient="row"
    )
    joined = engine.as_of_join(
        ibis.memtable(questions.to_arrow()), ibis.memtable(readings.to_arrow()), ("name",), "at", "read_at", ("value",), portable=portable
    )  # fmt: skip
    before = {
        (n, t): max(((u, v) for (m, u), v in read.items() if m == n and u <= t), default=(0, None))[1]
        for n, t in asked
    }
    assert sorted(engine.frame(joined).rows(), key=repr) == sorted(
        ((n, day(t), v) for (n, t), v in before.items()), key=repr
    )


def test_a_table_is_named_and_a_wrong_name_is_told_the_nearest():
    assert named("tightening") is Tightening
    with pytest.raises(Exception, match="did you mean tightening"):
        named("tightning")
