"""Raw records become rows, are set aside by rule, or are faults that say where, what and what would have been right."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unibody.dialects import dialect, mapping
from unibody.errors import SetupError
from unibody.tables import Demand, MachineReading, NetworkFrame, SignalReading, Tightening

NOW = datetime(2024, 6, 1, tzinfo=UTC)
VIN = "ZFA3340000P000001"


@pytest.fixture
def kind(tmp_path: Path) -> Callable[[str], dialect.FileKind]:
    def made(rows: str) -> dialect.FileKind:
        text = f'system = "test"\nabout = "test"\n[[files]]\nmatch = "x"\nreader = "delimited"\n{rows}'
        (tmp_path / "d.toml").write_text(text, encoding="utf-8")
        return dialect.load(tmp_path / "d.toml").files[0]

    return made


def mapped(
    kind: dialect.FileKind, data: dict[str, Any], record: list[int] | None = None, **names: str
) -> mapping.Mapped:
    frame = pl.DataFrame(data)
    numbers = record or list(range(frame.height))
    return mapping.map_records(
        frame.with_columns(record=pl.Series(numbers, dtype=pl.Int64)), kind, names, NOW, "test"
    )


TIGHTENING = """
[[files.rows]]
table = "tightening"
columns.tightening_id = "id"
columns.tightened_at = {at}
columns.torque_nm = {torque}
columns.ok = {ok}
"""


def tightening(at: str = '"at"', torque: str = '"nm"', ok: str = "{ constant = true }") -> str:
    return TIGHTENING.format(at=at, torque=torque, ok=ok)


@pytest.mark.parametrize(
    ("torque", "raw", "value", "fault"),
    [
        ('"nm"', "12.5", 12.5, None),
        ('"nm"', " 12.5 ", 12.5, None),
        ('"nm"', "", None, None),
        ('"nm"', "NaN", None, None),
        ('{ from = "nm", decimal = "," }', "12,5", 12.5, None),
        (
            '{ from = "nm", decimal = "," }',
            "1.212,5",
            None,
            "torque_nm: '1.212,5' is not a number with ',' as decimal mark",
        ),
        ('"nm"', "12,5", None, "torque_nm: '12,5' is not a number with '.' as decimal mark"),
        ('{ from = "nm", unit = "kgf*m" }', "10", 98.0665, None),
        ('{ from = "nm", unit = "lbf*ft" }', "100", 135.58179483314, None),
        ('"nm"', "601", None, "torque_nm must be within 0 .. 600 N·m, is 601.0"),
        ('"nm"', "-0.1", None, "torque_nm must be within 0 .. 600 N·m, is -0.1"),
        ('"nm"', "inf", None, "torque_nm must be within 0 .. 600 N·m, is inf"),
        ('"nm"', "1e999", None, "torque_nm must be within 0 .. 600 N·m, is inf"),
        ('{ from = "nm", default = 7.5 }', "NA", 7.5, None),
        ('{ from = "nm", codes = { low = 5.0, high = 9.0 } }', "high", 9.0, None),
        ('{ from = "nm", codes = { low = 5.0 } }', " low ", 5.0, None),
        (
            '{ from = "nm", codes = { low = 5.0 } }',
            "mid",
            None,
            "torque_nm: 'mid' is not one of the codes low",
        ),
        ('"nm"', "{0}", None, "torque_nm: '{0}' is not a number with '.' as decimal mark"),
    ],
)
def test_numbers(kind: Any, torque: str, raw: str, value: float | None, fault: str | None) -> None:
    got = mapped(kind(tightening(torque=torque)), {"id": ["1"], "at": ["2024-01-01"], "nm": [raw]})
    assert got.faults.rows() == ([(0, f"{fault} (in nm)")] if fault else [])
    assert got.rows[Tightening]["torque_nm"].to_list() == (
        [] if fault else [pytest.approx(value) if value else value]
    )


@pytest.mark.parametrize(
    ("at", "raw", "wanted"),
    [
        ('"at"', "2024-03-31T08:00:00Z", "2024-03-31T08:00:00"),
        ('"at"', "2024-03-31 08:00:00.123456", "2024-03-31T08:00:00.123456"),
        ('"at"', "2024-03-31T08:00:00.5+02:00", "2024-03-31T06:00:00.500000"),
        ('"at"', "2024-03-31 08:00:00+0200", "2024-03-31T06:00:00"),
        ('"at"', "2024-03-31T14:23:00.123456+14:00", "2024-03-31T00:23:00.123456"),
        ('"at"', "2024-03-31T08:00", "2024-03-31T08:00:00"),
        ('"at"', "2024-03-31", "2024-03-31T00:00:00"),
        ('{ from = "at", zone = "Europe/Rome" }', "2024-01-31 08:00:00", "2024-01-31T07:00:00"),
        ('{ from = "at", zone = "Europe/Rome" }', "2024-05-31 08:00:00", "2024-05-31T06:00:00"),
        ('{ from = "at", zone = "Europe/Rome" }', "2024-05-31 08:00:00Z", "2024-05-31T08:00:00"),
        # the clock jumps from 02:00 to 03:00: there is no 02:30
        ('{ from = "at", zone = "Europe/Rome" }', "2024-03-31 02:30:00", None),
        # and shows 02:30 twice in autumn: refused, unless the dialect says which
        ('{ from = "at", zone = "Europe/Rome" }', "2023-10-29 02:30:00", None),
        (
            '{ from = "at", zone = "Europe/Rome", ambiguous = "earliest" }',
            "2023-10-29 02:30:00",
            "2023-10-29T00:30:00",
        ),
        (
            '{ from = "at", zone = "Europe/Rome", ambiguous = "latest" }',
            "2023-10-29 02:30:00",
            "2023-10-29T01:30:00",
        ),
        ('{ from = "at", format = "%d.%m.%Y %H:%M" }', "31.03.2024 08:15", "2024-03-31T08:15:00"),
        ('{ from = "at", format = ["%d.%m.%Y", "%Y%m%d"] }', "20240331", "2024-03-31T00:00:00"),
        ('{ from = "at", format = "%d.%m.%Y" }', "03/31/2024", None),
        ('{ from = "at", format = "epoch_s" }', "1711872000.123456", "2024-03-31T08:00:00.123456"),
        ('{ from = "at", format = "epoch_ms" }', "1711872000123", "2024-03-31T08:00:00.123000"),
        ('{ from = "at", format = "epoch_us" }', "1711872000123456", "2024-03-31T08:00:00.123456"),
        ('{ from = "at", format = "epoch_s" }', "1e300", None),
        ('{ from = "at", format = "epoch_s" }', "inf", None),
        ('{ from = "at", format = "excel" }', "45382.25", "2024-03-31T06:00:00"),
        ('{ from = "at", format = "excel" }', "1e300", None),
        ('{ from = "at", unit = "h", since = "2024-01-01T00:00:00Z" }', "1.5", "2024-01-01T01:30:00"),
        ('{ from = "at", unit = "day", since = "2024-01-01T00:00:00+02:00" }', "1", "2024-01-01T22:00:00"),
        ('{ from = "at", unit = "h", since = "2024-01-01T00:00:00Z" }', "1e300", None),
        ('{ from = "at", unit = "h", since = "2024-01-01T00:00:00Z" }', "inf", None),
        ('{ from = "at", unit = "h", since = "2024-01-01T00:00:00Z" }', "x", None),
    ],
)
def test_times(kind: Any, at: str, raw: str, wanted: str | None) -> None:
    got = mapped(kind(tightening(at=at)), {"id": ["1"], "at": [raw], "nm": ["1"]})
    if wanted is None:
        assert got.rows[Tightening].is_empty() and got.faults["record"].to_list() == [0]
        assert f"tightened_at: '{raw}' is not a time (" in got.faults["rule"][0]
    else:
        assert got.faults.is_empty()
        assert got.rows[Tightening]["tightened_at"].to_list() == [
            datetime.fromisoformat(wanted).replace(tzinfo=UTC)
        ]


@pytest.mark.parametrize(
    "raw", ["1970-01-01T00:00:07", "1980-01-06T00:00:00", "2024-06-03T00:00:01", "2106-02-07T06:28:15"]
)
def test_a_clock_that_is_wrong_is_a_fault(kind: Any, raw: str) -> None:
    got = mapped(kind(tightening()), {"id": ["1"], "at": [raw], "nm": ["1"]})
    assert "is the clock right?" in got.faults["rule"][0] and got.rows[Tightening].is_empty()


@given(st.datetimes(datetime(1991, 1, 1), datetime(2024, 5, 31)))
@settings(max_examples=50, deadline=None)
def test_epochs_keep_every_microsecond(at: datetime) -> None:
    at = at.replace(tzinfo=UTC)
    micro = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    kinds = {
        "epoch_s": f"{micro // 10**6}.{micro % 10**6:06}",
        "epoch_ms": f"{micro // 1000}.{micro % 1000:03}",
        "epoch_us": str(micro),
    }
    for form, raw in kinds.items():
        m = dialect.ColumnMap(source="at", format=form)
        found = mapping.values.instant(
            pl.col("at"), pl.String(), m, dialect.FileKind("f", (), "", {}, ()), "t"
        )
        assert pl.DataFrame({"at": [raw]}).select(found).item() == at


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("Yes", True),
        ("0", False),
        (" TRUE ", True),
        ("1.0", True),
        ("", None),
        ("ja", "ok: 'ja' is not true or false"),
    ],
)
def test_truth(kind: Any, raw: str, value: Any) -> None:
    got = mapped(kind(tightening(ok='"ok"')), {"id": ["1"], "at": ["2024-01-01"], "nm": ["1"], "ok": [raw]})
    assert (got.faults["rule"].to_list() or got.rows[Tightening]["ok"].to_list()) == [value]


READING = """
[[files.rows]]
table = "machine_reading"
columns.machine = "m"
columns.read_at = "at"
{more}
"""


def test_signals_of_every_type_and_unit(kind: Any) -> None:
    more = """
