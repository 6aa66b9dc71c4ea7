"""What became of decisions: only allowed moves, one mover at a time, nothing forgotten; on SQLite and PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from acting import mover, proposer, settler
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st
from postgres import PASSWORD, Postgres, server
from small import process

from unibody.errors import RefusedError, SetupError, StoreError
from unibody.ledger import METADATA, NEXT, Ledger, Message, key_of
from unibody.ledger.outbox import ATTEMPTS_MAX, RETRY_SECONDS_MAX, backoff_seconds
from unibody.ledger.store import HEAD, MIGRATIONS, migrate

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


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgres]:
    with server() as found:
        os.environ["PGPASSWORD"] = PASSWORD
        yield found
        del os.environ["PGPASSWORD"]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, on each of both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    return str(request.getfixturevalue("postgresql").database())


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    found = Ledger(url)
    yield found
    found.engine.dispose()


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


def test_of_two_people_at_once_one_decides(tmp_path, url, ledger):
    ledger.propose({f"d{i}": 1 for i in range(20)}, "case")
    both = [process(mover, url, tmp_path, n) for n in ("anna", "ben")]
    for each in both:
        each.join()
    assert [p.exitcode for p in both] == [0, 0]
    assert sum(int((tmp_path / n).read_text()) for n in ("anna", "ben")) == 20
    assert all(len(ledger.history(f"d{i}")) == 2 for i in range(20))


def test_two_runs_at_once_open_an_empty_database_and_propose_each_decision_once(url):
    both = [process(proposer, url) for _ in range(2)]
    for each in both:
        each.join()
    assert [p.exitcode for p in both] == [0, 0]
    ledger = Ledger(url)
    assert {len(ledger.history(i)) for i in ledger.states()} == {1} and len(ledger.states()) == 200


def test_a_locked_ledger_is_said_in_words(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
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


# ---- decisions that belong together


@tried(max_examples=25, deadline=None)
@given(states=st.lists(st.sampled_from(STATES), min_size=1, max_size=6), then=st.sampled_from(STATES))
def test_together_all_move_or_none_does(tmp_path_factory, states, then):
    ledger = Ledger(f"sqlite:///{tmp_path_factory.mktemp('together') / 'ledger.sqlite'}")
    ids = [f"d{i}" for i in range(len(states))]
    ledger.propose(dict.fromkeys(ids, 1), "case")
    for i, state in zip(ids, states, strict=True):
        for step in WAY[state]:
            ledger.move(i, step, "me", "")
    if all((s, then) in ALLOWED for s in states):
        assert [m.state for m in ledger.move_all(ids, then, "me", "")] == [then] * len(ids)
    else:
        with pytest.raises(RefusedError):
            ledger.move_all(ids, then, "me", "")
        assert [ledger.states()[i].state for i in ids] == states
    ledger.engine.dispose()


# ---- the outbox

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def message(number: int = 1, **said: str) -> Message:
    return Message(**{"key": f"d_1_{number}", "writer": "webhook", "recipient": "https://example.com", "options": {}, "body": {"do": number}, "counter_body": {"undo": number}, **said})  # fmt: skip


def sent(ledger: Ledger, *messages: Message) -> None:
    """One decision, approved and sent."""
    ledger.propose({"d": 1}, "case")
    assert ledger.send(ledger.move("d", "approved", "anna", ""), messages, "act")


def soon(seconds: float = 60) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_a_decision_and_its_messages_move_together_or_not_at_all(ledger):
    ledger.propose({"d": 1}, "case")
    approved = ledger.move("d", "approved", "anna", "")
    assert not ledger.send(approved, [message(1), message(1)], "act"), (
        "the outbox refuses the second of one key"
    )
    assert ledger.outbox() == [] and ledger.states()["d"].state == "approved"
    assert ledger.send(approved, [message(1), message(2)], "act")
    assert not ledger.send(approved, [message(3)], "act"), "what was read is no longer so"
    assert [m["key"] for m in ledger.outbox()] == ["d_1_2", "d_1_1"] and ledger.states()["d"].state == "sent"


def test_a_message_is_held_by_one_until_its_lease_ends(ledger):
    sent(ledger, message(1), message(2))
    first, second = ledger.claim(30), ledger.claim(30)
    assert first and second and {first.key, second.key} == {"d_1_1", "d_1_2"}
    assert ledger.claim(30) is None
    again = ledger.claim(30, soon(31))
    assert again and again.key == first.key and again.attempts == 2 and again.lease != first.lease
    assert ledger.failed(first, "slow", now=soon(32)) == "waiting"
    assert ledger.claim(30, soon(33)) is not None, (
        "the second; who lost the lease does not set the first free"
    )
    assert ledger.claim(30, soon(34)) is None
    assert ledger.delivered(first.id, "d", True, {"n": 1}), "but a receipt counts"
    assert not ledger.delivered(again.id, "d", True, {"n": 2})
    assert next(m for m in ledger.outbox() if m["key"] == first.key)["receipt"] == {"n": 1}


def test_after_too_many_attempts_a_message_is_dead(ledger):
    sent(ledger, message())
    now, states = soon(0), []
    for _ in range(ATTEMPTS_MAX):
        now += timedelta(days=1)
        claimed = ledger.claim(now=now)
        assert claimed is not None
        states.append(ledger.failed(claimed, "no\0 answer", now=now))
    assert states == ["waiting"] * (ATTEMPTS_MAX - 1) + ["dead"]
    assert ledger.claim(now=now + timedelta(days=9)) is None
    assert ledger.outbox("dead")[0]["error"] == "no answer" and ledger.outbox_counts() == {"dead": 1}
    ledger.retry(ledger.outbox()[0]["id"])
    assert ledger.claim() is not None


def test_who_asks_to_wait_is_waited_for(ledger):
    sent(ledger, message())
    claimed = ledger.claim(now=NOW + timedelta(days=400))
    assert claimed is not None
    at = soon(0)
    ledger.failed(claimed, "busy", after_seconds=1800, now=at)
    assert ledger.claim(now=at + timedelta(seconds=1799)) is None
    assert ledger.claim(now=at + timedelta(seconds=1801)) is not None


@given(attempts=st.integers(1, 200), chance=st.floats(0, 1))
def test_waiting_grows_is_spread_and_bounded(attempts, chance):
    wait = backoff_seconds(attempts, chance)
    assert 2.5 <= wait <= 1.5 * RETRY_SECONDS_MAX
    assert backoff_seconds(attempts + 1, chance) >= wait


def test_a_decision_is_confirmed_when_every_recipient_has_confirmed(ledger):
    sent(ledger, message(1), message(2))
    first, second = ledger.claim(), ledger.claim()
    assert first and second
    ledger.delivered(first.id, "d", True, {})
    ledger.delivered(second.id, "d", False, {"file": "x"})
    assert ledger.states()["d"].state == "sent"
    with pytest.raises(RefusedError, match="only a sent one"):
        ledger.confirm(first.id, "ben", "")
    ledger.confirm(second.id, "ben", "read in")
    assert ledger.states()["d"].state == "confirmed"
    assert ledger.outbox()[0]["receipt"] == {"sent": {"file": "x"}, "confirmed_by": "ben", "note": "read in"}


def test_a_revert_takes_back_from_whom_may_know_and_only_from_them(ledger):
    sent(ledger, message(1), message(2), message(3), message(4))
    arrived, failed, refused = ledger.claim(), ledger.claim(), ledger.claim()
    assert arrived and failed and refused
    ledger.delivered(arrived.id, "d", True, {})
    ledger.failed(failed, "timed out")
    ledger.failed(refused, "no", final=True)
    ledger.move("d", "reverted", "anna", "wrong")
    counters = {m["key"]: m["body"] for m in ledger.outbox() if m["counter"]}
    assert counters == {"d_1_1_revert": {"undo": 1}, "d_1_2_revert": {"undo": 2}, "d_1_3_revert": {"undo": 3}}
    for _ in counters:
        claimed = ledger.claim(now=soon(1))
        assert claimed is not None and claimed.key in counters
        ledger.delivered(claimed.id, "d", True, {})
    assert ledger.claim(now=soon(99_999)) is None
    assert ledger.states()["d"].state == "reverted"
    assert {m["key"]: m["state"] for m in ledger.outbox() if not m["counter"]} == {
        "d_1_1": "confirmed", "d_1_2": "dead", "d_1_3": "dead", "d_1_4": "dead",
    }  # fmt: skip


def test_the_last_two_receipts_at_once_still_confirm_the_decision(url, ledger):
    ids = [f"d{i}" for i in range(30)]
    ledger.propose(dict.fromkeys(ids, 1), "case")
    for one, state in zip(ids, ledger.move_all(ids, "approved", "anna", ""), strict=True):
        ledger.send(state, [message(n, key=key_of(one, 1, "webhook", str(n))) for n in (1, 2)], "act")
    both = [process(settler, url, n) for n in (1, 2)]
    for each in both:
        each.join()
    assert [p.exitcode for p in both] == [0, 0]
    assert {s.state for s in ledger.states().values()} == {"confirmed"}
    assert {len(ledger.history(i)) for i in ids} == {4} and ledger.outbox_counts() == {"confirmed": 60}
    assert {m["attempts"] for m in ledger.outbox()} == {1}


# ---- old homes, other databases

#: What the code before there were migrations made, and what somebody had done with it.
OLD_HOME = """
CREATE TABLE transition (decision_id VARCHAR(64) NOT NULL, step INTEGER NOT NULL, revision INTEGER NOT NULL, state VARCHAR(16) NOT NULL,
  at VARCHAR(32) NOT NULL, "by" VARCHAR(200) NOT NULL, note TEXT NOT NULL, PRIMARY KEY (decision_id, step));
