"""From a raw file to a judged decision, with a user's own dialect, use case and solution; and what the backbone never lets pass."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from made_solution import SOLUTION, USECASE
from small import BEGIN, DIALECT, backbone, facts, process, write

from unibody import catalog
from unibody import settings as stated_settings
from unibody.backbone import Backbone, judge, questions
from unibody.backbone.up import due
from unibody.dialects.dialect import load
from unibody.errors import RefusedError, SetupError
from unibody.lake import Lake
from unibody.methods import scores
from unibody.models import Models
from unibody.solution import Kind, Split, UseCase
from unibody.tables import Decision, MachineReading, Outcome

MACHINES, READINGS = 30, 6
some = hypothesis(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def raw(folder: Path, leak: bool = False, machines: int = MACHINES) -> None:
    """Readings and labels of machines; the worn ones run warmer, but not always."""
    random_ = random.Random(1)
    readings, labels = [], []
    for m in range(machines):
        worn = m % 3 == 0
        for r in range(READINGS):
            at = BEGIN + timedelta(hours=100 * m + r)
            temp = random_.gauss(54 if worn else 50, 5)
            load = float(worn) if leak else random_.random()
            readings.append(
                {
                    "machine": f"M{m:02}",
                    "time": f"{at:%Y-%m-%d %H:%M:%S}",
                    "hours": str(r),
                    "temp": f"{temp:.2f}",
                    "load": f"{load:.2f}",
                }
            )
        labels.append({"machine": f"M{m:02}", "time": f"{at:%Y-%m-%d %H:%M:%S}", "worn": str(int(worn))})
    write(folder / "raw/machines_a.csv", readings)
    write(folder / "raw/labels_a.csv", labels)


def user(folder: Path, solution: str = SOLUTION, usecase: str = USECASE, **made) -> Backbone:
    """A user's folder with a dialect, a solution and a use case of his own; nothing in the package is touched."""
    for name, text in {"solutions/warm.py": solution, "usecases/press_shop/wear.toml": usecase}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    raw(folder, **made)
    b = backbone(folder)
    b.ingest([folder / "raw"])
    return b


# ---- the whole way


def test_a_users_own_csv_becomes_decisions_that_are_judged(folder):
    b = user(folder)
    case = b.usecase("wear")
    assert (case.room, case.kind, case.settings.margin) == ("press_shop", Kind.EVENT, 0.5)
    ran = b.run("wear")
    assert ran.judgement is not None and ran.live and ran.model == "wear v1"
    j = ran.judgement
    assert (j.score.units, j.leaks, j.split) == (MACHINES, (), "by machine")
    assert j.score.ours > j.score.baseline
    decisions = b.decisions()
    assert len(decisions) == ran.decisions == ran.new > 0
    assert {d["state"] for d in decisions} == {"proposed"} and {d["model"] for d in decisions} == {"wear v1"}
    assert all(d["reason"].startswith("runs at") for d in decisions)
    one = b.decision(decisions[0]["decision_id"])
    assert len(one["revisions"]) == len(one["history"]) == 1


def test_running_twice_changes_nothing(folder):
    b = user(folder)
    first = b.run("wear")
    for again in (b, backbone(folder)):
        second = again.run("wear")
        assert (second.new, second.model, second.judgement.plain()) == (
            0,
            first.model,
            first.judgement.plain(),
        )
    assert len(b.lake.rows(Decision).to_polars()) == first.decisions
    assert len(Models(b.settings.models).versions("wear")) == 1


def test_new_evidence_makes_a_revision_and_leaves_what_was_approved(folder):
    b = user(folder)
    b.run("wear")
    approved, open_ = b.decisions()[:2]
    b.move(approved["decision_id"], "approved", "anna", "yes")
    more = [
        {"machine": m["subject"], "time": "2026-09-01 00:00:00", "hours": "9", "temp": "99.0", "load": "0.1"}
        for m in (approved, open_)
    ]
    write(folder / "raw/machines_b.csv", more)
    b.ingest([folder / "raw"])
    assert b.run("wear").new >= 2
    then = b.decision(approved["decision_id"])
    assert (then["state"], then["revision"], then["evidence_changed"], then["history"][-1]["revision"]) == (
        "approved",
        2,
        True,
        1,
    )
    assert then["sent"] == "approved, not sent"
    other = b.decision(open_["decision_id"])
    assert (other["state"], other["revision"], other["evidence_changed"]) == ("proposed", 2, False)
    assert [h["revision"] for h in other["history"]] == [1, 2] and len(other["revisions"]) == 2


