"""What became of decisions: only allowed moves, one mover at a time, nothing forgotten."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from small import process

from unibody.errors import RefusedError, SetupError, StoreError
from unibody.ledger import NEXT, Ledger

STATES = [s for s in NEXT if s]
WAY = {
    "proposed": [],
    "approved": ["approved"],
    "dismissed": ["dismissed"],
    "sent": ["approved", "sent"],
    "confirmed": ["approved", "sent", "confirmed"],
    "reverted": ["approved", "reverted"],
}
ALLOWED = {
    ("proposed", "approved"), ("proposed", "dismissed"), ("approved", "sent"), ("approved", "reverted"),
    ("sent", "confirmed"), ("sent", "reverted"), ("confirmed", "reverted"), ("dismissed", "proposed"), ("proposed", "proposed"),
}  # fmt: skip


@pytest.fixture
def ledger(tmp_path):
    return Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")


@pytest.mark.parametrize("then", STATES)
@pytest.mark.parametrize("now", STATES)
def test_a_decision_moves_only_as_allowed(ledger, now, then):
    ledger.propose({"d": 1}, "case")
    for step in WAY[now]:
        ledger.move("d", step, "me", "")
    if (now, then) in ALLOWED:
        assert ledger.move("d", then, "me", "why").state == then
    else:
        with pytest.raises(RefusedError, match=f"is {now}"):
            ledger.move("d", then, "me", "")
        assert ledger.states()["d"].state == now


def test_the_history_holds_who_when_and_why(ledger):
    ledger.propose({"d": 1}, "usecase wear")
    ledger.move("d", "approved", "anna", "seen it")
    ledger.move("d", "reverted", "ben", "wrong pump")
    story = ledger.history("d")
    assert [(s.step, s.state, s.by, s.note) for s in story] == [
        (1, "proposed", "usecase wear", ""), (2, "approved", "anna", "seen it"), (3, "reverted", "ben", "wrong pump"),
    ]  # fmt: skip
    assert [s.at for s in story] == sorted(s.at for s in story)


def test_new_evidence_supersedes_a_proposal_and_leaves_what_was_decided(ledger):
    assert ledger.propose({"a": 1, "b": 1, "c": 1}, "case") == 3
    ledger.move("b", "approved", "me", "")
    ledger.move("c", "dismissed", "me", "")
    assert ledger.propose({"a": 2, "b": 2, "c": 2}, "case") == 1
    assert {i: (s.state, s.revision) for i, s in ledger.states().items()} == {
        "a": ("proposed", 2), "b": ("approved", 1), "c": ("dismissed", 1),
    }  # fmt: skip
    assert ledger.propose({"a": 2, "b": 2}, "case") == 0


def test_an_unknown_decision_is_said(ledger):
    with pytest.raises(SetupError, match="no decision 'x'"):
        ledger.move("x", "approved", "me", "")


def mover(folder: Path, name: str) -> None:
    ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
    won = []
    for i in range(20):
        try:
            ledger.move(f"d{i}", "approved", name, "")
            won.append(i)
        except RefusedError:
            pass
    (folder / name).write_text(str(len(won)))


def test_of_two_people_at_once_one_decides(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    ledger.propose({f"d{i}": 1 for i in range(20)}, "case")
    both = [process(mover, tmp_path, n) for n in ("anna", "ben")]
    for each in both:
        each.join()
    assert [p.exitcode for p in both] == [0, 0]
    assert sum(int((tmp_path / n).read_text()) for n in ("anna", "ben")) == 20
    assert all(len(ledger.history(f"d{i}")) == 2 for i in range(20))


def proposer(folder: Path) -> None:
    Ledger(f"sqlite:///{folder / 'ledger.sqlite'}").propose({f"d{i}": 1 for i in range(200)}, "case")


def test_two_runs_at_once_propose_each_decision_once(tmp_path):
    both = [process(proposer, tmp_path) for _ in range(2)]
    for each in both:
        each.join()
    assert [p.exitcode for p in both] == [0, 0]
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    assert {len(ledger.history(i)) for i in ledger.states()} == {1} and len(ledger.states()) == 200


def test_a_locked_ledger_is_said_in_words(tmp_path, ledger):
    ledger.propose({"d": 1}, "case")
    sa.event.listen(ledger.engine, "connect", lambda c, _: c.execute("PRAGMA busy_timeout=20"))
    ledger.engine.dispose()
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match=r"ledger sqlite.*locked"):
        ledger.move("d", "approved", "me", "")
    other.execute("ROLLBACK")
    assert ledger.move("d", "approved", "me", "").state == "approved"


def test_a_ledger_that_is_no_database_is_said_in_words(tmp_path):
    (tmp_path / "ledger.sqlite").write_text("Dear diary, " * 200)
    with pytest.raises(StoreError, match="not a database"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")


def test_runs_are_remembered_with_how_they_ended(ledger):
    first = ledger.begin_run("wear", "abc")
    ledger.end_run(first, None, "SetupError: no truth")
    assert ledger.last_runs()["wear"]["error"] == "SetupError: no truth"
    second = ledger.begin_run("wear", "abd")
    assert ledger.last_runs()["wear"]["ended_at"] is None
    ledger.end_run(second, 7)
    assert ledger.last_runs()["wear"]["decisions"] == 7