signals.from = ["t_*", "p"]
signals.except = ["t_note"]
signals.text = "state"
signals.integers = "count"
signals.names = { t_oil = "oil_celsius" }
signals.units = { "t_*" = ["degF", "degC"] }
"""
    data = {
        "m": ["a", "b"],
        "at": ["2024-01-01", "2024-01-02"],
        "t_oil": ["212", ""],
        "t_note": ["hot", "cold"],
        "p": ["1.5", "x"],
        "state": ["run", ""],
        "count": ["9007199254740993", "1"],
        "extra": ["never", "asked for"],
    }
    got = mapped(kind(READING.format(more=more)), data)
    assert got.faults.rows() == [(1, "p: 'x' is not a number")]
    rows = {r["signal"]: r for r in got.rows[MachineReading].to_dicts()}
    assert rows["oil_celsius"]["value"] == pytest.approx(100.0)
    assert (rows["p"]["value"], rows["state"]["text"], rows["count"]["integer"]) == (
        1.5,
        "run",
        9007199254740993,
    )
    assert set(rows) == {"oil_celsius", "p", "state", "count"}


FRAMES = """
[[files.set_aside]]
rule = "the DBC does not know it"
where = { state = ["unknown id", "other length"] }
[[files.rows]]
table = "signal_reading"
columns.vin = { constant = "ZFA3340000P000001" }
columns.path = "path"
columns.read_at = { from = "at", format = "epoch_s" }
columns.value = "value"
columns.text = "text"
columns.integer = "integer"
"""


def test_rows_that_share_a_record_stand_and_fall_together(kind: Any) -> None:
    data = {
        "at": ["1711872000.1"] * 3 + ["1.0", "1711872000.2", "1711872000.3", "1711872000.3"],
        "state": ["decoded"] * 4 + ["unknown id"] + ["decoded"] * 2,
        "path": ["a", "b", "c", "d", None, "e", None],
        "value": [1.5, None, None, 1.0, None, 2.0, 3.0],
        "text": [None, "P", None, None, None, None, None],
        "integer": pl.Series([None, None, 1 << 60, None, None, None, None], dtype=pl.Int64),
    }
    got = mapped(kind(FRAMES), data, record=[0, 0, 0, 1, 2, 3, 3])
    rows = got.rows[SignalReading]
    assert rows.select("record", "path", "value", "text", "integer").rows() == [
        (0, "a", 1.5, None, None),
        (0, "b", None, "P", None),
        (0, "c", None, None, 1 << 60),
    ]
    assert got.aside.rows() == [(2, "the DBC does not know it")]
    assert got.faults["record"].sort().to_list() == [1, 3]  # one bad row of a record: none of its rows lands


ITEMS = """
[[files.rows]]
table = "tightening"
each = "bolts"
columns.tightening_id = "{car}-{bolts.id}"
columns.tightened_at = "bolts.at"
columns.torque_nm = { from = "bolts.nm", minus = "bolts.zero" }
"""


@pytest.mark.parametrize(
    ("bolts", "rule"),
    [
        (
            [{"id": 1, "at": "2024-01-01", "nm": 5}, {"id": 2, "at": "2024-01-01", "nm": 1e9}],
            "torque_nm must be within 0 .. 600 N·m, is 1000000000.0 (in bolts[1].nm minus bolts.zero)",
        ),
        (
            [{"id": 1, "at": "2024-01-01", "nm": 5}, {"id": 2, "at": "soon", "nm": 5}],
            "tightened_at: 'soon' is not a time (ISO 8601, zone UTC) (in bolts[1].at)",
        ),
        (
            [{"at": "2024-01-01", "nm": 5}, {"id": 2, "at": "2024-01-01", "nm": 5}],
            "tightening_id is missing (in {car}-{bolts[0].id})",
        ),
    ],
)
def test_a_rule_says_which_field_of_which_item(kind: Any, bolts: list[dict[str, Any]], rule: str) -> None:
    stated = [{"zero": 0, **b} for b in bolts]
    got = mapped(kind(ITEMS), {"car": ["C"], "bolts": [json.dumps(stated)]})
    assert got.faults.rows() == [(0, rule)]
    assert got.rows[Tightening].is_empty()


def test_a_frame_lands_byte_by_byte(kind: Any) -> None:
    rows = """