def run_slowly(folder: Path) -> None:
    backbone(folder).run("wear")


def test_a_judgement_that_is_killed_goes_on_where_it_stopped(folder):
    slow = SOLUTION.replace("def learn(tables", "import time, pathlib\n\n\ndef learn(tables").replace(
        "    truth = tables[Outcome]",
        f"    pathlib.Path({str(folder)!r}, 'learned').open('a').write('x')\n    time.sleep(0.15)\n    truth = tables[Outcome]",
    )
    b = user(folder, slow)
    learned = folder / "learned"
    running = process(run_slowly, folder)
    while not learned.exists() or len(learned.read_text()) < 3:
        assert running.is_alive()
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.join()
    before = len(learned.read_text())
    kept = list((folder / "home/judged/wear").glob("*/fold_*.parquet"))
    assert len(kept) == before - 1
    ran = b.run("wear")
    assert len(learned.read_text()) == before + (5 - len(kept)) + 1  # the folds left, and the model itself
    quiet = folder / "quiet"
    quiet.mkdir()
    assert user(quiet, slow).judge("wear").plain() == ran.judgement.plain()
    assert b.ledger.last_runs()["wear"]["ended_at"]


def test_a_challenger_that_answers_worse_never_decides(folder):
    b = user(folder)
    b.run("wear")
    before = {d["decision_id"]: d["score"] for d in b.decisions()}
    worse = USECASE.replace("settings.margin = 0.5", 'settings.signal = "load"')
    (folder / "usecases/press_shop/wear.toml").write_text(worse)
    again = backbone(folder)
    for _ in range(2):
        ran = again.run("wear")
        assert (ran.live, ran.model) == (False, "wear v1")
    registry = Models(b.settings.models)
    assert [(k.version, k.tags["made_live"]) for k in registry.versions("wear")] == [
        (2, "False"),
        (1, "True"),
    ]
    assert registry.live("wear").version == 1
    assert before.keys() == {d["decision_id"] for d in again.decisions()}


def test_decisions_as_of_a_time_rest_on_what_was_known_then(folder):
    b = user(folder)
    b.run("wear")
    early = BEGIN + timedelta(hours=100 * 10)
    assert 0 < b.run("wear", as_of=early).decisions <= 11


# ---- what is caught


def test_a_column_that_leaks_is_caught(folder):
    b = user(folder, usecase=USECASE.replace("settings.margin = 0.5", 'settings.signal = "load"'), leak=True)
    j = b.judge("wear")
    assert j.score.beats and j.leaks and "machine_reading.load" in j.leaks[0]
    assert j.beats is False and j.plain()["beats"] is False


def test_a_solution_that_peeks_at_the_truth_is_refused(folder):
    peeks = SOLUTION.replace(
        "    means = _means(tables, case)\n    return",
        "    tables[Outcome]\n    means = _means(tables, case)\n    return",
    )
    b = user(folder, peeks)
    with pytest.raises(RefusedError, match="truth"):
        b.run("wear")
    assert not b.ledger.reads(1)[0]["granted"]
    assert "truth" in b.ledger.last_runs()["wear"]["error"]


def test_decide_is_told_neither_truth_nor_split(folder):
    nosy = SOLUTION.replace(
        "    means = _means(tables, case)\n    return",
        "    assert case.truth is None and case.split is None\n    means = _means(tables, case)\n    return",
    )
    assert user(folder, nosy).judge("wear").score.units == MACHINES


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("def learn(tables: Tables, case: UseCase, base=None)", "def learn(tables, case)", r"learn\(tables, case\) should be learn\(tables, case, base\)"),
        ("def decide(model: Warm, tables: Tables, case: UseCase)", "def decide(tables, model, case)", r"decide\(tables, model, case\) should be"),
        ("READS = (MachineReading, Outcome)", "READS = MachineReading", "READS must be a tuple of tables"),
        ("READS = (MachineReading, Outcome)", "READS = ('machine_reading',)", "READS must be a tuple of tables"),
        ("KIND = (Kind.EVENT, Kind.LIFE, Kind.DETECTION)", "KIND = 'event'", "KIND must be one or several of"),
        ('SUBJECT = "machine"', "", "has no SUBJECT"),
        ("@dataclass(frozen=True)\nclass Settings", "class Settings", "Settings should be a frozen dataclass"),
        ("import polars as pl", "import polarbear", "does not load: ModuleNotFoundError"),
        ('"""Say which', '# """', "does not load|has no docstring"),
    ],
)  # fmt: skip
def test_check_names_what_is_wrong_with_a_solution(tmp_path, old, new, said):
    assert old in SOLUTION
    (tmp_path / "warm.py").write_text(SOLUTION.replace(old, new, 1))
    with pytest.raises(SetupError, match=said):
        catalog.solution("warm", tmp_path)


