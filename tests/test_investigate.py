"""Investigations by hand: the words for a cohort, anybody's table, the fleet in the lake, saved questions, the report."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from unibody.backbone import Backbone
from unibody.backbone import investigate as asking
from unibody.backbone.investigate import Asked
from unibody.cli import app
from unibody.errors import FormatError, RefusedError, SetupError, UnibodyError
from unibody.loop.anytable import read
from unibody.loop.cohort import condition, pieces, written
from unibody.loop.frames import rows
from unibody.loop.investigate import investigate, of_file
from unibody.loop.pictures import of_attribute, over_time
from unibody.loop.roles import prepared
from unibody.settings import Settings
from unibody.tables import TABLES, Instant

DAY = datetime(2026, 1, 1)
SCRIPT = "<script>document.title='owned'</script>"

# ---- what a condition means

UNITS = pl.DataFrame(
    {
        "lot": ["L1", "L2", None, "T-12"],
        "torque": [38.0, 41.5, 40.0, None],
        "built_at": [datetime(2026, 3, 14, 18), datetime(2026, 3, 15), datetime(2026, 2, 1), None],
        "order": [1, 2, 3, 4],
        "tow bar": [True, False, None, True],
        "part.brake-hose.lot": ["a", "b", "c", "d"],
        "day": [datetime(2026, 3, 14).date(), None, datetime(2026, 3, 16).date(), None],
        "code": ["7", "8", "10", "x"],
    }
)
MEANS = {
    "": [0, 1, 2, 3],
    "all": [0, 1, 2, 3],
    "lot = 'L1'": [0],
    "lot == L1": [0],
    "LOT = T-12": [3],
    "lot != 'L1'": [1, 3],
    "not lot = 'L1'": [1, 3],
    "lot is null or lot like 'L*'": [0, 1, 2],
    "lot is not null and torque is not null": [0, 1],
    "lot in ('L1', 'T-12')": [0, 3],
    "lot not in (L1)": [1, 3],
    "lot like '%1%'": [0, 3],
    "torque <= 40": [0, 2],
    "40 > torque": [0],
    "torque between 38 and 40": [0, 2],
    "not (torque < 40 or torque > 41)": [2],
    "torque > -1": [0, 1, 2],
    "built_at <= 2026-03-14": [0, 2],
    "built_at > 2026-03-14": [1],
    "built_at = 2026-03": [0, 1],
    "built_at between 2026-02-01 and '2026-03-14T17:00'": [2],
    "day <= 2026-03-14": [0],
    "order in (1, 3)": [0, 2],
    '"tow bar"': [0, 3],
    '"tow bar" = no': [1],
    "part.brake-hose.lot = b": [1],
    "code > 7": [1, 2],
    "code = 7": [0],
    "1 = 1": [0, 1, 2, 3],
}


@pytest.mark.parametrize(("text", "meets"), MEANS.items(), ids=[t or "empty" for t in MEANS])
def test_a_condition_means(text: str, meets: list[int]) -> None:
    met = condition(text, UNITS.schema)
    assert UNITS.with_row_index("i").filter(met.expr)["i"].to_list() == meets


REFUSED = {
    "toruqe > 3": "did you mean torque",
    "brake_hose.lot = 1": "did you mean part.brake-hose.lot",
    "lott = 'L1'": "did you mean lot",
    "built_at > gestern": "write it like 2026-03-14",
    "torque > heavy": "torque is a number",
    '"tow bar" = perhaps': "true or false",
    "lot = null": "write lot is null",
    "lot = torque": "lot is text, torque is number",
    "lot = 'L1": "cannot be read",
    "read_csv('/etc/passwd')": "not understood",
    "lot = upper('x')": "not understood",
    "(select 1) = 1": "not understood",
    "lot in (select lot from units)": "not understood",
    "lot = 'a'; drop table units": "",
    "torque + 1 > 2": "not understood",
    "'a' = 'a'": "no column",
    "case when 1=1 then 1 else 0 end = 1": "not understood",
    "exists(select 1)": "not understood",
    "lot ~ '(a+)+$'": "",
    "(" * 40 + "lot = 'L1'" + ")" * 40: "too deep",
    "not " * 900 + "order": "too deep",
    " or ".join(["order = 1"] * 500): "more than 200",
    "lot = '" + "a" * 30_000 + "'": "longer than",
}


@pytest.mark.parametrize(("text", "says"), REFUSED.items(), ids=[t[:40] for t in REFUSED])
def test_what_is_no_condition_is_refused_in_words(text: str, says: str) -> None:
    with pytest.raises(SetupError) as e:
        condition(text, UNITS.schema, "cohort")
    assert says in str(e.value) and "cohort" in str(e.value) and len(str(e.value)) < 800


@given(st.text(max_size=80))
def test_any_text_is_a_condition_or_a_setup_error(text: str) -> None:
    try:
        met = condition(text, UNITS.schema)
    except SetupError:
        return
    assert UNITS.select(met.expr.alias("m"))["m"].dtype == pl.Boolean


@given(st.text(min_size=1, max_size=30), st.text(max_size=30))
def test_what_is_written_reads_back(name: str, value: str) -> None:
    if "\0" in name + value or name.startswith("__"):
        return
    frame = pl.DataFrame({name: [value, value + "x"]})
    found = condition(written(name, "=", value), frame.schema)
    assert frame.filter(found.expr).height == 1 and found.columns == (name,)


def test_pieces_join_to_the_same_cohort() -> None:
    text = "lot like 'L*' and (torque = 38 or order = 2) and not \"tow bar\" and built_at <= 2026-03-20"
    again = " and ".join(pieces(text, UNITS.columns))
    assert len(pieces(text, UNITS.columns)) == 4
    kept = [UNITS.filter(condition(t, UNITS.schema).expr)["order"].to_list() for t in (text, again)]
    assert kept[0] == kept[1] == [2]


# ---- anybody's table


def made(units: int = 900, lot: str = "L7", factor: float = 12.0, seed: int = 3) -> pl.DataFrame:
    """Units of nine lots on three lines; one lot fails more often."""
    r = np.random.default_rng(seed)
    lots = np.array([f"L{i}" for i in range(9)])[np.arange(units) % 9]
    torque = np.round(40 + r.normal(size=units), 2)
    failed = r.random(units) < 0.015 * np.where(lots == lot, factor, 1.0)
    return pl.DataFrame(
        {
            "vin": [f"VIN{i:05d}" for i in range(units)],
            "lot": lots,
            "line": r.choice(["north", "south", "east"], units),
            "torque": torque,
            "built_at": [DAY + timedelta(hours=9 * i) for i in range(units)],
            "failed": failed,
        }
    )


def run(*words: str, ok: bool = True) -> Any:
    done = CliRunner().invoke(app, ["investigate", *words], catch_exceptions=True)
    if not ok:
        assert isinstance(done.exception, UnibodyError), done.output
        return str(done.exception)
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout) if "--json" in words else done.stdout


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    from unibody import settings

    monkeypatch.setenv("UNIBODY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    settings.current.cache_clear()
    yield tmp_path
    settings.current.cache_clear()


SHAPES = ["csv", "tsv", "semicolon", "utf-16", "parquet", "xlsx", "csv.gz", "dates", "yes and no"]


def kept(frame: pl.DataFrame, shape: str, folder: Path) -> Path:
    """The same units as people hand them over."""
    path = (
        folder
        / f"units.{ {'tsv': 'tsv', 'parquet': 'parquet', 'xlsx': 'xlsx', 'csv.gz': 'csv.gz'}.get(shape, 'csv') }"
    )
    if shape == "parquet":
        frame.write_parquet(path)
    elif shape == "xlsx":
        import openpyxl

        book = openpyxl.Workbook()
        book.active.append(frame.columns)
        for row in frame.rows():
            book.active.append(row)
        book.save(path)
    elif shape == "csv.gz":
        path.write_bytes(gzip.compress(frame.write_csv().encode()))
    elif shape == "semicolon":
        text = frame.with_columns(
            pl.col("torque").cast(pl.String).str.replace(".", ",", literal=True), pl.lit("Köln").alias("Werk")
        )
        path.write_bytes(text.write_csv(separator=";").encode("cp1252"))
    elif shape == "utf-16":
        path.write_text(frame.write_csv(), encoding="utf-16")
    elif shape == "dates":
        frame.with_columns(
            pl.when("failed").then(pl.col("built_at") + timedelta(days=99)).alias("failed")
        ).write_csv(path)
    elif shape == "yes and no":
        frame.with_columns(
            pl.when("failed").then(pl.lit("NOK")).otherwise(pl.lit("OK")).alias("failed")
        ).write_csv(path)
    else:
        frame.write_csv(path, separator="\t" if shape == "tsv" else ",")
    return path


@pytest.mark.parametrize("shape", SHAPES)
def test_the_cause_is_found_however_the_table_comes(shape: str, tmp_path: Path) -> None:
    frame = made()
    found = investigate(of_file(kept(frame, shape, tmp_path), "failed"))
    plain = json.loads(json.dumps(found.plain(), allow_nan=False))
    assert plain["cause"] == [{"lot": "L7"}] and plain["vehicles"] == 100
    assert plain["low"] > 2 and plain["p_adjusted"] < 0.05
    assert (plain["units"], plain["failed"]) == (900, frame["failed"].sum())
    assert "identifier" in plain["left_out"]["vin"]
    assert found.table.frame.schema["torque"] == pl.Float64


def test_json_has_what_the_issue_asks(home: Path) -> None:
    path = kept(made(), "csv", home)
    plain = run("--table", str(path), "--outcome", "failed", "--cohort", "line != 'east'", "--json")
    asked = "symptom since cause effect low high p_adjusted vehicles covered_probability verdict ranked units failed hypotheses left_out causes"
    assert set(asked.split()) <= set(plain)
    assert plain["symptom"] == "failed" and plain["cause"][0] == {"lot": "L7"}
    assert plain["causes"][0]["conditions"] == plain["cause"][0] and plain["ranked"]
    assert plain["against_rest"]["rest"]["units"] + plain["units"] == 900
    again = run("--table", str(path), "--outcome", "failed", "--cohort", "line != 'east'", "--json")
    assert again == plain


def test_a_person_reads_the_verdict_first(home: Path) -> None:
    said = run("--table", str(kept(made(), "csv", home)), "--outcome", "failed", "--control", "torque")
    assert re.match(r"\d+ of the \d+ failures are of lot L7, where [\d.]+ were to be expected", said)
    assert "hypotheses" in said and "left out: vin" in said


def test_without_a_cause_it_says_so(tmp_path: Path) -> None:
    found = investigate(of_file(kept(made(factor=1.0, seed=0), "csv", tmp_path), "failed"))
    plain = found.plain()
    assert plain["cause"] == [] and plain["effect"] is None and plain["vehicles"] == 0
    assert plain["verdict"].startswith("Not enough evidence") and plain["covered_probability"] is None
    assert found.pictures()[0].title.startswith("Nothing stands out")
    nobody = investigate(prepared(made().with_columns(failed=pl.lit(False)), "failed")).plain()
    assert nobody["failed"] == 0 and nobody["verdict"].startswith("Not enough evidence: none")


def cells() -> pl.DataFrame:
    """Counts by cell: one lot fails eight times as often."""
    r = np.random.default_rng(1)
    out = []
    for lot in range(10):
        for plant in ("N", "S"):
            for shift in ("a", "b", "c"):
                n = int(r.integers(40, 90))
                out.append((f"L{lot}", plant, shift, n, int(r.binomial(n, 0.08 if lot == 7 else 0.01))))
    return pl.DataFrame(out, schema=["lot", "plant", "shift", "units", "failures"], orient="row")


def test_a_limit_that_is_not_known_to_the_digit_is_not_called_sure() -> None:
    r = np.random.default_rng(2)
    torque = np.round(r.normal(40, 1, 3000), 3)
    failed = (torque < 38.5) & (r.random(3000) < 0.12)
    found = investigate(prepared(pl.DataFrame({"torque": torque, "failed": failed}), "failed"))
    (cause,) = found.plain()["cause"]
    assert set(cause) == {"torque"} and cause["torque"][0] is None
    assert found.covered_probability is not None and 0.5 < found.covered_probability < 0.999


def test_counts_by_cell_give_the_same_answer_in_either_shape() -> None:
    wide = cells()
    long = pl.concat(
        [
            wide.select("lot", "plant", "shift", failed=pl.lit(1), n=pl.col("failures")),
            wide.select("lot", "plant", "shift", failed=pl.lit(0), n=pl.col("units") - pl.col("failures")),
        ]
    ).filter(pl.col("n") > 0)
    answers = [investigate(prepared(wide, "failures")).plain(), investigate(prepared(long, "failed")).plain()]
    for plain in answers:
        assert plain["cause"] == [{"lot": "L7"}]
        assert (plain["units"], plain["failed"]) == (wide["units"].sum(), wide["failures"].sum())
        assert plain["vehicles"] == wide.filter(lot="L7")["units"].sum()
    assert answers[0]["effect"] == pytest.approx(answers[1]["effect"])


def test_exposure_is_found_by_name_only_where_one_can_be_meant() -> None:
    wide = cells().with_columns(vehicle_days=pl.col("units") * 100)
    one = prepared(wide, "failures")
    assert one.exposure == "vehicle_days" and any(
        "vehicle_days is taken as the exposure" in n for n in one.notes
    )
    two = prepared(wide.with_columns(months_at_risk=pl.col("units") * 3), "failures")
    assert any("could be the exposure" in n for n in two.notes)
    assert {"vehicle_days", "months_at_risk"} & set(two.attributes) == set()
    stated = prepared(
        wide.with_columns(months_at_risk=pl.col("units") * 3), "failures", exposure="months_at_risk"
    )
    assert stated.exposure == "months_at_risk"
    with pytest.raises(SetupError, match="did you mean vehicle_days"):
        prepared(wide, "failures", exposure="vehicle_day")


def test_who_is_long_on_the_road_is_no_cause() -> None:
    r = np.random.default_rng(5)
    days = np.where(np.arange(2000) % 4 == 0, 700.0, 60.0)
    frame = pl.DataFrame(
        {"model_year": np.where(days > 100, "2024", "2026"), "days_in_service": days, "line": r.choice(["a", "b"], 2000), "failed": r.random(2000) < days * 1e-4}
    )  # fmt: skip
    assert investigate(prepared(frame.drop("days_in_service"), "failed")).plain()["cause"]
    assert investigate(prepared(frame, "failed")).plain()["cause"] == []


ROLES = {
    "failed": "failed",
    "torque > 41.2": "torque",
    "lot = L7 and torque > 40": "lot torque",
}


@pytest.mark.parametrize(("outcome", "columns"), ROLES.items(), ids=list(ROLES))
def test_what_says_what_failed_is_no_attribute(outcome: str, columns: str) -> None:
    table = prepared(made(), outcome)
    assert not set(columns.split()) & set(table.attributes)


WRONG_OUTCOMES = {
    "faild": "did you mean failed",
    "torque": "a measure, not a count",
    "line": "say which of them failed",
    "": "say what counts as failed",
    "lot = 'L7' within": "",
}


@pytest.mark.parametrize(
    ("outcome", "says"), WRONG_OUTCOMES.items(), ids=[o or "empty" for o in WRONG_OUTCOMES]
)
def test_a_wrong_outcome_says_what_would_be_right(outcome: str, says: str) -> None:
    with pytest.raises(SetupError) as e:
        prepared(made(), outcome)
    assert says in str(e.value)


def test_an_empty_cohort_names_the_nearest_value() -> None:
    with pytest.raises(SetupError, match="did you mean north"):
        investigate(prepared(made(), "failed"), "line = 'nort'")
    with pytest.raises(SetupError, match="alpha"):
        investigate(prepared(made(), "failed"), alpha=0.0)


HOSTILE = {
    "formulas.csv": "lot,failed\n=cmd|'/c calc'!A1,1\n+1+1,0\n" + "@SUM(A1),0\n" * 30,
    "script.csv": f'"{SCRIPT}",failed\n' + "a,0\nb,1\n" * 20,
    "ragged.csv": "lot,failed\nL1,0\nL2\nL3,1,9,9\n" + "L4,0\n" * 20,
    "nul.csv": "lot,failed\nL1,0\n\0\0,1\n" + "L4,0\n" * 20,
    "quote.csv": 'lot,failed\n"L1,0\n' + "L4,0\n" * 20,
    "nan.csv": "lot,x,failed\n" + "L1,nan,0\nL2,inf,1\nL3,1e308,0\nL3,-1e308,1\n" * 10,
}


@pytest.mark.parametrize(("name", "text"), HOSTILE.items(), ids=list(HOSTILE))
def test_a_hostile_table_is_text_or_a_format_error(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    try:
        plain = investigate(of_file(tmp_path / name, "failed")).plain()
    except UnibodyError as e:
        assert "Traceback" not in str(e)
        return
    json.dumps(plain, allow_nan=False)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    for name, content, error in (
        ("empty.csv", b"", FormatError), ("only_header.csv", b"a,b\n", FormatError), ("cut.parquet", b"PAR1abc", FormatError),
        ("cut.csv.gz", gzip.compress(b"a,b\n1,2\n" * 5000)[:60], FormatError), ("note.docx", b"x", SetupError), ("book.xlsx", b"PK\3\4 no", FormatError),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(error):
            read(tmp_path / name)
    with pytest.raises(SetupError, match="no file"):
        read(tmp_path / "absent.csv")


TYPED = {
    "1\n2": pl.Int64, "1.5\n2": pl.Float64, "00417\n00418": pl.String, "true\nFalse": pl.Boolean, "a\nb": pl.String,
    "2026-01-01\n2026-02-01": pl.Datetime, "31.12.2025\n01.02.2026": pl.Datetime, "13/02/2026\n01/02/2026": pl.Datetime,
    "03/04/2026\n05/06/2026": pl.String, "2026-01-01T10:00:00Z\n2026-01-01 11:30": pl.Datetime, "NA\nDE": pl.String, "1\nNA": pl.Int64,
}  # fmt: skip


@pytest.mark.parametrize(("cells_", "dtype"), TYPED.items(), ids=[t.replace("\n", " | ") for t in TYPED])
def test_cells_become_what_they_say(cells_: str, dtype: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{c},1\n" for c in cells_.split("\n")))
    assert read(tmp_path / "t.csv").frame["x"].dtype == dtype


# ---- pictures


def test_pictures_count_what_is_there() -> None:
    frame = made()
    found = investigate(prepared(frame, "failed"))
    by_lot, over = found.pictures()
    assert (
        by_lot.attribute == "lot"
        and "L7" in by_lot.title
        and [g.label for g in by_lot.groups if g.inside] == ["L7"]
    )
    for picture in (by_lot, over, of_attribute(found.table, "torque", {"torque": [None, 39.0]})):
        assert sum(g.units for g in picture.groups) == 900
        assert sum(g.failed for g in picture.groups) == frame["failed"].sum()
        assert sum(g.expected for g in picture.groups) == pytest.approx(frame["failed"].sum())
    for g in by_lot.groups:
        assert g.rate is not None and g.low <= g.rate <= g.high
    torque = of_attribute(found.table, "torque", {"torque": [None, 39.0]})
    inside = [g for g in torque.groups if g.inside]
    assert sum(g.units for g in inside) == frame.filter(pl.col("torque") <= 39.0).height
    with pytest.raises(SetupError, match="no attribute"):
        found.pictures("tork")


@given(st.integers(0, 2**32), st.integers(2, 60), st.sampled_from(["lot", "line", "torque", "built_at"]))
def test_no_unit_is_lost_in_a_picture(seed: int, units: int, attribute: str) -> None:
    r = np.random.default_rng(seed)
    frame = made(units, seed=seed).with_columns(failed=pl.Series(r.random(units) < 0.5))
    holes = pl.Series(r.random(units) < 0.2)
    frame = frame.with_columns(pl.when(~holes).then(pl.col(attribute)).alias(attribute))
    table = prepared(frame, "failed", attributes=["lot", "line", "torque", "built_at"])
    picture = of_attribute(table, attribute)
    assert sum(g.units for g in picture.groups) == units
    over = over_time(table, "built_at")
    if over is not None:
        assert sum(g.units for g in over.groups) == frame["built_at"].count()


# ---- the lake


def fleet(folder: Path, cars: int = 400) -> Backbone:
    """A home with a small fleet: hoses of lot H3 leak (code C1246), the other codes come as they come."""
    r = np.random.default_rng(4)
    built = [datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=12 * i) for i in range(cars)]
    vins = [f"ZFA{i:014d}" for i in range(cars)]
    lots = [f"H{i % 8}" for i in range(cars)]
    build = pl.DataFrame(
        {"vin": vins, "built_at": built, "brand": "fiat", "platform": "B", "plant": r.choice(["Melfi", "Cassino"], cars), "market": r.choice(["IT", "FR", "SE"], cars)}
    )  # fmt: skip
    parts = pl.DataFrame(
        {"serial": [f"S{i}" for i in range(cars)], "part_number": "P1", "position": "brake_hose", "installed_in": vins, "installed_at": built, "lot": lots, "supplier": r.choice(["A", "B"], cars)}
    )  # fmt: skip
    leaks = [i for i in range(cars) if lots[i] == "H3" and i % 3 == 0]
    stray = r.choice(cars, 40, replace=False).tolist()
    codes = pl.DataFrame(
        {"vin": [vins[i] for i in leaks + stray], "code": ["C1246"] * len(leaks) + ["P0420"] * len(stray),
         "set_at": [built[i] + timedelta(days=60 + i * 37 % 500) for i in leaks] + [built[i] + timedelta(days=50) for i in stray]}
    )  # fmt: skip
    held = pl.DataFrame(
        {"vin": vins, "customer_id": vins, "held_from": [b + timedelta(days=20) for b in built]}
    )
    backbone = Backbone(Settings(home=folder / "home"))
    for title, frame in {
        "build_record": build,
        "part_installed": parts,
        "trouble_code": codes,
        "vehicle_held": held,
    }.items():
        frame = rows({title: frame}, title).with_columns(
            known_assumed=pl.lit(False), deleted=pl.lit(False), record=pl.int_range(pl.len(), dtype=pl.Int64)
        )
        assert set(TABLES[title].columns) <= set(frame.columns) and frame.schema["known_at"] == Instant
        backbone.lake.append(TABLES[title], frame, f"made:{title}", "made", datetime.now(UTC), frame.height)
    return backbone


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return fleet(tmp_path_factory.mktemp("fleet"))


@pytest.mark.parametrize("outcome", ["code = 'C1246'", "code C1246", "C1246", "code like 'C12*'"])
def test_the_lot_behind_a_code_is_found_in_the_lake(lake: Backbone, outcome: str) -> None:
    plain = asking.ask(lake, Asked(outcome)).plain()
    assert plain["cause"] == [{"part.brake_hose.lot": "H3"}]
    assert plain["vehicles"] == 50 and plain["failed"] == 17
    assert any(
        r["table_name"] == "part_installed" and r["by"] == "investigation" for r in lake.ledger.reads()
    )


def test_within_counts_only_what_came_soon_enough(lake: Backbone) -> None:
    all_, soon = (asking.ask(lake, Asked(f"code = 'C1246'{w}")).plain() for w in ("", " within 12 months"))
    assert 3 <= soon["failed"] < all_["failed"]
    assert soon["units"] == all_["units"] and soon["cause"] == [{"part.brake_hose.lot": "H3"}]
    with pytest.raises(SetupError):
        asking.ask(lake, Asked("code = 'C1246' within 12 parsecs"))


def test_a_cohort_of_the_build_record_and_one_of_parts(lake: Backbone) -> None:
    plain = asking.ask(lake, Asked("code = 'C1246'", "plant = Melfi and built_at < 2026-01-01")).plain()
    rest = plain["against_rest"]["rest"]
    assert plain["units"] + rest["units"] == 400 and plain["failed"] + rest["failed"] == 17
    hoses = asking.ask(lake, Asked("code = 'C1246'", "part.brake_hose.lot in (H3, H4)")).plain()
    assert hoses["units"] == 100 and hoses["failed"] == 17 and hoses["against_rest"]["rest"]["failed"] == 0


def test_lake_questions_that_have_no_answer_say_why(lake: Backbone, tmp_path: Path) -> None:
    for asked, says in (
        (Asked("code = 'C1264'"), "C1246"), (Asked("code = 'C1246'", "plant = Melfii"), "is in it"), (Asked("code = 'C1246'", "plnt = Melfi"), "did you mean plant"),
        (Asked("code = 'C1246'", as_of="yesterday"), "ISO 8601"), (Asked("code = 'C1246'", attributes=("lot",)), "no attribute 'lot'"), (Asked("colour = red"), "of reports one may ask"),
    ):  # fmt: skip
        with pytest.raises(SetupError) as e:
            asking.ask(lake, asked)
        assert says in str(e.value)
    with pytest.raises(SetupError, match="no car is known yet"):
        asking.ask(Backbone(Settings(home=tmp_path / "none")), Asked("code = 'C1246'"))


def test_a_large_fleet_is_sampled_and_comes_to_the_same(
    lake: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unibody.backbone import field

    monkeypatch.setattr(field, "CARS_MAX", 120)
    found = asking.ask(lake, Asked("code = 'C1246'"))
    assert found.plain()["cause"] == [{"part.brake_hose.lot": "H3"}]
    assert found.table.frame.height == 137 and (found.inside.units, found.inside.failed) == (400, 17)


# ---- kept, brought, printed


def test_an_investigation_is_kept_listed_and_opened(home: Path) -> None:
    path = str(kept(made(), "csv", home))
    first = run(
        "--table",
        path,
        "--outcome",
        "failed",
        "--cohort",
        "line = 'north'",
        "--save",
        "hoses, March",
        "--json",
    )
    run("--table", path, "--outcome", "failed", "--save", "all of them", "--json")
    rows_ = run("--list", "--json")
    assert [r["name"] for r in rows_] == ["all of them", "hoses, March"]
    assert rows_[1]["room"] == "loop" and rows_[1]["owner"] and "line = 'north'" in rows_[1]["question"]
    assert run("--open", "hoses, March", "--json") == first
    assert "hoses, March" in run("--list")
    assert "did you mean 'hoses, March'" in run("--open", "hoses", ok=False) or "hoses, March" in run(
        "--open", "hoses", ok=False
    )
    assert "outcome" in run("--json", ok=False)


def test_a_table_is_brought_once_and_named_by_id_only(tmp_path: Path) -> None:
    backbone = Backbone(Settings(home=tmp_path / "home"))
    content = made().write_csv().encode()
    about = asking.upload(backbone, "../../etc/units.csv", content, "ada")
    assert (
        about["name"] == "units.csv"
        and asking.upload(backbone, "again.csv", content, "ada")["id"] == about["id"]
    )
    assert [t["name"] for t in asking.uploads(backbone)] == ["again.csv"]
    assert asking.answer(backbone, Asked("failed", table=about["id"]))["cause"] == [{"lot": "L7"}]
    for table in ("/etc/passwd", "units.csv", "../x", "0" * 17):
        with pytest.raises(RefusedError):
            asking.answer(backbone, Asked("failed", table=table))
    with pytest.raises(SetupError, match="upload it again"):
        asking.answer(backbone, Asked("failed", table="0" * 16))
    with pytest.raises(SetupError, match="should end in"):
        asking.upload(backbone, "x.exe", b"x", "ada")
    with pytest.raises(FormatError):
        asking.upload(backbone, "x.parquet", b"no parquet", "ada")
    assert len(asking.uploads(backbone)) == 1 and len(list((tmp_path / "home/investigations").iterdir())) == 2


def _streams(pdf: bytes) -> bytes:
    """The drawing commands of a report."""
    import base64

    found = b""
    for data in re.findall(rb"/ASCII85Decode /FlateDecode.*?stream\r?\n(.*?)endstream", pdf, re.S):
        found += zlib.decompress(base64.a85decode(data.strip().removesuffix(b"~>")))
    return found


def test_the_report_is_a_pdf_with_drawn_pictures(home: Path) -> None:
    frame = made().with_columns(pl.col("lot").replace("L7", "Łódź Ωmega Жук 第七 " + SCRIPT))
    out = home / "report.pdf"
    run("--table", str(kept(frame, "csv", home)), "--outcome", "failed", "--pdf", str(out), "--json")
    pdf = out.read_bytes()
    assert pdf.startswith(b"%PDF-1.") and pdf.rstrip().endswith(b"%%EOF") and len(pdf) < 500_000
    pages = int(re.findall(rb"/Count (\d+)", pdf)[0])
    assert 1 <= pages <= 4 and pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") in (0, pages)
    assert not re.search(rb"/(JavaScript|JS|URI|Launch|OpenAction|EmbeddedFile)\b", pdf)
    drawn = _streams(pdf)
    assert (
        drawn.count(b" l S") + drawn.count(b" l\n") > 20 and drawn.count(b" c") > 20
    )  # lines; dots are curves
    assert not re.search(rb"/Subtype\s*/Image", pdf)


def test_letters_without_a_glyph_are_marked_not_lost() -> None:
    from unibody.web.report import _plain

    assert _plain("Łódź Ωmega Жук\n") == "Łódź Ωmega Жук "
    assert _plain("第七") == "\ufffd\ufffd"
