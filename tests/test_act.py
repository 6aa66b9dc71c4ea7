"""Acting is real: what was approved goes out at least once with its key, is taken back in order, and never gets lost."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import typer
from acting import acting, alone, approve, propose, settings
from postgres import PASSWORD, Postgres, server
from receivers import Receiver
from small import process
from typer.testing import CliRunner

import unibody.settings
from unibody.backbone import Backbone
from unibody.backbone.act import Acted, act, routes
from unibody.backbone.up import keep_schedule
from unibody.cli import decide
from unibody.errors import RefusedError, SetupError, UnibodyError


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgres]:
    with server() as found:
        yield found


def key(backbone: Backbone, decision_id: str) -> str:
    return next(str(m["key"]) for m in reversed(backbone.ledger.outbox(decision_id=decision_id)))


def acted(backbone: Backbone, lease_seconds: float = 90.0) -> Acted:
    return act(
        backbone.lake,
        backbone.ledger,
        backbone.settings,
        lambda: backbone.usecases,
        lease_seconds=lease_seconds,
    )


def until_quiet(backbone: Backbone, lease_seconds: float = 0.2) -> None:
    """Act until nothing waits; leases of the killed run out meanwhile."""
    for _ in range(200):
        alone(backbone, lease_seconds)
        if not backbone.ledger.outbox("waiting") and not backbone.ledger.in_state("approved"):
            return
        time.sleep(0.05)
    raise AssertionError(f"still waiting: {backbone.ledger.outbox('waiting')[:3]}")


# ---- what goes where


def test_an_approved_decision_goes_out_is_confirmed_and_its_receipt_is_kept(tmp_path, receiver):
    backbone = Backbone(settings(tmp_path, {"writer": "webhook", "to": receiver.url}))
    propose(backbone, ["a", "b", "c"])
    approve(backbone, "a")
    backbone.move("b", "dismissed", "anna", "no")
    assert backbone.act() == Acted(queued=1, confirmed=1, refused={})
    assert {i: s.state for i, s in backbone.ledger.states().items()} == {
        "a": "confirmed",
        "b": "dismissed",
        "c": "proposed",
    }
    (message,) = backbone.ledger.outbox()
    assert (message["state"], message["attempts"], message["receipt"]["status"]) == ("confirmed", 1, 201)
    assert json.loads(message["receipt"]["answer"]) == {"number": "WO-1"}
    (body,) = receiver.effects.values()
    assert (
        body["type"] == "decision.approved"
        and body["data"]["decision_id"] == "a"
        and body["data"]["subject"] == "pump 1"
    )
    assert [s["state"] for s in backbone.decision("a")["history"]] == [
        "proposed",
        "approved",
        "sent",
        "confirmed",
    ]
    assert backbone.act() == Acted(refused={}), "acting again does nothing"
    assert receiver.requests == 1


def test_without_a_writer_it_stays_approved_not_sent(tmp_path):
    backbone = Backbone(settings(tmp_path))
    propose(backbone, ["a"])
    approve(backbone, "a")
    assert backbone.act() == Acted(not_sent=1, refused={})
    assert backbone.decision("a")["sent"] == "approved, not sent"
    backbone = Backbone(
        settings(tmp_path, {"writer": "webhook", "to": "http://localhost:1/", "usecase": "other"})
    )
    assert backbone.act() == Acted(not_sent=1, refused={})
    assert backbone.decision("a")["sent"] == "approved, not sent" and backbone.ledger.outbox() == []


#: use case and action of the decision, and the writers it goes to
ROUTED = [
    ("pump_life", "plan a stop", ["work_order", "mail"]),
    ("pump_life", "watch", ["mail"]),
    ("pump_scrap", "plan a stop", ["mail"]),
    ("paint", "plan a stop", []),
]


@pytest.mark.parametrize(("usecase", "action", "expected"), ROUTED)
def test_a_route_fits_by_use_case_and_action(tmp_path, usecase, action, expected):
    to = settings(
        tmp_path,
        {
            "usecase": "pump_life",
            "action": "plan *",
            "writer": "work_order",
            "to": "https://cmms.example/orders",
        },
        {"usecase": "pump_*", "writer": "mail", "to": "hall7@example.com"},
        {"usecase": "pump_*", "writer": "mail", "to": "hall7@example.com"},
    )
    assert [r.writer for r in routes(to, None, usecase, action)] == expected


def test_a_use_case_tells_whom_it_says_in_notify(tmp_path, receiver):
    (tmp_path / "usecases").mkdir()
    case = 'solution = "failure"\nquestion = "?"\nowner = "hall 7"\nkind = "life"\n'
    (tmp_path / "usecases/pump_life.toml").write_text(f'{case}notify = ["webhook:{receiver.url}"]\n')
    backbone = Backbone(settings(tmp_path))
    propose(backbone, ["a"])
    approve(backbone, "a")
    assert backbone.act().confirmed == 1 and len(receiver.effects) == 1
    (tmp_path / "usecases/pump_life.toml").write_text(f'{case}notify = ["anna"]\n')
    backbone = Backbone(settings(tmp_path))
    propose(backbone, ["b"])
    approve(backbone, "b")
    assert "notify = 'anna' should be like mail:anna@example.com" in (backbone.act().refused or {})["b"]


def test_what_was_approved_is_what_is_sent_whatever_was_said_since(tmp_path, receiver):
    backbone = Backbone(settings(tmp_path, {"writer": "webhook", "to": receiver.url}))
    propose(backbone, ["a"], reason="worn")
    approve(backbone, "a")
    propose(backbone, ["a"], revision=2, reason="fine after all")
    backbone.act()
    (body,) = receiver.effects.values()
    assert (body["data"]["revision"], body["data"]["reason"]) == (1, "worn")
    assert backbone.decision("a")["evidence_changed"]


def test_a_decision_of_which_no_message_can_be_made_stays_approved_and_says_why(tmp_path, receiver):
    backbone = Backbone(settings(
        tmp_path, {"usecase": "pump_life", "writer": "webhook", "to": receiver.url}, {"action": "block", "writer": "stock_block", "to": receiver.url},
        {"action": "none", "writer": "webhok", "to": receiver.url}, {"action": "far", "writer": "webhook", "to": "http://example.com/"},
    ))  # fmt: skip
    propose(backbone, ["a"], action="block")
    propose(backbone, ["b"], action="none")
    propose(backbone, ["c"], action="far")
    propose(backbone, ["d"], action="huge", reason="x" * 21_000_000)
    propose(backbone, ["e"])
    propose(backbone, ["f"], evidence='[{"n": NaN}, 1, null, "x"]')
    propose(backbone, ["g"], evidence="{broken")
    approve(backbone, *"abcdefg")
    done = acted(backbone)
    assert (done.queued, done.confirmed) == (3, 3)
    assert done.refused == {
        "a": "writer stock_block: the decision says nothing for evidence.lot",
        "b": "no writer 'webhok'; did you mean webhook?",
        "c": "webhook to 'http://example.com/': should be https://HOST/PATH (http:// only on this machine)",
        "d": done.refused["d"] if done.refused else "",
    }
    assert "more than 20,000,000" in done.refused["d"]
    assert all(backbone.ledger.states()[i].state == "approved" for i in "abcd"), (
        "also not to the recipient that was fine"
    )


# ---- failing and trying again


def test_a_recipient_that_is_down_is_tried_again_later_with_the_same_key_and_body(tmp_path):
    flaky = Receiver(lambda n: (503, {}, b"later") if n < 3 else (201, {}, b"{}"))
    backbone = Backbone(settings(tmp_path, {"writer": "webhook", "to": flaky.url}))
    propose(backbone, ["a"])
    approve(backbone, "a")
    assert backbone.act() == Acted(queued=1, again=1, refused={})
    (message,) = backbone.ledger.outbox()
    assert (message["state"], message["error"]) == ("waiting", "HTTP 503: later")
    wait = (datetime.fromisoformat(message["next_try_at"]) - datetime.now(UTC)).total_seconds()
    assert 1 < wait < 8 and backbone.act() == Acted(refused={}), "not due yet"
    later = datetime.now(UTC)
    for _ in range(2):
        later += timedelta(hours=2)
        deliver_at(backbone, later)
    assert backbone.ledger.states()["a"].state == "confirmed" and backbone.ledger.outbox()[0]["attempts"] == 3
    assert {h["Idempotency-Key"] for h, _ in flaky.came} == {message["key"]} and len(
        {b for _, b in flaky.came}
    ) == 1
    flaky.close()


def deliver_at(backbone: Backbone, now: datetime) -> None:
    """One delivery as if it were `now`."""
    from unibody.dialects import writers

    claimed = backbone.ledger.claim(now=now)
    assert claimed is not None
    out = writers.transport("webhook").send(
        writers.Parcel(claimed.key, claimed.recipient, claimed.body, claimed.options)
    )
    if out.state == "confirmed":
        backbone.ledger.delivered(claimed.id, claimed.decision_id, True, out.receipt, now)
    else:
        backbone.ledger.failed(claimed, out.error, out.state == "refused", out.after_seconds, now)


def test_a_dead_letter_is_seen_and_can_be_brought_back(tmp_path, receiver):
    wrong = Receiver(lambda _: (404, {}, b"no such door"))
    backbone = Backbone(settings(tmp_path, {"writer": "webhook", "to": wrong.url}))
    propose(backbone, ["a"])
    approve(backbone, "a")
    assert backbone.act() == Acted(queued=1, dead=1, refused={})
    (dead,) = backbone.ledger.outbox("dead")
    assert dead["error"] == "HTTP 404: no such door" and backbone.ledger.outbox_counts() == {"dead": 1}
    assert backbone.ledger.states()["a"].state == "sent"
    backbone.ledger.retry(dead["id"], receiver.url)
    assert backbone.act() == Acted(confirmed=1, refused={}) and list(receiver.effects) == [dead["key"]]
    with pytest.raises(RefusedError, match="is confirmed: only a dead one"):
        backbone.ledger.retry(dead["id"])
    with pytest.raises(SetupError, match="no message 99"):
        backbone.ledger.retry(99)
    wrong.close()


def test_two_recipients_are_each_delivered_and_the_decision_is_confirmed_when_both_have(tmp_path, receiver):
    second = Receiver(lambda n: (202, {}, b"taken"))
    backbone = Backbone(
        settings(
            tmp_path,
            {"writer": "webhook", "to": receiver.url},
            {"writer": "cmms_work_order", "to": second.url},
        )
    )
    propose(backbone, ["a"])
    approve(backbone, "a")
    assert backbone.act() == Acted(queued=1, confirmed=1, sent=1, refused={})
    assert backbone.ledger.states()["a"].state == "sent", "202: taken, not yet acted on"
    (waits,) = backbone.ledger.outbox("sent")
    backbone.ledger.confirm(waits["id"], "ben", "order 7 is in the system")
    assert backbone.ledger.states()["a"].state == "confirmed"
    assert backbone.ledger.outbox("confirmed")[0]["receipt"]["confirmed_by"] == "ben"
    assert len({m["key"] for m in backbone.ledger.outbox()}) == 2
    second.close()


def test_a_use_case_that_is_broken_does_not_hold_up_what_is_on_its_way(tmp_path, receiver):
    backbone = Backbone(settings(tmp_path, {"writer": "webhook", "to": receiver.url}))
    propose(backbone, ["a", "b"])
    approve(backbone, "a")
    act(backbone.lake, backbone.ledger, backbone.settings, dict, seconds_max=0)
    approve(backbone, "b")
    (tmp_path / "usecases").mkdir()
    (tmp_path / "usecases/own.toml").write_text("solution = ")
    with pytest.raises(SetupError, match=r"own\.toml: cannot be read as TOML"):
        Backbone(backbone.settings).act()
    assert {i: s.state for i, s in backbone.ledger.states().items()} == {"a": "confirmed", "b": "approved"}


# ---- taking back


def test_a_revert_of_what_went_out_sends_the_counter_message_once(tmp_path, receiver):
    backbone = Backbone(settings(tmp_path, {"writer": "webhook", "to": receiver.url}))
    propose(backbone, ["a"])
    approve(backbone, "a")
    backbone.act()
    backbone.move("a", "reverted", "anna", "wrong pump")
    assert backbone.act() == Acted(confirmed=1, refused={}) and backbone.act() == Acted(refused={})
    first, second = receiver.order
    assert second == f"{first}_revert" and receiver.effects[second]["data"]["reverts"] == first
    assert receiver.effects[second]["type"] == "decision.reverted"
    assert backbone.ledger.states()["a"].state == "reverted"


def test_a_revert_before_anything_left_means_nothing_ever_does(tmp_path, receiver):
    backbone = Backbone(settings(tmp_path, {"writer": "webhook", "to": receiver.url}))
    propose(backbone, ["a", "b"])
    approve(backbone, "a", "b")
    backbone.move("a", "reverted", "anna", "wrong pump")  # approved, not queued
    act(
        backbone.lake, backbone.ledger, backbone.settings, lambda: backbone.usecases, seconds_max=0
    )  # queued, not delivered
    assert [m["state"] for m in backbone.ledger.outbox()] == ["waiting"]
    backbone.move("b", "reverted", "anna", "wrong pump")
    assert acted(backbone) == Acted(refused={}) and receiver.requests == 0
    (message,) = backbone.ledger.outbox()
    assert (message["state"], message["error"]) == ("dead", "taken back before it was sent")
    with pytest.raises(RefusedError, match="was reverted"):
        backbone.ledger.retry(message["id"])


def test_a_revert_while_a_message_is_under_way_waits_for_it(tmp_path, receiver):
    backbone = Backbone(settings(tmp_path, {"writer": "webhook", "to": receiver.url}))
    propose(backbone, ["a"])
    approve(backbone, "a")
    act(backbone.lake, backbone.ledger, backbone.settings, lambda: backbone.usecases, seconds_max=0)
    under_way = backbone.ledger.claim()
    assert under_way is not None
    backbone.move("a", "reverted", "anna", "wrong pump")
    assert backbone.ledger.claim() is None, "the counter-message does not overtake it"
    backbone.ledger.delivered(under_way.id, "a", True, {})
    after = backbone.ledger.claim()
    assert after is not None and after.key == f"{under_way.key}_revert"
    assert backbone.ledger.states()["a"].state == "reverted", (
        "a late receipt does not confirm what was reverted"
    )


def test_a_revert_of_what_failed_halfway_stops_trying_and_sends_the_counter_message(tmp_path, receiver):
    backbone = Backbone(settings(tmp_path, {"writer": "webhook", "to": receiver.url}))
    propose(backbone, ["a"])
    approve(backbone, "a")
    act(backbone.lake, backbone.ledger, backbone.settings, lambda: backbone.usecases, seconds_max=0)
    tried = backbone.ledger.claim()
    assert tried is not None and backbone.ledger.failed(tried, "timed out") == "waiting"
    backbone.move("a", "reverted", "anna", "wrong pump")
    assert backbone.act() == Acted(confirmed=1, refused={})
    assert receiver.order == [f"{tried.key}_revert"]
    assert [(m["state"], m["error"]) for m in backbone.ledger.outbox("dead")] == [
        ("dead", "taken back; whether it had arrived is not known")
    ]


# ---- bundles


def test_a_bundle_is_approved_together_or_not_at_all(tmp_path, receiver):
    backbone = Backbone(settings(tmp_path, {"writer": "webhook", "to": receiver.url}))
    propose(backbone, ["lot", "stock", "cars"], bundle="case 7")
    propose(backbone, ["other"])
    backbone.move("stock", "dismissed", "ben", "there is none")
    moved = backbone.move_bundle("case 7", "approved", "anna", "seen it")
    assert {m.decision_id for m in moved} == {"lot", "cars"} and len({m.at for m in moved}) == 1
    assert (
        backbone.ledger.states()["other"].state == "proposed"
        and backbone.ledger.states()["stock"].state == "dismissed"
    )
    assert backbone.act().queued == 2
    backbone.move_bundle("case 7", "reverted", "anna", "another lot")
    assert backbone.act().confirmed == 2 and len(receiver.effects) == 4
    with pytest.raises(RefusedError, match="none of its decisions can become approved: dismissed, reverted"):
        backbone.move_bundle("case 7", "approved", "anna", "")
    with pytest.raises(SetupError, match="no bundle 'case 8'"):
        backbone.move_bundle("case 8", "approved", "anna", "")
    with pytest.raises(RefusedError, match="decision lot is reverted"):
        backbone.ledger.move_all(["other", "lot"], "approved", "anna", "")
    assert backbone.ledger.states()["other"].state == "proposed", "one cannot: none does"


# ---- the command line and the schedule


def said(folder: Path, *words: str, act_to: str) -> tuple[int, str]:
    """`unibody WORDS`, with the settings in a file; exit code and what was written."""
    path = folder / "unibody.toml"
    path.write_text(f'home = "{folder / "home"}"\n[[act]]\nwriter = "webhook"\nto = "{act_to}"\n')
    app = typer.Typer()
    app.add_typer(decide.decisions, name="decisions")
    app.command()(decide.act)
    app.add_typer(decide.outbox, name="outbox")
    unibody.settings.current.cache_clear()
    try:
        done = CliRunner().invoke(app, words, env={"UNIBODY_SETTINGS": str(path)})
    finally:
        unibody.settings.current.cache_clear()
    if isinstance(done.exception, UnibodyError):
        return 2, str(done.exception)  # as cli.main says it
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_the_day_of_a_decision_at_the_command_line(tmp_path):
    wrong = Receiver(lambda n: (410, {}, b"moved out") if n == 1 else (200, {}, b"{}"))
    backbone = Backbone(settings(tmp_path))
    propose(backbone, ["a", "b"], bundle="case 7")
    say = partial(said, tmp_path, act_to=wrong.url)
    assert say("decisions", "approve", "--bundle", "case 7", "--note", "go") == (
        0,
        "a: approved; `unibody act` sends it\nb: approved; `unibody act` sends it\n",
    )
    code, done = say("act", "--json")
    assert (
        code == 0
        and json.loads(done) | {"refused": {}} == Acted(queued=2, dead=1, confirmed=1, refused={}).plain()
    )
    code, listed = say("outbox", "--json", "--state", "dead")
    found = json.loads(listed)
    (dead,) = found["messages"]
    assert found["counts"] == {"dead": 1, "confirmed": 1} and dead["error"] == "HTTP 410: moved out"
    assert say("outbox", "retry", str(dead["id"])) == (0, f"{dead['id']}: waiting\n")
    assert say("act")[1].startswith("0 decisions sent; messages: 1 confirmed")
    assert "confirmed" in say("outbox")[1] and "act" in say("decisions", "show", dead["decision_id"])[1]
    for words, why in (
        (("decisions", "approve", "--note", "x"), "say either one decision's id or --bundle"),
        (("decisions", "approve", "a", "--bundle", "b", "--note", "x"), "say either"),
        (("outbox", "--state", "lost"), "should be waiting, sent, confirmed or dead"),
        (("outbox", "retry", "77"), "no message 77"),
    ):
        code, wrote = say(*words)
        assert code == 2 and why in wrote
    wrong.close()


def test_the_schedule_of_unibody_up_sends_what_was_approved(tmp_path, receiver):
    backbone = Backbone(
        settings(
            tmp_path,
            {"writer": "webhook", "to": receiver.url},
            {"action": "block", "writer": "stock_block", "to": receiver.url},
        )
    )
    propose(backbone, ["a"])
    propose(backbone, ["b"], action="block")
    approve(backbone, "a", "b")
    failed = keep_schedule(backbone, {})
    assert len(receiver.effects) == 1 and failed == {
        "act on b": "writer stock_block: the decision says nothing for evidence.lot"
    }


# ---- processes: two at once, and killed

#: before and after each of: approved -> sent (and, within it, the outbox), claim, the message, receipt (and within it)
STEPS = 12


def test_two_processes_deliver_each_message_once(tmp_path, receiver):
    backbone = Backbone(settings(tmp_path, {"writer": "webhook", "to": receiver.url}))
    ids = [f"d{i}" for i in range(40)]
    propose(backbone, ids)
    approve(backbone, *ids)
    both = [process(acting, tmp_path, receiver.url, "") for _ in range(2)]
    for each in both:
        each.join()
    assert [p.exitcode for p in both] == [0, 0]
    assert receiver.requests == len(receiver.effects) == 40 and not receiver.differing
    assert {s.state for s in backbone.ledger.states().values()} == {"confirmed"}


@pytest.mark.parametrize("store", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_killed_between_any_two_steps_it_is_delivered_and_acted_on_once(
    tmp_path, receiver, store, request, monkeypatch
):
    url = ""
    if store == "postgresql":
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
        url = request.getfixturevalue("postgresql").database()
    backbone = Backbone(settings(tmp_path, {"writer": "webhook", "to": receiver.url}, ledger=url))
    propose(backbone, [f"d{i}" for i in range(1, STEPS + 1)])
    for kill_at in range(1, STEPS + 1):
        approve(backbone, f"d{kill_at}")
        child = process(acting, tmp_path, receiver.url, url, kill_at, 0.05)
        child.join()
        assert child.exitcode == -signal.SIGKILL, f"step {kill_at} was not reached"
        until_quiet(backbone, 0.05)
    told = [f"d{i}" for i in range(1, STEPS + 1)]
    assert {s.state for s in backbone.ledger.states(told).values()} == {"confirmed"}
    assert sorted(receiver.effects) == sorted(key(backbone, i) for i in told)
    assert not receiver.differing and receiver.requests > len(receiver.effects), (
        "a kill after the message means a repeat"
    )
    assert {len(backbone.ledger.history(i)) for i in told} == {4}


@pytest.mark.slow
@pytest.mark.parametrize(("store", "wanted"), [("sqlite", 200), ("postgresql", 50)])
def test_200_kills_at_random_moments_lose_nothing_and_double_nothing(
    tmp_path, receiver, store, wanted, request, monkeypatch
):
    url = ""
    if store == "postgresql":
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
        url = request.getfixturevalue("postgresql").database()
    backbone = Backbone(settings(tmp_path, {"writer": "webhook", "to": receiver.url}, ledger=url))
    chance, ids, reverted, kills, whole = random.Random(7), list[str](), list[str](), 0, 0.0
    while kills < wanted:
        fresh = [f"d{len(ids) + i}" for i in range(3)]
        propose(backbone, fresh)
        approve(backbone, *fresh)
        ids += fresh
        began = time.monotonic()
        child = process(acting, tmp_path, receiver.url, url, 0, 0.3)
        if not whole:
            child.join()  # how long one takes on this machine, now
            whole = time.monotonic() - began
        time.sleep(chance.uniform(0.0, whole))
        if chance.random() < 0.2:  # a person takes one back, just now
            one = chance.choice([i for i in ids if i not in reverted])
            backbone.move(one, "reverted", "anna", "wrong pump")
            reverted.append(one)
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
        child.join()
        kills += child.exitcode == -signal.SIGKILL
    until_quiet(backbone, 0.3)
    assert not receiver.differing and not [
        m for m in backbone.ledger.outbox("dead", limit=10_000) if "taken back" not in m["error"]
    ]
    kept = [i for i in ids if i not in reverted]
    states = backbone.ledger.states()
    assert {states[i].state for i in kept} == {"confirmed"} and all(
        states[i].state == "reverted" for i in reverted
    )
    place = {k: n for n, k in enumerate(receiver.order)}
    assert all(key(backbone, i) in place for i in kept), "lost"
    for one in reverted:
        keys = [m["key"] for m in reversed(backbone.ledger.outbox(decision_id=one))]
        if keys and keys[0] in place:
            assert place[keys[0]] < place[f"{keys[0]}_revert"], "what arrived was taken back, in order"
    assert {k.removesuffix("_revert") for k in place} <= {
        key(backbone, i) for i in ids if backbone.ledger.outbox(decision_id=i)
    }
    print(
        f"{kills} kills, {len(ids)} decisions, {receiver.requests} requests for {len(place)} effects, {len(reverted)} taken back"
    )