def test_an_unknown_solution_is_told_the_nearest(tmp_path):
    (tmp_path / "warm.py").write_text(SOLUTION)
    with pytest.raises(SetupError, match="did you mean warm"):
        catalog.solution("warn", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("truth    =", "thruth   =", "did you mean truth"),
        ("settings.margin", "settings.margn", "did you mean margin"),
        ("settings.margin = 0.5", "settings.margin = 'wide'", "settings.margin = 'wide' should be float"),
        ('"by machine"', '"randomly"', "split = 'randomly' is not 'time', 'by COLUMN'"),
        ("truth    =", "# ", "truth and split belong together"),
        ("where.machine", "where.machin", "did you mean machine"),
        ('solution = "warm"', 'solution = "wram"', "did you mean warm"),
        ('owner    = "the tests"', "owner = 1", "owner = 1 should be a text"),
        ('owner    = "the tests"', 'owner = "x"\nkind = "plan"', "kind = 'plan'"),
        ('owner    = "the tests"', 'owner = "x"\nwhen = "daily"', "every 1 h"),
        ('owner    = "the tests"', 'owner = "x"\nwhen = "new rows in machine_readings"', "did you mean machine_reading"),
        ('owner    = "the tests"', 'owner = "x"\nrisk = "huge"', "low, medium, high"),
        ('owner    = "the tests"', 'owner = "x"\nsubject = "car"', "subject"),
        ("owner", "owner = ", "cannot be read as TOML"),
    ],
)  # fmt: skip
def test_check_names_what_is_wrong_with_a_use_case(tmp_path, old, new, said):
    (tmp_path / "warm.py").write_text(SOLUTION)
    path = tmp_path / "cases/wear.toml"
    path.parent.mkdir()
    assert old in USECASE
    path.write_text(USECASE.replace(old, new, 1))
    with pytest.raises(SetupError, match=said):
        catalog.use_case(path, path.parent, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("system =", "sistem =", "has no system"),
        ("reader =", "readr =", "has no reader"),
        ("set_aside", "set_asides", "did you mean set_aside"),
        ("columns.torque_nm", "columns.torqe_nm", "did you mean torque_nm"),
        ('table = "tightening"', 'table = "tightenings"', "did you mean tightening"),
        ('columns.tightening_id = "id"', "", "tightening_id is required"),
        ("signals.from", "signals.form", "has no from|did you mean from"),
    ],
)
def test_check_names_what_is_wrong_with_a_dialect(tmp_path, old, new, said):
    (tmp_path / "small.toml").write_text(DIALECT.replace(old, new))
    with pytest.raises(SetupError, match=said):
        load(tmp_path / "small.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hoem = 'x'", "did you mean home"),
        ("port = 'high'", "port = 'high'"),
        ("port = 99999", "port"),
        ("home = [", "not TOML"),
    ],
)
def test_a_wrong_settings_file_is_said(tmp_path, monkeypatch, text, said):
    (tmp_path / "unibody.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("UNIBODY_")]:
        monkeypatch.delenv(name)
    with pytest.raises(SetupError, match=said):
        stated_settings.load()


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ("means.select(subject='machine')", "gave no decided_at, action"),
        ("means.to_dicts()", "gave list, should be a polars DataFrame"),
        ("_answers(means).with_columns(score=pl.lit('high'))", "wrong type"),
        ("_answers(means).with_columns(reason=pl.lit(None))", "left reason empty"),
        ("1 / 0", "broke in decide: ZeroDivisionError"),
    ],
)
def test_answers_that_break_the_contract_are_refused(folder, answers, said):
    broken = SOLUTION.replace(
        "    return means.select(",
        f"    return {answers}\n\n\ndef _answers(means, model=Warm(0.0, 1.0)):\n    return means.select(",
        1,
    )
    with pytest.raises(SetupError, match=said):
        user(folder, broken).judge("wear")


# ---- when


