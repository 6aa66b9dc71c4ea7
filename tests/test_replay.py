"""Replay mends what a better dialect can mend, from the raw record or from its file; nothing is lost or doubled by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from small import backbone, contents
from test_ingest import balanced

from unibody.backbone import Backbone
from unibody.lake import Lake
from unibody.tables import MachineReading, Outcome, SignalReading

#: a plant whose machines' names hold commas, and whose dates are written in two ways
DIALECT = """
system = "test.replay"
about = "machines made up for the tests"
[[files]]
name = "machines"
match = "machines.csv"
reader = "delimited"
read = {{ quote = '{quote}' }}
[[files.rows]]
table = "machine_reading"
columns.machine = "machine"
columns.read_at = {{ from = "time", format = {format} }}
signals.from = ["temp"]
[[files.rows]]
table = "outcome"
last_of = "machine"
columns.truth = {{ constant = "stopped" }}
columns.subject = "machine"
columns.happened_at = {{ from = "time", format = {format} }}
"""
BEFORE = DIALECT.format(quote="", format='"%Y-%m-%d %H:%M:%S"')
MENDED = DIALECT.format(quote='"', format='["%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M:%S"]')
HEAD = "machine,time,temp\n"


def home(folder: Path, dialect: str) -> Backbone:
    (folder / "dialects").mkdir(parents=True, exist_ok=True)
    (folder / "dialects/small.toml").write_text(dialect)
    return backbone(folder)


def line(hour: int, machine: str = "M0", german: bool = False) -> str:
    day, clock = 1 + hour // 24, f"{hour % 24:02}:00:00"
    at = f"{day:02}.03.2026 {clock}" if german else f"2026-03-{day:02} {clock}"
    return f"{machine},{at},{40 + hour}.5\n"


def facts(b: Backbone) -> dict[str, list]:
    """All that is known now, with the record it came from."""
    return {
        t.title(): sorted(b.lake.rows(t).select(*t.columns, "record").to_polars().rows(), key=repr)
        for t in (MachineReading, Outcome)
    }


def undisturbed(folder: Path, text: str) -> dict[str, list]:
    """The facts of a home that had the mended dialect from the first."""
    b = home(folder, MENDED)
    (folder / "machines.csv").write_text(text)
    b.ingest([folder / "machines.csv"])
    return facts(b)


COMMA, GERMAN = line(2, '"M,1"'), line(3, german=True)
TEXT = HEAD + line(0) + line(1) + COMMA + GERMAN


def test_a_line_that_could_not_be_parsed_lands_from_its_file(tmp_path):
    file = tmp_path / "machines.csv"
    file.write_text(TEXT)
    first = balanced(home(tmp_path, BEFORE).ingest([file]))
    assert (first.landed, first.quarantined) == (2, 2)
    b = home(tmp_path, MENDED)
    again = balanced(b.replay())
    assert (again.records, again.landed, again.quarantined, again.problems) == (2, 2, 0, [])
    assert facts(b) == undisturbed(tmp_path / "other", TEXT)
    assert balanced(b.replay()).records == 0
    assert balanced(b.ingest([file])).landed == 0


def test_the_last_of_a_group_moves_to_a_mended_record_and_the_earlier_one_is_taken_back(tmp_path):
    file = tmp_path / "machines.csv"
    file.write_text(TEXT)
    b = home(tmp_path, BEFORE)
    b.ingest([file])
    assert [(s, r) for _, s, *_, r in facts(b)["outcome"]] == [("M0", 1)]
    b = home(tmp_path, MENDED)
    b.replay()
    assert [(s, r) for _, s, *_, r in facts(b)["outcome"]] == [("M,1", 2), ("M0", 3)]
    [gone] = [r for r in b.lake.stored(Outcome).to_polars().to_dicts() if r["deleted"]]
    assert (gone["subject"], gone["record"], gone["happened_at"].hour) == ("M0", 1, 1)


def test_two_last_rows_of_one_table_stay_both_when_the_file_grows(tmp_path):
    second = """