[[files.rows]]
table = "network_frame"
columns.vin = "{file.vin}"
columns.channel = "channel"
columns.seen_at = { from = "at", format = "epoch_s" }
columns.sequence = "sequence"
columns.can_id = "can_id"
columns.extended = "extended"
columns.data = "data"
"""
    data = {
        "at": ["1711872000.000001"],
        "channel": ["can0"],
        "sequence": [0],
        "can_id": [0x18FEDF00],
        "extended": [True],
        "data": [b"\x00\xff"],
    }
    got = mapped(kind(rows), data, vin=VIN)
    assert got.faults.is_empty()
    assert got.rows[NetworkFrame].select("vin", "can_id", "data").rows() == [(VIN, 0x18FEDF00, b"\x00\xff")]
    assert mapped(kind(rows), {**data, "can_id": [0x20000000]}, vin=VIN).faults["rule"].to_list() == [
        "can_id must be within 0 .. 5.36871e+08, is 536870912"
    ]


def test_a_column_that_the_data_lacks_is_the_authors_fault(kind: Any) -> None:
    with pytest.raises(
        SetupError, match=r"test: tightening.torque_nm: the data has no column 'nm'; there are Nm, at, id"
    ):
        mapped(kind(tightening()), {"id": ["1"], "at": ["2024-01-01"], "Nm": ["1"]})


@pytest.mark.parametrize("rows", [tightening(), READING.format(more='signals.from = "nm"'), FRAMES])
def test_nothing_at_all_is_no_error(kind: Any, rows: str) -> None:
    columns = ["id", "at", "nm", "m", "state", "path", "value", "text", "integer"]
    got = mapped(kind(rows), {c: pl.Series([], dtype=pl.String) for c in columns})
    assert got.faults.is_empty() and got.aside.is_empty() and all(r.is_empty() for r in got.rows.values())
    for table, frame in got.rows.items():
        assert {n: frame.schema[n] for n in table.columns} == table.dtypes()


@pytest.mark.parametrize("dtype", [pl.String, pl.Null, pl.Float64])
def test_all_empty_columns_say_what_is_missing(kind: Any, dtype: Any) -> None:
    got = mapped(kind(tightening()), {c: pl.Series([None, None], dtype=dtype) for c in ("id", "at", "nm")})
    assert got.rows[Tightening].is_empty()
    assert set(got.faults["rule"]) == {"tightening_id is missing (in id)"}


def test_where_filled_and_templates(kind: Any) -> None:
    rows = (
        tightening().replace('"id"', '"{file.line}-{id}-{line}"')
        + 'where = { kind = ["T"] }\nfilled = "nm"\n'
    )
    data = {"id": ["1", "2", "3"], "at": ["2024-01-01"] * 3, "nm": ["1", "", "3"], "kind": ["T", "T", "W"]}
    got = mapped(kind(rows), data, line="body")
    assert got.rows[Tightening].select("tightening_id", "record").rows() == [("body-1-1", 0)]
    assert got.faults.is_empty()


def test_what_is_known_later(kind: Any) -> None:
    rows = """