def test_a_use_case_is_due_when_it_says_so(folder):
    b = user(folder, usecase=USECASE + 'when = "every 2 h"\n'.replace("\n", "\n", 1))
    (folder / "usecases/press_shop/wear.toml").write_text('when = "every 2 h"\n' + USECASE)
    (folder / "usecases/press_shop/stock.toml").write_text('when = "new rows in machine_reading"\n' + USECASE)
    (folder / "usecases/press_shop/never.toml").write_text(USECASE)
    b = backbone(folder)
    now, seen = datetime.now(UTC), {}
    ours = {"wear", "stock", "never"}

    def found(at: datetime) -> set[str]:
        return set(due(b, at, seen)) & ours

    assert found(now) == {"wear"}
    number = b.ledger.begin_run("wear", "x")
    assert found(now) == {"wear"}  # it was begun and not ended: killed
    b.ledger.end_run(number, 1)
    assert found(now) == set()
    assert found(now + timedelta(hours=2.1)) == {"wear"}
    write(
        folder / "raw/machines_c.csv",
        [{"machine": "M99", "time": "2026-09-01 00:00:00", "hours": "1", "temp": "50", "load": "1"}],
    )
    b.ingest([folder / "raw"])
    assert found(now) == {"stock"}
    assert found(now) == set()


# ---- what is asked


class Plant:
    """A lake of machines with readings and truth, and a use case over it."""

    READS = (MachineReading, Outcome)

    def __init__(self, folder: Path, kind: Kind, split: str, **stated) -> None:
        self.lake = Lake(folder)
        self.case = UseCase(
            "c", "", "s", "?", "me", kind, truth="worn", split=Split.parse(split), subject="machine", **stated
        )
        self.module = ModuleType("plant")
        self.module.READS = self.READS  # type: ignore[attr-defined]

    def add(self, table, rows) -> None:
        self.lake.append(table, facts(table, rows), f"{table}{len(rows)}", "r", BEGIN, len(rows))

    def folds(self) -> list[questions.Fold]:
        return list(questions.folds(self.lake, self.case, self.module))


def hour(n: float) -> datetime:
    return BEGIN + timedelta(hours=n)


def readings(machine: str, hours: range) -> list[dict]:
    return [
        {"machine": machine, "signal": "t", "read_at": hour(h), "usage": float(h - hours[0]), "value": 1.0}
        for h in hours
    ]


lives = st.lists(
    st.tuples(st.integers(0, 300), st.integers(2, 30), st.integers(0, 3)), min_size=2, max_size=14
)


@some
@given(
    lives=lives,
    split=st.sampled_from(["by machine", "by label", "label = g1", "blocks", "time"]),
    kind=st.sampled_from([Kind.EVENT, Kind.LIFE, Kind.DETECTION]),
)
def test_no_subject_is_ever_on_both_sides_of_a_split(tmp_path_factory, lives, split, kind):
    plant = Plant(tmp_path_factory.mktemp("lake"), kind, split)
    rows, truth = [], []
    for i, (begin, count, group) in enumerate(lives):
        name = f"m{i}"
        rows += readings(name, range(begin, begin + count))
        # several truths a subject, as labels come
        ends = [begin + count - 1, *([begin + 1] if kind is not Kind.LIFE and group == 2 else [])]
        truth += [
            {
                "truth": "worn",
                "subject": name,
                "happened_at": hour(h),
                "usage": float(count),
                "value": float(group % 2),
                "label": f"g{group}",
            }
            for h in set(ends)
        ]
    plant.add(MachineReading, rows)
    plant.add(Outcome, truth)
    try:
        folds = plant.folds()
    except SetupError:
        return  # too little to part; it says so
    asked_in_all: list[str] = []
    for fold in folds:
        asked = set().union(*(p.questions["subject"].to_list() for p in fold.passes))
        assert asked and set(questions.QUESTION) <= set(fold.passes[0].questions.columns)
        asked_in_all += sorted(asked)
        if fold.learn.subjects is not None and fold.learn.before is None:
            assert not asked & set(fold.learn.subjects["subject"])
            assert not asked & set(fold.past["subject"])
        else:  # cut by time: nothing learned from lies after what is asked
            assert fold.learn.before is not None
            assert all(p.questions["at"].min() >= fold.learn.before or kind is Kind.LIFE for p in fold.passes)
        for p in fold.passes:
            if p.cut.subjects is not None and kind is not Kind.DETECTION:
                assert set(p.questions["subject"]) <= set(p.cut.subjects["subject"])
    if split in ("by machine", "blocks"):
        assert len(asked_in_all) == len(set(asked_in_all)) == len(lives)