[[files.rows]]
table = "outcome"
last_of = "machine"
columns.truth = { constant = "paused" }
columns.subject = "machine"
columns.happened_at = { from = "time", format = "%Y-%m-%d %H:%M:%S" }
"""
    file = tmp_path / "machines.csv"
    file.write_text(HEAD + line(0))
    b = home(tmp_path, BEFORE + second)
    b.ingest([file])
    for hour in (1, 2):
        with file.open("a") as f:
            f.write(line(hour))
        b.ingest([file])
        assert [(t, r) for t, *_, r in facts(b)["outcome"]] == [("paused", hour), ("stopped", hour)]


lines = st.lists(
    st.tuples(st.sampled_from(["M0", '"M,1"', '"M,2"']), st.booleans(), st.booleans()), max_size=8
)


@hypothesis(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)
@given(parts=st.lists(lines, min_size=1, max_size=2), later=lines)
def test_mended_is_as_if_it_had_been_right_from_the_first(tmp_path_factory, parts, later):
    folder, hour = tmp_path_factory.mktemp("any"), 0
    file = folder / "machines.csv"
    file.write_text(HEAD)

    def grow(rows):
        nonlocal hour
        with file.open("a") as f:
            for machine, german, torn in rows:
                f.write(line(hour, machine, german)[: 12 if torn else None].rstrip("\n") + "\n")
                hour += 1

    for part in parts:
        grow(part)
        balanced(home(folder, BEFORE).ingest([file]))
    b = home(folder, MENDED)
    balanced(b.replay())
    assert facts(b) == undisturbed(folder / "other", file.read_text())
    grow(later)  # and it goes on as ever
    balanced(b.ingest([file]))
    assert balanced(b.replay()).landed == 0
    assert facts(b) == undisturbed(folder / "another", file.read_text())
    stored = contents(b, MachineReading)
    assert len({(r[-1], r[1]) for r in stored}) == len(stored)


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_replay_killed_between_any_two_steps_goes_on(tmp_path, monkeypatch, when):
    right = undisturbed(tmp_path / "other", TEXT)
    append, steps = Lake.append, 0
    for step in range(1, 20):
        folder, left = tmp_path / str(step), step
        folder.mkdir()
        (folder / "machines.csv").write_text(TEXT)
        home(folder, BEFORE).ingest([folder / "machines.csv"])

        def dying(*given, **named):
            nonlocal left
            left -= 1
            if left == 0 and when == "before":
                raise Killed
            done = append(*given, **named)
            if left == 0:
                raise Killed
            return done

        with monkeypatch.context() as m:
            m.setattr(Lake, "append", dying)
            try:
                home(folder, MENDED).replay()
            except Killed:
                steps += 1
        b = home(folder, MENDED)
        balanced(b.replay())
        assert facts(b) == right
        stored = contents(b, MachineReading)
        assert len(stored) == len({r[-1] for r in stored}) == 4
        assert b.quarantine()[1] == 0
        if left > 0:
            break  # it was done before its time came
    assert steps == 4  # the readings, the entries, that there are last rows, those rows


# ---- what cannot be mended is told, and can be when its file is back


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Path.unlink, "is not there any more"),
        (lambda p: p.write_text(TEXT.replace("40.5", "41.5")), "is another file now"),
        (
            lambda p: p.write_text(TEXT + line(9)),
            "is longer than what was brought in; ingest it, then replay",
        ),
    ],
    ids=["gone", "other", "longer"],
)
def test_what_cannot_be_mended_is_told_by_name_and_mended_once_it_can(tmp_path, change, said):
    file = tmp_path / "machines.csv"
    file.write_text(TEXT)
    home(tmp_path, BEFORE).ingest([file])
    change(file)
    b = home(tmp_path, MENDED)
    tally = balanced(b.replay())
    assert tally.landed >= 1  # what was kept as JSON needs no file
    assert any(f"{file}: {said}" in p and "outcome" in p for p in tally.problems), tally.problems
    file.write_text(TEXT)
    assert balanced(b.replay()).problems == []
    assert facts(b) == undisturbed(tmp_path / "other", TEXT)


def test_a_line_of_a_file_that_is_gone_waits_for_it(tmp_path):
    file = tmp_path / "machines.csv"
    file.write_text(TEXT)
    home(tmp_path, BEFORE).ingest([file])
    file.unlink()
    b = home(tmp_path, MENDED)
    tally = balanced(b.replay())
    assert (tally.landed, tally.quarantined) == (1, 1)
    assert "1 record(s) that could not be parsed stay" in tally.problems[0]
    assert "bring the mended file in, or put this one back" in tally.problems[0]
    moved = tmp_path / "machines.csv"
    moved.write_text(TEXT)
    assert balanced(b.replay()).landed == 1


INCHES = "machine,time,temp,note\n" + "".join(
    line(h, f"M{h}").replace("\n", f",{note}\n") for h, note in enumerate(["-", '"5 in', "-", "-"])
).replace("M2", 'M2"')


def test_a_file_that_is_cut_otherwise_now_is_mended_text_by_text(tmp_path):
    # an inch mark at the begin of a field swallowed the next line: two lines were one broken record
    file = tmp_path / "machines.csv"
    file.write_text(INCHES)
    b = home(tmp_path, MENDED)
    first = balanced(b.ingest([file]))
    [entry], _ = b.quarantine()
    assert (first.records, first.landed, entry["from_record"]) == (3, 2, 1)
    b = home(tmp_path, BEFORE)
    tally = balanced(b.replay())
    assert (tally.landed, b.quarantine()[1]) == (1, 0)
    assert [(r[0], r[-1]) for r in contents(b, MachineReading)] == [
        ("M0", 0),
        ("M1", 1),
        ('M2"', 1),
        ("M3", 2),
    ]
    [problem] = tally.problems  # whose numbers are others now
    assert (
        "outcome: which record is the last" in problem and "has 4 records" in problem and "had 3" in problem
    )
    file.unlink()
    assert balanced(b.replay()).landed == 0


def test_a_piece_of_text_that_is_still_broken_stays_whole(tmp_path):
    file = tmp_path / "machines.csv"
    file.write_text(INCHES.replace("M2", "M2,x"))
    home(tmp_path, MENDED).ingest([file])
    b = home(tmp_path, BEFORE)
    tally = balanced(b.replay())
    assert (tally.landed, tally.quarantined, len(contents(b, MachineReading))) == (0, 1, 2)
    assert "1 record(s) that could not be parsed stay" in tally.problems[0]


def test_a_record_that_can_be_parsed_at_last_and_is_wrong_says_what_is_wrong_now(tmp_path):
    file = tmp_path / "machines.csv"
    file.write_text(HEAD + line(0) + '"M,1",yesterday,40.5\n')
    home(tmp_path, BEFORE).ingest([file])
    b = home(tmp_path, MENDED)
    assert (balanced(b.replay()).quarantined, b.quarantine()[1]) == (1, 1)
    [entry], _ = b.quarantine()
    assert "read_at: 'yesterday' is not a time" in entry["rule"] and entry["parsed"]
    assert json.loads(entry["raw"])["machine"] == "M,1"


# ---- records of several rows

BUS = """
system = "test.bus"
about = "a bus log"
[[files]]
match = "{vin}.log"
reader = "candump"
read.dbc = "chrysler_cusw"
[[files.rows]]
table = "signal_reading"
filled = "path"
columns.vin = "{file.vin}"
columns.path = "path"
columns.read_at = AT
columns.value = "value"
columns.text = "text"
"""


def test_a_frame_of_several_values_waits_as_one_record_and_lands_whole(tmp_path):
    file = tmp_path / "ZACNJBB20TP100091.log"
    file.write_text("(1779515216.206606) can0 1F0#06F20413000004C7\n(7.000001) can0 1EE#1C3507D608C0\n")
    first = balanced(home(tmp_path, BUS.replace("AT", '{ from = "at", format = "epoch_s" }')).ingest([file]))
    assert (first.records, first.landed, first.quarantined) == (2, 1, 1)
    file.unlink()
    b = home(tmp_path, BUS.replace("AT", '{ from = "at", unit = "s", since = "2026-01-01T00:00:00Z" }'))
    again = balanced(b.replay())
    assert (again.landed, again.rows["signal_reading"]) == (1, 4)
    assert [r[-1] for r in contents(b, SignalReading)].count(1) == 4