[[files.rows]]
table = "demand"
columns.site = { constant = "BPNS1" }
columns.part_number = "part"
columns.needed_at = "day"
columns.quantity = "n"
columns.known_at = "said"
"""
    got = mapped(
        kind(rows), {"part": ["p"], "day": ["2025-01-01"], "n": ["3"], "said": ["2024-05-30T10:00:00Z"]}
    )
    row = got.rows[Demand].to_dicts()[0]
    assert row["needed_at"].year == 2025 and row["known_at"].day == 30 and row["known_assumed"] is False
    delayed = mapped(
        kind(tightening() + 'known_after = "2 h"\n'), {"id": ["1"], "at": ["2024-01-01"], "nm": ["1"]}
    )
    assert delayed.rows[Tightening].select("known_at", "known_assumed").rows() == [
        (datetime(2024, 1, 1, 2, tzinfo=UTC), True)
    ]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["2024-01-01", "1970-01-01", "", "x"]), st.sampled_from(["1", "1e9", "x", ""])
        ),
        max_size=20,
    )
)
@settings(max_examples=40, deadline=None)
def test_every_record_lands_or_has_a_fault(raw: list[tuple[str, str]]) -> None:
    m = dialect.RowMap(
        Tightening,
        {
            "tightening_id": dialect.ColumnMap(source="record"),
            "tightened_at": dialect.ColumnMap(source="at"),
            "torque_nm": dialect.ColumnMap(source="nm"),
        },
    )
    data = {"at": [a for a, _ in raw], "nm": [n for _, n in raw]}
    frame = pl.DataFrame(data, schema={"at": pl.String, "nm": pl.String}).with_row_index("record")
    one = dialect.FileKind("f", (), "", {}, (m,))
    got = mapping.map_records(frame.with_columns(pl.col("record").cast(pl.Int64)), one, {}, NOW, "t")
    landed = got.rows[Tightening]["record"].to_list() if raw else []
    assert sorted([*landed, *got.faults["record"]]) == list(range(len(raw)))
    assert landed == [i for i, (a, n) in enumerate(raw) if a == "2024-01-01" and n in ("1", "")]