CREATE TABLE read (id INTEGER NOT NULL, at VARCHAR(32) NOT NULL, "by" VARCHAR(200) NOT NULL, purpose VARCHAR(32) NOT NULL,
  table_name VARCHAR(64) NOT NULL, granted BOOLEAN NOT NULL, why TEXT NOT NULL, PRIMARY KEY (id));
CREATE TABLE usecase_run (id INTEGER NOT NULL, usecase VARCHAR(200) NOT NULL, began_at VARCHAR(32) NOT NULL, ended_at VARCHAR(32),
  snapshot VARCHAR(200) NOT NULL, decisions INTEGER, error TEXT, PRIMARY KEY (id));
INSERT INTO transition VALUES ('d', 1, 1, 'proposed', '2026-11-01T08:00:00.000000+00:00', 'usecase wear', '');
INSERT INTO transition VALUES ('d', 2, 1, 'approved', '2026-11-01T09:00:00.000000+00:00', 'anna', 'seen it');
INSERT INTO read VALUES (1, '2026-11-01T08:00:00.000000+00:00', 'wear', 'learn', 'outcome', 1, 'in READS');
INSERT INTO usecase_run VALUES (1, 'wear', '2026-11-01T08:00:00.000000+00:00', NULL, 'abc', NULL, NULL);
"""


def test_a_home_of_before_the_outbox_opens_with_all_it_holds_and_acts(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as con:
        con.executescript(OLD_HOME)
    con.close()
    ledger = Ledger(f"sqlite:///{path}")
    assert [(s.state, s.by, s.note) for s in ledger.history("d")] == [
        ("proposed", "usecase wear", ""),
        ("approved", "anna", "seen it"),
    ]
    assert ledger.last_runs()["wear"]["snapshot"] == "abc" and len(ledger.reads()) == 1
    assert ledger.send(ledger.states()["d"], [message()], "act") and ledger.claim() is not None
    assert Ledger(f"sqlite:///{path}").states()["d"].state == "sent", "and opens again"


def test_a_home_opens_from_every_revision(url):
    for upto in [None, *(f"{n:04}" for n in range(1, int(HEAD) + 1))]:
        engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as con:
            for table in [*sa.inspect(con).get_table_names()]:
                con.execute(sa.text(f'DROP TABLE "{table}"'))
            if upto:
                migrate(con, "ledger", upto)
        engine.dispose()
        ledger = Ledger(url)
        ledger.propose({"d": 1}, "case")
        assert ledger.claim() is None
        ledger.engine.dispose()


def test_the_migrations_make_what_the_code_says(ledger):
    assert f"{len([*(MIGRATIONS / 'versions').glob('v*.py')]):04}" == HEAD
    found = sa.inspect(ledger.engine)
    for name, table in METADATA.tables.items():
        there = {c["name"]: c for c in found.get_columns(name)}
        assert list(there) == [c.name for c in table.columns]
        assert {n: c["nullable"] for n, c in there.items()} == {
            c.name: bool(c.nullable) for c in table.columns
        }
        for column in table.columns:
            assert isinstance(
                there[column.name]["type"],
                (sa.String if isinstance(column.type, sa.String) else sa.Integer, sa.Boolean),
            )
        assert {i["name"] for i in found.get_indexes(name) if not i["unique"]} == {
            i.name for i in table.indexes
        }
        assert found.get_pk_constraint(name)["constrained_columns"] == [c.name for c in table.primary_key]


def test_a_home_of_a_newer_version_is_left_alone(ledger, url):
    with ledger.write() as con:
        con.execute(sa.text("update alembic_version set version_num = '9999'"))
    with pytest.raises(StoreError, match="revision 9999, which this version does not know"):
        Ledger(url)


def test_a_room_registers_tables_of_its_own(url):
    own = sa.Table("room_of_the_tests", METADATA, sa.Column("id", sa.Integer, primary_key=True))
    try:
        Ledger(url).engine.dispose()
        ledger = Ledger(url)
        with ledger.write() as con:
            con.execute(sa.insert(own).values(id=7))
        with ledger.read() as con:
            assert con.scalar(sa.select(own.c.id)) == 7
        ledger.engine.dispose()
    finally:
        METADATA.remove(own)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("postgresql://anna:sesame@host/db", "a password in the URL; put it into PGPASSWORD"),
        ("mysql://host/db", "mysql is none of sqlite, postgresql"),
        ("not a url", "should be like sqlite"),
    ],
)
def test_a_wrong_url_is_said_in_words_and_never_its_password(wrong, why):
    with pytest.raises(SetupError, match=why) as e:
        Ledger(wrong)
    assert "sesame" not in str(e.value)


def test_a_server_that_is_not_there_is_said_in_words():
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match=r"ledger postgresql.*127\.0\.0\.1"):
        Ledger("postgresql://anna@127.0.0.1:1/db")


@pytest.mark.slow
def test_a_server_restarted_under_load_loses_no_transition(postgresql):
    ledger = Ledger(postgresql.database())
    ids = [f"d{i}" for i in range(100_000)]
    stop, told, refused = threading.Event(), list[list[str]]([[], [], []]), list[str]()

    def work(mine: int) -> None:
        for i in ids[mine::3]:
            while not stop.is_set():
                try:
                    if i not in ledger.states([i]):
                        ledger.propose({i: 1}, "case")
                    if ledger.states([i])[i].state == "proposed":
                        ledger.move(i, "approved", "anna", "")
                    told[mine].append(i)
                    break
                except StoreError as e:
                    refused.append(str(e))
                    time.sleep(0.05)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for each in threads:
        each.start()
    restarts: list[Callable[[], None]] = [postgresql.stop, postgresql.start] * 3
    for step in restarts:
        time.sleep(1.0)
        step()
    time.sleep(1.0)
    stop.set()
    for each in threads:
        each.join()
    done = [i for mine in told for i in mine]
    assert refused and len(done) > 100, "it was restarted under load"
    states = ledger.states(done)
    assert all(states[i].state == "approved" for i in done), "lost"
    assert all([s.step for s in ledger.history(i)] == [1, 2] for i in done[:200])
    print(f"{len(done)} decisions approved over 3 restarts, {len(refused)} refused meanwhile and tried again")