def test_a_life_is_asked_at_moments_and_decide_sees_nothing_after_them(tmp_path):
    plant = Plant(tmp_path, Kind.LIFE, "by machine")
    names = [f"m{i}" for i in range(10)]
    plant.add(MachineReading, [r for n in names for r in readings(n, range(101))])
    plant.add(
        Outcome, [{"truth": "worn", "subject": n, "happened_at": hour(100), "usage": 100.0} for n in names]
    )
    asked = [(q, p) for f in plant.folds() for p in f.passes for q in p.questions.to_dicts()]
    assert len(asked) == 10 * questions.MOMENTS
    for q, p in asked:
        assert q["truth"] == 100 - q["usage"] and 0 < q["usage"] < 100
        until = p.cut.subjects.filter(pl.col("subject") == q["subject"])["until"][0]
        assert until == q["at"] == hour(q["usage"])


def test_a_life_that_still_runs_is_asked_at_its_last_reading(tmp_path):
    plant = Plant(tmp_path, Kind.LIFE, "part = test")
    rows, truth = [], []
    for i in range(6):
        part = "test" if i % 2 else "train"
        rows += readings(f"m{i}", range(50))
        left = {"remaining": 7.0 + i} if part == "test" else {"usage": 49.0}
        truth.append({"truth": "worn", "subject": f"m{i}", "happened_at": hour(1000), "part": part, **left})
    plant.add(MachineReading, rows)
    plant.add(Outcome, truth)
    [fold] = plant.folds()
    assert set(fold.learn.subjects["subject"]) == {"m0", "m2", "m4"}
    [only] = fold.passes
    assert {(q["subject"], q["truth"], q["usage"]) for q in only.questions.to_dicts()} == {
        (f"m{i}", 7.0 + i, 49.0) for i in (1, 3, 5)
    }


def test_an_event_counts_within_its_horizon(tmp_path):
    plant = Plant(tmp_path, Kind.EVENT, "time", horizon_hours=24.0)
    plant.add(MachineReading, [r for n in ("a", "b") for r in readings(n, range(240))])
    plant.add(Outcome, [{"truth": "worn", "subject": "a", "happened_at": hour(h)} for h in (50, 200)])
    [fold] = plant.folds()
    assert fold.learn.before is not None
    asked = [q for p in fold.passes for q in p.questions.to_dicts()]
    assert {q["subject"] for q in asked} == {"a", "b"}
    for p in fold.passes:
        assert p.cut.before == p.questions["at"][0]  # nothing at or after the instant is seen
        for q in p.questions.to_dicts():
            hit = q["subject"] == "a" and any(
                q["at"] < hour(h) <= q["at"] + timedelta(hours=24) for h in (50, 200)
            )
            assert q["truth"] == float(hit)
    assert sum(q["truth"] for q in asked) == 1
    assert fold.past["truth"].sum() == 1
    plant.case = replace(plant.case, horizon_hours=None)


def test_a_detection_is_true_within_its_windows(tmp_path):
    plant = Plant(tmp_path, Kind.DETECTION, "time")
    plant.add(MachineReading, readings("a", range(100)))
    plant.add(
        Outcome,
        [
            {"truth": "worn", "subject": "a", "happened_at": hour(80), "ended_at": hour(84)},
            {"truth": "worn", "subject": "a", "happened_at": hour(90), "ended_at": hour(90)},
        ],
    )
    [fold] = plant.folds()
    [only] = fold.passes
    assert only.by_instant
    true = only.questions.filter(pl.col("truth") == 1)
    assert true["at"].to_list() == [hour(h) for h in (80, 81, 82, 83, 84, 90)]
    assert true["unit"].n_unique() == 2 and only.questions["at"].min() >= fold.learn.before
    assert fold.past["truth"].sum() == 0


def test_what_lies_unasked_does_not_count_and_what_is_unanswered_counts_as_worst():
    asked = pl.DataFrame(
        {
            "unit": ["a", "b"],
            "subject": ["a", "b"],
            "at": [hour(1)] * 2,
            "usage": [1.0] * 2,
            "truth": [1.0, 0.0],
            "truth_label": [None, None],
        },
        schema_overrides={"truth_label": pl.String},
    )
    answers = pl.DataFrame(
        {
            "subject": ["a", "z"],
            "decided_at": [hour(1)] * 2,
            **{c: [1.0, 1.0] for c in ("score", "value", "low", "high", "worth_eur")},
            "label": ["", ""],
        }
    )
    paired = judge._paired(questions.Pass(questions.Cut(), asked), answers)
    assert paired.select("subject", "score").rows() == [("a", 1.0), ("b", None)]


def test_every_kind_has_a_measure():
    assert set(scores._MEASURES) == set(Kind)
